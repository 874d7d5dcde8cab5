"""Stores of states: every distinct prefix is one prompt, and resuming gives the same bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sipit
from proofs import InvalidInput
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
