"""Laws of midpoint-radius arithmetic: the true value lies inside whatever the arguments are in their enclosures."""

import math
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import ELEMENTARY, Undecided
from proofs.arithmetic.lanes import Laned, Lanes
from proofs.arithmetic.midpoint import Middle, Midpoint, Sign
from proofs.arithmetic.midpoint_functions import (
    COEFFICIENTS,
    DEGREE,
    FUNCTIONS,
    LN2_HIGH,
    LN2_LOW,
    RELATIVE,
    TINY,
    UNIT,
    exponential,
)
from proofs.arithmetic.weight_products import MOST_TERMS, Weights, product
from proofs.errors import Unsupported
from proofs.network.graph import Constant
from proofs.operations import REGISTRY

BITS = 400


class Case:
    """Enclosures at random, and true values inside them, many at their very edge; every fourth entry is exact."""

    def __init__(self, seed: int, shape: tuple[int, ...], low: float = -3, high: float = 3) -> None:
        random = np.random.default_rng(seed)
        mid = random.uniform(low, high, shape)
        radius = 2.0 ** random.integers(-60, -12, shape)
        radius[random.random(shape) < 0.25] = 0.0
        place = random.choice([-1.0, 1.0, 0.0, 0.375, -0.8125], shape)
        self.middle = Middle(mid, radius)
        self.exact = mid
        self.true = balls([Fraction(m) + Fraction(p) * Fraction(r) for m, p, r in _together(mid, place, radius)], shape)
        self.true_exact = balls([Fraction(m) for (m,) in _together(mid)], shape)


def _together(*arrays: Any) -> Any:
    return zip(*(array.ravel().tolist() for array in arrays), strict=True)


def balls(values: list[Fraction], shape: tuple[int, ...]) -> Any:
    """Exact dyadic numbers as balls of radius 0; call within `Balls`."""
    result = np.empty(len(values), dtype=object)
    result[:] = [flint.arb(flint.fmpq(v.numerator, v.denominator)) for v in values]
    return result.reshape(shape)


def outside(found: Any, true: Any) -> int:
    """How many true values are not inside, decided with certainty."""
    assert found.shape == true.shape
    pairs = zip(found.mid.ravel().tolist(), found.radius.ravel().tolist(), np.ravel(true).tolist(), strict=True)
    return sum(not abs(value - flint.arb(m)) <= flint.arb(r) for m, r, value in pairs)


OPERATIONS = {
    "add": lambda a, x, y, z, w: a.add(x, y),
    "add weights": lambda a, x, y, z, w: a.add(w, x),
    "subtract": lambda a, x, y, z, w: a.subtract(x, y),
    "negate": lambda a, x, y, z, w: a.negate(x),
    "multiply": lambda a, x, y, z, w: a.multiply(x, y),
    "multiply by weights": lambda a, x, y, z, w: a.multiply(x, w),
    "multiply weights": lambda a, x, y, z, w: a.multiply(w, w),
    "square": lambda a, x, y, z, w: a.power(x, 2),
    "cube": lambda a, x, y, z, w: a.power(x, 3),
    "third": lambda a, x, y, z, w: a.multiply(x, a.scalar(Fraction(1, 3))),
    "divide": lambda a, x, y, z, w: a.divide(x, z),
    "divide by small": lambda a, x, y, z, w: a.divide(x, a.multiply(z, a.scalar(Fraction(1, 10**9)))),
    "matmul": lambda a, x, y, z, w: a.matmul(x, a.permute(y, (1, 0))),
    "matmul with weights": lambda a, x, y, z, w: a.matmul(x, a.permute(w, (1, 0))),
    "weights times": lambda a, x, y, z, w: a.matmul(w, a.permute(x, (1, 0))),
    "batched": lambda a, x, y, z, w: a.matmul(a.reshape(x, (1, 5, 6)), a.reshape(y, (1, 6, 5))),
    "sum": lambda a, x, y, z, w: a.sum(x, (0, 1), False),
    "partial sums": lambda a, x, y, z, w: a.cumulative_sum(x, 0),
    "softmax": lambda a, x, y, z, w: REGISTRY["softmax"].evaluate(a, [x], {"axis": 1}),
    "log_sum_exp": lambda a, x, y, z, w: REGISTRY["log_sum_exp"].evaluate(a, [x], {"axis": 1}),
    "layer_norm": lambda a, x, y, z, w: REGISTRY["layer_norm"].evaluate(
        a, [x, a.sum(x, (0,), False), a.sum(y, (0,), False)], {"axes": 1, "epsilon": Fraction(1, 2**17)}
    ),
    "sigmoid, wide": lambda a, x, y, z, w: a.apply("sigmoid", a.multiply(x, a.scalar(Fraction(400)))),
    "exp, small": lambda a, x, y, z, w: a.apply("exp", a.multiply(z, a.scalar(Fraction(-250)))),
    **{name: lambda a, x, y, z, w, name=name: a.apply(name, z) for name in ("log", "sqrt", "rsqrt", "log1p")},
    **{
        name: lambda a, x, y, z, w, name=name: a.apply(name, x)
        for name in ("exp", "expm1", "sigmoid", "tanh", "erf", "sin", "cos", "softplus")
    },
    **{
        name: lambda a, x, y, z, w, name=name: REGISTRY[name].evaluate(a, [x], {})
        for name in ("silu", "gelu", "tanh_gelu", "mish", "relu")
    },
    "absolute": lambda a, x, y, z, w: REGISTRY["absolute"].evaluate(a, [x], {}),
    "leaky": lambda a, x, y, z, w: REGISTRY["leaky_relu"].evaluate(a, [x], {"slope": Fraction(1, 7)}),
}  # fmt: skip


