"""Distances of stored points: fast with a bound, certified in double-double, and exact in integers.

Three layers, each asked only about what the one before leaves open. None uses |a|^2 + |b|^2 - 2ab.

- `scaled_distances`: direct differences in float64, for every pair that survives pruning;
- `doubled_squares`: the square as an unevaluated sum of two float64, with a flag that says when that sum is exact;
- `exact_square`: the square as a rational number, whatever the exponents.

Coordinates are multiplied by a power of two first, so that squares neither overflow nor underflow unless a pair
differs by less than 2**-480 of the largest magnitude; such pairs are settled in integers.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numerics.compiled import Array, compiled, compiled_sums
from numerics.point_set import PointSet

UNIT_ROUNDOFF = 2.0**-53
UNDERFLOW = 2.0**-500  # scaled distances below this are not trusted
SAFE_DIFFERENCE = 2.0**-480  # scaled differences above this square without underflow, rounding error included
SMALLEST_SQUARE = 2.0**-900  # scaled squares below this are settled in integers


def relative_error(dimensions: int) -> float:
    """Bound on the relative error of `scaled_distances` above `UNDERFLOW`: half of gamma_(d+3), and the root."""
    terms = (dimensions + 3) * UNIT_ROUNDOFF
    return 0.5 * terms / (1 - terms) + 2 * UNIT_ROUNDOFF


@compiled_sums
def scaled_distance(values: Array, unit: float, first: int, second: int, bound: float) -> float:
    """|values[first] - values[second]| * unit, or infinity as soon as a partial sum shows that it exceeds `bound`.

    The error is at most `relative_error(d)` relative, and 2**-500 absolute.
    """
    limit = bound * bound * (1.0 + 2.0**-40)
    first_row, second_row = values[first], values[second]
    total, start = 0.0, 0
    while start < first_row.shape[0]:
        a, b = first_row[start : start + 128], second_row[start : start + 128]
        part = 0.0
        for column in range(a.shape[0]):
            difference = np.float64(a[column]) * unit - np.float64(b[column]) * unit
            part += difference * difference
        total += part
        if total > limit:
            return np.inf
        start += 128
    return np.sqrt(total)


@compiled
def scaled_distances(values: Array, unit: float, firsts: Array, seconds: Array, bound: float, out: Array) -> None:
    """`scaled_distance` of many pairs, written to `out`."""
    for pair in range(firsts.shape[0]):
        out[pair] = scaled_distance(values, unit, firsts[pair], seconds[pair], bound)


@compiled
def doubled_squares(
    values: Array,
    unit: float,
    firsts: Array,
    seconds: Array,
    high: Array,
    low: Array,
    exact: Array,
) -> None:
    """(|a - b| * unit)**2 of many pairs as `high + low`, and whether that sum is exact.

    Differences and sums are taken with their rounding errors (Knuth's two-sum), squares with theirs (Dekker's
    product). Where an error term had itself to be rounded, `exact` is false and `high` is within 2**-51 relative,
    unless it is below `SMALLEST_SQUARE`.
    """
    for pair in range(firsts.shape[0]):
        first, second = firsts[pair], seconds[pair]
        top, tail, sure = 0.0, 0.0, True
        for column in range(values.shape[1]):
            stored_a, stored_b = np.float64(values[first, column]), np.float64(values[second, column])
            a, b = stored_a * unit, stored_b * unit
            sure &= a / unit == stored_a and b / unit == stored_b  # false where scaling underflows
            difference = a - b
            virtual = a - difference
            error = (a - (difference + virtual)) + (virtual - b)
            sure &= error == 0.0 and (difference == 0.0 or abs(difference) > SAFE_DIFFERENCE)

            square = difference * difference
            split = 134217729.0 * difference  # 2**27 + 1
            upper = split - (split - difference)
            lower = difference - upper
            square_error = ((upper * upper - square) + 2.0 * upper * lower) + lower * lower

            total = top + square
            virtual = total - top
            carried = (top - (total - virtual)) + (square - virtual)
            top = total
            for part in (carried, square_error):
                total = tail + part
                virtual = total - tail
                sure &= (tail - (total - virtual)) + (part - virtual) == 0.0
                tail = total
        total = top + tail
        virtual = total - top
        high[pair], low[pair] = total, (top - (total - virtual)) + (tail - virtual)
        exact[pair] = sure


def exact_square(points: PointSet, first: int, second: int) -> Fraction:
    """The squared distance of two rows as stored, exactly, in absolute units. O(d) operations on integers."""
    smallest, integers = 0, []
    for a, b in zip(points.values[first].tolist(), points.values[second].tolist(), strict=True):
        if a != b:
            difference = Fraction(a) - Fraction(b)
            integers.append((difference.numerator, difference.denominator.bit_length() - 1))
            smallest = max(smallest, integers[-1][1])
    total = sum((numerator << (smallest - exponent)) ** 2 for numerator, exponent in integers)
    return Fraction(total, 1 << (2 * smallest))


def exact_squares(points: PointSet, firsts: NDArray[Any], seconds: NDArray[Any]) -> list[Fraction]:
    """Squared distances exactly, in absolute units: from double-double where that is exact, else from integers."""
    high, low, exact = _doubled(points, firsts, seconds)
    scale = Fraction(2) ** (2 * points.shift)
    return [
        (Fraction(float(high[pair])) + Fraction(float(low[pair]))) * scale
        if exact[pair]
        else exact_square(points, int(firsts[pair]), int(seconds[pair]))
        for pair in range(len(firsts))
    ]


def distances(points: PointSet, firsts: NDArray[Any], seconds: NDArray[Any]) -> NDArray[np.float64]:
    """Distances in absolute units, within 2**-51 relative, or rounded to nearest where denormal; infinity above all.

    Shape (pairs,), like `firsts` and `seconds`.
    """
    high, _, _ = _doubled(points, firsts, seconds)
    with np.errstate(over="ignore", under="ignore"):
        roots = np.ldexp(np.sqrt(high), points.shift)
    for pair in np.flatnonzero((high < SMALLEST_SQUARE) | (roots < np.finfo(np.float64).tiny)):
        roots[pair] = rounded_root(exact_square(points, int(firsts[pair]), int(seconds[pair])))
    return roots


def within(points: PointSet, firsts: NDArray[Any], seconds: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Whether each distance is at most the threshold (absolute), decided for the stored values without any error."""
    high, _, _ = _doubled(points, firsts, seconds)
    roots, limit = np.sqrt(high), points.scaled(threshold)
    answer = roots <= limit
    doubtful = (high < SMALLEST_SQUARE) | (np.abs(roots - limit) <= 2.0**-48 * limit)
    for pair in np.flatnonzero(doubtful):
        square = exact_square(points, int(firsts[pair]), int(seconds[pair]))
        answer[pair] = square <= Fraction(threshold) ** 2
    return answer


def _doubled(
    points: PointSet, firsts: NDArray[Any], seconds: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    high, low, exact = np.empty(len(firsts)), np.empty(len(firsts)), np.empty(len(firsts), dtype=np.bool_)
    doubled_squares(points.values, points.unit, firsts, seconds, high, low, exact)
    return high, low, exact


def rounded_root(square: Fraction) -> float:
    """The square root of a rational number as the nearest float64 (infinity above the largest, denormal below)."""
    if square == 0:
        return 0.0
    size = square.numerator.bit_length() - square.denominator.bit_length()
    shift = (130 - size) // 2  # the scaled root has about 65 bits, enough to round once and correctly
    scaled = square * Fraction(4) ** shift
    whole = math.isqrt(scaled.numerator // scaled.denominator)
    inexact = whole * whole != scaled
    sticky = Fraction(2 * whole + inexact, 2) / Fraction(2) ** shift  # a half unit keeps ties on their true side
    try:
        return sticky.numerator / sticky.denominator  # integer division rounds once, to nearest even
    except OverflowError:
        return math.inf
