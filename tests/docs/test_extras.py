"""What an installation without an extra says: the command that installs it, with the name of the extra."""

import sys

import pytest

from sipit.cli import run
from sipit.cli.commands.quantization import _show


def test_fuzz_without_hypothesis_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert run(["fuzz", "tiny-gpt2", "--examples", "1"]) == 2
    assert "pip install 'sipit[fuzz]'" in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["install the extra: pip install 'sipit[quantization]'."])
def test_the_reason_of_a_format_that_did_not_run_is_shown_whole(reason, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    _show({"formats": [{"format": "int8", "subject": "weights", "reason": reason}]})
    assert reason in capsys.readouterr().out
