"""Stores of states: every distinct prefix is one prompt, and resuming gives the same bits."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sipit
from proofs import InvalidInput
from sipit.cache import alone_in
from sipit.collisions.examination import state_folder
from sipit.prompts.windows import cut, prefixes
from sipit.states import store as state_store
from sipit.states.store import store_states

TOKENS = st.lists(st.lists(st.integers(0, 2), max_size=6).map(tuple), max_size=8)


@given(TOKENS, st.none() | st.integers(0, 20))
def test_every_distinct_prefix_is_one_prompt(windows, limit):
    found = prefixes(windows, limit=limit)
    expected = list(dict.fromkeys(window[:end] for window in windows for end in range(1, len(window) + 1)))[:limit]
    assert [tuple(found.token_ids(prompt)) for prompt in range(len(found))] == expected
    assert set(found.window.tolist()) == set(range(len(found.windows)))


def test_windows_are_cut_in_order():
    assert cut(range(7), 3) == [(0, 1, 2), (3, 4, 5), (6,)]


@pytest.fixture(scope="module")
def model():
    return sipit.load_model("tiny-llama")


@pytest.fixture
def prompts():
    rng = np.random.default_rng(0)
    return prefixes([*map(tuple, rng.integers(0, 256, (9, 5)).tolist()), (3, 4)])


def test_states_are_those_of_stand_alone_runs(model, prompts, tmp_path):
    stored = store_states(model, prompts, layers=[0, 2, 1], folder=tmp_path / "states", batch=4)
    for layer, states in stored.items():
        assert states.shape == (len(prompts), model.width) and isinstance(states, np.memmap)
        alone = sipit.capture(model, [prompts.token_ids(n) for n in range(len(prompts))], layer=layer)
        np.testing.assert_allclose(states, np.stack([rows[-1].numpy() for rows in alone]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_an_interrupted_run_resumes_to_the_same_bits(model, prompts, tmp_path, monkeypatch, stopped_after):
    whole = store_states(model, prompts, layers=[1, 2], folder=tmp_path / "whole", batch=4)
    monkeypatch.setattr(state_store, "CHECKPOINT_EVERY", 1)
    calls = []

    def stop(done, total):
        calls.append((done, total))
        if len(calls) == stopped_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_states(model, prompts, layers=[1, 2], folder=tmp_path / "cut", batch=4, progress=stop)
    seen = []
    again = store_states(
        model, prompts, layers=[1, 2], folder=tmp_path / "cut", batch=4, progress=lambda *at: seen.append(at)
    )
    assert seen[0][0] > calls[-1][0] and seen[-1] == (len(prompts), len(prompts))
    for layer in (1, 2):
        assert np.array_equal(whole[layer], again[layer])
    store_states(model, prompts, layers=[1, 2], folder=tmp_path / "cut", batch=4, progress=pytest.fail)


def test_a_store_of_another_run_is_refused(model, prompts, tmp_path):
    store_states(model, prompts, layers=[1], folder=tmp_path / "states")
    with pytest.raises(InvalidInput, match="has other layers"):
        store_states(model, prompts, layers=[2], folder=tmp_path / "states")
    with pytest.raises(InvalidInput, match="has other prompts"):
        store_states(model, prefixes([(1, 2)]), layers=[1], folder=tmp_path / "states")
    with pytest.raises(InvalidInput, match="layer=9"):
        store_states(model, prompts, layers=[9], folder=tmp_path / "other")


def copied_row(path):
    array = np.load(path, mmap_mode="r+")
    array[0] = array[1]
    array.flush()


def other_type(path):
    np.save(path, np.load(path).astype(np.float64))


def shorter(path):
    np.save(path, np.load(path)[:-1])


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["layer-001.npy", "checkpoint.json"])
@pytest.mark.parametrize("damage", [
    cut_off, one_bit, copied_row, other_type, shorter, lambda path: path.unlink(),
    lambda path: path.write_bytes(b""), lambda path: path.write_text("{}"), lambda path: path.write_text("[]"),
])  # fmt: skip
def test_a_store_that_is_not_as_it_was_written_is_begun_anew(model, prompts, tmp_path, file, damage):
    if file == "checkpoint.json" and damage in (copied_row, other_type, shorter):
        pytest.skip("of arrays")
    whole = store_states(model, prompts, layers=[1, 2], folder=tmp_path / "whole", batch=4)
    store_states(model, prompts, layers=[1, 2], folder=tmp_path / "states", batch=4)
    damage(tmp_path / "states" / file)
    seen = []
    again = store_states(
        model, prompts, layers=[1, 2], folder=tmp_path / "states", batch=4, progress=lambda *at: seen.append(at)
    )
    assert seen
    for layer in (1, 2):
        assert np.array_equal(whole[layer], again[layer])


def test_what_else_empties_a_store_meanwhile_is_noticed_and_never_sealed(model, prompts, tmp_path):
    """As another run does that opens the same files before the first checkpoint."""
    whole = store_states(model, prompts, layers=[1, 2], folder=tmp_path / "whole", batch=4)
    folder, emptied = tmp_path / "states", []

    def empty(done, total):
        if not emptied:
            emptied.append(np.lib.format.open_memmap(folder / "layer-001.npy", "w+", np.float32, whole[1].shape))

    with pytest.raises(InvalidInput, match="something else changed them"):
        store_states(model, prompts, layers=[1, 2], folder=folder, batch=4, progress=empty)
    again = store_states(model, prompts, layers=[1, 2], folder=folder, batch=4)
    for layer, states in whole.items():
        np.testing.assert_array_equal(states, again[layer])


OTHER = """
import sys
from pathlib import Path
from sipit.cache import alone_in
with alone_in(Path(sys.argv[1])) as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""


def test_one_process_is_in_a_folder_until_it_ends(tmp_path):
    with subprocess.Popen([sys.executable, "-c", OTHER, tmp_path], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "True\n"
        with alone_in(tmp_path) as alone:
            assert not alone
        other.kill()
        other.wait()
    with alone_in(tmp_path) as alone:
        assert alone
        with alone_in(tmp_path) as twice:
            assert not twice
    with alone_in(tmp_path / "none") as nowhere:
        assert not nowhere


def test_a_folder_that_was_removed_meanwhile_is_nobodys(tmp_path, monkeypatch):
    folder = tmp_path / "states"
    folder.mkdir()
    stat = type(folder).stat

    def gone(path, **options):
        shutil.rmtree(path)
        return stat(path, **options)

    monkeypatch.setattr(type(folder), "stat", gone)
    with alone_in(folder) as alone:
        assert not alone


def test_two_searches_at_once_keep_their_states_apart(model, prompts, empty_cache):
    with state_folder(model, prompts, [1], 4) as first:
        with state_folder(model, prompts, [1], 4) as second:
            assert second != first and not second.is_relative_to(empty_cache)
        assert first.is_dir() and not second.exists()
    assert not first.exists()
    with state_folder(model, prompts, [1], 4) as third:
        assert third == first
