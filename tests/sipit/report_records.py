"""Small real records of every command, kept in `records/`: what the tests of the page are made from.

`python -m tests.sipit.report_records` makes them again by running the commands on tiny models (a few minutes).
"""

import contextlib
import io
import json
import os
import shlex
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from proofs.evidence import Record, read_record

FOLDER = Path(__file__).parent / "records"
LISTED = 8  # entries of a list that are kept
PROMPTS = "Hello world\nHello there\nGoodbye\n"
COMMANDS = {
    "check": ["check", "tiny-llama"],
    "witness": ["prove", "witness", "--vocabulary", "2", "--context", "2"],
    "training-step": ["prove", "training-step"],
    "generic-position": ["prove", "generic-position", "--model", "tiny-llama", "--context", "2"],
    "invert": ["invert", "tiny-llama", "--text", "Hi <script>alert(1)</script>\nthere"],
    "diagnose": ["invert", "tiny-gpt2", "--text", "Hello world", "--diagnose"],
    "partial": ["invert", "tiny-gpt2", "--text", "Hi!", "--positions", "0,2"],
    "fuzz": ["fuzz", "tiny-llama", "--examples", "5"],
    "collide": ["collide", "tiny-gpt2", "--limit", "400"],
    "compare": ["compare", "tiny-gpt2", "tiny-gpt2@dtype=bfloat16", "--prompts", "prompts.txt"],
    "audit": ["audit", "tiny-gpt2", "--states", "states.safetensors", "--prompts", "prompts.txt", "--power"],
    "leak": ["leak", "tiny-gpt2", "--prompts", "prompts.txt", "--layers", "1", "--defences", "gaussian,bits"],
    "quantization": ["quantization", "tiny-llama", "--quick", "--formats", "float32,bf16,int4,int4-states"],
    "train": ["train", "--steps", "8"],
    "certify": ["certify", "tiny-gpt2", "--prompts", "prompts.txt"],
    "capture": ["capture", "tiny-gpt2", "--text", "Hello"],
    "doctor": ["doctor", "tiny-gpt2"],
}


@cache
def stored_records() -> list[Record]:
    """The kept records, by name; not to be changed."""
    return [read_record(path) for path in sorted(FOLDER.glob("*.json"))]


def abridged(record: dict[str, Any]) -> dict[str, Any]:
    """The record with long lists cut, and of its certificate the claim alone."""
    short = {key: _short(value) for key, value in record.items()}
    certificate = short["result"].get("certificate")
    if certificate is not None:
        short["result"]["certificate"] = {name: certificate[name] for name in ("kind", "claim")}
    return short


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(entry) for key, entry in value.items()}
    if isinstance(value, list):
        whole = value if all(isinstance(entry, int | float | str | None) for entry in value) else value[:LISTED]
        return [_short(entry) for entry in whole[:64]]
    return value


def make(name: str, folder: Path) -> dict[str, Any]:
    """Runs one command and gives its record, abridged."""
    from sipit.cli import run

    command = [*COMMANDS[name]]
    if name == "train":
        command += ["--folder", str(folder / "trained")]
    if name == "capture":
        return abridged(_printed([*command, "-o", str(folder / "states.safetensors"), "--json"]))
    (folder / "prompts.txt").write_text(PROMPTS)
    if name == "audit":
        _printed(["capture", "tiny-gpt2", "--prompts", str(folder / "prompts.txt"), "-o",
                  str(folder / "states.safetensors"), "--json"])  # fmt: skip
    command = [str(folder / part) if part in {"prompts.txt", "states.safetensors"} else part for part in command]
    # The doctor says where the cache is.
    with patch.dict(os.environ, {"SIPIT_CACHE": str(folder / "cache")} if name == "doctor" else {}):
        status = run([*command, "-o", str(folder / f"{name}.json")])
    assert status in {0, 1, 3}, (name, status)
    return abridged(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def _printed(command: list[str]) -> dict[str, Any]:
    from sipit.cli import run

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run(command) == 0
    return json.loads(printed.getvalue())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or COMMANDS:
        with tempfile.TemporaryDirectory() as temporary:
            made = make(name, Path(temporary))
        made["provenance"]["command_line"] = shlex.join(["sipit", *COMMANDS[name]])
        text = json.dumps(made, ensure_ascii=False, indent=1).replace(temporary + "/", "")
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
