"""What a system does around a command: a terminal that is gone, a full disk, no memory, a cache that takes no file."""

import os
import pty
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.kernel import door
from proofs.verdict import Verdict
from sipit.cache import cache_folder, keep_folder
from sipit.cli import output, run
from sipit.cli.inversions import show_inversions
from sipit.models.tokenizers import save_tokenizer
from sipit.report.chapter import chapter
from sipit.report.document import Theme
from sipit.states.store import arrays_on_disk


def test_a_progress_bar_outlives_its_terminal(monkeypatch):
    """As after `disown`, once the window is closed: hours of work are not lost for a bar."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        with output.progress("working") as told:
            os.close(ours)
            told(1, 2)
            output.say("a line")
        output.say("another")


def test_room_that_cannot_be_had_leaves_nothing_behind(monkeypatch, tmp_path):
    taken: list[int] = []

    def full(_place: int, _start: int, size: int) -> None:
        taken.append(size)
        if len(taken) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    paths = [tmp_path / f"layer-{number}.npy" for number in range(3)]
    with pytest.raises(InvalidInput, match=r"Expected 0\.011 GiB of room"):  # of all three
        arrays_on_disk(paths, (10**6, 1), [np.float32] * 3)
    assert list(tmp_path.iterdir()) == []


class OnAFullDisk:
    def save_pretrained(self, folder: Path) -> None:
        (folder / "tokenizer_config.json").touch()
        raise Exception("No space left on device (os error 28)")


def test_a_tokenizer_on_a_full_disk_is_an_error_of_the_disk(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        save_tokenizer(OnAFullDisk(), tmp_path)
    assert not keep_folder(tmp_path / "kept", lambda folder: save_tokenizer(OnAFullDisk(), folder))
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer_config.json"]


def test_want_of_memory_is_no_finding(monkeypatch):
    def short(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(door, "afford", short)
    kind = next(iter(door.KINDS))
    certificate = {"schema": door.SCHEMA, "kind": kind}
    found = door.check_as(door.KINDS, certificate, door.Given(None, None, 0, 1, 1.0))
    assert found.verdict is Verdict.UNDECIDED and "memory" in found.reason


def test_what_is_interrupted_says_whether_it_goes_on(monkeypatch, capsys, tmp_path):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sipit.models.load_model", stop)
    (tmp_path / "file").touch()
    for cache, said in ((tmp_path, "goes on from"), (tmp_path / "file" / "x", "begins anew")):
        monkeypatch.setenv("SIPIT_CACHE", str(cache))
        assert run(["collide", "tiny-gpt2", "--prompts", "random:3"]) == 130
        assert said in capsys.readouterr().err


@given(st.text("a ", min_size=1, max_size=300))
def test_a_recovered_text_is_printed_whole(text):
    lines: list[str] = []
    prompt = {
        "outcome": "recovered", "explanation": "it fits", "text": text, "token_ids": [1], "text_is_prompt": True,
        "tokens": [], "forward_passes": 1, "candidates_tested": 1, "seconds": 0.1, "alternatives": [],
        "matches_truth": None,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.echo", lines.append)
        show_inversions({"prompts": [prompt]})
    assert f"  {text!r}" in lines


def test_what_nobody_measured_is_not_shown():
    for provenance, shown in (({}, False), ({"model": "tiny-gpt2"}, True)):
        record = Record("invert", Verdict.RECOVERED, {}, provenance)
        view = chapter(record, next(iter(Theme)), "An inversion", "It came back.")
        assert bool(view.repeat) is shown
        assert any("seconds" in fact.label for fact in view.environment.items) is shown


def test_the_cache_is_one_folder_wherever_one_works(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SIPIT_CACHE", "~/kept")
    assert cache_folder() == tmp_path / "kept"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIPIT_CACHE", "kept")
    assert cache_folder() == tmp_path / "kept"
    monkeypatch.setenv("SIPIT_CACHE", "~nobody-of-this-name/kept")
    with pytest.raises(InvalidInput, match="Expected a cache"):
        cache_folder()
