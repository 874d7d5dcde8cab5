from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from proofs.arithmetic.bounds import Interval

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
