"""What a file says reaches standard error as text that can be seen, and steers no terminal."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sipit
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.cli import run
from sipit.cli.output import say, tell
from sipit.report.wording import is_hidden, visible
from sipit.states.files import write_states
from tests.sipit.cases import tiny

HOSTILE = "A\x1b[31mB\u202eC\u2066\x07D\x9b31m\x00\ud800"


def told(capsys, *arguments):
    status = run([str(argument) for argument in arguments])
    return status, capsys.readouterr().err


@given(st.text() | st.just(HOSTILE))
def test_a_line_is_told_with_nothing_hidden_in_it(capsys, line):
    say(line)
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert not {character for character in said if is_hidden(character)} - {"\n", "\t"}
    if line.isprintable():
        assert said == f"{line}\n"


@pytest.fixture
def files(tmp_path):
    """States whose manifest, and a record whose command and model, are text that steers terminals."""
    states = sipit.capture(tiny("llama"), [[5, 6, 7]], layer=1)
    hostile = replace(states.manifest, model=HOSTILE[:-1], digest=HOSTILE[:-1])
    write_states(tmp_path / "hostile.safetensors", replace(states, manifest=hostile))
    record = Record(HOSTILE[:-1], Verdict.PROVED, {"model": HOSTILE[:-1]}, {"model": HOSTILE[:-1]}, 1.0)
    (tmp_path / "record.json").write_text(record.dumps())
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"token_ids": [5, 6, 7]}))
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["invert", "tiny-llama", "--states", "hostile.safetensors"],
        ["audit", "tiny-llama", "--states", "hostile.safetensors", "--prompts", "prompts.jsonl"],
        ["verify", "record.json"],
        ["verify", f"{HOSTILE[:5]}.json"],
        ["report", f"{HOSTILE[:5]}.json", "-o", "x.html"],
        ["invert", "tiny-llama", "--text", "a", "--layer", HOSTILE[:-2]],
        ["invert", f"tiny-{HOSTILE[:-2]}", "--text", "a"],
        [HOSTILE[:-2]],
    ],
    ids=lambda words: " ".join(words[:2]).encode("ascii", "backslashreplace").decode(),
)
def test_refusals_show_what_is_hidden_in_files_and_arguments(files, capsys, monkeypatch, words):
    monkeypatch.chdir(files)
    status, said = told(capsys, *words)
    assert status == 2
    assert "⟨U+001B⟩" in said or r"\x1b" in said  # as a name, or quoted
    assert not any(map(is_hidden, said.removesuffix("\n")))


@pytest.mark.parametrize("blank", ["\ufe0f", "\U000e0101", "\u3164", "\u2800", "\u034f", "\u200b", "\x1b"])
def test_what_is_drawn_as_nothing_is_shown_by_its_number(blank, capsys):
    assert visible(f"a{blank}b") == f"a⟨U+{ord(blank):04X}⟩b"
    for write in (say, tell):
        write(f"a{blank}b")
    told = capsys.readouterr()
    assert told.out == told.err == f"a⟨U+{ord(blank):04X}⟩b\n"


def test_options_that_change_nothing_are_named(capsys):
    line = ["invert", "tiny-gpt2", "--text", "abc", "--layer", "1"]
    assert run([*line, "--prefix", "a", "--policy", "nearest", "--margin", "full"]) == 0
    assert "--policy, --margin: no effect beside a part of a prompt" in capsys.readouterr().err
    assert run([*line, "--diagnose", "--budget", "5", "--suffix", "c"]) == 0
    assert "--suffix, --budget: no effect beside --diagnose" in capsys.readouterr().err
    assert run([*line, "--prefix", "a"]) == 0
    assert "no effect" not in capsys.readouterr().err
    assert run([*line, "--prefix", "a", "--policy", "nonsense"]) == 2
