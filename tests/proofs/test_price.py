"""A price before the work: small files that ask for much are answered at once, and a limit can be raised."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proofs import InvalidInput, Verdict, check, prove_analytic
from proofs.door import KINDS
from proofs.evidence import SCHEMA
from proofs.kernel import price
from proofs.kernel.price import TooLarge, afford
from proofs.kernel.value_numbering.number import Numbering
from proofs.kernel.value_numbering.table import Table, TooMany
from tests.adversary.prompts import GENERATORS, network
from tests.proofs.bombs import BOMBS
from tests.proofs.building import attention_net

ROOT = Path(__file__).parents[2]
_OF = Table.of


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
    for answer in refused:
        paid_as_it_is_done = "square roots" in answer["reason"]
        assert answer["seconds"] < (3 if paid_as_it_is_done else 1), answer


def test_a_limit_can_be_raised_and_lowered() -> None:
    certificate = json.loads(json.dumps(prove_analytic(attention_net()).to_json()))
    assert check(certificate).verdict is Verdict.ACCEPTED
    assert check(certificate, limit=1e-6).verdict is Verdict.UNDECIDED
    for limit in (float("nan"), -1.0):
        assert check(certificate, limit=limit).verdict is Verdict.UNDECIDED
    for limit in ("much", None, "1"):
        with pytest.raises(InvalidInput, match="a number for the limit"):
            check(certificate, limit=limit)  # type: ignore[arg-type]
    mask = BOMBS["many scattered entries"]()
    assert check(mask).verdict is Verdict.UNDECIDED
    afford(mask, mask["kind"], 1e6)


def test_the_limit_is_what_is_usual_for_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = prove_analytic(attention_net()).to_json()
    cost = price.DEARER["regularity"] - afford(certificate, "regularity", 1.0)
    monkeypatch.setitem(price.DEARER, "regularity", cost + 100)
    assert afford(certificate, "regularity", 1.0) == pytest.approx(100)
    monkeypatch.setitem(price.DEARER, "regularity", cost / 1.5)
    assert check(certificate).verdict is Verdict.UNDECIDED
    assert check(certificate, limit=1.6).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_a_price(kind: str) -> None:
    rows = [{"times": 2**20, "rows": [["add", [], 0, 0, 0]]}]
    with pytest.raises(TooLarge):
        afford({"graph": {"nodes": rows}}, kind, 1.0, KINDS[kind].price)
    with pytest.raises(TooLarge):
        afford({"graphs": [{"nodes": rows}]}, kind, 1.0, KINDS[kind].price)


@pytest.mark.parametrize("generator", sorted(GENERATORS))
def test_no_more_numbers_are_looked_up_than_were_paid(generator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(Table, "of", lambda self, *key: looked.append(key) or _OF(self, *key))
    for seed in range(10):
        graphs = network(generator, seed)
        numbering = Numbering(graphs.values())
        for length, graph in graphs.items():
            for prompt in ((1,) * length, tuple(range(length))):
                paid, terms = numbering.work(graph)
                fixed = paid if prompt[-1:] == (1,) else 0  # what no token reaches is numbered with the first prompt
                looked.clear()
                numbering.last_state(graph, prompt)
                assert len(looked) <= 3 * (paid + fixed) + terms, (seed, length)


def test_long_values_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = attention_net()
    Numbering([graph]).last_state(graph, (1, 2, 3))
    monkeypatch.setattr("proofs.kernel.value_numbering.table.LARGEST_TABLE", 100)
    with pytest.raises(TooMany):
        Numbering([graph]).last_state(graph, (1, 2, 3))


def test_what_is_not_well_formed_is_left_to_the_kernel() -> None:
    graph = json.loads(json.dumps(attention_net(length=2).to_json()))
    shorter = {"real": -1, "integer": None, "boolean": None}
    graph["types"] = [[shape[: shorter[kind]], kind] for shape, kind in graph["types"]]
    graph["constants"] = [{**c, "shape": c["shape"][:-1], "values": ["1"]} for c in graph["constants"]]
    for zeroed in ([], ["k"]):
        forged = {"graphs": {"2": graph}, "claim": {"zeroed": zeroed}, "classes": [[[1, 2], [2, 1], "collide"]]}
        afford(forged, "generic-position", 1.0)
        assert check({**forged, "schema": SCHEMA, "kind": "generic-position"}).verdict is Verdict.REJECTED
