"""The kernel's own table, lemma by lemma: values lie in the bounds, classes hold at the edges, masks are followed."""

import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.kernel.lemmas.instance import OPEN, Line
from proofs.network.graph import Constant, Node, TensorType
from proofs.regularity import ANALYTIC, CONSTANT, CONTINUOUS, DISCONTINUOUS, POLYNOMIAL, UNPROVED, smooth
from tests.proofs.lines import HALF, Argument, derived, inside, last_line, over, real, truth, whole, within

# Bounds: for an interval and a point of it, the value of the function lies in what the kernel derives.


def tanh_gelu(x: Any) -> Any:
    return x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)))


FUNCTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{name: (over(getattr(mpmath, name)), {}) for name in (
        "exp", "expm1", "tanh", "erf", "sin", "cos", "log", "log1p", "sqrt",
    )},
    "sigmoid": (over(lambda x: 1 / (1 + mpmath.exp(-x))), {}),
    "gelu": (over(lambda x: x * (1 + mpmath.erf(x / mpmath.sqrt(2))) / 2), {}),
    "tanh_gelu": (over(tanh_gelu), {}),
    "silu": (over(lambda x: x / (1 + mpmath.exp(-x))), {}),
    "mish": (over(lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x)))), {}),
    "softplus": (over(lambda x: mpmath.log1p(mpmath.exp(x))), {"beta": Fraction(1)}),
    "rsqrt": (over(lambda x: 1 / mpmath.sqrt(x)), {}),
    "relu": (lambda x: max(x, 0), {}),
    "absolute": (abs, {}),
    "leaky_relu": (lambda x: x if x > 0 else x / 8, {"slope": Fraction(1, 8)}),
    "elu": (lambda x: x if x > 0 else 2 * over(mpmath.expm1)(x), {"scale": Fraction(2)}),
    "clamp": (lambda x: min(max(x, -1), 2), {"low": Fraction(-1), "high": Fraction(2)}),
    "negate": (lambda x: -x, {}),
}  # fmt: skip
DOMAIN = {"log": 0, "rsqrt": 0, "sqrt": 0, "log1p": -1}
ENDS = st.fractions(-3, 3, max_denominator=4) | st.sampled_from([Fraction(0), Fraction(1), Fraction(-1)])


@st.composite
def points(draw: st.DrawFn, least: int | None = None) -> tuple[Interval, Fraction]:
    """An interval, its ends reached or not or infinite, and one of its points, often an end."""
    low, high = sorted([draw(ENDS), draw(ENDS)])
    if least is not None:
        low, high = (max(end, Fraction(least)) for end in (low, high))
    if low == high:
        return Interval.point(low), low
    middle = draw(st.sampled_from([low, high, (low + high) / 2, (3 * low + high) / 4]))
    opened = [draw(st.booleans()) and middle != end for end in (low, high)]
    ends = [None if draw(st.integers(0, 4)) == 0 and least is None else end for end in (low, high)]
    return Interval(ends[0], opened[0] and ends[0] is not None, ends[1], opened[1] and ends[1] is not None), middle


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_value_lies_in_the_bounds(name: str) -> None:
    function, attributes = FUNCTIONS[name]

    @given(points(DOMAIN.get(name)))
    def law(drawn: tuple[Interval, Fraction]) -> None:
        bounds, point = drawn
        line = derived(name, [real((4,), Line(POLYNOMIAL, bounds))], **attributes)
        if line.regularity < UNPROVED:
            assert inside(function(point), line.bounds)
        else:
            assert name in DOMAIN
            assert not bounds.positive

    law()


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
def test_the_value_of_two_lies_in_the_bounds(name: str) -> None:
    work = {"add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b,
            "divide": lambda a, b: a / b, "maximum": max, "minimum": min}[name]  # fmt: skip

    @given(points(), points())
    def law(first: Any, second: Any) -> None:
        line = derived(name, [real((4,), Line(POLYNOMIAL, drawn[0])) for drawn in (first, second)])
        if line.regularity < UNPROVED:
            assert inside(work(first[1], second[1]), line.bounds)
        else:
            assert name == "divide"
            assert not (second[0].positive or second[0].negative)

    law()


@given(points(), st.integers(0, 5))
def test_the_value_of_a_power_lies_in_the_bounds(drawn: tuple[Interval, Fraction], exponent: int) -> None:
    bounds, point = drawn
    assert inside(point**exponent, derived("power", [real((4,), Line(POLYNOMIAL, bounds))], exponent=exponent).bounds)


