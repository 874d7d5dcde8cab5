"""Every change of a proof that changes what it says is rejected, for the reason that is wrong with it."""

import copy
import json
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings

from proofs import InvalidInput, Verdict, check, prove_analytic
from proofs.kernel.branches import DRAWN
from proofs.kernel.result import digest
from tests.proofs.building import Net, attention_net
from tests.proofs.mutating import assert_sound, deleted, mutations, placed

PROOF = json.loads(json.dumps(prove_analytic(attention_net()).to_json()))


def changed(*steps: tuple[tuple[Any, ...], Any]) -> dict[str, Any]:
    data = PROOF
    for path, value in steps:
        data = placed(data, path, value)
    return data


def node_of(operation: str) -> int:
    return next(i for i, row in enumerate(PROOF["graph"]["nodes"]) if row[0] == operation)


def assert_rejected(data: Any, reason: str) -> None:
    result = check(data)
    assert result.verdict is Verdict.REJECTED
    assert re.search(reason, result.reason), result.reason


def test_the_proof_itself_is_accepted() -> None:
    assert check(PROOF).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("operation", "other", "reason"),
    [
        ("silu", "relu", "claimed.*follows"),
        ("silu", "no such operation", "claimed.*unproved.*follows"),
        ("rsqrt", "sqrt", "digest"),
        ("softmax", "layer_norm", "claimed.*unproved.*follows"),
        ("power", "exp", "claimed.*follows"),
        ("permute", "reshape", "missing or of the wrong type"),
    ],
)
def test_another_operation(operation: str, other: str, reason: str) -> None:
    data = changed((("graph", "nodes", node_of(operation), 0), other))
    # (the root of something positive is analytic too: that is another claim, told apart by the digest of its graph)
    assert_rejected(data, reason)


def test_epsilon_zero_no_longer_proves_the_root() -> None:
    place = next(i for i, c in enumerate(PROOF["graph"]["constants"]) if c["shape"] == [])
    assert_rejected(changed((("graph", "constants", place, "values"), [0])), "constant.*claimed")


def test_a_negative_epsilon() -> None:
    place = next(i for i, c in enumerate(PROOF["graph"]["constants"]) if c["shape"] == [])
    lines = changed((("graph", "constants", place, "values"), ["-1/4"]))
    assert_rejected(lines, "claimed")


def test_a_mask_without_a_free_entry() -> None:
    place = next(i for i, c in enumerate(PROOF["graph"]["constants"]) if c["shape"] != [])
    values = list(PROOF["graph"]["constants"][place]["values"])
    values[0] = "-inf"
    assert_rejected(changed((("graph", "constants", place, "values"), values)), r"softmax.*claimed.*unproved")


def test_a_wrong_shape() -> None:
    row = PROOF["graph"]["nodes"][node_of("matmul")]
    types = [*PROOF["graph"]["types"], [[1, 3, 5], "real"]]
    data = changed((("graph", "types"), types), (("graph", "nodes", node_of("matmul"), 3), len(types) - 1))
    assert row[3] != len(types) - 1
    assert_rejected(data, "matmul.*shape")


def test_a_forward_reference() -> None:
    assert_rejected(changed((("graph", "nodes", 2, 1), [5])), "earlier nodes")


def test_a_deleted_node() -> None:
    data = copy.deepcopy(PROOF)
    del data["graph"]["nodes"][node_of("silu")]
    assert check(data).verdict is Verdict.REJECTED


def test_a_missing_line() -> None:
    data = copy.deepcopy(PROOF)
    data["lines"].pop()
    assert_rejected(data, "one line per node")


@pytest.mark.parametrize("name", ["polynomial", "C1", "discontinuous", "unproved", "entire", None])
def test_another_claim(name: str | None) -> None:
    assert_rejected(changed((("claim", "regularity"), name)), "claim")


def test_another_statement() -> None:
    assert_rejected(changed((("claim", "statement"), "It is injective.")), "statement")


def test_a_swapped_layer_number_changes_the_statement() -> None:
    data = changed((("graph", "layer"), 7))
    data["claim"]["graph"] = digest(data["graph"])
    assert_rejected(data, "claim.statement")


def test_obstructions_that_are_hidden_invented_or_moved() -> None:
    found = prove_analytic(attention_net(activation="relu")).to_json()
    hidden = {**found, "obstructions": []}
    assert_rejected(hidden, "obstructions has 0 entries")
    moved = copy.deepcopy(found)
    moved["obstructions"][0]["module"] = "elsewhere"
    assert_rejected(moved, "obstructions.0.module")
    invented = copy.deepcopy(PROOF)
    invented["obstructions"] = [{**found["obstructions"][0], "node": 0, "operation": "parameter"}]
    assert check(invented).verdict is Verdict.REJECTED


def test_a_witness_of_nothing() -> None:
    found = prove_analytic(attention_net(activation="relu")).to_json()
    for witness, reason in (
        ({}, "another graph than it says"),
        ({"subject": "this graph"}, "fields are missing"),
        ({"claim": "not analytic", "seeds": [0, 0], "segment": ["0", "1"], "tokens": [1, 2, 3], "choice": -1,
          "separation": "1", "bits": 128, "largest": 0, "parameters": DRAWN, "subject": "this graph"}, "does not show"),
        ("yes", "not an object"),
    ):  # fmt: skip
        assert_rejected({**found, "witness": witness}, f"witness: .*{reason}")


@pytest.mark.parametrize("data", [None, [], {}, {"kind": "unheard of"}, "proof"])
def test_what_is_no_certificate_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput, match="kind"):
        check(data)


@given(mutations(PROOF))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_mutation_is_rejected_or_proves_what_it_says(mutation: tuple[str, int, dict[str, Any]]) -> None:
    assert_sound(mutation)


@pytest.mark.slow
@given(mutations(PROOF))
@settings(max_examples=1500, deadline=None)
def test_many_mutations_are_rejected_or_prove_what_they_say(mutation: tuple[str, int, dict[str, Any]]) -> None:
    assert_sound(mutation)


def test_a_deleted_node_whose_gap_is_closed() -> None:
    for operation, reason in (("silu", "digest"), ("rsqrt", "claimed|digest"), ("softmax", "claimed|digest")):
        data = copy.deepcopy(PROOF)
        deleted(data, node_of(operation))
        assert_rejected(data, reason)


def test_a_wrong_lemma_would_be_noticed() -> None:
    """The test above can fail: with a bound that does not follow the kernel says which line."""
    line = PROOF["lines"][node_of("power")]
    facts = copy.deepcopy(PROOF["facts"])
    facts[line] = ["polynomial", "0", True, None, False, False]
    assert_rejected({**PROOF, "facts": facts}, r"power.*claimed.*True")


def test_a_slope_of_zero_on_one_side_leaves_nothing() -> None:
    net = Net()
    x = net.op("negate", net.op("exp", net.op("take", net.parameter("e", 5, 4), net.tokens(), axis=0)))
    net.op("leaky_relu", x, slope=Fraction(0))
    found = prove_analytic(net.graph())
    assert str(found.regularity) == "constant"
    assert check(found.to_json()).verdict is Verdict.ACCEPTED
