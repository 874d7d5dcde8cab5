"""Functions with kinks, over every interval between a few ends and every attribute at its edges.

No bound is tighter than the values, and nothing is smooth where both sides of a kink can be reached.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import pytest

from proofs.arithmetic.bounds import Interval
from proofs.kernel.lemmas.instance import Line
from proofs.network.graph import Constant, Node, TensorType
from proofs.regularity import ANALYTIC, CONSTANT, CONTINUOUS, POLYNOMIAL, UNPROVED
from tests.proofs.lines import HALF, derived, inside, last_line, over, real, refused, whole, within

ENDS = [Fraction(n) for n in (-2, -1, 0, 1, 2)]
FAR, NEAR = Fraction(9), Fraction(1, 1000)  # what stands for no end, and for a point next to one that is not reached


def intervals() -> Iterator[Interval]:
    for lower, upper in product([None, *ENDS], repeat=2):
        for below, above in product([False, True], repeat=2):
            missing = (lower is None and below) or (upper is None and above)
            if not missing and (None in (lower, upper) or lower < upper or (lower == upper and not below | above)):
                yield Interval(lower, below, upper, above)


def members(interval: Interval) -> list[Fraction]:
    """Some of it, with what is next to its ends, and to every end of the others."""
    low = -FAR if interval.lower is None else interval.lower + NEAR * interval.open_below
    high = FAR if interval.upper is None else interval.upper - NEAR * interval.open_above
    inner = [end + step for end in ENDS for step in (-NEAR, 0, NEAR) if low <= end + step <= high]
    return sorted({low, high, *inner})


EXPM1 = over(mpmath.expm1)


def elu(x: Fraction, scale: Fraction) -> Fraction:
    return x if x > 0 else scale * EXPM1(x)


LIMITS = [None, Fraction(-1), Fraction(0), Fraction(1)]
CASES: list[tuple[str, dict[str, Any], Callable[[Fraction], Any], list[Fraction]]] = [
    *(("leaky_relu", {"slope": s}, lambda x, s=s: x if x > 0 else s * x, [Fraction(0)] if s != 1 else [])
      for s in (Fraction(-2), Fraction(0), HALF, Fraction(1), Fraction(2))),
    *(("elu", {"scale": s}, lambda x, s=s: elu(x, s), [Fraction(0)])
      for s in (Fraction(-1), -HALF, Fraction(0), HALF, Fraction(2))),
    *(("clamp", {"low": low, "high": high},
       lambda x, low=low, high=high: min(x if low is None else max(x, low), FAR if high is None else high),
       [] if None not in (low, high) and low >= high else [end for end in (low, high) if end is not None])
      for low, high in product(LIMITS, repeat=2)),
    ("relu", {}, lambda x: max(x, 0), [Fraction(0)]), ("absolute", {}, abs, [Fraction(0)]),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "attributes", "function", "kinks"), CASES)
def test_values_lie_in_the_bounds_and_kinks_are_seen(
    operation: Any, attributes: Any, function: Any, kinks: Any
) -> None:
    for interval in intervals():
        line, points = derived(operation, [real((4,), Line(POLYNOMIAL, interval))], **attributes), members(interval)
        assert all(inside(function(x), line.bounds) for x in points), interval
        if any(points[0] < kink < points[-1] for kink in kinks):
            assert line.regularity >= CONTINUOUS, interval


@pytest.mark.parametrize(("operation", "function"), [("maximum", max), ("minimum", min)])
def test_the_extreme_of_two_lies_in_the_bounds_and_changes_sides_with_a_kink(operation: str, function: Any) -> None:
    every = [(interval, members(interval)) for interval in intervals()]
    for (first, some), (second, others) in product(every, repeat=2):
        line = derived(operation, [real((4,), Line(POLYNOMIAL, one)) for one in (first, second)])
        # What an end gives is what the ends of the other give with it: the rest lies between.
        reached = [(a, b) for a in some for b in (others[0], others[-1])] + [(some[0], b) for b in others]
        assert all(inside(function(pair), line.bounds) for pair in reached), (first, second)
        if some[0] < others[-1] and others[0] < some[-1]:
            assert line.regularity >= CONTINUOUS, (first, second)


def test_minus_infinity_may_stand_first() -> None:
    values = [Constant((4,), "real", (-float("inf"),))]
    bottom = Node("constant", (), {"value": 0}, TensorType((4,), "real"))
    line = Line(POLYNOMIAL, within(0, 1).bounds)
    arguments = [real((4,), Line(CONSTANT)), real((4,), line)]
    assert derived("maximum", arguments, constants=[bottom], values=values) == line


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_largest_of_more_than_one_has_a_kink(size: int) -> None:
    line = derived("largest", [real((3, size))], (3,), axes=(1,), keep=False)
    assert line.regularity == (POLYNOMIAL if size == 1 else CONTINUOUS)


def test_what_is_picked_keeps_the_other_axes() -> None:
    arguments = [real((5, 3, 2))]
    assert derived("top_values", arguments, (4, 3, 2), axis=0, count=4).regularity == CONTINUOUS
    refused("top_values", arguments, (4, 2), axis=0, count=4)
    refused("top_values", arguments, (4, 3, 2), axis=1, count=4)


def test_a_quotient_is_no_remainder() -> None:
    quotient = derived("whole_quotient", [whole((4,), within(0, 40).bounds)], (4,), "integer", by=4)
    assert quotient.bounds == within(0, 10).bounds


def square_of(operation: str, before: Line, line: Line, exponent: int = 2) -> Line:
    """What follows for a power of an operation of one argument, from the lines of both."""
    types = TensorType((4,), "real")
    nodes = [Node("input", (), {}, types), Node(operation, (0,), {}, types)]
    return last_line([*nodes, Node("power", (1,), {"exponent": exponent}, types)], [before, line])


@pytest.mark.parametrize("operation", ["top_values", "sqrt", "maximum", "absolute", "clamp", "select"])
@pytest.mark.parametrize("exponent", [2, 3])
def test_only_powers_of_a_rectifier_lose_its_kink(operation: str, exponent: int) -> None:
    """A square root to the third is no smoother than the first derivative, and an absolute value stays one."""
    line = Line(CONTINUOUS, Interval(Fraction(0)))
    assert square_of(operation, Line(POLYNOMIAL), line, exponent).regularity == CONTINUOUS
    assert square_of("relu", Line(POLYNOMIAL), line, exponent).regularity < CONTINUOUS


def test_powers_of_what_is_unproved_stay_so() -> None:
    assert square_of("relu", Line(POLYNOMIAL), Line(UNPROVED)).regularity == UNPROVED


def test_a_product_is_a_square_only_of_one_and_the_same() -> None:
    """Whichever of the two comes first in the graph."""
    types = TensorType((4,), "real")
    nodes = [Node("input", (), {}, types)] * 2
    lines = [within(-2, -1), within(3, 4)]
    for order in ((0, 1), (1, 0)):
        assert last_line([*nodes, Node("multiply", order, {}, types)], lines).bounds == within(-8, -3).bounds


def test_a_quotient_is_analytic_and_polynomial_only_over_constants() -> None:
    x, y = real((4,), within(1, 2)), within(1, 2)
    assert derived("divide", [x, real((4,), y)]).regularity == ANALYTIC
    assert derived("divide", [x, real((4,), Line(CONSTANT, y.bounds))]).regularity == POLYNOMIAL


def test_a_product_of_stacked_matrices_sums_over_the_inner_axis() -> None:
    line = derived("matmul", [real((4, 2, 3), within(0, 1)), real((3, 5), within(5, 6))], (4, 2, 5))
    assert line.bounds == within(0, 18).bounds
