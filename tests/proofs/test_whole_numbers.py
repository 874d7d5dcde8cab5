"""Whole numbers are whole: every result is the true one or none is given, and constants are what their nodes say."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs import Unsupported, Verdict, certify_separation, check, prove_analytic
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Arithmetic
from proofs.arithmetic.fixed_point import FixedPoint
from proofs.arithmetic.lanes import Lanes
from proofs.arithmetic.midpoint import Midpoint
from proofs.arithmetic.multiprecision import Multiprecision
from proofs.arithmetic.surds import Surds
from proofs.arithmetic.tape import Tape
from proofs.kernel.result import digest
from proofs.network.graph import Constant, Graph
from proofs.operations import REGISTRY
from proofs.theorems.generic_position import examine
from tests.proofs.building import Net
from tests.proofs.mutating import placed, signed

SYSTEMS: list[Callable[[], Arithmetic]] = [
    Balls, lambda: FixedPoint(64), Midpoint, lambda: Lanes(Midpoint()), Surds, Multiprecision, lambda: Tape(Surds()),
]  # fmt: skip
NUMBERS = st.sampled_from([0, 1, -1, 2, 3, 2**31, 2**32, -(2**32), 2**53, 2**62, 2**63 - 1, 1 - 2**63]) | st.integers(
    -(2**63) + 1, 2**63 - 1
)
Numbers = Sequence[int]
TRUE: dict[str, tuple[int, dict[str, Any], Callable[[Numbers, Numbers, int], Numbers]]] = {
    "add": (2, {}, lambda x, y, n: [a + b for a, b in zip(x, y, strict=True)]),
    "subtract": (2, {}, lambda x, y, n: [a - b for a, b in zip(x, y, strict=True)]),
    "multiply": (2, {}, lambda x, y, n: [a * b for a, b in zip(x, y, strict=True)]),
    "negate": (1, {}, lambda x, y, n: [-a for a in x]),
    "power": (1, {"exponent": 0}, lambda x, y, n: [a**n for a in x]),
    "sum": (1, {"axes": (0,), "keep": True}, lambda x, y, n: [sum(x)]),
    "cumulative_sum": (1, {"axis": 0}, lambda x, y, n: [sum(x[: i + 1]) for i in range(len(x))]),
    "whole_quotient": (1, {"by": 0}, lambda x, y, n: [a // (n + 1) for a in x]),
    "remainder": (1, {"by": 0}, lambda x, y, n: [a % (n + 1) for a in x]),
}


@pytest.mark.parametrize("operation", sorted(TRUE))
@given(st.lists(NUMBERS, min_size=2, max_size=2), st.lists(NUMBERS, min_size=2, max_size=2), st.integers(0, 70))
def test_a_result_is_the_true_one_or_none_is_given(operation: str, first: Numbers, second: Numbers, n: int) -> None:
    count, attributes, work = TRUE[operation]
    attributes = {k: n if k == "exponent" else n + 1 if k == "by" else v for k, v in attributes.items()}
    true = list(work(first, second, n))
    for system in SYSTEMS:
        arithmetic = system()
        values = [arithmetic.constant(Constant((2,), "integer", tuple(x))) for x in (first, second)[:count]]
        try:
            found = REGISTRY[operation].evaluate(arithmetic, values, attributes)
        except Unsupported:
            assert max(map(abs, true)) * 2 > 2**62 or operation in ("sum", "cumulative_sum", "add", "subtract")
            continue
        assert found.tolist() == true


@pytest.mark.parametrize("system", SYSTEMS[:-1])
def test_what_int64_does_not_hold_is_no_whole_number(system: Callable[[], Arithmetic]) -> None:
    arithmetic = system()
    with pytest.raises(Unsupported):
        arithmetic.constant(Constant((1,), "integer", (2**63,)))
    with pytest.raises(Exception, match="Expected"):  # undecided where nothing is rounded, or too wide for float64
        arithmetic.floor(arithmetic.constant(Constant((1,), "real", (2**70,))))


def network(length: int) -> Graph:
    """x (2^32 2^32 - 2^64), which is 0 for every prompt; in int64 it is x (0 - 2^64)."""
    net = Net()
    x = net.op("take", net.parameter("embedding", 9, 2), net.tokens(length, 9), axis=0)
    big, zero = (net.constant(value, (1, 1, 1), "integer") for value in (2**32, 0))
    product = net.op("as_real", net.op("multiply", big, net.op("add", big, zero)))
    y = net.op("multiply", x, net.op("subtract", product, net.constant(2**64, (1, 1, 1))))
    return net.graph(net.op("matmul", y, net.parameter("w", 2, 2)))


def test_no_claim_rests_on_a_product_that_wraps_around() -> None:
    weights = {name: np.ones(type_.shape, np.float32) for name, type_ in network(2).parameters()}
    with pytest.raises(Unsupported, match="whole numbers"):
        certify_separation(network(2), weights, [(1, 2), (1, 3)])
    found = examine({1: network(1)}, context=1)
    assert found.verdict is not Verdict.PROVED
    assert not found.claim["certified"]


def half(net: Net) -> int:
    """A constant 1 of whole numbers, which a certificate is to give another value."""
    return net.op("as_real", net.constant([1], (1, 1, 1), "integer"))


def plain(length: int) -> Graph:
    """x times a whole number, as a matrix product."""
    net = Net()
    x = net.op("take", net.parameter("embedding", 9, 2), net.tokens(length, 9), axis=0)
    return net.graph(net.op("matmul", net.op("multiply", x, half(net)), net.parameter("w", 2, 2)))


def certificates() -> dict[str, tuple[dict[str, Any], list[tuple[Any, ...]], Any]]:
    """A certificate of several kinds, where its graphs stand, and the weights it is about."""
    weights = {name: np.eye(*type_.shape, dtype=np.float32) for name, type_ in plain(2).parameters()}
    return {
        "regularity": (prove_analytic(plain(2)).to_json(), [("graph",)], None),
        "generic-position": (examine({n: plain(n) for n in (1, 2)}, context=2).to_json(),
                             [("graphs", "1"), ("graphs", "2")], None),
        "separation": (certify_separation(plain(2), weights, [(1, 0), (0, 1)]).to_json(), [("graphs", 0)], weights),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["regularity", "generic-position", "separation"])
@pytest.mark.parametrize(
    ("field", "value"), [("values", ["1/2"]), ("values", [True]), ("shape", [1, 2, 1]), ("kind", "real")]
)
def test_constants_are_held_against_their_nodes_in_every_graph_of_every_kind(kind: str, field: str, value: Any) -> None:
    certificate, places, weights = certificates()[kind]
    certificate = json.loads(json.dumps(certificate))
    assert check(certificate, weights).verdict is Verdict.ACCEPTED
    for place in places:
        bad = placed(certificate, [*place, "constants", 0, field], value)
        if kind == "separation":
            bad = signed(bad, claim=bad["claim"] | {"graphs": [digest(graph) for graph in bad["graphs"]]})
        result = check(bad, weights)
        assert result.verdict is Verdict.REJECTED
        assert "constant" in result.reason
