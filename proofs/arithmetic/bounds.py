"""Exact bounds: intervals of rationals whose ends are strict or not.

Strictness matters: 1 - exp(t) is positive only where t < 0 is known to be strict. An end of None is infinite. A result
whose end would take thousands of digits is given a shorter end further out, so that no chain of products is dear.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

ZERO = Fraction(0)
ONE = Fraction(1)
LONGEST = 1200  # bits of a numerator or denominator; an end that needs more is moved outward
POINT = 590  # bits after the point, and before it, of an end that was moved
LARGEST = Fraction(2**POINT)


@dataclass(frozen=True, slots=True)
class Interval:
    """The reals between two ends; `open_below` and `open_above` say that the end itself is not reached."""

    lower: Fraction | None = None
    open_below: bool = False
    upper: Fraction | None = None
    open_above: bool = False

    @classmethod
    def point(cls, value: Fraction | int) -> "Interval":
        """One number."""
        return cls(Fraction(value), False, Fraction(value), False)

    @property
    def positive(self) -> bool:
        """Whether every member is > 0."""
        return self.lower is not None and (self.lower > 0 or (self.lower == 0 and self.open_below))

    @property
    def negative(self) -> bool:
        """Whether every member is < 0."""
        return (-self).positive

    @property
    def non_negative(self) -> bool:
        """Whether every member is >= 0."""
        return self.lower is not None and self.lower >= 0

    def above(self, value: Fraction) -> bool:
        """Whether every member is > value."""
        return (self - Interval.point(value)).positive

    def at_least(self, value: Fraction) -> bool:
        """Whether every member is >= value."""
        return self.lower is not None and self.lower >= value

    def at_most(self, value: Fraction) -> bool:
        """Whether every member is <= value."""
        return self.upper is not None and self.upper <= value

    def __neg__(self) -> "Interval":
        return Interval(
            None if self.upper is None else -self.upper,
            self.open_above,
            None if self.lower is None else -self.lower,
            self.open_below,
        )

    def __add__(self, other: "Interval") -> "Interval":
        lower = None if self.lower is None or other.lower is None else self.lower + other.lower
        upper = None if self.upper is None or other.upper is None else self.upper + other.upper
        return _shortened(
            Interval(
                lower,
                lower is not None and (self.open_below or other.open_below),
                upper,
                upper is not None and (self.open_above or other.open_above),
            )
        )

    def __sub__(self, other: "Interval") -> "Interval":
        return self + -other

    def __mul__(self, other: "Interval") -> "Interval":
        return _product(self, other)

    def scaled(self, factor: Fraction) -> "Interval":
        """Every member times a number."""
        return self * Interval.point(factor)

    def raised(self, exponent: int) -> "Interval":
        """x^n for members x >= 0; there both factors of every product grow with x, so that none loses an end."""
        if exponent < 2:
            return self if exponent else Interval.point(1)
        half = self.raised(exponent // 2)
        return half * half * self if exponent % 2 else half * half

    def reciprocal(self) -> "Interval":
        """1/x where every member has one sign; else, or where there is no member, nothing is known of the result."""
        if self.negative:
            return -(-self).reciprocal()
        if not self.positive or self.lower is None or self.at_most(ZERO):
            return Interval()
        return Interval(
            ZERO if self.upper is None else 1 / self.upper,
            self.upper is None or self.open_above,
            None if self.lower == 0 else 1 / self.lower,
            self.lower != 0 and self.open_below,
        )

    def hull(self, other: "Interval") -> "Interval":
        """The least interval that holds both."""
        return -_raise_upper(-_raise_upper(self, other), -other)

    def to_json(self) -> list[Any]:
        """[lower, open, upper, open] with exact rationals as text, null for infinite."""
        return [
            None if self.lower is None else str(self.lower),
            self.open_below,
            None if self.upper is None else str(self.upper),
            self.open_above,
        ]


EVERYTHING = Interval()


def _raise_upper(first: Interval, second: Interval) -> Interval:
    """`first` with the larger of both upper ends."""
    if first.upper is None or second.upper is None:
        return Interval(first.lower, first.open_below)
    if first.upper == second.upper:
        return Interval(first.lower, first.open_below, first.upper, first.open_above and second.open_above)
    larger = first if first.upper > second.upper else second
    return Interval(first.lower, first.open_below, larger.upper, larger.open_above)


def _product(first: Interval, second: Interval) -> Interval:
    """The extremes of a bilinear form on a box lie at its corners; one is reached if both ends are, or an end 0 is."""
    corners = [_corner(a, b) for a in _ends(first) for b in _ends(second)]
    lower = _least([(value, sign, reached) for value, sign, reached in corners])
    upper = _least([(None if v is None else -v, -sign, reached) for v, sign, reached in corners])
    return _shortened(
        Interval(
            lower[0],
            lower[0] is not None and not lower[1],
            None if upper[0] is None else -upper[0],
            upper[0] is not None and not upper[1],
        )
    )


def _ends(interval: Interval) -> list[tuple[Fraction | None, int, bool]]:
    """(value, sign of infinity, reached) of both ends."""
    return [
        (interval.lower, -1, interval.lower is not None and not interval.open_below),
        (interval.upper, 1, interval.upper is not None and not interval.open_above),
    ]


def _corner(
    first: tuple[Fraction | None, int, bool], second: tuple[Fraction | None, int, bool]
) -> tuple[Fraction | None, int, bool]:
    (a, sign_a, reached_a), (b, sign_b, reached_b) = first, second
    if a == 0 or b == 0:
        return ZERO, 0, (a == 0 and reached_a) or (b == 0 and reached_b)
    if a is not None and b is not None:
        return a * b, 0, reached_a and reached_b
    sign_a = sign_a if a is None else (1 if a > 0 else -1)
    sign_b = sign_b if b is None else (1 if b > 0 else -1)
    return None, sign_a * sign_b, False


def _least(corners: list[tuple[Fraction | None, int, bool]]) -> tuple[Fraction | None, bool]:
    if any(value is None and sign < 0 for value, sign, _ in corners):
        return None, False
    values = [(value, reached) for value, _, reached in corners if value is not None]
    if not values:
        return None, False
    least = min(value for value, _ in values)
    return least, any(reached for value, reached in values if value == least)


def _shortened(interval: Interval) -> Interval:
    """The interval with ends of few digits: one that is moved outward is not reached, for every member lies inside."""
    lower, negative = _below(interval.lower), _below(None if interval.upper is None else -interval.upper)
    upper = None if negative is None else -negative
    return Interval(
        lower,
        lower is not None and (interval.open_below or lower != interval.lower),
        upper,
        upper is not None and (interval.open_above or upper != interval.upper),
    )


def _below(end: Fraction | None) -> Fraction | None:
    """The end itself where it is short, else a short number below it, or None for minus infinity."""
    if end is None or max(end.numerator.bit_length(), end.denominator.bit_length()) <= LONGEST:
        return end
    if end > LARGEST:
        return LARGEST
    if end < -LARGEST:
        return None
    return Fraction((end.numerator << POINT) // end.denominator, 1 << POINT)
