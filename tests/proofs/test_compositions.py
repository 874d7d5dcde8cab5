"""Random compositions of all operations, evaluated: every value lies in the bounds, which are strict where they say so.

The leaves take their values, and come near the ends of their bounds: constants, and sigmoids, exponentials and the
like of parameters. The limits of clamps are those very ends. Kernel and prover must agree on every line.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.arithmetic.bounds import Interval
from proofs.errors import Unsupported
from proofs.kernel.lemmas.functions import clamp, unary
from proofs.kernel.lemmas.instance import Instance, Line
from proofs.kernel.lemmas.table import LEMMAS, establish
from proofs.network.graph import Graph
from proofs.operations import REGISTRY
from proofs.operations.derivation import derive
from proofs.provers.analyticity import Obstructions, prove_analytic
from proofs.regularity import UNPROVED
from tests.proofs.building import Net
from tests.proofs.writing import SHAPE, Writer

BITS = 1000
LEAVES = ("tokens", "parameter", "constant")
OPERATIONS = sorted(set(LEMMAS) - set(LEAVES))


@st.composite
def networks(draw: st.DrawFn, last: str | None = None) -> tuple[Graph, dict[str, Any]]:
    """A graph of a few operations, and parameters that are ordinary, exactly zero or large."""
    writer = Writer(draw)
    for _ in range(draw(st.integers(0, 4))):
        writer.write(draw(st.sampled_from([*OPERATIONS, *["clamp", "maximum", "minimum", "multiply"] * 4])))
    writer.write(last or draw(st.sampled_from(OPERATIONS)))
    values = st.sampled_from([0, 0, 1, -1, 300, -300]) | st.fractions(-3, 3, max_denominator=8)
    graph = writer.net.graph()
    return graph, {name: draw(st.lists(values, min_size=4, max_size=4)) for name, _ in graph.parameters()}


def established(graph: Graph) -> list[Line]:
    """What the kernel derives for every node."""
    lines: list[Line] = []
    for node in graph.nodes:
        arguments = tuple(lines[i] for i in node.arguments)
        nodes = tuple(graph.nodes[i] for i in node.arguments)
        lines.append(establish(Instance(graph, node, arguments, nodes, lines.__getitem__)))
    return lines


def values_of(graph: Graph, parameters: dict[str, Any], balls: Balls) -> Iterator[Any]:
    """The value of every node up to the first that is not decided there, or that is no number."""
    values: list[Any] = []
    for node in graph.nodes:
        try:
            if node.operation == "constant":
                value = graph.constant(node)
                assert value is not None
                values.append(balls.constant(value))
            elif node.operation == "parameter":
                flat = [balls.number(v) for v in parameters[str(node.attributes["name"])]]
                values.append(np.array(flat, dtype=object).reshape(SHAPE))
            else:
                operation = REGISTRY[node.operation]
                values.append(operation.evaluate(balls, [values[i] for i in node.arguments], node.attributes))
        except (Undecided, Unsupported, ZeroDivisionError):
            return
        yield values[-1]


def outside(value: Any, bounds: Interval) -> bool:
    """Whether a number is certainly no member."""
    if not isinstance(value, flint.arb):
        value = flint.arb(int(value))
    for end, opened, sign in ((bounds.lower, bounds.open_below, 1), (bounds.upper, bounds.open_above, -1)):
        if end is not None:
            distance = sign * (value - flint.arb(flint.fmpq(end.numerator, end.denominator)))
            if distance < 0 or (opened and distance <= 0):
                return True
    return False


def assert_inside(graph: Graph, parameters: dict[str, Any], lines: list[Line]) -> None:
    """No value of a proved node lies outside its bounds; what a mask excludes is minus infinity."""
    with Balls(BITS) as balls:
        for index, value in enumerate(values_of(graph, parameters, balls)):
            line = lines[index]
            if line.regularity >= UNPROVED or graph.nodes[index].type.kind == "boolean":
                continue
            masked = np.broadcast_to(False if line.mask is None else line.mask, value.shape)
            for entry, excluded in zip(value.ravel(), masked.ravel(), strict=True):
                if excluded:
                    assert entry == flint.arb("-inf")
                else:
                    assert not outside(entry, line.bounds), f"{graph.where(index)}: {entry} not in {line.bounds}"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_value_lies_in_the_bounds_of_its_node(operation: str) -> None:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(networks(operation))
    def law(drawn: tuple[Graph, dict[str, Any]]) -> None:
        graph, parameters = drawn
        lines, (facts, _) = established(graph), derive(graph)
        for index, (line, fact) in enumerate(zip(lines, facts, strict=True)):
            found = (line.regularity, line.bounds, line.mask is not None)
            assert found == (fact.regularity, fact.bounds, fact.excluded is not None), graph.where(index)
        assert_inside(graph, parameters, lines)

    law()


def test_a_clamp_that_meets_an_end_may_reach_it() -> None:
    net = Net()
    zero = net.op("clamp", net.op("exp", net.constant(-1)), low=None, high=Fraction(0))
    x, squares = net.parameter("x", 4), net.op("power", net.parameter("p", 4), exponent=2)
    for pole in (zero, net.op("add", zero, squares)):
        net.op("divide", x, pole)
        assert isinstance(prove_analytic(net.graph()), Obstructions)
        assert established(net.graph())[-1].regularity == UNPROVED


def reopened(step: Instance) -> Line:
    """The clamp as it once was: an end that is not reached stays so, even where it meets the limit."""
    x = unary(step)
    limits: Any = step.node.attributes
    low, high, limited = limits["low"], limits["high"], clamp(step)
    ends = limited.bounds
    below = x.open_below and x.lower is not None and (low is None or x.lower >= low) and ends.lower == x.lower
    above = x.open_above and x.upper is not None and (high is None or x.upper <= high) and ends.upper == x.upper
    return Line(
        limited.regularity, Interval(ends.lower, below or ends.open_below, ends.upper, above or ends.open_above)
    )


def strict(operation: str) -> Callable[[Instance], Line]:
    """The lemma of an operation with all of its ends called strict."""
    lemma = LEMMAS[operation]

    def rule(step: Instance) -> Line:
        line = lemma(step)
        ends = line.bounds
        bounds = Interval(ends.lower, ends.lower is not None, ends.upper, ends.upper is not None)
        return Line(line.regularity, bounds, line.mask)

    return rule


STRICT = (
    "clamp", "maximum", "minimum", "relu", "multiply", "power", "floor", "sum", "select", "softmax", "exp",
    "whole_quotient", "remainder", "top_values", "concatenate", "cumulative_sum", "leaky_relu", "as_real",
)  # fmt: skip


@pytest.mark.parametrize(("operation", "rule"), [("clamp", reopened), *((name, strict(name)) for name in STRICT)])
def test_a_wrong_rule_is_found(operation: str, rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofs.kernel.lemmas.table.LEMMAS", {**LEMMAS, operation: rule})

    @settings(max_examples=400, database=None, derandomize=True, phases=[Phase.generate], deadline=None)
    @given(networks(operation))
    def law(drawn: tuple[Graph, dict[str, Any]]) -> None:
        assert_inside(*drawn, established(drawn[0]))

    with pytest.raises(AssertionError, match=operation):
        law()


@pytest.mark.parametrize("shape", [(), (2,), (2, 2)])
def test_a_selected_mask_is_followed_alike(shape: tuple[int, ...]) -> None:
    for condition in (True, False):
        net = Net()
        minus = net.constant(float("-inf"), shape)
        chosen = net.op("select", net.constant([condition], shape, "boolean"), minus, net.parameter("x", *shape))
        net.op("exp", net.op("expand", chosen, shape=SHAPE))
        graph = net.graph()
        lines, (facts, _) = established(graph), derive(graph)
        for line, fact in zip(lines, facts, strict=True):
            found = (line.regularity, line.bounds, line.mask is not None)
            assert found == (fact.regularity, fact.bounds, fact.excluded is not None)
