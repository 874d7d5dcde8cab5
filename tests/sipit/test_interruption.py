"""Ctrl-C: one sentence that says whether the same command goes on, status 130, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sipit import cli
from sipit.cli import run
from tests.sipit.cases import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interruption_is_130_and_says_how_to_go_on(command, capsys, monkeypatch, tmp_path):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    name = command.split()[0]
    monkeypatch.setattr(
        sys.modules[f"sipit.cli.commands.{name}"], "Stopwatch" if name == "download" else "check_output", interrupt
    )
    needed = {"check": ["m"], "capture": ["m", "-o", "s.safetensors"], "report": ["r.json"], "verify": ["r.json"],
              "download": ["smollm2"], "certify": ["m", "--prompts", "p.txt"], "compare": ["m", "m"],
              "audit": ["m", "--states", "s.safetensors", "--prompts", "p.txt"]}  # fmt: skip
    arguments = needed.get(name, ["m"] if name in {"invert", "collide", "quantization", "fuzz", "leak"} else [])
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run([*command.split(), *arguments]) == 130
    output, error = capsys.readouterr()
    goes_on = name in {"invert", "collide", "quantization", "train", "certify", "leak"}
    assert output == ""
    assert re.fullmatch(r"sipit: interrupted; the same command [^\n]*\.\n", error)
    assert ("goes on" in error) is goes_on
    assert not list(tmp_path.iterdir())


def test_what_keeps_nothing_of_a_margin_says_so(capsys, monkeypatch, tmp_path):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    (tmp_path / "p.txt").write_text("a\n")
    line = ["certify", "tiny-gpt2", "--prompts", str(tmp_path / "p.txt"), "--vocabulary", "8", "--layer", "1"]
    monkeypatch.setattr("sipit.claims.certify.vocabulary_margin", interrupt)
    assert run(line) == 130
    assert "begins anew" in capsys.readouterr().err
    monkeypatch.setattr("sipit.claims.certify.certify_separation", interrupt)
    assert run([*line, "--bits", "64"]) == 130
    assert "goes on" in capsys.readouterr().err


@pytest.mark.parametrize(("seen", "status"), [(True, 130), (False, 2)])
def test_an_interruption_that_a_library_makes_an_error_of_is_one(seen, status, capsys, monkeypatch):
    def broken(*arguments, **named):
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr(sys.modules["sipit.cli.commands.check"], "check_output", broken)
    monkeypatch.setattr(cli, "_ctrl_c", cli._CtrlC())
    if seen:
        with pytest.raises(KeyboardInterrupt):
            cli._ctrl_c(signal.SIGINT, None)
    assert run(["check", "m"]) == status
    assert ("interrupted" in capsys.readouterr().err) is seen


@pytest.mark.parametrize("module", ["sipit.cli", "typer", "sipit.cli.commands.verify"])
def test_an_interruption_before_there_is_a_command_line_is_one_sentence(module):
    """At whatever import it comes; Python's own start, some hundredths of a second, is nobody's."""
    code = f"""
import sys
from importlib.abc import MetaPathFinder
class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from sipit.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "sipit: interrupted.\n")


def test_an_interruption_that_was_answered_ends_by_its_status(tmp_path):
    (tmp_path / "interrupted.py").write_text("""
from sipit import cli

def run(arguments):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return 130

cli.run = run
cli.main()
""")
    ended = subprocess.run(
        [sys.executable, "-m", "interrupted"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert ended.returncode == 130


@pytest.mark.parametrize("line", [
    ["invert", "m", "--diagnose"], ["invert", "m", "--positions", "last"], ["invert", "m", "--prefix=[1,2]"],
    ["invert", "m", "--suffix", "x"], ["leak", "m", "--released", "s.safetensors"],
    ["invert", "m", "--engine", "ray"], ["invert", "m", "--engine=ray"],
], ids=lambda line: " ".join(line[2:]))  # fmt: skip
def test_an_interruption_of_what_keeps_nothing_says_that_it_begins_anew(line, capsys, monkeypatch):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[f"sipit.cli.commands.{line[0]}"], "check_output", interrupt)
    assert run(line) == 130
    assert capsys.readouterr().err == "sipit: interrupted; the same command begins anew.\n"


@pytest.mark.slow
@pytest.mark.parametrize("line", [
    ["prove", "witness", "--vocabulary", "2", "--context", "8"], ["train", "--steps", "100000", "--folder", "{folder}"],
    ["collide", "tiny-gpt2", "--prompts", "random:16", "--limit", "500000"],
    ["certify", "tiny-gpt2", "--prompts", "{prompts}"],
], ids=" ".join)  # fmt: skip
def test_control_c_ends_real_work_with_one_sentence(line, tmp_path):
    (tmp_path / "p.txt").write_text("\n".join(f"prompt number {n}" for n in range(4000)))
    places = {"folder": tmp_path / "t", "prompts": tmp_path / "p.txt"}
    # Where the tests run as a job in the background, Ctrl-C is ignored by all that they start.
    heard = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heard}; sys.argv[1:] = {[one.format(**places) for one in line]!r}; from sipit.cli import main; main()"
    environment = os.environ | {"SIPIT_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    time.sleep(12)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130, error
    assert re.fullmatch(r"sipit: interrupted; the same command [^\n]*\.\n", error)
