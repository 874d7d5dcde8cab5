"""Matrix products with weights in float64 whose error is about one rounding, not one for every term.

Both factors are rounded to a grid so coarse that the product of what they are rounded to is exact, whatever the order
of summation; what is left over is so small that the errors of its products hardly count (docs/separation.md).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNIT = 2.0**-53  # half the distance from 1 to the next double
ROW_BITS, COLUMN_BITS = 23, 18
MOST_TERMS = 2**12  # 2^23 2^18 2^12 = 2^53: every partial sum of products of grid points is a double
LARGEST_EXPONENT = 900  # of factors that are treated at all


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A matrix (n, m) of exact weights: what a product needs of it.

    Attributes:
        whole, size: the matrix, and its absolute values.
        coarse: each column rounded to 18 bits below its largest entry.
        rest: the matrix less `coarse`, exactly; None where nothing is left.
        rest_size, column_sums: of each column, the largest |rest|, and the sum of |whole|, computed in some order.
    """

    whole: Floats
    size: Floats
    coarse: Floats
    rest: Floats | None
    rest_size: Floats
    column_sums: Floats

    @classmethod
    def of(cls, weights: Floats) -> "Weights":
        """The parts of a matrix of doubles."""
        size = np.abs(weights)
        coarse = _coarse(weights, size.max(axis=0), COLUMN_BITS)
        rest = weights - coarse
        rest_size = np.abs(rest).max(axis=0)
        return cls(weights, size, coarse, rest if rest_size.any() else None, rest_size, size.sum(axis=0))


def product(rows: Floats, weights: Weights) -> tuple[Floats, Floats]:
    """rows (k, n) times weights, n at most 4096, and how far it is off at most, but for underflow.

    The bound is computed in doubles >= 0; its own rounding is left to the caller to cover.
    """
    size = np.abs(rows)
    coarse = _coarse(rows, size.max(axis=1), ROW_BITS, axis=1)
    rest = rows - coarse
    low = rest @ weights.whole
    if weights.rest is not None:
        low += coarse @ weights.rest
    result = coarse @ weights.coarse
    result += low
    gamma = (rows.shape[1] + 2) * UNIT
    error = np.multiply.outer(np.abs(rest).max(axis=1) * gamma, weights.column_sums)
    if weights.rest is not None:
        error += np.multiply.outer(size.sum(axis=1) * (2 * gamma), weights.rest_size)
        np.abs(low, out=low)
        low *= UNIT
        error += low
    error += np.abs(result) * UNIT
    return result, error


def _coarse(x: Floats, largest: Floats, bits: int, axis: int = 0) -> Floats:
    """Entries rounded to so many bits below the largest of their row or column; NaN where that is beyond bounds."""
    exponent = np.maximum(np.frexp(largest)[1], -LARGEST_EXPONENT)
    sound = np.isfinite(largest) & (exponent <= LARGEST_EXPONENT)
    finer, back = (np.where(sound, np.ldexp(1.0, power), np.nan) for power in (bits - exponent, exponent - bits))
    finer, back = np.expand_dims(finer, axis), np.expand_dims(back, axis)
    result = x * finer
    np.rint(result, out=result)
    result *= back
    return result
