"""Certificates as a careful forger would write them: every digest fits, and what is claimed does not follow."""

import copy
import json
import random
from fractions import Fraction
from typing import Any

import pytest

from proofs import Graph, InvalidInput, Verdict, certify_separation, check, prove_analytic
from proofs.door import KINDS
from proofs.evidence import SCHEMA, Record, read_record
from proofs.kernel import branches
from proofs.kernel.regularity import statement
from proofs.kernel.result import digest, same
from proofs.provers.branches import with_witness, written
from proofs.regularity import smooth
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import jumping, weights_of
from tests.proofs.mutating import assert_rejected, changed, placed, signed

RELU = json.loads(json.dumps(with_witness(prove_analytic(attention_net(activation="relu"))).to_json()))
SMOOTH = json.loads(json.dumps(prove_analytic(attention_net()).to_json()))


def altered(data: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    forged = placed(data, path, to)
    return signed_anew(forged) if path[0] in ("graph", "witness") else forged


def signed_anew(forged: dict[str, Any]) -> dict[str, Any]:
    """With the digests in the claim as they would have to be."""
    if isinstance(forged["claim"], dict):
        forged["claim"] |= {name: forged[name] and digest(forged[name]) for name in ("graph", "witness")}
    return forged


@pytest.mark.parametrize(
    ("first", "second"), [(True, 1), (1, 1.0), (False, 0), ("1", 1), (None, False), ([], {}), ([1], [True])], ids=str
)
def test_values_of_different_types_are_not_the_same(first: Any, second: Any) -> None:
    assert same(first, first)
    assert same(second, second)
    assert not same(first, second)


# Obstructions: exactly those that follow, once each, in order, with nothing else in them.

KINK = RELU["obstructions"][0]


@pytest.mark.parametrize(
    ("obstructions", "reason"),
    [
        ([], "has 0 entries, but 1 follow"),
        ([KINK, KINK], "has 2 entries, but 1 follow"),
        ([{**KINK, "operation": "exp"}], "0.operation is 'exp'"),
        (["and more"], "obstructions.0 is 'and more'"),
        ([{**KINK, "node": [1]}], "0.node is [1]"),
        ([{**KINK, "node": float(KINK["node"])}], "0.node is"),
        ([{**KINK, "regularity": "analytic"}], "0.regularity is 'analytic'"),
        ([{**KINK, "module": "elsewhere"}], "0.module is 'elsewhere'"),
        ([{**KINK, "source": "elsewhere"}], "0.source is 'elsewhere'"),
        ([{k: v for k, v in KINK.items() if k != "node"}], "0 does not state node"),
        ({}, "obstructions is {}"),
    ],
)
def test_obstructions_are_exactly_those_of_the_graph(obstructions: Any, reason: str) -> None:
    assert check(RELU).verdict is Verdict.ACCEPTED
    assert_rejected({**RELU, "obstructions": obstructions}, reason)


def test_a_true_obstruction_that_is_node_one_is_not_named_true() -> None:
    net = Net()
    net.op("relu", net.parameter("x", 1, 2, 4))
    data = json.loads(json.dumps(prove_analytic(net.graph()).to_json()))
    assert data["obstructions"][0]["node"] == 1
    assert_rejected(altered(data, "obstructions", 0, "node", to=True), "0.node is True, but 1 follows")


@pytest.mark.parametrize(
    ("operation", "attributes"), [("cumulative_sum", {}), ("top_values", {"count": 2}), ("softmax", None)]
)
def test_a_maximum_is_passed_over_before_a_softmax_alone(operation: str, attributes: dict[str, int] | None) -> None:
    net = Net()
    x = net.parameter("x", 1, 2, 4)
    largest = net.op("largest", x, axes=(2,), keep=True)
    net.op(operation, net.op("subtract", x, largest), axis=2, **(attributes or {}))
    data = json.loads(json.dumps(prove_analytic(net.graph()).to_json()))
    assert check(data).verdict is Verdict.ACCEPTED
    listed = [entry["node"] for entry in data["obstructions"]]
    assert (largest in listed) == (operation != "softmax")
    if operation != "softmax":
        kept = [entry for entry in data["obstructions"] if entry["node"] != largest]
        assert_rejected({**data, "obstructions": kept}, "follow")


def test_an_obstruction_at_the_first_node_is_listed() -> None:
    net = Net()
    endless = net.constant(float("inf"), kind="real")
    net.op("negate", endless)
    data = json.loads(json.dumps(prove_analytic(net.graph()).to_json()))
    assert data["obstructions"][0]["node"] == endless == 0
    assert check(data).verdict is Verdict.ACCEPTED
    assert_rejected({**data, "obstructions": data["obstructions"][1:]}, "entries, but")


# The claim.


@pytest.mark.parametrize(
    ("path", "to", "reason"),
    [
        (("claim", "injective"), True, "alone"),
        (("claim",), None, "alone"),
        (("claim", "regularity"), "C00", "but analytic follows"),
        (("claim", "graph"), "", "by its digest"),
        (("claim", "graph"), "z", "by its digest"),
        (("lines",), [*RELU["lines"], 0], "one line per node"),
        (("claim", "regularity"), "C٠", "but analytic follows"),
        (("facts", 0, 2), 0, "claimed"),
        (("lines", 0), False, "no line"),
        (("lines", 0), 10**6, "no line"),
        (("lines", 0), -1, "no line"),
        (("obstructions",), [[]], "has 1 entries, but 0 follow"),
        (("witness",), RELU["witness"], "beside a proof of it"),
    ],
    ids=str,
)
def test_a_claim_is_what_follows_and_nothing_more(path: Any, to: Any, reason: str) -> None:
    assert_rejected(altered(SMOOTH, *path, to=to), reason)


def test_a_class_has_one_name() -> None:
    net = Net()
    net.op("elu", net.parameter("x", 1, 2, 4), scale=Fraction(1))
    data = json.loads(json.dumps(prove_analytic(net.graph()).to_json()))
    assert (data["claim"]["regularity"], check(data).verdict) == ("C1", Verdict.ACCEPTED)
    assert_rejected(altered(data, "claim", "regularity", to="C01"), "but C1 follows")


def test_a_jump_is_claimed_of_no_continuous_network() -> None:
    """Not even with the witness of another network that jumps."""
    jump = json.loads(json.dumps(with_witness(prove_analytic(jumping())).to_json()))
    assert (jump["claim"]["regularity"], check(jump).verdict) == ("discontinuous", Verdict.ACCEPTED)
    forged = copy.deepcopy(RELU)
    forged["claim"]["regularity"] = "discontinuous"
    forged["witness"] = {**jump["witness"], "graph": jump["graph"], "subject": "a small copy"}
    assert_rejected(forged, "needs a witness")
    assert_rejected({**jump, "witness": None}, "needs a witness")
    for better in ("polynomial", "analytic", "C0", "unproved"):  # a witness of a jump bears out nothing else
        forged = altered(jump, "claim", "regularity", to=better)
        if better != "unproved":
            assert_rejected(forged, "follows")
    assert_rejected({**jump, "witness": RELU["witness"]}, "shows none")
    assert_rejected(altered(jump, "witness", "claim", to="a jump"), "shows none")


def test_the_witness_of_a_copy_is_of_the_same_architecture_and_says_that_it_is_one() -> None:
    def with_copy(mine: Any, other: Any, subject: Any) -> dict[str, Any]:
        data = altered(RELU, "graph", "about", to=mine)
        graph = {**RELU["graph"], "about": other}
        data = {**data, "witness": {**RELU["witness"], "graph": graph, "subject": subject}}
        claim = {**data["claim"], "statement": statement(Graph.from_json(data["graph"]), smooth(0), data["witness"])}
        return signed_anew({**data, "claim": claim})

    toy, other = {"architecture": "Toy"}, {"architecture": "Other"}
    assert check(with_copy(toy, toy, "a small copy")).verdict is Verdict.ACCEPTED
    assert_rejected(with_copy(toy, other, "a small copy"), "another architecture")
    assert_rejected(with_copy(other, toy, "a small copy"), "another architecture")
    assert_rejected(with_copy(toy, toy, None), "another graph")
    assert_rejected(with_copy({}, {}, "a small copy"), "another architecture")
    assert_rejected(with_copy(toy, toy, "this graph"), "another graph")
    assert_rejected(altered(RELU, "witness", "subject", to="a small copy"), "another graph")
    assert_rejected(altered(RELU, "witness", "subject", to="zebra"), "another graph")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seeds", [0]), ("seeds", [0, True]), ("seeds", [0, 1, 2]), ("seeds", [0, float("inf")]),
        ("tokens", [1, 2, 0.5]), ("tokens", "123"),
        ("segment", ["0", 1]), ("segment", ["0", "1", "1"]), ("segment", ["0", "1e99999999999"]),
        ("choice", "1"), ("bits", 63), ("bits", 4097), ("bits", True), ("largest", -1), ("largest", 65),
        ("largest", float("inf")), ("separation", 1), ("separation", "nan"), ("parameters", "drawn somehow"),
        ("claim", None),
    ],
    ids=str,
)  # fmt: skip
def test_a_field_of_a_witness_is_not_taken_for_what_it_is_not(field: str, value: Any) -> None:
    assert_rejected(altered(RELU, "witness", field, to=value), "fields are missing or wrong")


