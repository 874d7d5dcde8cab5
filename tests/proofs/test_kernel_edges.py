"""Branches of the kernels that an honest certificate seldom takes: long ways, large sets, open pairs, odd graphs."""

import json
from itertools import product
from typing import Any

import numpy as np
import pytest

from proofs import Graph, InvalidInput, Verdict, certify_separation, check
from proofs.arithmetic.base import Undecided
from proofs.enclosures.in_arb import ArbOverFloats
from proofs.evidence import Record
from proofs.kernel.claim import Sample
from proofs.kernel.door import CheckResult
from proofs.kernel.result import Rejected, digest, expect_claim
from proofs.provers.vocabulary import certify_vocabulary
from proofs.recomputed.witness import WitnessCount, count_witness
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import gpt2, network, weights_of
from tests.proofs.mutating import assert_rejected, changed, signed

PROMPTS = [(0, 1, 2), (0, 1, 3), (4, 1, 2)]


def outcome(certificate: Any, weights: Any = None, **options: Any) -> CheckResult:
    return check(certificate, weights, **options)


# Separation.


@pytest.fixture(scope="module")
def deep() -> Any:
    """Two blocks, so that a step starts from an enclosure."""
    graph = network(3, depth=2)
    weights = weights_of(graph)
    return certify_separation(graph, weights, PROMPTS).to_json(), weights


def test_a_step_that_starts_from_an_enclosure_is_confirmed_from_there(deep: Any) -> None:
    certificate, weights = deep
    assert [len(row["enclosures"]) for row in certificate["prompts"]] == [2, 2, 2]
    assert outcome(certificate, weights).lines == 6
    assert outcome(certificate, weights, steps=6).verdict is Verdict.ACCEPTED
    assert outcome(certificate, weights, steps=5).verdict is Verdict.ACCEPTED_SAMPLED


def test_a_sample_is_the_verifiers_and_says_its_share(deep: Any) -> None:
    certificate, weights = deep
    one, again, fresh = (outcome(certificate, weights, steps=2, seed=seed).claim for seed in (7, 7, None))
    assert one is not None and again is not None and fresh is not None
    assert one == again
    assert one.sample == Sample(2, 6, 7)
    assert "4 of 6 steps that were not evaluated again" in one.sentence
    assert fresh.sample is not None and fresh.sample.seed != 7
    assert "enclosures" not in one.certificate["prompts"][0]


def test_a_forged_step_is_met_by_some_seed(deep: Any) -> None:
    """Whoever writes the file cannot know which steps will be drawn: of many seeds some draw the false one."""
    certificate, weights = deep
    tight = changed(certificate, "prompts", 0, "enclosures", 0, "radius", to=lambda radius: [0] * len(radius))
    verdicts = {outcome(tight, weights, steps=1, seed=seed).verdict for seed in range(40)}
    assert verdicts == {Verdict.REJECTED, Verdict.ACCEPTED_SAMPLED}


@pytest.mark.parametrize("place", [0, 1])
def test_an_enclosure_that_is_too_small_on_the_way_is_rejected(deep: Any, place: int) -> None:
    certificate, weights = deep
    tight = changed(certificate, "prompts", 0, "enclosures", place, "radius", to=lambda radius: [0] * len(radius))
    assert check(tight, weights).verdict is Verdict.REJECTED


