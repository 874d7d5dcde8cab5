"""The ring of square roots: its algebra against high precision, and what it refuses to know."""

from fractions import Fraction
from typing import Any

import flint
import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.arithmetic.surds import MASKED, UNKNOWN, ZERO, Surd, Surds, TooLong, at_most, reciprocal_root
from proofs.network.graph import Constant

SURDS = st.dictionaries(
    st.tuples(st.just(0), st.sampled_from([1, 2, 3, 6, 10])), st.fractions(-3, 3, max_denominator=9), max_size=3
).map(lambda terms: Surd({key: flint.fmpq(*value.as_integer_ratio()) for key, value in terms.items() if value}))


def value(number: Surd) -> Any:
    assert number.terms is not None
    return mpmath.fsum(mpmath.mpf(int(c.p)) / int(c.q) * mpmath.sqrt(r) for (_, r), c in number.terms.items())


@given(SURDS, SURDS)
def test_sums_and_products_agree_with_high_precision(x: Surd, y: Surd) -> None:
    with mpmath.workdps(50):
        for exact, near in ((x + y, value(x) + value(y)), (x - y, value(x) - value(y)), (x * y, value(x) * value(y))):
            assert abs(value(exact) - near) < mpmath.mpf(10) ** -40
            assert exact.zero is (abs(near) < mpmath.mpf(10) ** -30)


@given(st.fractions(Fraction(1, 50), 50, max_denominator=60))
def test_reciprocal_roots(x: Fraction) -> None:
    exact = flint.fmpq(x.numerator, x.denominator)
    squared = reciprocal_root(exact) * reciprocal_root(exact)
    assert squared.terms == {(0, 1): 1 / exact}


def test_what_leaves_the_ring_is_unknown_and_zero_times_it_is_zero() -> None:
    ring = Surds(Fraction(4))
    logarithm = Surd.of(1, logarithms=1)
    assert ring.elementary("exp")(logarithm).terms == {(0, 1): 4}
    assert ring.elementary("exp")(ring.number(Fraction(1))) is UNKNOWN
    assert ring.elementary("rsqrt")(reciprocal_root(flint.fmpq(2))) is UNKNOWN
    assert ring.elementary("exp")(MASKED).zero is True
    assert (ZERO * UNKNOWN).zero is True
    assert (UNKNOWN * UNKNOWN).zero is None
    assert (UNKNOWN - UNKNOWN).zero is None
    assert logarithm.zero is None
    with pytest.raises(Undecided):
        ring.greater(ZERO, ZERO)


def test_what_takes_too_many_digits_terms_or_factors_is_unknown() -> None:
    """A number that is given up is unknown, never another one; and it is given up at once."""
    arithmetic = Surds()
    hard = (10**60 + 7) * (10**62 + 447) * (10**70 + 33)  # no factor is found in a moment
    assert reciprocal_root(flint.fmpq(hard)).terms is None
    assert reciprocal_root(flint.fmpq(10**2000 + 1)).terms is None
    assert reciprocal_root(flint.fmpq(4, 9)).terms == {(0, 1): flint.fmpq(3, 2)}
    x = arithmetic.constant(Constant((1,), "real", (3,)))
    assert arithmetic.power(x, 1024).item().terms is None
    assert arithmetic.power(x, 3).item().terms == {(0, 1): 27}
    roots = [reciprocal_root(flint.fmpq(prime)) for prime in (2, 3, 5, 7, 11, 13, 17, 19, 23)]
    assert sum(roots[1:8], roots[0]).terms is not None
    assert sum(roots[1:], roots[0]).terms is None
    assert (sum(roots[1:], roots[0]) * Surd({})).zero


def test_algebra_is_paid_as_it_is_done() -> None:
    x = sum((reciprocal_root(flint.fmpq(prime)) for prime in (2, 3, 5, 7)), ZERO)
    with pytest.raises(TooLong), at_most(1e4):
        assert all((x * x).terms for _ in range(10**4))
    hard = flint.fmpq((2**79 + 67) * (2**80 - 65) * 3)
    with pytest.raises(TooLong), at_most(1e4):
        reciprocal_root(hard)
    with at_most(1e9), at_most(1e3):
        assert (x * ZERO).zero
        assert (x * UNKNOWN).terms is None
    assert (x * x).terms  # outside nothing is counted


@given(st.lists(st.integers(10**28, 10**29), min_size=3, max_size=3), st.integers(5_000, 40_000))
def test_what_was_computed_before_does_not_decide_what_is_too_long(numbers: list[int], allowed: int) -> None:
    def too_long() -> bool:
        try:
            with at_most(allowed):
                assert [reciprocal_root(flint.fmpq(number)).terms for number in numbers]
        except TooLong:
            return True
        return False

    assert len({too_long() for _ in range(3)}) == 1


def test_a_power_of_a_ball_that_holds_zero_is_a_number() -> None:
    with Balls(64) as balls:
        third = balls.constant(Constant((1,), "real", (Fraction(1, 3),)))
        square = balls.power(balls.subtract(third, third), 2).item()
        assert square.is_finite()
        assert square.contains(0)