@pytest.mark.parametrize(
    ("field", "value"),
    [("tokens", [1, 2, 5]), ("tokens", [1, 2, -1]), ("tokens", [1, 2]), ("separation", "99"), ("separation", "0"),
     ("separation", "-1"), ("segment", ["0", "0"]), ("segment", ["-1", "1"]), ("segment", ["0", "2"]),
     ("claim", "not smooth"), ("seeds", [3, 3])],
    ids=str,
)  # fmt: skip
def test_a_witness_that_shows_nothing_is_rejected(field: str, value: Any) -> None:
    assert_rejected(altered(RELU, "witness", field, to=value), "does not show")


def same_maximum() -> tuple[Graph, Any]:
    """max(p, q) - max(q, p): 0 everywhere; where p = q each maximum may take the other entry, and p - q be left."""
    net = Net()
    p = net.parameter("tied", 1, 1, 2)
    turned = net.op("take", p, net.constant([1, 0], (2,), "integer"), axis=2)
    one, other = (net.op("largest", x, axes=(2,), keep=True) for x in (p, turned))
    return with_tokens(net, net.op("subtract", one, other)), lambda p, q: p == q


def same_whole_number() -> tuple[Graph, Any]:
    """(floor u + floor -u + 1) u with u = tanh p: 0 everywhere; at p = 0 it is 1 times u that is left."""
    net = Net()
    u = net.op("tanh", net.parameter("tied", 1, 1, 2))
    below, above = (net.op("as_real", net.op("floor", x)) for x in (u, net.op("negate", u)))
    both = net.op("add", net.op("add", below, above), net.constant(1))
    return with_tokens(net, net.op("multiply", both, u)), lambda p, q: p == 0