def comparisons(name: str, seed: int) -> int:
    shape = (5, 6)
    operation = OPERATIONS[name]
    with Balls(BITS) as arb:
        x, y, z, w = Case(seed, shape), Case(seed + 1, shape), Case(seed + 2, shape, 1.0, 4.0), Case(seed + 3, shape)
        found = operation(Midpoint(), x.middle, y.middle, z.middle, w.exact)
        true = operation(arb, x.true, y.true, z.true, w.true_exact)
        assert outside(found, true) == 0
    return found.mid.size


@pytest.mark.parametrize("name", OPERATIONS)
def test_true_values_lie_inside(name: str) -> None:
    assert comparisons(name, 0) > 0


@pytest.mark.slow
def test_ten_thousand_true_values_lie_inside() -> None:
    assert sum(comparisons(name, seed) for name in OPERATIONS for seed in range(1000, 1080, 4)) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("terms", [1500, 4096, 5000])
def test_long_products_lie_inside(terms: int) -> None:
    with Balls(BITS) as arb:
        x, y, w = Case(1, (3, terms)), Case(2, (terms, 4)), Case(3, (terms, 7))
        assert outside(Midpoint().matmul(x.middle, w.exact), arb.matmul(x.true, w.true_exact)) == 0
        assert outside(Midpoint().matmul(x.middle, y.middle), arb.matmul(x.true, y.true)) == 0


EXACTLY = {
    "weights": lambda a, x, w: a.matmul(x, a.permute(w, (1, 0))),
    "computed": lambda a, x, w: a.matmul(a.reshape(x, (1, 6, 40)), a.permute(a.reshape(x, (1, 6, 40)), (0, 2, 1))),
    "sum": lambda a, x, w: a.sum(x, (1,), True),
    "partial sums": lambda a, x, w: a.cumulative_sum(x, 1),
}


@pytest.mark.parametrize("name", EXACTLY)
def test_the_roundings_of_sums_alone_are_covered(name: str) -> None:
    """Factors without radii, of very different sizes, and sums that nearly cancel."""
    random = np.random.default_rng(4)
    x, w = (random.normal(size=(6, 40)) * 2.0 ** random.integers(-9, 9, (6, 40)) for _ in range(2))
    w[:, -1] = -(x[0, :-1] * w[:, :-1]).sum(axis=1) / x[0, -1]
    x[1:, -1] = -x[1:, :-1].sum(axis=1)
    exact = Middle(x, np.zeros(x.shape))
    with Balls(BITS) as arb:
        found = EXACTLY[name](Midpoint(), exact, w)
        true = EXACTLY[name](arb, *(balls([Fraction(v) for v in part.ravel().tolist()], x.shape) for part in (x, w)))
        assert outside(found, true) == 0
        assert any(
            not abs(t - flint.arb(m)) <= flint.arb(r) / 2000 for m, r, t in _together(found.mid, found.radius, true)
        )


