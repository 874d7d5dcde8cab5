"""An answer of `verify` names every network that its sentence speaks of, also one that stands beside another."""

import json
from pathlib import Path
from typing import Any

from proofs import Verdict, prove_analytic
from proofs.evidence import Record
from proofs.kernel.collisions import find_collisions
from proofs.kernel.regularity import statement
from proofs.kernel.result import digest
from proofs.network.graph import Graph
from proofs.provers.branches import with_witness
from proofs.regularity import smooth
from sipit.claims.fields import checked
from sipit.claims.verify import verify_record
from tests.proofs.building import Net, attention_net
from tests.proofs.mutating import with_lengths

WIDTH, TOKENS, PLACES = 3, 40, 16


def placed(length: int, begin: int = 0) -> Graph:
    """Rows of tokens and rows of places, from the place on where they begin."""
    net = Net()
    rows = net.op("take", net.parameter("wte", TOKENS, WIDTH), net.tokens(length, TOKENS), axis=0)
    table = net.parameter("wpe", PLACES, WIDTH)
    return net.graph(net.op("add", rows, net.op("slice", table, axis=0, start=begin, stop=begin + length, step=1)))


def verified(folder: Path, certificate: Any, verdict: Verdict) -> Record:
    """What `verify` answers to a record of `check` that states what its certificate does."""
    certificate = json.loads(json.dumps(certificate))
    result = {**checked(certificate), "certificate": certificate}
    if certificate["structural_collisions"] is None:
        result["collisions_undecided"] = "not looked at"
    path = folder / "record.json"
    path.write_text(Record("check", verdict, result, {}, 1.0).dumps())
    return verify_record(path)


def proved(begin: int) -> dict[str, Any]:
    """Of the network for 11 tokens, beside one for two that begins at a place."""
    graphs = {11: placed(11), 2: placed(2, begin)}
    return with_lengths(prove_analytic(graphs[11]).to_json(), find_collisions(graphs), {"2": graphs[2].to_json()})


def test_a_false_network_for_two_tokens_is_not_taken_for_the_honest_one(tmp_path: Path) -> None:
    """With places 9 and 10 two equal tokens have the last state of eleven, and the other network is none the wiser."""
    honest, forged = (verified(tmp_path, proved(begin), Verdict.REFUTED) for begin in (0, 9))
    assert honest.verdict is forged.verdict is Verdict.ACCEPTED
    claims = [str(record.result["claim"]) for record in (honest, forged)]
    assert ["repeated tokens" in claim for claim in claims] == [False, True]
    assert all("in the networks that the file gives for 2, 11 tokens" in claim for claim in claims)
    first, second = (record.result["about"] for record in (honest, forged))
    assert first["graphs"] == second["graphs"] == digest(placed(11).to_json())
    assert (first["other_lengths"], second["other_lengths"]) == (digest({"2": placed(2).to_json()}),
                                                                 digest({"2": placed(2, 9).to_json()}))  # fmt: skip
    unnamed = proved(9)
    del unnamed["claim"]["other_lengths"]
    assert verified(tmp_path, unnamed, Verdict.REFUTED).verdict is Verdict.REJECTED


def test_networks_of_which_nothing_is_said_are_not_named(tmp_path: Path) -> None:
    left = {**proved(9), "structural_collisions": None}
    about = verified(tmp_path, left, Verdict.UNDECIDED).result["about"]
    assert {name for name, found in about.items() if found} == {"graphs"}


def test_the_network_of_a_witness_is_named_where_it_is_another(tmp_path: Path) -> None:
    certificate = with_witness(prove_analytic(attention_net(activation="relu"))).to_json()
    certificate |= {"structural_collisions": None}
    here = verified(tmp_path, certificate, Verdict.REFUTED).result
    assert (here["kind"], here["about"]["witness"]) == ("regularity", None)
    certificate["graph"] = {**certificate["graph"], "about": {"architecture": "Toy"}}
    copy = {**certificate["witness"], "graph": certificate["graph"], "subject": "a small copy"}
    said = statement(Graph.from_json(certificate["graph"]), smooth(0), copy)
    claim = {**certificate["claim"], "graph": digest(certificate["graph"]), "witness": digest(copy), "statement": said}
    there = verified(tmp_path, {**certificate, "witness": copy, "claim": claim}, Verdict.UNDECIDED).result
    assert there["about"]["witness"] == digest(copy)
