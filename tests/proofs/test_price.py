"""A price before the work: small files that ask for much are answered at once, and a limit can be raised."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proofs import Verdict, check, prove_analytic
from proofs.kernel.door import KERNELS
from proofs.kernel.price import TooLarge, afford
from tests.proofs.bombs import BOMBS
from tests.proofs.building import attention_net

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What every bomb was answered, in a process of its own."""
    command = [sys.executable, "-m", "tests.proofs.bombs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_small_file_is_answered_soon_and_in_little_memory(name: str, answers: dict[str, Any]) -> None:
    answer = answers[name]
    assert answer["bytes"] <= 10**6
    assert answer["seconds"] < 10
    assert answer["held"] < 1024
    assert answer["verdict"] != "undecided" or answer["reason"].startswith("too large to check: its ")


def test_most_of_them_are_too_large_to_check(answers: dict[str, Any]) -> None:
    refused = [answer for answer in answers.values() if answer["verdict"] == "undecided"]
    assert len(refused) > 10
    assert all(answer["seconds"] < 1 for answer in refused)


def test_a_limit_can_be_raised_and_lowered() -> None:
    certificate = json.loads(json.dumps(prove_analytic(attention_net()).to_json()))
    assert check(certificate).verdict is Verdict.ACCEPTED
    assert check(certificate, limit=1e-6).verdict is Verdict.UNDECIDED
    for limit in (float("nan"), -1.0):
        assert check(certificate, limit=limit).verdict is Verdict.UNDECIDED
    mask = BOMBS["many scattered entries"]()
    assert check(mask).verdict is Verdict.UNDECIDED
    afford(mask, mask["kind"], 1e6)


@pytest.mark.parametrize("kind", sorted(KERNELS))
def test_every_kind_has_a_price(kind: str) -> None:
    rows = [{"times": 2**20, "rows": [["add", [], 0, 0, 0]]}]
    with pytest.raises(TooLarge):
        afford({"graph": {"nodes": rows}}, kind, 1.0)
    with pytest.raises(TooLarge):
        afford({"graphs": [{"nodes": rows}]}, kind, 1.0)