@given(points(), st.integers(1, 4))
def test_sums_means_and_products_lie_in_the_bounds(drawn: tuple[Interval, Fraction], count: int) -> None:
    bounds, point = drawn
    x = real((2, count), Line(POLYNOMIAL, bounds))
    assert inside(point * count, derived("sum", [x], (2,), axes=(1,), keep=False).bounds)
    assert inside(point, derived("mean", [x], (2, 1), axes=(1,), keep=True).bounds)
    partial = derived("cumulative_sum", [x], (2, count), axis=1).bounds
    assert all(inside(point * k, partial) for k in range(1, count + 1))
    other = real((count, 3), Line(POLYNOMIAL, bounds))
    assert inside(point * point * count, derived("matmul", [x, other], (2, 3)).bounds)


@given(st.integers(-9, 9), st.integers(0, 5), st.integers(1, 4))
def test_whole_numbers_lie_in_the_bounds(low: int, wide: int, by: int) -> None:
    x = whole((4,), Interval(Fraction(low), False, Fraction(low + wide)))
    for value in range(low, low + wide + 1):
        assert inside(value // by, derived("whole_quotient", [x], (4,), "integer", by=by).bounds)
        assert inside(value % by, derived("remainder", [x], (4,), "integer", by=by).bounds)
        floor = derived("floor", [real((4,), within(Fraction(low, by), Fraction(low + wide, by)))], (4,), "integer")
        assert inside(value // by, floor.bounds)
    assert derived("remainder", [x], (4,), "integer", by=by).bounds == Interval(Fraction(0), False, Fraction(by - 1))


def test_what_is_joined_lies_in_the_bounds_of_each_part() -> None:
    low, high = real((2,), within(0, 1)), real((2,), within(5, 6))
    for parts in ([low, high], [high, low]):
        assert derived("concatenate", parts, (4,), axis=0).bounds == within(0, 6).bounds
    assert derived("select", [truth((2,)), high, low], (2,)).bounds == within(0, 6).bounds


def test_a_cut_keeps_the_axes_behind_it() -> None:
    cut = {"axis": 0, "start": 1, "stop": 3, "step": 1}
    assert derived("slice", [real((4, 3, 2))], (2, 3, 2), **cut).regularity == POLYNOMIAL


def test_bounds_take_every_argument_for_itself() -> None:
    low, high = within(0, 1), within(5, 6)
    matrices = [real((2, 3), low), real((3, 5), high)]
    assert derived("matmul", matrices, (2, 5)).bounds == within(0, 18).bounds
    assert derived("matmul", [real((2, 0), low), real((0, 5), high)], (2, 5)).bounds == within(0, 0).bounds
    assert derived("matmul", [real((2, 3), low), real((4, 3, 5), high)], (4, 2, 5)).bounds == within(0, 18).bounds
    places = whole((2,), within(0, 4).bounds)
    for first, second in ((low, high), (high, low)):
        values = [real((5,), first), places, real((2,), second)]
        assert derived("scatter", values, (5,), axis=0).bounds == within(0, 6).bounds
    assert derived("sum", [real((2, 0), high)], (2,), axes=(1,), keep=False).bounds == within(0, 0).bounds


def with_itself(operation: str, inner: str, bounds: Interval, **attributes: Any) -> Line:
    """A power of the result of an operation of u, or its product with itself."""
    u, before = Node("input", (), {}, TensorType((4,), "real")), Line(POLYNOMIAL)
    part = Node(inner, (0,), {}, TensorType((4,), "real"))
    line = Line(CONTINUOUS if inner == "relu" else POLYNOMIAL, bounds)
    count = 2 if operation == "multiply" else 1
    node = Node(operation, (1,) * count, attributes, TensorType((4,), "real"))
    return last_line([u, part, node], [before, line])


@given(points())
def test_a_product_with_itself_is_a_square(drawn: tuple[Interval, Fraction]) -> None:
    bounds, point = drawn
    found = with_itself("multiply", "negate", bounds)
    assert inside(point * point, found.bounds) and not found.bounds.negative
    assert found.bounds.at_least(Fraction(0))


def test_powers_of_a_rectifier_are_as_smooth_as_their_exponent_allows() -> None:
    positive = Interval(Fraction(0), False)
    assert with_itself("multiply", "relu", positive).regularity == smooth(1)
    assert with_itself("power", "relu", positive, exponent=1).regularity == CONTINUOUS
    assert [with_itself("power", "relu", positive, exponent=n).regularity for n in (2, 3)] == [smooth(1), smooth(2)]
    assert derived("power", [real()], exponent=0).bounds == Interval.point(1)
    assert derived("power", [real((4,), within(HALF, 3))], exponent=2).bounds == within(HALF * HALF, 9).bounds


def test_some_bounds_are_as_tight_as_proofs_need_them() -> None:
    """A looser bound would be true, but what is accepted for it would be less."""
    assert derived("softmax", [real((2, 3))], (2, 3), axis=1).bounds == Interval(Fraction(0), True, Fraction(1), True)
    assert derived("softmax", [real((3, 1))], (3, 1), axis=1).bounds == Interval(Fraction(1), False, Fraction(1))
    assert derived("top_indices", [real((5,))], (2,), "integer", axis=0, count=2).bounds.upper == 4
    assert derived("as_real", [truth()]).bounds == Interval(Fraction(0), False, Fraction(1))
    assert derived("as_integer", [truth()], result="integer").bounds == Interval(Fraction(0), False, Fraction(1))
    assert derived("as_real", [whole((4,), within(2, 3).bounds)]).bounds == within(2, 3).bounds


# Classes.


@pytest.mark.parametrize(
    ("operation", "line", "attributes", "regularity"),
    [
        ("exp", within(None, None), {}, ANALYTIC), ("log", within(0, None), {}, UNPROVED),
        ("log", within(0, None, True), {}, ANALYTIC), ("log1p", within(-1, None), {}, UNPROVED),
        ("log1p", within(-1, None, True), {}, ANALYTIC), ("rsqrt", within(0, None), {}, UNPROVED),
        ("sqrt", within(0, None), {}, CONTINUOUS), ("sqrt", within(0, None, True), {}, ANALYTIC),
        ("sqrt", within(-1, None), {}, UNPROVED), ("softplus", within(None, None), {"beta": Fraction(0)}, UNPROVED),
        ("relu", within(-1, 1), {}, CONTINUOUS), ("relu", within(0, 1), {}, POLYNOMIAL),
        ("relu", within(-1, 0), {}, CONSTANT), ("absolute", within(-1, 0), {}, POLYNOMIAL),
        ("leaky_relu", within(-1, 1), {"slope": Fraction(1)}, POLYNOMIAL),
        ("leaky_relu", within(-1, 1), {"slope": HALF}, CONTINUOUS),
        ("leaky_relu", within(-1, 0), {"slope": HALF}, POLYNOMIAL),
        ("elu", within(-1, 1), {"scale": Fraction(1)}, smooth(1)), ("elu", within(-1, 1), {"scale": HALF}, CONTINUOUS),
        ("elu", within(-1, 0), {"scale": HALF}, ANALYTIC), ("elu", within(0, 1), {"scale": HALF}, POLYNOMIAL),
        ("elu", within(-1, 1), {"scale": Fraction(-1)}, CONTINUOUS),
        ("clamp", within(-1, 1), {"low": Fraction(-1), "high": None}, POLYNOMIAL),
        ("clamp", within(-1, 1), {"low": None, "high": HALF}, CONTINUOUS),
        ("clamp", within(3, 4), {"low": None, "high": HALF}, CONTINUOUS),
        ("clamp", within(3, 4), {"low": Fraction(5), "high": None}, CONTINUOUS),
    ],
)  # fmt: skip
def test_classes_at_the_edge_of_a_lemma(operation: str, line: Line, attributes: Any, regularity: Any) -> None:
    assert derived(operation, [real((4,), line)], **attributes).regularity == regularity


def test_discrete_results_jump_with_data_and_are_constant_without() -> None:
    for operation, kind in (("greater", "boolean"), ("at_most", "boolean"), ("equal", "boolean")):
        assert derived(operation, [real(), real()], result=kind).regularity == DISCONTINUOUS
        assert derived(operation, [real((4,), Line(CONSTANT))] * 2, result=kind).regularity == CONSTANT
    assert derived("floor", [real()], result="integer").regularity == DISCONTINUOUS
    table, jumping = real((5, 2)), whole((4,), within(0, 4).bounds, DISCONTINUOUS)
    assert derived("take", [table, whole((4,), within(0, 4).bounds)], (4, 2), axis=0).regularity == POLYNOMIAL
    assert derived("take", [table, jumping], (4, 2), axis=0).regularity == DISCONTINUOUS
    assert derived("select", [truth((4,), DISCONTINUOUS), real(), real()]).regularity == DISCONTINUOUS
    assert derived("select", [truth(), real(), real((4,), Line(ANALYTIC))]).regularity == ANALYTIC
    assert derived("both", [truth((4,), DISCONTINUOUS), truth()], result="boolean").regularity == DISCONTINUOUS
    assert derived("opposite", [truth((4,), DISCONTINUOUS)], result="boolean").regularity == DISCONTINUOUS
    values = [real((5,)), whole((2,), within(0, 4).bounds, DISCONTINUOUS), real((2,))]
    assert derived("scatter", values, (5,), axis=0).regularity == DISCONTINUOUS
    assert (
        derived("scatter", [values[0], whole((2,), within(0, 4).bounds), values[2]], (5,), axis=0).regularity
        == POLYNOMIAL
    )


@pytest.mark.parametrize("places", [within(-1, 4), within(0, 5), within(0, None), within(None, 4)])
def test_indices_that_may_leave_their_table_prove_nothing(places: Line) -> None:
    index = whole((2,), places.bounds)
    for operation, arguments in (("take", 2), ("gather", 2), ("scatter", 3)):
        given_ = [real((5,)), index, real((2,))][:arguments]
        shape = (5,) if operation == "scatter" else (2,)
        assert derived(operation, given_, shape, axis=0) == OPEN


# Masks.

MASKED = np.array([[False, True], [False, False]])


def masked(mask: Any = MASKED) -> Argument:
    return mask.shape, "real", Line(POLYNOMIAL, EVERYTHING, mask)


def test_masks_are_followed_and_a_row_without_a_free_entry_proves_nothing() -> None:
    assert np.array_equal(derived("add", [masked(), real((2, 2))], (2, 2)).mask, MASKED)
    assert np.array_equal(derived("add", [masked(), masked(MASKED.T)], (2, 2)).mask, MASKED | MASKED.T)
    assert np.array_equal(derived("subtract", [masked(), real((2, 2))], (2, 2)).mask, MASKED)
    assert derived("subtract", [real((2, 2)), masked()], (2, 2)) == OPEN
    assert np.array_equal(derived("permute", [masked()], (2, 2), order=(1, 0)).mask, MASKED.T)
    assert np.array_equal(derived("reshape", [masked()], (4,), shape=(4,)).mask, MASKED.ravel())
    assert derived("expand", [masked()], (3, 2, 2), shape=(3, 2, 2)).mask.shape == (3, 2, 2)
    cut = {"axis": 1, "start": 1, "stop": 2, "step": 1}
    assert np.array_equal(derived("slice", [masked()], (2, 1), **cut).mask, MASKED[:, 1:])
    assert derived("slice", [masked()], (2, 1), **{**cut, "start": 0, "stop": 1}).mask is None
    joined = derived("concatenate", [masked(), real((2, 1))], (2, 3), axis=1).mask
    assert np.array_equal(joined, [[False, True, False], [False] * 3])
    assert derived("softmax", [masked()], (2, 2), axis=1).bounds == Interval(Fraction(0), False, Fraction(1))
    assert derived("softmax", [masked(np.array([[True, True], [False, False]]))], (2, 2), axis=1) == OPEN
    assert derived("softmax", [masked(np.array([[True, True], [False, False]]))], (2, 2), axis=0).regularity == ANALYTIC
    assert derived("log_sum_exp", [masked()], (2, 1), axis=1).regularity == ANALYTIC
    assert derived("log_sum_exp", [masked(np.array([[True, True], [False, False]]))], (2, 1), axis=1) == OPEN
    assert derived("exp", [masked()], (2, 2)).bounds == Interval(Fraction(0))
    for operation in ("tanh", "negate", "relu", "sum"):
        assert derived(operation, [masked()], (2, 2), axes=(), keep=True) == OPEN
    assert derived("maximum", [masked(), real((2, 2))], (2, 2)) == OPEN
    assert derived("largest", [masked()], (2,), axes=(1,), keep=False) == OPEN
    assert derived("take", [masked(), whole((1,), within(0, 1).bounds)], (1, 2), axis=0) == OPEN
    assert derived("no such operation", [real()]) == OPEN


def test_a_condition_that_is_known_selects_between_masks() -> None:
    values = [Constant((2, 2), "boolean", (True, False, True, True))]
    known = [Node("constant", (), {"value": 0}, TensorType((2, 2), "boolean"))]
    chosen = derived("select", [truth((2, 2)), masked(), real((2, 2))], (2, 2), constants=known, values=values)
    assert chosen.mask is None
    always = [Constant((2, 2), "boolean", (True,) * 4)]
    first = derived("select", [truth((2, 2)), masked(), real((2, 2))], (2, 2), constants=known, values=always)
    assert np.array_equal(first.mask, MASKED)
    other = derived("select", [truth((2, 2)), real((2, 2)), masked()], (2, 2), constants=known, values=values)
    assert np.array_equal(other.mask, MASKED)
    assert derived("select", [truth((2, 2)), masked(), real((2, 2))], (2, 2)) == OPEN


def test_the_larger_of_a_number_and_minus_infinity_is_the_number() -> None:
    values = [Constant((4,), "real", (-math.inf,))]
    bottom = Node("constant", (), {"value": 0}, TensorType((4,), "real"))
    line = Line(POLYNOMIAL, within(0, 1).bounds)
    arguments = [real((4,), line), real((4,), Line(CONSTANT, EVERYTHING, np.ones(4, dtype=np.bool_)))]
    assert derived("maximum", arguments, constants=[None, bottom], values=values) == line
    assert derived("minimum", arguments, constants=[None, bottom], values=values) == OPEN
