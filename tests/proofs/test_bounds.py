"""Exact bounds hold the image of every member, strict where it stays below its ends."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from proofs.arithmetic.bounds import LONGEST, Interval

ENDS = st.one_of(st.none(), st.fractions(min_value=-4, max_value=4, max_denominator=4))


@st.composite
def intervals_with_a_member(draw: st.DrawFn) -> tuple[Interval, Fraction]:
    member = draw(st.fractions(min_value=-5, max_value=5, max_denominator=8))
    low, high = (
        draw(st.one_of(st.none(), st.fractions(min_value=0, max_value=3, max_denominator=8))) for _ in range(2)
    )
    below, above = (draw(st.booleans()) for _ in range(2))
    return (
        Interval(
            None if low is None else member - low,
            low is not None and low > 0 and below,
            None if high is None else member + high,
            high is not None and high > 0 and above,
        ),
        member,
    )


def assert_holds(bounds: Interval, value: Fraction) -> None:
    if bounds.lower is not None:
        assert value > bounds.lower or (value == bounds.lower and not bounds.open_below)
    if bounds.upper is not None:
        assert value < bounds.upper or (value == bounds.upper and not bounds.open_above)


@given(intervals_with_a_member(), intervals_with_a_member())
def test_every_operation_holds_the_image_of_every_member(
    first: tuple[Interval, Fraction], second: tuple[Interval, Fraction]
) -> None:
    (x, a), (y, b) = first, second
    assert_holds(x + y, a + b)
    assert_holds(x - y, a - b)
    assert_holds(x * y, a * b)
    assert_holds(-x, -a)
    assert_holds(x.hull(y), a)
    assert_holds(x.hull(y), b)
    if x.positive or x.negative:
        assert a != 0
        assert_holds(x.reciprocal(), 1 / a)


def test_strictness_is_kept() -> None:
    below_zero = Interval(None, False, Fraction(0), True)
    assert (Interval.point(1) - below_zero).above(Fraction(1))
    assert not (Interval.point(1) - Interval(None, False, Fraction(0))).above(Fraction(1))
    assert not (Interval(Fraction(0)) * Interval(Fraction(0), True)).positive
    assert (Interval(Fraction(0), True) * Interval(Fraction(0), True)).positive


@given(
    st.fractions(min_value=-3, max_value=3, max_denominator=7),
    st.sampled_from([Fraction(1), Fraction(3**900), Fraction(1, 3**900), Fraction(7**1500, 11**1400)]),
    st.sampled_from([Fraction(0), Fraction(1, 3**2000)]),
    st.tuples(st.booleans(), st.booleans()),
    st.integers(2, 9),
)
def test_long_ends_move_outward(
    middle: Fraction, scale: Fraction, wide: Fraction, opened: tuple[bool, bool], exponent: int
) -> None:
    value = middle * scale
    x = Interval(value - wide, bool(wide) and opened[0], value + wide, bool(wide) and opened[1])
    found = [(x + x, 2 * value), (x * x, value**2), (x * x * x * x, value**4)]
    if x.non_negative:
        found.append((x.raised(exponent), value**exponent))
    for bounds, exact in found:
        assert_holds(bounds, exact)
        if exact > 0 and x.non_negative:
            assert bounds.positive or not x.positive
        for end in (bounds.lower, bounds.upper):
            assert end is None or max(end.numerator.bit_length(), end.denominator.bit_length()) <= LONGEST


def test_powers_of_powers_are_not_dear() -> None:
    x = Interval.point(3)
    for _ in range(200):
        x = x.raised(1024)
    assert x.above(Fraction(2**500))
    assert x.upper is None


def test_nothing_is_known_of_the_reciprocal_of_no_number() -> None:
    assert Interval(Fraction(0), True, Fraction(0)).reciprocal() == Interval()
    assert Interval(Fraction(1), False, Fraction(0)).reciprocal() == Interval()
