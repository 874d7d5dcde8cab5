"""`sipit demo`: its parts are commands as a user types them, and the page is made of their records."""

import json
import shlex
from pathlib import Path

import pytest

from proofs.evidence import read_record
from sipit.cli import run
from sipit.cli.commands import demo


@pytest.mark.parametrize("quick", [True, False])
def test_every_part_is_a_command_that_is_understood(quick: bool, capsys: pytest.CaptureFixture[str]) -> None:
    parts = demo._parts(Path("page.html"), 15, seed=7, quick=quick)
    assert [part[0] for part in parts][:3] == ["check", "prove", "prove"]
    for part in parts:
        assert run([*part, "--help"]) == 0
        assert part[part.index("-o") + 1].startswith("page.")
        assert part[0] in {"check", "capture", "certify"} or "witness" in part or part[part.index("--seed") + 1] == "7"
        shown = capsys.readouterr().out
        assert all(word in shown for word in part if word.startswith("--"))


@pytest.mark.parametrize("status", [2, 130])
def test_a_part_that_cannot_run_ends_the_demo(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "MODEL", "tiny-gpt2")
    monkeypatch.setattr(demo, "_parts", lambda *_, **__: [["check", "tiny-none", "-o", str(tmp_path / "a.json")]])
    if status == 130:
        monkeypatch.setattr("sipit.claims.check.check_model", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(["demo", "-o", str(tmp_path / "page.html")]) == status
    assert not (tmp_path / "page.html").exists()
    assert "1 of 1: sipit check tiny-none" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_on_a_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "MODEL", "tiny-llama")
    page = tmp_path / "page.html"
    assert run(["demo", "--quick", "-o", str(page.with_suffix(".json")), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)  # one record and nothing else
    assert json.loads(page.with_suffix(".json").read_text()) == record
    files = [Path(name) for name in record["result"]["files"]]
    assert files[0] == page and all(path.is_file() for path in files)
    verdicts = record["result"]["verdicts"]
    assert verdicts["invert"] == "recovered" and verdicts["prove witness"] == "proved"
    assert set(verdicts) == {"check", "prove generic-position", "prove witness", "invert", "collide", "quantization"}
    text = page.read_text(encoding="utf-8")
    for path in files:
        if path.suffix == ".json":
            words = shlex.split(read_record(path).provenance["command_line"])
            assert words[0] == "sipit" and words[words.index("-o") + 1] == str(path)
            assert shlex.join(words).replace("'", "&#39;") in text