def test_what_weights_of_few_bits_leave_over_is_covered() -> None:
    """Nothing of the weights is left over: all of the rounding is in what is left of the rows, whose sum cancels."""
    random = np.random.default_rng(7)
    x = random.normal(size=(8, 300)) * 2.0 ** random.integers(-30, 0, (8, 300))
    x[:, -1] = -x[:, :-1].sum(axis=1)
    ones = np.ones((300, 1))
    assert Weights.of(ones).rest is None
    with Balls(BITS) as arb:
        true = arb.matmul(*(balls([Fraction(v) for v in part.ravel().tolist()], part.shape) for part in (x, ones)))
        assert outside(Midpoint().matmul(Middle(x, np.zeros(x.shape)), ones), true) == 0


def test_the_corner_of_two_wide_factors_lies_inside() -> None:
    wide = Middle(np.full((1, 3, 3), 1.5), np.full((1, 3, 3), 0.5))
    for found in (Midpoint().matmul(wide, wide), Midpoint().multiply(wide, Middle(wide.mid * 3, wide.radius * 3))):
        assert (found.mid + found.radius >= 12).all()


def test_products_with_weights_are_off_by_little_more_than_one_rounding() -> None:
    random = np.random.default_rng(5)
    x, w = random.normal(size=(4, 2000)), random.normal(size=(2000, 3)).astype(np.float32).astype(np.float64)
    result, error = product(x, Weights.of(w))
    assert error.max() < 4 * UNIT * np.abs(result).max() + 2e-16
    plain = 2000 * UNIT * (np.abs(x) @ np.abs(w))
    assert error.max() * 100 < plain.min()


def test_both_factors_are_cut_so_that_their_product_is_exact() -> None:
    """The longest sum of the largest grid points, by another summation."""
    random = np.random.default_rng(6)
    x, w = 1 - random.random((2, MOST_TERMS)) * 1e-3, 1 - random.random((MOST_TERMS, 2)) * 1e-3
    parts = Weights.of(w)
    assert (parts.coarse + (parts.rest if parts.rest is not None else 0) == w).all()
    assert (parts.coarse * 2**18 == np.rint(parts.coarse * 2**18)).all()
    coarse = np.rint(x * 2**23).astype(np.int64).astype(object)
    exact = coarse @ (parts.coarse * 2**18).astype(np.int64).astype(object)
    assert ((np.rint(x * 2**23) * 2.0**-23) @ parts.coarse == exact.astype(np.float64) * 2.0**-41).all()
    assert max(exact.ravel().tolist()) <= 2**53


def test_every_function_is_covered() -> None:
    assert set(ELEMENTARY) <= set(OPERATIONS)
    assert set(FUNCTIONS) <= set(ELEMENTARY)


numbers = st.floats(-1e6, 1e6)
radii = st.floats(0, 1e3)


@given(numbers, radii, numbers, radii, st.sampled_from((-1, 0, 1)), st.sampled_from((-1, 0, 1)))
def test_any_two_numbers(a: float, r: float, b: float, s: float, p: int, q: int) -> None:
    x, y = (Middle(np.array([m]), np.array([width])) for m, width in ((a, r), (b, s)))
    with Balls(3000) as arb:
        u, v = (balls([Fraction(m) + p * Fraction(w)], (1,)) for m, p, w in ((a, p, r), (b, q, s)))
        for operation in ("add", "subtract", "multiply"):
            assert outside(getattr(Midpoint(), operation)(x, y), getattr(arb, operation)(u, v)) == 0
        try:
            assert outside(Midpoint().divide(x, y), arb.divide(u, v)) == 0
        except Undecided:
            assert abs(b) <= s * (1 + 1e-9) + 1e-200


@given(st.lists(st.floats(-700, 700), min_size=50, max_size=200))
def test_the_exponential_has_its_relative_error(values: list[float]) -> None:
    found = exponential(np.array(values))
    with Balls(200):
        for x, y in zip(values, found.tolist(), strict=True):
            true = flint.arb(x).exp()
            assert abs(flint.arb(y) - true) <= true * flint.arb(RELATIVE)


@pytest.mark.slow
def test_the_exponential_at_a_hundred_thousand_places() -> None:
    values = np.random.default_rng(0).uniform(-700, 700, 100_000)
    values[::2] = np.random.default_rng(1).uniform(-40, 0, 50_000)
    test_the_exponential_has_its_relative_error.hypothesis.inner_test(values.tolist())  # type: ignore[attr-defined]


