"""Laws of fixed-point enclosures: exact products, and the true value inside whatever the arguments are in theirs."""

from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.arithmetic.fixed_functions import FUNCTIONS
from proofs.arithmetic.fixed_point import Fixed, FixedPoint, integers
from proofs.arithmetic.limbs import from_limbs, product, product_with_slices, slices_of, to_limbs
from proofs.errors import InvalidInput, Unsupported
from proofs.network.graph import Constant
from proofs.operations import REGISTRY

BITS = 96
wide = st.integers(-(2**300), 2**300)
floats = st.floats(-1000, 1000, width=32)


def array(values: Any, *shape: int) -> Any:
    return integers(list(values), shape)


@given(st.lists(wide, min_size=1, max_size=6))
def test_limbs_hold_the_integers(values: list[int]) -> None:
    limbs = to_limbs(array(values, len(values)))
    assert np.abs(limbs).max() <= 2**23
    assert from_limbs(limbs.astype(np.int64)).tolist() == values


@given(st.lists(wide, min_size=6, max_size=6), st.lists(floats, min_size=6, max_size=6))
def test_products_with_weights_are_exact(values: list[int], weights: list[float]) -> None:
    matrix = np.array(weights, dtype=np.float32).reshape(3, 2)
    slices = slices_of(matrix)
    found = product_with_slices(array(values, 2, 3), slices)
    for row in range(2):
        for column in range(2):
            exact = sum(values[3 * row + i] * Fraction(float(matrix[i, column])) for i in range(3))
            assert found[row, column] == exact * Fraction(2) ** slices.last_scale


@given(st.lists(wide, min_size=6, max_size=6), st.lists(wide, min_size=6, max_size=6))
def test_products_of_integers_are_exact(first: list[int], second: list[int]) -> None:
    x, y = array(first, 2, 3), array(second, 3, 2)
    assert (product(x, y) == np.matmul(x, y)).all()


def test_the_longest_sums_of_the_largest_terms_are_exact() -> None:
    x = array([2**96 - 1] * 5000, 1, 5000)  # longer than one product may be, every digit at its limit
    weights = np.full((5000, 1), 1 - 2.0**-24, dtype=np.float32)
    slices = slices_of(weights)
    assert product_with_slices(x, slices)[0, 0] == 5000 * (2**96 - 1) * (2**24 - 1) * 2 ** (slices.last_scale - 24)
    y = array([-(2**96)] * 5000, 5000, 1)
    assert product(x, y)[0, 0] == -5000 * (2**96 - 1) * 2**96


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(InvalidInput):
        slices_of(np.array([[1.0, value]]))


def test_weights_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(Unsupported):
        slices_of(np.array([[2.0**700, 5e-324]]))


class Case:
    """Enclosures at random, and true values inside them, many at their very edge."""

    def __init__(self, seed: int, shape: tuple[int, ...], low: float = -3, high: float = 3) -> None:
        random = np.random.default_rng(seed)
        count = int(np.prod(shape))
        middle = [int(v * 2.0**60) << (BITS - 60) for v in random.uniform(low, high, count)]
        radius = [float(2 ** int(k)) for k in random.integers(0, BITS - 12, count)]
        place = random.choice([-1.0, 1.0, 0.0, 0.37, -0.8], count)
        self.fixed = Fixed(integers(middle, shape), np.array(radius).reshape(shape))
        true = [Fraction(m) + Fraction(p) * Fraction(r) for m, p, r in zip(middle, place, radius, strict=True)]
        self.true = np.empty(count, dtype=object)
        self.true[:] = [flint.arb(flint.fmpq(t.numerator, t.denominator)) / flint.arb(2) ** BITS for t in true]
        self.true = self.true.reshape(shape)


def outside(found: Fixed, true: Any) -> int:
    """How many true values are not inside, decided with certainty."""
    middle, radius = found.mantissa.ravel().tolist(), found.radius.ravel().tolist()
    bad = 0
    for m, r, value in zip(middle, radius, np.ravel(true).tolist(), strict=True):
        gap = abs(value - flint.arb((m, -BITS)))
        bad += not gap <= flint.arb(r) * flint.arb((1, -BITS))
    return bad


