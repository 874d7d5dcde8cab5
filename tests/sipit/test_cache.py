"""The cache only saves time: what is kept comes back whole, or counts as missing."""

import os
import threading

import pytest
import torch

import sipit
from sipit.cache import cache_folder, keep_folder, keep_json, keep_tensors, kept_json, kept_tensors
from sipit.noise.tolerance import derive_tolerance
from tests.sipit.cases import answers, inverted, tiny


def test_the_cache_is_where_it_is_asked_to_be(monkeypatch, tmp_path):
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("SIPIT_CACHE")
    assert cache_folder().name == "sipit"


def test_what_is_kept_comes_back(empty_cache):
    assert kept_json("a/b.json") is None
    assert kept_tensors("a/b.safetensors") is None
    assert keep_json("a/b.json", {"noise": 1.5}) == {"noise": 1.5} == kept_json("a/b.json")
    keep_tensors("a/b.safetensors", {"x": torch.arange(3.0)})
    assert torch.equal(kept_tensors("a/b.safetensors")["x"], torch.arange(3.0))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 10**5])
def test_what_cannot_be_read_counts_as_missing(empty_cache, content):
    empty_cache.mkdir()
    (empty_cache / "x").write_bytes(content)
    assert kept_json("x") is None
    assert kept_tensors("x") is None


def test_a_folder_is_filled_whole_or_not_at_all(empty_cache):
    def fail(folder):
        (folder / "part").write_text("half")
        raise OSError("disk full")

    def interrupt(folder):
        raise KeyboardInterrupt

    target = empty_cache / "models" / "m"
    assert not keep_folder(target, fail)
    with pytest.raises(KeyboardInterrupt):
        keep_folder(target, interrupt)
    assert not list((empty_cache / "models").iterdir())
    assert keep_folder(target, lambda folder: (folder / "part").write_text("whole"))
    assert [path.name for path in (empty_cache / "models").iterdir()] == ["m"]


def test_two_that_fill_a_folder_at_once_agree(empty_cache):
    target, barrier, kept = empty_cache / "m", threading.Barrier(2), []

    def write(folder):
        (folder / "part").write_text("whole")
        barrier.wait(timeout=20)

    threads = [threading.Thread(target=lambda: kept.append(keep_folder(target, write))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [True, True]
    assert (target / "part").read_text() == "whole"
    assert [path.name for path in empty_cache.iterdir()] == ["m"]


@pytest.mark.parametrize("kind", ["a file in its place", "not writable", "missing"])
def test_without_a_cache_everything_works_and_nothing_is_left(monkeypatch, tmp_path, kind):
    folder = tmp_path / "cache"
    if kind == "a file in its place":
        folder.write_text("a file")
    elif kind == "not writable":
        if os.geteuid() == 0:
            monkeypatch.setattr("tempfile.mkstemp", refuse)
        folder.mkdir(mode=0o500)
    monkeypatch.setenv("SIPIT_CACHE", str(folder / "deeper" if kind == "a file in its place" else folder))
    model = sipit.load_model("tiny-gpt2")
    states = sipit.capture(model, [[1, 2, 3]], layer=1)
    (inversion,) = sipit.invert(model, states)
    assert inversion.token_ids == [1, 2, 3]
    assert kind == "missing" or not list(tmp_path.rglob("*.safetensors"))


def refuse(*_arguments, **_named):
    raise PermissionError(13, "Permission denied")


def test_damaged_entries_are_made_again(empty_cache):
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3]], layer=1)
    expected = answers(inverted(model, states))
    for path in [path for path in empty_cache.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert answers(inverted(model, states)) == expected


@pytest.mark.parametrize("content", ['{"noise": "x", "positions": 3}', "{}", '{"noise": NaN, "positions": 1}'])
def test_a_kept_noise_that_is_no_number_is_measured_again(empty_cache, content):
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3]], layer=1)
    expected = derive_tolerance(model, states)
    (path,) = empty_cache.glob("*/noise/*")
    path.write_text(content)
    again = derive_tolerance(model, states)
    assert again.value == pytest.approx(expected.value, rel=0.5)  # measured anew, in another order of summation
    assert again.derived_from.split(" over ")[1] == expected.derived_from.split(" over ")[1]