def test_the_error_of_the_exponential_as_it_is_proved() -> None:
    """The recursion of docs/separation.md in exact rational numbers."""
    u = Fraction(UNIT)
    with Balls(300):
        ln2 = flint.arb(2).log()
        split = abs(ln2 - flint.arb(LN2_HIGH) - flint.arb(LN2_LOW))
        assert split < flint.arb((1, -92))
    k = 1011
    assert (Fraction(LN2_HIGH) * 2**37).denominator == 1
    assert Fraction(LN2_HIGH) * 2**37 * k < 2**53
    largest = Fraction(3467, 10000)  # of |r|: log(2) / 2, and what rounding k may add
    assert Fraction(693148, 2000000) + k * Fraction(7, 10) * 4 * u + Fraction(1, 2**27) < largest
    shift = u * largest * 2 + u * k * Fraction(LN2_LOW) + Fraction(k, 2**92)  # error of r
    size, error = Fraction(COEFFICIENTS[DEGREE]), u * Fraction(COEFFICIENTS[DEGREE])
    for coefficient in COEFFICIENTS[DEGREE - 1 :: -1]:
        product = largest * size
        error = largest * error + u * (product + largest * error) + u * Fraction(coefficient)
        size = product + Fraction(coefficient)
        error = error + u * (size + error)
    error += 2 * largest ** (DEGREE + 1) / math.factorial(DEGREE + 1)  # what the polynomial leaves out
    least = Fraction(70, 100)  # e^r is at least that
    assert error / least + 2 * shift < Fraction(RELATIVE)


def test_masked_entries_pass_sums_and_exponentials_only() -> None:
    a = Midpoint()
    mask = a.constant(Constant((1, 2), "real", (Fraction(0), float("-inf"))))
    scores = a.add(a.scalar(Fraction(1)), mask)
    softmax = REGISTRY["softmax"].evaluate(a, [scores], {"axis": 1})
    assert abs(softmax.mid[0, 0] - 1) <= softmax.radius[0, 0]
    assert (softmax.mid[0, 1], softmax.radius[0, 1]) == (0, 0)
    for misuse in (lambda: a.multiply(scores, scores), lambda: a.apply("tanh", scores), lambda: a.subtract(mask, mask)):
        with pytest.raises(Unsupported):
            misuse()


def test_what_cannot_be_decided_is_said_so() -> None:
    a = Midpoint()
    around_zero = Middle(np.array([5.0]), np.array([10.0]))
    for misuse in (
        lambda: a.divide(around_zero, around_zero), lambda: a.apply("rsqrt", around_zero),
        lambda: a.apply("exp", around_zero), lambda: a.apply("exp", Middle(np.array([701.0]), np.array([0.0]))),
        lambda: a.apply("log", around_zero), lambda: a.floor(around_zero),
        lambda: a.top(Middle(np.array([1.0, 1.5]), np.array([0.5, 0.5])), 0, 1),
    ):  # fmt: skip
        with pytest.raises(Undecided):
            misuse()
    undecided = a.greater(around_zero, a.scalar(Fraction(0)))
    assert isinstance(undecided, Sign)
    with pytest.raises(Unsupported):
        np.logical_and(undecided, True)
    chosen = a.select(undecided, around_zero, a.scalar(Fraction(0)))  # max(x, 0) for x from -5 to 15
    assert chosen.mid[0] - chosen.radius[0] <= 0
    assert chosen.mid[0] + chosen.radius[0] >= 15


@pytest.mark.parametrize("x", [np.inf, -np.inf, np.nan, 1e308])
def test_what_overflows_has_no_finite_radius(x: float) -> None:
    a, middle = Midpoint(), Middle(np.array([x]), np.array([0.0]))
    with np.errstate(all="ignore"):
        for result in (a.multiply(a.add(middle, middle), middle), a.matmul(a.reshape(middle, (1, 1)), np.array([[x]]))):
            assert not np.isfinite(a.apply("sigmoid", result).radius).all()
            assert not np.isfinite(a.sum(result, (0,), True).radius).all()


def test_numbers_too_small_for_doubles_lie_inside() -> None:
    a, least = Midpoint(), Middle(np.array([1e-300]), np.array([1e-310]))
    square = a.multiply(least, least)
    assert TINY <= square.radius[0] < 1e-200


