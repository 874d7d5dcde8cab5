"""Distances of stored points: fast with a bound, certified in double-double, and exact in integers.

Three layers, each asked only about what the one before leaves open. None uses |a|^2 + |b|^2 - 2ab.

- `scaled_distances`: direct differences in float64, for every pair that survives pruning;
- `DoubledSquares`: squares as unevaluated sums of two float64, with a flag that says when such a sum is exact;
- `exact_square`: the square as a rational number, whatever the exponents.

Coordinates are multiplied by the power of two `PointSet.unit` first, and differences by another where they are
small, so that squares neither overflow nor underflow unless a pair differs by less than 2**-1000 of the largest
magnitude; such pairs are settled in integers.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.compiled import Array, compiled, compiled_sums
from numerics.pairs.points import PointSet

UNIT_ROUNDOFF = 2.0**-53
UNDERFLOW = 2.0**-1000  # scaled distances below this are not trusted
SMALL_SQUARE = 2.0**-900  # scaled squares below this are computed again at a finer scale ...
FINER = 2.0**500  # ... which is this
SAFE_DIFFERENCE = 2.0**-480  # differences above this have squares whose rounding errors do not underflow

Rows = NDArray[np.int64]


def relative_error(dimensions: int) -> float:
    """Bound on the relative error of `scaled_distance` above `UNDERFLOW`: half of gamma_(d+3), and the root."""
    terms = (dimensions + 3) * UNIT_ROUNDOFF
    return 0.5 * terms / (1 - terms) + 2 * UNIT_ROUNDOFF


@compiled_sums
def scaled_distance(values: Array, unit: float, first: int, second: int, bound: float) -> float:
    """|values[first] - values[second]| * unit, or infinity as soon as a partial sum shows that it exceeds `bound`.

    The error is at most `relative_error(d)` relative, and 2**-1000 absolute.
    """
    limit = max(bound * bound * (1.0 + 2.0**-40), SMALL_SQUARE)
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
    if total >= SMALL_SQUARE:
        return np.sqrt(total)
    total = 0.0
    for column in range(first_row.shape[0]):
        difference = (np.float64(first_row[column]) * unit - np.float64(second_row[column]) * unit) * FINER
        total += difference * difference
    return np.sqrt(total) / FINER


@compiled
def scaled_distances(values: Array, unit: float, firsts: Array, seconds: Array, bound: float, out: Array) -> None:
    """`scaled_distance` of many pairs, written to `out`."""
    for pair in range(firsts.shape[0]):
        out[pair] = scaled_distance(values, unit, firsts[pair], seconds[pair], bound)


@dataclass(frozen=True, slots=True, eq=False)
class DoubledSquares:
    """Squared distances of many pairs as (high + low) * 4**exponent in scaled units; arrays of shape (pairs,).

    `high` is that sum rounded to nearest, so that equal exact squares have equal terms once exponents are equal.
    `high` is 0 where the pair differs by less than 2**-1000 (rows may be equal); otherwise it is within 2**-51
    relative, and where `exact` is true nothing was rounded at all.
    """

    high: NDArray[np.float64]
    low: NDArray[np.float64]
    exponent: NDArray[np.int64]
    exact: NDArray[np.bool_]

    @property
    def roots(self) -> NDArray[np.float64]:
        """Scaled distances within 2**-51 relative, or 0 where `high` is 0."""
        return np.ldexp(np.sqrt(self.high), self.exponent)


def doubled_squares(points: PointSet, firsts: Rows, seconds: Rows) -> DoubledSquares:
    """Squared distances of pairs of rows in double-double. O(d) operations a pair, about 2 nanoseconds each."""
    count = len(firsts)
    squares = DoubledSquares(
        np.empty(count), np.empty(count), np.empty(count, dtype=np.int64), np.empty(count, dtype=np.bool_)
    )
    _double(points.values, points.unit, firsts, seconds, squares.high, squares.low, squares.exponent, squares.exact)
    return squares


def exact_square(points: PointSet, first: int, second: int) -> Fraction:
    """The squared distance of two rows as stored, exactly, in absolute units. O(d) operations on integers."""
    differences = [
        Fraction(a) - Fraction(b)
        for a, b in zip(points.values[first].tolist(), points.values[second].tolist(), strict=True)
        if a != b
    ]
    denominator = max((difference.denominator for difference in differences), default=1)  # powers of two all
    total = sum((part.numerator * (denominator // part.denominator)) ** 2 for part in differences)
    return Fraction(total, denominator**2)


def exact_squares(points: PointSet, firsts: Rows, seconds: Rows) -> list[Fraction]:
    """Squared distances exactly, in absolute units: from double-double where that is exact, else from integers."""
    squares = doubled_squares(points, firsts, seconds)
    return [
        (Fraction(float(squares.high[pair])) + Fraction(float(squares.low[pair])))
        * Fraction(4) ** (points.shift + int(squares.exponent[pair]))
        if squares.exact[pair]
        else exact_square(points, int(firsts[pair]), int(seconds[pair]))
        for pair in range(len(firsts))
    ]


def distances(points: PointSet, firsts: Rows, seconds: Rows) -> NDArray[np.float64]:
    """Distances in absolute units, within 2**-51 relative, or rounded to nearest where denormal; infinity above all.

    Shape (pairs,), like `firsts` and `seconds`.
    """
    squares = doubled_squares(points, firsts, seconds)
    with np.errstate(over="ignore", under="ignore"):
        roots = np.ldexp(squares.roots, points.shift)
    for pair in np.flatnonzero((squares.high == 0) | (roots < np.finfo(np.float64).tiny)):
        roots[pair] = rounded_root(exact_square(points, int(firsts[pair]), int(seconds[pair])))
    return roots


def within(points: PointSet, firsts: Rows, seconds: Rows, threshold: float) -> NDArray[np.bool_]:
    """Whether each distance is at most the threshold (absolute), decided for the stored values without any error."""
    roots, limit = doubled_squares(points, firsts, seconds).roots, points.scaled(threshold)
    answer = roots <= limit
    if math.isfinite(limit):
        doubtful = (roots == 0) | (np.abs(roots - limit) <= 2.0**-48 * limit + UNDERFLOW)
        for pair in np.flatnonzero(doubtful):
            square = exact_square(points, int(firsts[pair]), int(seconds[pair]))
            answer[pair] = square <= Fraction(threshold) ** 2
    return answer


def exact_ranks(points: PointSet, firsts: Rows, seconds: Rows) -> Rows:
    """For each pair how many different exact distances among these pairs are less than its own; equal ones rank equal.

    Ranks by double-double, and looks closer only at runs of neighbours that it cannot tell apart.
    """
    if not len(firsts):
        return np.empty(0, dtype=np.int64)
    squares = doubled_squares(points, firsts, seconds)
    order = np.argsort(squares.roots)
    roots = squares.roots[order]
    starts = np.flatnonzero(np.append(True, roots[1:] > roots[:-1] * (1 + 2.0**-48) + UNDERFLOW))
    run = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
    near = np.flatnonzero(np.bincount(run)[run] > 1)
    order[near], new = _told_apart(points, squares, firsts, seconds, order[near], run[near])
    begins = np.ones(len(order), dtype=np.bool_)
    begins[near] = new
    ranks = np.empty_like(order)
    ranks[order] = np.cumsum(begins) - 1
    return ranks


def exact_order(points: PointSet, firsts: Rows, seconds: Rows) -> Rows:
    """The order of pairs by (exact distance, position); positions are those in the arrays given."""
    return np.argsort(exact_ranks(points, firsts, seconds), kind="stable")


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


def _told_apart(
    points: PointSet, squares: DoubledSquares, firsts: Rows, seconds: Rows, pairs: Rows, run: Rows
) -> tuple[Rows, NDArray[np.bool_]]:
    """Pairs in the order of (run, exact distance), and of each whether it differs from the one before in either.

    Args:
        pairs: places in `firsts`.
        run: shape (pairs,): the number of the run that each is in, increasing.
    """
    if not len(pairs):
        return pairs, np.empty(0, dtype=np.bool_)
    starts = np.flatnonzero(np.diff(run, prepend=-1))
    sizes = np.diff(starts, append=len(run))
    exponent = squares.exponent[pairs]
    shift = 2 * (exponent - np.repeat(np.minimum.reduceat(exponent, starts), sizes))  # down would lose bits of `low`
    told = np.logical_and.reduceat(squares.exact[pairs] & (shift < 400), starts)
    shift[~np.repeat(told, sizes)] = 0
    high, low = np.ldexp(squares.high[pairs], shift), np.ldexp(squares.low[pairs], shift)
    for start, size in zip(starts[~told], sizes[~told], strict=True):
        part = slice(start, start + size)
        exact = exact_squares(points, firsts[pairs[part]], seconds[pairs[part]])
        places = {square: place for place, square in enumerate(sorted(set(exact)))}
        high[part], low[part] = [places[square] for square in exact], 0.0
    order = np.lexsort((low, high, run))
    keys = np.column_stack((run, high, low))[order]
    return pairs[order], np.append(True, (keys[1:] != keys[:-1]).any(axis=1))


@compiled
def _double(
    values: Array, unit: float, firsts: Array, seconds: Array, high: Array, low: Array, exponents: Array, exact: Array
) -> None:
    """Fills `DoubledSquares`: differences and sums with their errors (Knuth), squares with theirs (Dekker)."""
    for pair in range(firsts.shape[0]):
        first_row, second_row = values[firsts[pair]], values[seconds[pair]]
        largest = 0.0
        for column in range(first_row.shape[0]):
            largest = max(largest, abs(np.float64(first_row[column]) * unit - np.float64(second_row[column]) * unit))
        high[pair], low[pair], exponents[pair], exact[pair] = 0.0, 0.0, 0, False
        if largest < UNDERFLOW:
            continue
        exponent = math.frexp(largest)[1]
        finer = math.ldexp(1.0, -exponent)
        top, tail, sure = 0.0, 0.0, True
        for column in range(first_row.shape[0]):
            stored_a, stored_b = np.float64(first_row[column]), np.float64(second_row[column])
            a, b = stored_a * unit, stored_b * unit
            sure &= a / unit == stored_a and b / unit == stored_b  # false where scaling underflows
            difference = a - b
            virtual = a - difference
            error = (a - (difference + virtual)) + (virtual - b)
            equal = difference == 0.0  # asked before the scale, which makes 0 of the least differences
            difference *= finer
            sure &= error == 0.0 and (equal or abs(difference) > SAFE_DIFFERENCE)

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
        exponents[pair], exact[pair] = exponent, sure
