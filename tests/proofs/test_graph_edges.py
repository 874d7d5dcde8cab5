"""Graphs at the edge of what the kernel takes: not whole, too large, masked, or with types that no lemma looked at."""

import json
from typing import Any

import pytest

from proofs import Graph, InvalidInput, Verdict, check, prove_analytic
from proofs.door import KINDS
from proofs.evidence import SCHEMA
from proofs.kernel.collisions import find_collisions
from proofs.kernel.door import Kind
from proofs.kernel.result import Rejected, digest
from proofs.kernel.wellformed import well_formed
from proofs.network.graph import Constant, Node, TensorType
from proofs.provers.analyticity import Obstructions
from proofs.provers.branches import with_witness
from tests.proofs.building import Net, attention_net
from tests.proofs.mutating import assert_rejected, placed, with_lengths


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("constants", 1, "values"), [0, 0], "entries of them|One|one entry"),
        (("constants", 0, "shape"), [True], "shape of integers"),
        (("constants", 0, "shape"), ["1"], "shape of integers"),
        (("types", 0), [[1] * 17, "real"], "shape of integers"),
        (("types", 0), [[-1], "real"], "at most"),
        (("types", 0), [[2**31 + 1], "real"], "at most"),
        (("types", 0), [[2**23, 2**23], "real"], "at most"),
        (("types", 0), [[1]], "shape and kind"),
        (("types", 0), ["1", "real"], "Expected list"),
        (("places", 0), [1, "x"], "Expected str"),
        (("attributes", 0), [], "Expected dict"),
        (("layer",), True, "layer"),
        (("about",), [], "about"),
        (("constants", 0), None, "shape"),
        (("attributes", 5, "value"), 2, "index below 2"),
        (("attributes", 5, "value"), -1, "index below 2"),
        (("nodes", 3, 1, 0), -1, "earlier nodes"),
        (("nodes", 3, 1, 0), 3, "earlier nodes"),
        (("nodes", 3), ["power", [2], 3, 2, 3, "more"], "five fields"),
        (("types", 1), [[1], "integer"], "one shape"),
        (("types", 1), [[2, 3], "integer"], "one shape"),
        (("types", 0), [[5, 4], "real", "more"], "shape and kind"),
        (("places", 0), ["", "", "more"], "module and source"),
        (("types", 1), [[1, 3, 1], "integer"], "one shape"),
    ],
    ids=str,
)
def test_a_graph_that_is_not_whole_is_refused(path: Any, value: Any, reason: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Graph.from_json(placed(attention_net().to_json(), path, value))
    assert any(part in str(refusal.value) for part in reason.split("|")), refusal.value


def test_largest_shapes_are_taken() -> None:
    graph = attention_net().to_json()
    graph["types"] += [[[2**31], "real"], [[2**22, 2**23], "real"], [[1] * 16, "real"]]
    assert len(Graph.from_json(graph).nodes) == len(attention_net().nodes)


@pytest.mark.parametrize(("rows", "fits"), [(2, True), (3, False)])
def test_nodes_of_too_many_entries_are_rejected_before_anything_is_allocated(rows: int, fits: bool) -> None:
    shape = (rows, 2**32)
    small = Node("parameter", (), {"name": "x", "shape": (1, 1), "kind": "real"}, TensorType((1, 1), "real"))
    wide = Node("expand", (0,), {"shape": shape}, TensorType(shape, "real"))
    graph = Graph((small, wide), (), 1, 1)
    if fits:
        assert well_formed(graph) is graph
    else:
        with pytest.raises(Rejected, match="too large"):
            well_formed(graph)


def test_a_graph_without_tokens_has_no_length() -> None:
    node = Node("parameter", (), {"name": "x", "shape": (1,), "kind": "real"}, TensorType((1,), "real"))
    assert Graph((node,), (), 0, 1).length == 0


def test_only_infinities_are_written_as_floats() -> None:
    with pytest.raises(InvalidInput, match="exact constant"):
        Constant((), "real", (0.5,)).to_json()


def test_an_output_with_masked_entries_is_rejected() -> None:
    net = Net()
    net.op("add", net.parameter("p", 1, 2, 4), net.constant(float("-inf"), (1, 2, 4)))
    assert_rejected(json.loads(json.dumps(prove_analytic(net.graph()).to_json())), "masked entries")


def test_structural_collisions_are_those_of_the_graph() -> None:
    graphs = {length: attention_net(length=length) for length in (2, 3)}
    data = json.loads(json.dumps(prove_analytic(graphs[3]).to_json()))
    found, others = find_collisions(graphs), {"2": graphs[2].to_json()}
    result = check(with_lengths(data, found, others))
    assert result.verdict is Verdict.ACCEPTED
    assert result.claim is not None
    assert result.claim.certificate["structural_collisions"] == found
    assert result.claim.verdict is Verdict.REFUTED
    assert "repeated tokens" in result.claim.sentence
    for forged in ([], found * 2, [{**found[0], "family": "none"}], {}, None):
        altered = with_lengths(data, forged, others)
        assert check(altered).verdict is Verdict.REJECTED or forged is None
    alone = check(with_lengths(data, [], {}))
    assert (alone.verdict, "without the network for 2 tokens" in alone.reason) == (Verdict.REJECTED, True)
    for lost in ({}, {"3": others["2"]}, {"2": attention_net(vocabulary=7, length=2).to_json()}, []):
        assert check(with_lengths(data, found, lost)).verdict is Verdict.REJECTED


def placed_sums(length: int, change: str) -> Graph:
    """Rows of tokens, each times a row of its place, summed up to each; with something that is not looked through."""
    net = Net()
    table, places = net.parameter("embedding", 5, 2), net.parameter("places", 4, 2)
    x = net.op("take", table, net.tokens(length, 5), axis=0)
    if change == "a row of a known token":
        x = net.op("subtract", x, net.op("take", table, net.constant(0, (), "integer"), axis=0))
    x = net.op("multiply", x, net.op("slice", places, axis=0, start=0, stop=length, step=1))
    if change == "a factor that is not known":
        x = net.op("multiply", x, net.op("constant", shape=(2,), kind="real", value=None))
    return net.graph(net.op("cumulative_sum", x, axis=1))


@pytest.mark.parametrize("change", ["", "a row of a known token", "a factor that is not known"])
def test_that_none_collide_is_claimed_only_where_tokens_just_select_rows(change: str) -> None:
    graphs = {length: placed_sums(length, change) for length in (2, 3)}
    data = json.loads(json.dumps(prove_analytic(graphs[3]).to_json()))
    assert find_collisions(graphs) == []
    claimed = check(with_lengths(data, [], {"2": graphs[2].to_json()}))
    assert claimed.verdict is (Verdict.REJECTED if change else Verdict.ACCEPTED)
    assert ("to be left open" in claimed.reason) is bool(change)
    left = check({**data, "structural_collisions": None})
    assert left.claim is not None
    assert (left.verdict, left.claim.verdict) == (Verdict.ACCEPTED, Verdict.UNDECIDED)


def test_undecided_collisions_leave_the_class_and_take_a_proof_away() -> None:
    smooth, kinked = Net(), Net()
    smooth.op("tanh", smooth.parameter("p", 1, 2, 4))
    kinked.op("relu", kinked.parameter("p", 1, 2, 4))
    for net, alone, left in (
        (smooth, Verdict.PROVED, Verdict.UNDECIDED),
        (kinked, Verdict.REFUTED, Verdict.REFUTED),  # by its witness, whatever collides
    ):
        found = prove_analytic(net.graph())
        proof = with_witness(found) if isinstance(found, Obstructions) else found
        data = json.loads(json.dumps(proof.to_json()))
        claims = [check(each).claim for each in (data, {**data, "structural_collisions": None})]
        assert all(claims)
        plain, opened = (claim for claim in claims if claim is not None)
        assert (plain.verdict, opened.verdict) == (alone, left)
        assert opened.sentence == f"{plain.sentence} Whether prompts collide for every parameter is undecided."
        assert opened.certificate == {**plain.certificate, "structural_collisions": None}


def with_collisions(data: dict[str, Any], name: str, *shape: int) -> dict[str, Any]:
    """The same beside a network of the same parameter for two tokens, and the collisions of both."""
    net = Net()
    net.tokens(2)
    other, first = net.graph(net.op("negate", net.parameter(name, *shape))), Graph.from_json(data["graph"])
    found = find_collisions({first.length: first, 2: other})
    return with_lengths(data, found, {"2": other.to_json()})


def test_an_unknown_operation_is_no_fault_of_the_types_around_it() -> None:
    net = Net()
    net.op("tanh", net.op("no such operation", net.op("take", net.parameter("e", 1, 5, 4), net.tokens(), axis=1)))
    data = json.loads(json.dumps(prove_analytic(net.graph()).to_json()))
    assert check(with_collisions(data, "e", 1, 5, 4)).verdict is Verdict.ACCEPTED


def test_types_that_no_lemma_looked_at_are_looked_at_before_they_are_believed() -> None:
    """Where a mask ends a proof the kernel derives nothing, not even a shape."""
    net = Net()
    net.op("exp", net.op("negate", net.op("add", net.constant(float("-inf"), (1, 2, 4)), net.parameter("p", 1, 2, 4))))
    data = json.loads(json.dumps(prove_analytic(net.graph()).to_json()))
    assert check(with_collisions(data, "p", 1, 2, 4)).verdict is Verdict.ACCEPTED
    data["graph"]["types"].append([[1, 9, 4], "real"])
    collisions = with_collisions(data, "p", 1, 2, 4)
    for row in data["graph"]["nodes"][-2:]:
        row[3] = len(data["graph"]["types"]) - 1
    data["claim"]["graph"] = digest(data["graph"])
    assert check(data).verdict is Verdict.ACCEPTED
    whole = with_lengths(data, collisions["structural_collisions"], collisions["other_lengths"])
    assert_rejected(whole, "not of the type")


def test_collisions_are_shown_only_of_networks_that_the_claim_names() -> None:
    """A family rests on the networks for other lengths: one that stood beside the claim was believed to be the same."""
    net = Net()
    net.op("add", net.constant(1, (1, 2, 4)), net.op("negate", net.parameter("p", 1, 2, 4)))
    data = with_collisions(json.loads(json.dumps(prove_analytic(net.graph()).to_json())), "p", 1, 2, 4)
    named = check(data)
    assert named.claim is not None
    assert named.claim.certificate["claim"] == data["claim"]
    assert "in the networks that the file gives for 0, 2 tokens" in named.claim.sentence
    claim = {name: value for name, value in data["claim"].items() if name != "other_lengths"}
    assert_rejected({**data, "claim": claim}, "claim does not state other_lengths")
    assert_rejected({**data, "claim": {**claim, "other_lengths": digest({})}}, "claim.other_lengths")
    open_ = check({**data, "structural_collisions": None})
    assert open_.claim is not None
    assert "other_lengths" not in open_.claim.certificate["claim"]  # nothing is said of them
    data["other_lengths"]["2"]["places"][0][0] = "another module"
    assert_rejected(data, "claim.other_lengths")


def test_a_kernel_that_stumbles_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumbling(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setitem(KINDS, "witness", Kind(stumbling))
    result = check({"kind": "witness", "schema": SCHEMA})
    assert (result.verdict, result.reason) == (Verdict.REJECTED, "the certificate is damaged (ZeroDivisionError)")
