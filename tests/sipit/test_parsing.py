"""Command lines: what would be dropped in silence is refused, and what no file can be called is told as that."""

import pytest
from typer.main import get_command

from proofs.arguments import path_of
from proofs.errors import InvalidInput
from sipit.cli import app, run
from sipit.cli.parsing import Command

LONG = "a" * 300


def commands(group=None, path=()):
    """Every command with the words that name it."""
    for name, found in (group or get_command(app)).commands.items():
        if hasattr(found, "commands"):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name), found


ALL = dict(commands())


def refusal(capsys, *arguments):
    """The sentence of a command line that is refused."""
    capsys.readouterr()
    status = run([*arguments])
    output, error = capsys.readouterr()
    assert (status, output, error.count("\n")) == (2, "", 1), (arguments, status, error)
    return error.strip()


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_option_is_given_twice_but_lists(capsys, path):
    command = ALL[path]
    assert isinstance(command, Command)
    arguments = ["x"] * sum(one.param_type_name == "argument" for one in command.params)
    for option in command.params:
        if option.param_type_name != "option" or option.multiple:
            continue
        for name in option.opts:  # -o and --output are one option
            given = [option.opts[0], *([] if option.is_flag else ["1"]), name, *([] if option.is_flag else ["2"])]
            said = refusal(capsys, *path, *arguments, *given)
            assert f"Expected {max(option.opts, key=len)} once, but got it twice" in said


def test_lists_are_given_as_often_as_one_likes(capsys):
    said = refusal(capsys, "collide", "tiny-gpt2", "--search", "swaps", "--search", "collapse", "--limit", "1")
    assert "a limit of at least 2" in said


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--seed", "x"), ("--layer", LONG)])
def test_a_value_that_is_refused_is_shown(capsys, option, value):
    assert value[:40] in refusal(capsys, "check", "tiny-gpt2", option, value)


NAMED = [
    ["check", LONG], ["check", f"{LONG}.json"], ["capture", LONG, "--text", "a", "-o", "o.safetensors"],
    ["invert", LONG, "--text", "a"], ["invert", "tiny-gpt2", "--states", LONG],
    ["invert", "tiny-gpt2", "--prompts", f"{LONG}.txt"], ["collide", "tiny-gpt2", "--prompts", LONG],
    ["audit", "tiny-gpt2", "--states", LONG, "--prompts", "p.txt"],
    ["audit", "tiny-gpt2", "--states", "s.safetensors", "--prompts", LONG],
    ["compare", LONG, "tiny-gpt2"], ["compare", f"{LONG}.npz", "tiny-gpt2"],
    ["compare", "tiny-gpt2", f"{LONG}.safetensors"], ["verify", LONG], ["report", LONG, "-o", "o.html"],
    ["train", "--folder", LONG], ["fuzz", "tiny-gpt2", "--keep", LONG], ["check", "tiny-gpt2", "-o", f"{LONG}.json"],
    pytest.param(["doctor", LONG], marks=pytest.mark.slow, id="doctor"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", NAMED, ids=lambda words: f"{words[0]} {words[-2][:9]}")
def test_a_name_that_is_too_long_for_a_file_is_no_fault_of_the_system(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    said = refusal(capsys, *arguments)
    assert said.startswith("sipit: Expected") and "Errno" not in said and "Path(" not in said and ";" in said


def test_a_cache_that_can_have_no_such_name_is_told(capsys, monkeypatch):
    monkeypatch.setenv("SIPIT_CACHE", f"/{LONG}")
    assert "SIPIT_CACHE" in refusal(capsys, "invert", "tiny-gpt2", "--text", "abc")


def test_an_adapter_may_name_a_base_that_no_folder_can_be(tmp_path):
    from sipit.models.adapter import find_adapter

    (tmp_path / "adapter_config.json").write_text(f'{{"peft_type": "LORA", "base_model_name_or_path": "{LONG}"}}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InvalidInput):
        find_adapter(str(tmp_path))


def test_a_path_is_shown_as_a_name(tmp_path):
    with pytest.raises(InvalidInput, match=r"but got '[^(]*… \("):
        path_of("a file", tmp_path / LONG)


@pytest.mark.parametrize(("vocabulary", "context"), [(100_000, 100_000), (2, 30), (633, 1), (10**17, 1)])
def test_pairs_are_counted_before_a_network_is_captured(capsys, monkeypatch, vocabulary, context):
    def never(*arguments, **named):
        raise AssertionError("a network was captured")

    monkeypatch.setattr("numerics.graphs.capture.capture_graph", never)
    said = refusal(capsys, "prove", "witness", "--vocabulary", str(vocabulary), "--context", str(context))
    assert "at most 400000 ordered pairs" in said


@pytest.mark.parametrize("path", [*ALL, ("prove",)], ids=" ".join)
def test_every_help_has_an_example(path):
    group = get_command(app)
    for word in path:
        group = group.commands[word]
    assert f"Example: sipit {' '.join(path)}" in group.help
