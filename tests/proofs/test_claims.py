"""What follows is compared leaf by leaf, and a record is divided into what was derived and what was not."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from proofs import Graph, Verdict, certify_separation, check, prove_analytic
from proofs.kernel.claim import divided, expect
from proofs.kernel.regularity import in_words, is_analytic, shown_here, statement, verdict_of
from proofs.kernel.result import Rejected, digest, expect_claim, same
from proofs.network.graph import TensorType
from proofs.provers.branches import with_witness
from proofs.regularity import ANALYTIC, DISCONTINUOUS, UNPROVED, smooth
from proofs.theorems.generic_position import examine
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import jumping, network, weights_of
from tests.proofs.mutating import placed, signed

FOLLOWS = {"a": 1, "b": [{"c": True, "d": None}, {"c": False, "d": {}}], "e": [[1, 2], []]}


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("a",), True, "x.a is True, but 1 follows"), (("a",), 1.0, "x.a is 1.0, but 1 follows"),
        (("b", 0, "c"), 1, "x.b.0.c is 1, but True follows"), (("b",), [], "x.b has 0 entries, but 2 follow"),
        (("b", 1), None, "x.b.1 is None"), (("b", 0), {"c": True}, "x.b.0 does not state d"),
        (("e", 0), [2, 1], "x.e.0.0 is 2"), (("e", 1), {}, "x.e.1 is {}"), (("e",), {"0": [1, 2]}, "x.e is {"),
        (("a",), "y" * 999, "..., but 1 follows"),
    ],
)  # fmt: skip
def test_the_first_leaf_that_does_not_follow_is_named(path: Any, value: Any, reason: str) -> None:
    expect(copy.deepcopy(FOLLOWS), FOLLOWS, "x")
    with pytest.raises(Rejected) as caught:
        expect(placed(FOLLOWS, path, value), FOLLOWS, "x")
    assert reason in str(caught.value)


def test_a_field_that_nothing_follows_for_is_passed_over_and_named() -> None:
    stated = copy.deepcopy(FOLLOWS)
    stated["b"][0]["note"] = [1, 2]
    stated["b"][1]["d"] = {"more": 1}
    stated["f"] = {"g": 0}
    expect(stated, FOLLOWS, "x")
    assert divided(stated, FOLLOWS, "") == (["a", "b.0.c", "b.0.d", "b.1.c", "e"], ["b.0.note", "b.1.d", "f"])
    assert divided(FOLLOWS, FOLLOWS, "x") == (["x"], [])
    assert divided({"a": {"b": 1}}, {"a": {}}, "x") == ([], ["x"])
    assert divided({"a": 1, "b": []}, {"b": []}, "") == (["b"], ["a"])


def test_a_claim_states_all_that_follows_and_no_more() -> None:
    follows = {"a": 1, "b": None}
    expect_claim({"b": None, "a": 1}, follows)
    for claim in ({"a": True, "b": None}, {"a": 1, "b": None, "c": 2}, {"b": None}, {"a": 2, "b": None}):
        with pytest.raises(Rejected, match="follows"):
            expect_claim(claim, follows)


def test_the_order_of_fields_means_nothing_and_that_of_entries_does() -> None:
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert not same([1, 2], [2, 1])


def test_a_class_in_words_says_where() -> None:
    assert in_words("analytic") == "is analytic on the whole parameter space"
    assert in_words("discontinuous") == "is not continuous at some point of the parameter space"
    assert in_words("unproved") == "is of no class that is proved"


def test_a_witness_on_another_graph_is_said_to_be_of_that_one() -> None:
    graph = attention_net()
    jump, kink = {"claim": "discontinuous", "graph": {}}, {"claim": "not analytic", "graph": {}}
    assert statement(graph, smooth(0), None).endswith("blocks is C0 on the whole parameter space.")
    assert statement(graph, DISCONTINUOUS, {"claim": "discontinuous"}).endswith("at some point of the parameter space.")
    assert "is of no class that is proved; that of another graph" in statement(graph, UNPROVED, jump)
    assert statement(graph, UNPROVED, jump).endswith("is not continuous.")
    assert "is C0 on the whole parameter space; that of another graph" in statement(graph, smooth(0), kink)
    assert statement(graph, smooth(0), {"claim": "not analytic"}).endswith("parameter space, and is not analytic.")
    assert statement(graph, UNPROVED, kink).endswith("is not analytic.")


def test_the_verdict_follows_from_what_is_in_the_way() -> None:
    assert verdict_of(ANALYTIC, [], None) is Verdict.PROVED
    assert verdict_of(ANALYTIC, [{}], None) is Verdict.UNDECIDED
    assert verdict_of(smooth(0), [], None) is Verdict.UNDECIDED
    assert verdict_of(ANALYTIC, [], ["a family"]) is Verdict.REFUTED


def test_the_kernel_asks_its_own_lemmas_whether_a_graph_is_analytic() -> None:
    assert is_analytic(attention_net())
    assert not is_analytic(attention_net(activation="relu"))
    graph = attention_net()
    nodes = (*graph.nodes[:-1], replace(graph.nodes[-1], type=TensorType((1, 3, 5))))
    assert not is_analytic(replace(graph, nodes=nodes))  # no lemma has such a shape
    net = Net()
    net.op("add", net.parameter("p", 1, 2, 4), net.constant(float("-inf"), (1, 2, 4)))
    assert not is_analytic(net.graph())  # its entries are no real numbers
    net = Net()
    net.op("relu", net.op("negate", net.op("relu", net.parameter("p", 1, 2, 4))))
    assert not is_analytic(net.graph())  # it is 0, by way of what is not analytic


def test_a_witness_on_another_graph_shows_nothing_of_this_one() -> None:
    assert shown_here({"claim": "discontinuous"})
    assert not shown_here(None) and not shown_here({"claim": "discontinuous", "graph": {}})


# What binds a certificate to its claim.

RELU = json.loads(json.dumps(with_witness(prove_analytic(attention_net(activation="relu"))).to_json()))


def test_labels_are_not_vouched_for_and_all_else_is() -> None:
    claim = check(RELU).claim
    assert claim is not None
    derived, other = divided(RELU, claim.certificate, "")
    labels = {f"graph.{name}" for name in ("layer", "about", "idealisations", "places")}
    words = {f"obstructions.0.{name}" for name in ("module", "source", "reason")}
    assert set(other) == labels | words
    assert {"witness", "claim", "lines", "facts", "graph.nodes", "obstructions.0.node"} <= set(derived)


@pytest.mark.parametrize("value", ["99", 1, None, []])
def test_a_witness_is_bound_by_its_digest(value: Any) -> None:
    """Also one that shows less than it does is another witness, and that of another claim."""
    assert check(placed(RELU, ("claim", "witness"), value)).verdict is Verdict.REJECTED
    weaker = placed(RELU, ("witness", "separation"), "0.001")
    assert "claim.witness" in check(weaker).reason
    weaker["claim"]["witness"] = digest(weaker["witness"])
    assert check(weaker).verdict is Verdict.ACCEPTED


def test_what_no_kernel_read_is_not_vouched_for_even_where_every_digest_fits() -> None:
    data = placed(RELU, ("witness", "note"), "seen by everyone")
    data["claim"]["witness"] = digest(data["witness"])
    data["graph"]["note"] = 1
    data["claim"]["graph"] = digest(data["graph"])
    claim = check(data).claim
    assert claim is not None
    assert {"witness.note", "graph.note"} <= set(divided(data, claim.certificate, "")[1])
    graph = attention_net()
    weights = weights_of(graph)
    pairs = certify_separation(graph, weights, [(0, 1, 2), (0, 1, 3)]).to_json()
    pairs["prompts"][0]["note"] = pairs["note"] = pairs["graphs"][0]["note"] = True
    pairs["claim"]["graphs"] = [digest(pairs["graphs"][0])]
    claim = check(signed(pairs), weights).claim
    assert claim is not None
    assert {"prompts.0.note", "note", "graphs.0.note"} <= set(divided(pairs, claim.certificate, "")[1])


def test_the_witness_of_another_graph_is_read_with_that_graph_but_for_what_it_is_called() -> None:
    toy = {"architecture": "Toy"}
    data = {**RELU, "graph": {**RELU["graph"], "about": toy}}
    data["witness"] = {**RELU["witness"], "graph": data["graph"], "subject": "a small copy"}
    said = statement(Graph.from_json(data["graph"]), smooth(0), data["witness"])
    data["claim"] = {**RELU["claim"], "statement": said, "graph": digest(data["graph"])}
    data["claim"]["witness"] = digest(data["witness"])
    claim = check(data).claim
    assert claim is not None
    derived, other = divided(data, claim.certificate, "")
    assert {"witness.seeds", "witness.graph.nodes"} <= set(derived)
    assert {"witness.subject", "witness.graph.about"} <= set(other)


def test_less_than_a_jump_may_be_claimed_where_one_is_shown() -> None:
    """A witness that jumps refutes analyticity; the class is then the one that is proved."""
    data = json.loads(json.dumps(with_witness(prove_analytic(jumping())).to_json()))
    assert data["claim"]["regularity"] == "discontinuous"
    said = statement(jumping(), UNPROVED, data["witness"])
    data["claim"] |= {"regularity": "unproved", "statement": said}
    claim = check(data).claim
    assert claim is not None
    assert claim.sentence.endswith("is of no class that is proved, and is not analytic.")


def test_a_witness_that_is_no_object_is_rejected() -> None:
    assert "not an object" in check({**RELU, "witness": "yes"}).reason


def test_rows_that_nothing_names_or_that_stand_twice_are_rejected() -> None:
    assert "certificate.facts" in check({**RELU, "facts": [*RELU["facts"], RELU["facts"][0]]}).reason


def test_generic_position_is_of_the_very_graphs_in_the_file() -> None:
    found = json.loads(json.dumps(examine({1: network(1)}, context=1).to_json()))
    claim = check(found).claim
    assert claim is not None
    assert claim.verdict is Verdict.PROVED
    assert "silenced" in found["claim"] and "silenced" not in claim.certificate["claim"]
    for path, value in ((("graphs", "1", "note"), 1), (("graphs", "1", "types"), lambda types: [*types, types[0]])):
        assert "claim.graphs" in check(placed(found, path, value)).reason


def test_a_graph_that_is_read_again_is_itself() -> None:
    assert Graph.from_json(RELU["graph"]).to_json() == RELU["graph"]