def test_parameters_are_made_balls_anew_where_too_many_are_held(deep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, weights = deep
    monkeypatch.setattr("proofs.enclosures.in_arb.MOST_BALLS", 1)
    assert check(certificate, weights).verdict is Verdict.ACCEPTED


def test_a_large_set_is_sieved_and_gives_the_same(deep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, weights = deep
    monkeypatch.setattr("proofs.kernel.separation.ALL_EXACT", 1)
    assert "the least distances" in check(certificate, weights).reason
    for pair in ([0, 1], [0, 2], [1, 2]):
        honest = pair == certificate["claim"]["closest"]
        claimed = certificate if honest else changed(certificate, "claim", "closest", to=pair)
        assert (check(claimed, weights).verdict is Verdict.ACCEPTED) == honest


def too_wide(*_: Any) -> Any:
    raise Undecided("too wide")


def test_what_is_undecided_in_balls_is_rejected(deep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, weights = deep
    monkeypatch.setattr("proofs.kernel.separation.evaluate", too_wide)
    assert_rejected(certificate, "too wide", weights)


def test_blocks_whose_enclosures_are_not_written_are_gone_through(deep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, weights = deep
    monkeypatch.setattr("proofs.provers.separation.TRAIL_BYTES", 1)
    certificate = certify_separation(network(3, depth=2), weights, PROMPTS).to_json()
    assert (certificate["every"], certificate["claim"]) == (2, honest["claim"])
    result = outcome(certificate, weights)
    assert (result.verdict, result.lines) == (Verdict.ACCEPTED, 3)
    narrow = changed(certificate, "prompts", 1, "enclosures", 0, "radius", to=lambda radius: [1] * len(radius))
    assert_rejected(narrow, "do not lie in the enclosure", weights)


class WideInBalls(ArbOverFloats):
    """Balls that cannot decide anything."""

    def add(self, *_: Any) -> Any:
        raise Undecided("too wide")


def test_a_step_that_balls_alone_refute_is_rejected(deep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second opinion counts by itself: here the first one has nothing against any step."""
    certificate, weights = deep
    monkeypatch.setattr("proofs.kernel.separation._expect_contained", lambda *_: None)
    monkeypatch.setattr("proofs.kernel.separation.ASKED", 6)
    assert outcome(certificate, weights).verdict is Verdict.ACCEPTED
    for prompt, place in product(range(3), range(2)):
        narrow = changed(certificate, "prompts", prompt, "enclosures", place, "radius", to=lambda r: [0] * len(r))
        assert check(narrow, weights).verdict is Verdict.REJECTED
    first = changed(certificate, "prompts", 0, "enclosures", 0, "radius", to=lambda radius: [0] * len(radius))
    assert_rejected(first, "prompt 0, step 0: the states do not lie in the enclosure", weights)
    monkeypatch.setattr("proofs.kernel.separation.ArbOverFloats", WideInBalls)
    assert_rejected(certificate, "too wide", weights)


def test_equal_pairs_are_listed_once_and_in_order(deep: Any) -> None:
    graph, weights = network(3, depth=2), deep[1]
    certificate = certify_separation(graph, weights, [*PROMPTS, *PROMPTS[:2]]).to_json()
    listed = certificate["identical"]
    assert [(pair["first"], pair["second"]) for pair in listed] == [(0, 3), (1, 4)]
    assert outcome(certificate, weights).verdict is Verdict.ACCEPTED
    for forged, reason in (
        (listed[::-1], "not in order"), ([*listed, listed[1]], "not in order"), ({"0": listed[0]}, "no list"),
        ([listed[0], None], "none of two prompts"), ([{**listed[0], "first": False}], "none of two prompts"),
        ([{**listed[0], "second": 4}], "not shown to be equal"), ([{**listed[0], "note": ""}], "not shown to be equal"),
    ):  # fmt: skip
        assert_rejected(changed(certificate, "identical", to=forged), reason, weights)


@pytest.mark.parametrize(
    ("path", "to", "reason"),
    [
        (("graphs",), [], "no graph, or no claim"),
        (("prompts",), lambda rows: rows[:1], "no two prompts"),
        (("prompts", 0, "enclosures"), lambda rows: rows[:1], "one enclosure per step"),
        (("every",), 0, "not positive"),
        (("prompts", 0, "bits"), 64, "do not fall"),
        (("prompts", 0, "bits"), 10**9, "do not fall"),
        (("prompts", 0, "enclosures", 0), None, "malformed|Expected an enclosure"),
        (("prompts", 0, "enclosures", 0, "bytes"), 0, "malformed"),
        (("prompts", 0, "token_ids", 0), True, "no tokens"),
        (("prompts", 0, "token_ids", 0), -1, "outside the vocabulary"),
        (("unresolved",), [[0, 1]], "left open"),
        (("claim", "unique"), True, "the claim says unique"),
    ],
)
def test_a_separation_that_is_not_whole_is_rejected(deep: Any, path: Any, to: Any, reason: str) -> None:
    certificate, weights = deep
    result = check(changed(certificate, *path, to=to), weights)
    assert result.verdict is Verdict.REJECTED
    assert any(part in result.reason for part in reason.split("|")), result.reason


def test_two_graphs_of_one_length_are_rejected(deep: Any) -> None:
    certificate, weights = deep
    claim = certificate["claim"] | {"graphs": certificate["claim"]["graphs"] * 2}
    assert_rejected(signed(certificate, graphs=certificate["graphs"] * 2, claim=claim), "of one length", weights)


def test_pairs_whose_enclosures_meet_are_left_open_and_named() -> None:
    graph = attention_net()
    weights = weights_of(graph)
    weights["embedding"] = weights["embedding"].astype(np.float64)
    weights["embedding"][3] = weights["embedding"][2]
    weights["embedding"][2:4, 0] = 0, 2.0**-300
    certificate = certify_separation(graph, weights, PROMPTS, bits=80).to_json()
    assert certificate["unresolved"] == [[0, 1]]
    assert check(certificate, weights).verdict is Verdict.ACCEPTED
    assert_rejected(changed(certificate, "unresolved", to=[]), "left open", weights)


# The witness.


def test_a_repair_that_fails_refutes() -> None:
    found = WitnessCount(2, 1, 2, 0, (), (((0,), (1,)),), 0, 0, {})
    assert found.verdict is Verdict.REFUTED
    assert WitnessCount(2, 1, 2, 0, (), (), 1, 0, {}).verdict is Verdict.UNDECIDED


def test_a_network_with_values_that_are_no_numbers_is_refused() -> None:
    graph = gpt2(1)
    net = Net()
    net.nodes, net.constants = list(graph.nodes), list(graph.constants)
    net.op("log", graph.output)
    with pytest.raises(InvalidInput, match="real number"):
        count_witness({1: net.graph()}, vocabulary=3, context=1)


# Margins over a vocabulary.

PREFIX, TOKENS = (3, 1), 12


@pytest.fixture(scope="module")
def margin() -> Any:
    graph = attention_net(vocabulary=TOKENS)
    weights = weights_of(graph)
    return certify_vocabulary(graph, weights, PREFIX, TOKENS).to_json(), weights


@pytest.mark.parametrize("text", ["wide", "nan", "inf", 1.0, None])
def test_a_radius_that_is_no_number_is_rejected(margin: Any, text: Any) -> None:
    certificate, weights = margin
    forged = signed(certificate, enclosures={**certificate["enclosures"], "largest_radius": text})
    assert_rejected(forged, "not a number", weights)


def test_a_margin_is_of_one_graph(margin: Any) -> None:
    certificate, weights = margin
    graphs = [*certificate["graphs"], attention_net(vocabulary=TOKENS, length=2).to_json()]
    claim = {**certificate["claim"], "graphs": [digest(graph) for graph in graphs]}
    assert_rejected(signed(certificate, graphs=graphs, claim=claim), "more than one graph", weights)


def test_the_closest_tokens_are_certified_in_the_same_graph(margin: Any) -> None:
    certificate, weights = margin
    rows = [row["token_ids"] for row in certificate["closest"]["prompts"]]
    other = attention_net(vocabulary=TOKENS, activation="tanh")
    exact = certify_separation(other, weights, rows).to_json()
    assert_rejected(signed(certificate, closest=exact), "of another graph", weights)
    graph = Graph.from_json(certificate["graphs"][0])
    doubled = certify_separation(graph, weights, [*rows, rows[0]]).to_json()
    assert_rejected(signed(certificate, closest=doubled), "of equal prompts", weights)


def test_a_sampled_state_that_arb_cannot_decide_is_rejected(margin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, weights = margin
    monkeypatch.setattr("proofs.kernel.vocabulary.evaluate", too_wide)
    assert_rejected(certificate, "too wide", weights)


# Records.


def test_half_a_surrogate_pair_is_written_as_an_escape() -> None:
    record = Record("check", Verdict.PROVED, {"name": "\udc80", "plain": "ä"})
    assert record.dumps().encode()
    assert json.loads(record.dumps())["result"] == record.result
    assert "ä" in Record("check", Verdict.PROVED, {"name": "ä"}).dumps()


@pytest.mark.parametrize("claim", [{}, {"one": None, "more": None}, {"one": None, "two": None}])
def test_a_claim_leaves_nothing_out_and_adds_nothing_not_even_null(claim: dict[str, Any]) -> None:
    expect_claim({"one": None}, {"one": None})
    with pytest.raises(Rejected, match="the claim says"):
        expect_claim(claim, {"one": None})