def with_tokens(net: Net, x: int) -> Graph:
    row = net.op("take", net.parameter("embedding", 2, 1), net.tokens(1, 2), axis=0)
    return net.graph(net.op("add", x, net.op("multiply", row, net.constant(0))))


def few(name: str, seed: int, count: int) -> tuple[int, ...]:
    return tuple(random.Random(f"{seed}:{name}").choices((0, 1, 2), k=count))


@pytest.mark.parametrize("build", [same_maximum, same_whole_number])
def test_a_tie_is_no_choice_that_holds_nearby(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forger looks for a seed at which numbers tie, some hundred thousand; here they are drawn from fewer."""
    monkeypatch.setattr("proofs.kernel.branches._entries", few)
    graph, ties = build()
    for seed in range(40):
        ends = [(seed, other) for other in range(seed + 1, seed + 3)]
        for seeds in ends:
            witness = branches.Witness("not analytic", seeds, (Fraction(0), Fraction(1)), (0,), -1, "0.000001")
            assert not branches.recheck(graph, written(witness))
    assert any(ties(*few("tied", seed, 2)) for seed in range(40))


def test_a_segment_on_which_two_choices_change_shows_no_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """sign p and then sign q, of which the witness names the second: between the ends neither is decided."""
    net = Net()
    steps = [net.op("as_real", net.op("greater", net.parameter(name, 1, 1, 1), net.constant(0))) for name in ("p", "q")]
    graph = with_tokens(net, net.op("add", *steps))

    def ends(name: str, seed: int, count: int) -> tuple[int, ...]:
        """p and q are below 0 at the first seed, and both, or q alone, above it at the others."""
        above = name == "q" or seed == 2
        return ((2**16 if seed and above else -(2**16)),) * count

    monkeypatch.setattr("proofs.kernel.branches._entries", ends)
    branches._ends.cache_clear()
    for seed, choice, shown in ((1, 1, True), (1, 0, False), (1, 2, False), (2, 0, False), (2, 1, False)):
        segment = (Fraction(0), Fraction(1))
        witness = branches.Witness("discontinuous", (0, seed), segment, (0,), choice, "0.5")
        assert branches.recheck(graph, written(witness)) is shown, (seed, choice)
    branches._ends.cache_clear()


# Separation: the pair that is said to be the closest is one, and the weights are as many as are said.


@pytest.fixture(scope="module")
def separation() -> tuple[dict[str, Any], dict[str, Any]]:
    graph = attention_net()
    weights = weights_of(graph)
    return certify_separation(graph, weights, [(0, 1, 2), (0, 1, 3), (4, 1, 2), (0, 1, 2)]).to_json(), weights


@pytest.mark.parametrize(
    "closest", [None, [], [0], [1, 0], [0, 3], [0, 4], [-1, 1], [0, True], [0.0, 1], "01", {"0": 1}, [0, 1, 2]], ids=str
)
def test_another_closest_pair_is_rejected(separation: Any, closest: Any) -> None:
    certificate, weights = separation
    assert check(certificate, weights).verdict is Verdict.ACCEPTED
    honest = certificate["claim"]["closest"]
    forged = changed(certificate, "claim", "closest", to=closest)
    assert_rejected(forged, "closest" if closest != honest else "", weights)


def test_every_pair_but_the_closest_has_another_bound(separation: Any) -> None:
    certificate, weights = separation
    honest = certificate["claim"]["closest"]
    for pair in ([0, 1], [0, 2], [1, 2]):
        if pair != honest:
            assert_rejected(changed(certificate, "claim", "closest", to=pair), "another bound", weights)


def test_a_closest_pair_needs_a_bound() -> None:
    graph = attention_net()
    weights = weights_of(graph)
    certificate = certify_separation(graph, weights, [(0, 1, 2), (0, 1, 2)]).to_json()
    assert certificate["claim"]["closest"] is None
    assert_rejected(changed(certificate, "claim", "closest", to=[0, 1]), "no pair has a bound", weights)


@pytest.mark.parametrize(
    ("path", "to", "reason"),
    [
        (("weights", "parameters"), 7, "weights"),
        (("weights", "parameters"), 6.0, "weights"),
        (("claim", "safe"), True, "the claim says safe"),
        (("claim", "pairs"), 6.0, "pairs"),
        (("identical", 0, "first"), False, "equal"),
        (("layer",), True, "layer"),
        (("bits",), float, "bits"),
    ],
    ids=str,
)
def test_numbers_of_a_separation_have_their_type(separation: Any, path: Any, to: Any, reason: str) -> None:
    certificate, weights = separation
    assert_rejected(signed(placed(certificate, path, to)), reason, weights)


# Files.


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"schema": "sipit/1", "schema": "sipit/1"}', "twice"), ('{"a": {"b": 1, "b": 2}}', "twice"),
     ('{"schema": NaN}', "NaN"), ('{"a": [Infinity]}', "Infinity"), ('{"a": -Infinity}', "-Infinity"),
     ('{"a": ' + "9" * 5000 + "}", "not JSON")],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_a_record_that_two_readers_could_take_differently_is_refused(tmp_path: Any, text: str, reason: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=reason):
        read_record(path)
    path.write_text(Record("check", Verdict.PROVED, {"a": {"b": 1}, "c": {"b": 1}}).dumps())
    assert read_record(path).result == {"a": {"b": 1}, "c": {"b": 1}}


def test_what_a_kernel_stumbles_over_is_rejected_and_never_a_traceback() -> None:
    nested: Any = []
    for _ in range(400):
        nested = [nested]
    for value in (nested, 10**400, float("nan"), {"exact": "1e999999999"}):
        data = altered(SMOOTH, "graph", "attributes", 0, to={"name": "x", "shape": value, "kind": "real"})
        assert check(data).verdict is Verdict.REJECTED
    for kind in KINDS:
        if kind not in ("separation", "vocabulary-margin"):
            assert check({"schema": SCHEMA, "kind": kind}).verdict is Verdict.REJECTED
        empty = {"schema": SCHEMA, "kind": kind, "graph": {}, "graphs": [{}], "claim": {"graphs": []}}
        assert check(empty, {}).verdict is Verdict.REJECTED
        for other in (None, "sipit/1"):
            with pytest.raises(InvalidInput, match="make it again"):
                check({**empty, "schema": other}, {})
    for kind in ([], {}, None, True, 1):
        with pytest.raises(InvalidInput):
            check({"kind": kind})