OPERATIONS = {
    "add": lambda a, x, y, z: a.add(x, y),
    "subtract": lambda a, x, y, z: a.subtract(x, y),
    "multiply": lambda a, x, y, z: a.multiply(x, y),
    "square": lambda a, x, y, z: a.power(x, 2),
    "cube": lambda a, x, y, z: a.power(x, 3),
    "third": lambda a, x, y, z: a.multiply(x, a.scalar(Fraction(1, 3))),
    "divide": lambda a, x, y, z: a.divide(x, z),
    "matmul": lambda a, x, y, z: a.matmul(x, a.permute(y, (1, 0))),
    "sum": lambda a, x, y, z: a.sum(x, (1,), True),
    "partial sums": lambda a, x, y, z: a.cumulative_sum(x, 0),
    "softmax": lambda a, x, y, z: REGISTRY["softmax"].evaluate(a, [x], {"axis": 1}),
    "layer_norm": lambda a, x, y, z: REGISTRY["layer_norm"].evaluate(
        a, [x, a.reshape(a.sum(x, (0,), True), (6,)), a.reshape(a.sum(y, (0,), True), (6,))],
        {"axes": 1, "epsilon": Fraction(1, 2**17)},
    ),
    **{name: lambda a, x, y, z, name=name: a.apply(name, z) for name in ("log", "sqrt", "rsqrt", "log1p")},
    **{
        name: lambda a, x, y, z, name=name: a.apply(name, x)
        for name in ("exp", "expm1", "sigmoid", "tanh", "erf", "sin", "cos", "softplus")
    },
    **{
        name: lambda a, x, y, z, name=name: REGISTRY[name].evaluate(a, [x], {})
        for name in ("silu", "gelu", "tanh_gelu", "mish")
    },
}  # fmt: skip


def comparisons(name: str, seed: int) -> int:
    shape = (5, 6)
    operation = OPERATIONS[name]
    with Balls(400) as balls:
        x, y, z = Case(seed, shape), Case(seed + 1, shape), Case(seed + 2, shape, 1.0, 4.0)
        try:
            found = operation(FixedPoint(BITS), x.fixed, y.fixed, z.fixed)
        except Undecided:
            return 0
        true = operation(balls, x.true, y.true, z.true)
        assert outside(found, true) == 0
    return found.mantissa.size


@pytest.mark.parametrize("name", OPERATIONS)
def test_true_values_lie_inside(name: str) -> None:
    assert sum(comparisons(name, seed) for seed in range(0, 9, 3)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_true_values_lie_inside_many(name: str) -> None:
    assert sum(comparisons(name, seed) for seed in range(1000, 1120, 3)) > 100


def test_every_function_is_covered() -> None:
    assert set(FUNCTIONS) <= {*OPERATIONS, "absolute"}


def test_weights_enter_exactly_and_constants_to_a_unit() -> None:
    a = FixedPoint(64)
    third = a.constant(Constant((2,), "real", (Fraction(1, 3), Fraction(-1, 4))))
    assert third.radius.tolist() == [1.0, 0.0]
    weights = a.fixed(np.array([0.5, -1e-30, 3.0]))
    assert weights.radius.tolist() == [0.0, 1.0, 0.0]
    assert weights.mantissa.tolist() == [1 << 63, -1, 3 << 64]


def test_masked_entries_pass_sums_and_exponentials_only() -> None:
    a = FixedPoint(64)
    mask = a.constant(Constant((1, 2), "real", (Fraction(0), float("-inf"))))
    scores = a.add(a.scalar(Fraction(1)), mask)
    softmax = REGISTRY["softmax"].evaluate(a, [scores], {"axis": 1})
    assert abs(softmax.mantissa[0, 0] - (1 << 64)) <= softmax.radius[0, 0]
    assert abs(softmax.mantissa[0, 1]) <= softmax.radius[0, 1]
    with pytest.raises(Unsupported):
        a.multiply(scores, scores)
    with pytest.raises(Unsupported):
        a.apply("tanh", scores)


def test_what_cannot_be_decided_is_said_so() -> None:
    a = FixedPoint(64)
    around_zero = Fixed(integers([5], (1,)), np.array([10.0]))
    with pytest.raises(Undecided):
        a.divide(around_zero, around_zero)
    with pytest.raises(Undecided):
        a.greater(around_zero, a.real(np.array([0])))
    with pytest.raises(Undecided):
        a.apply("rsqrt", around_zero)
    with pytest.raises(Undecided):
        a.apply("exp", Fixed(integers([0], (1,)), np.array([2.0**70])))


@pytest.mark.parametrize("bits", [0, 47, 961])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(InvalidInput):
        FixedPoint(bits)