def lanes_of(case: Case, tokens: int) -> tuple[Any, list[Middle]]:
    """A tensor (2, 3, 4) whose entries [1, 1:, ::2] vary, as lanes and one by one."""
    varies = np.zeros((2, 3, 4), dtype=np.bool_)
    varies[1, 1:, ::2] = True
    middle = case.middle.moved(lambda a: a.reshape(tokens, 2, 3, 4))
    same = [Middle(np.where(varies, middle.mid[i], middle.mid[0]), np.where(varies, middle.radius[i], middle.radius[0]))
            for i in range(tokens)]  # fmt: skip
    box = (slice(1, 2), slice(1, 3), slice(0, 3))
    cut = Middle(*(np.stack([getattr(one, part)[box] for one in same]) for part in ("mid", "radius")))
    return Laned(same[0], cut, varies, box), same


CAUSAL = Constant((3, 3), "real", tuple(float("-inf") if j > i else Fraction(0) for i in range(3) for j in range(3)))
TOGETHER = {
    "move": lambda a, x: a.reshape(a.permute(a.expand(a.reshape(x, (2, 1, 3, 4)), (2, 2, 3, 4)), (0, 2, 1, 3)), (6, 8)),
    "slice": lambda a, x: a.slice(x, 2, 1, 4, 2),
    "take": lambda a, x: a.take(x, np.array([2, 0, 2]), 1),
    "concatenate": lambda a, x: a.concatenate([a.slice(x, 1, 0, 2, 1), x, a.slice(x, 1, 0, 1, 1)], 1),
    "select": lambda a, x: a.select(np.array([True, False, True, True]), x, a.negate(x)),
    "clamp": lambda a, x: REGISTRY["relu"].evaluate(a, [x], {}),
    "sum": lambda a, x: a.sum(x, (0, 2), False),
    "nothing left": lambda a, x: a.slice(x, 0, 0, 1, 1),
    "partial sums": lambda a, x: a.cumulative_sum(x, 2),
    "weights": lambda a, x: a.matmul(x, np.arange(20.0).reshape(4, 5) - 7),
    "weights first": lambda a, x: a.matmul(np.arange(6.0).reshape(2, 3) - 1, x),
    "attention": lambda a, x: a.matmul(
        REGISTRY["softmax"].evaluate(
            a, [a.add(a.matmul(x, a.permute(x, (0, 2, 1))), a.constant(CAUSAL))], {"axis": 2}
        ),
        x,
    ),
    "norm": lambda a, x: REGISTRY["layer_norm"].evaluate(a, [x], {"axes": 1, "epsilon": Fraction(1, 100)}),
}  # fmt: skip


@pytest.mark.parametrize("name", TOGETHER)
def test_prompts_together_are_the_prompts_one_by_one(name: str) -> None:
    laned, single = lanes_of(Case(5, (4, 24)), 4)
    together = TOGETHER[name](Lanes(Midpoint()), laned)
    for place, one in enumerate(single):
        alone = TOGETHER[name](Midpoint(), one)
        whole = tuple(slice(0, n) for n in alone.shape)
        found = (
            Lanes(Midpoint()).on(together, whole) if isinstance(together, Laned) else together.moved(lambda a: a[None])
        )
        at = min(place, found.shape[0] - 1)
        assert found.shape[1:] == alone.shape
        assert np.allclose(found.mid[at], alone.mid, rtol=1e-12, atol=1e-12)
        assert np.allclose(found.radius[at], alone.radius, rtol=1e-3, atol=1e-14)
        if isinstance(together, Laned):
            assert (np.abs(alone.mid - together.base.mid)[~together.varies] < 1e-12).all()


def test_a_causal_mask_keeps_later_tokens_from_earlier_places() -> None:
    laned, _ = lanes_of(Case(5, (4, 24)), 4)
    mixed = TOGETHER["attention"](Lanes(Midpoint()), laned)
    assert mixed.varies[1, 1:].all()
    assert not mixed.varies[0].any()
    assert not mixed.varies[1, 0].any()


def test_what_differs_from_token_to_token_steers_nothing() -> None:
    laned, _ = lanes_of(Case(5, (4, 24)), 4)
    for misuse in (lambda a: a.top(laned, 2, 1), lambda a: a.floor(laned)):
        with pytest.raises(Unsupported):
            misuse(Lanes(Midpoint()))
