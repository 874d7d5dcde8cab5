"""Exact products of large integers by float64 matrix products: limbs, slices of weights, carries.

An integer is cut into balanced limbs of 24 bits, a weight matrix into slices of integers below 2^18. Every partial
sum of a product of the two is an integer of at most 2^53, so float64 gives it exactly in any order of summation.
"""

import functools
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofs.errors import InvalidInput, Unsupported

Integers = NDArray[np.object_]  # Python integers
Floats = NDArray[np.float64]

LIMB = 24  # bits; three bytes
HALF = 1 << (LIMB - 1)
SLICE = 18  # bits of the first slice; each later one takes one more, for the half that rounding leaves
LONGEST = 4096  # terms of one product: 2^23 * 2^18 * 2^12 = 2^53
LONGEST_OF_LIMBS = 128  # terms of a product of limbs with limbs: 2^23 * 2^23 * 2^7
MOST_PRODUCTS = 2**15  # of two limbs, in one sum of int64: 2^23 * 2^23 * 2^15 = 2^61
MOST_TERMS = 2**20  # of a product with a slice, in one sum of int64: 2^23 * 2^18 * 2^20 = 2^61
MOST_SLICES = 64
SPARSE = 0.02  # share of nonzero entries below which a slice is kept as a list


def to_limbs(values: Integers) -> Floats:
    """Balanced limbs, least first: shape (limbs, *values.shape), integers in [-2^23, 2^23)."""
    flat = values.ravel().tolist()
    widest = max((value.bit_length() for value in flat), default=0)
    count = widest // LIMB + 2
    offset = HALF * sum(1 << (LIMB * i) for i in range(count))  # makes every digit non-negative
    size = 3 * count
    packed = b"".join([(value + offset).to_bytes(size, "little") for value in flat])
    digits = np.frombuffer(packed, dtype=np.uint8).reshape(len(flat), count, 3).astype(np.float64)
    limbs = digits[..., 0] + digits[..., 1] * 2.0**8 + digits[..., 2] * 2.0**16 - HALF
    if count > 1 and not limbs[:, -1].any():
        limbs = limbs[:, :-1]
    return np.ascontiguousarray(limbs.T).reshape(-1, *values.shape)


def from_limbs(limbs: NDArray[np.int64]) -> Integers:
    """The integers sum_i limbs[i] 2^(24 i), limbs below 2^62 in size; shape limbs.shape[1:]."""
    digits = carried(limbs)
    top = digits[-1].ravel().tolist()
    count = len(digits) - 1
    low = np.ascontiguousarray(digits[:-1].reshape(count, -1).T).astype("<u4")
    packed = low.view(np.uint8).reshape(-1, count, 4)[..., :3].tobytes()
    size, read = 3 * count, int.from_bytes
    result = np.empty(len(top), dtype=object)
    result[:] = [
        read(packed[place * size : (place + 1) * size], "little") + (high << (LIMB * count))
        for place, high in enumerate(top)
    ]
    return result.reshape(limbs.shape[1:])


def carried(limbs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same integers with digits in [0, 2^24) but for one more on top, which keeps the sign."""
    digits = np.empty((len(limbs) + 1, *limbs.shape[1:]), dtype=np.int64)
    carry = np.zeros(limbs.shape[1:], dtype=np.int64)
    for place, limb in enumerate(limbs):
        carry = limb + carry
        digits[place] = carry & ((1 << LIMB) - 1)
        carry = carry >> LIMB
    digits[-1] = carry
    return digits


@dataclass(frozen=True, slots=True, eq=False)
class Few:
    """A slice with few nonzero entries, in order of their columns."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]  # without repetition
    starts: NDArray[np.intp]  # where each column begins among the rows
    values: Floats

    def product(self, left: Floats, width: int) -> Floats:
        """left @ slice, shape (rows of left, width)."""
        result = np.zeros((len(left), width))
        result[:, self.columns] = np.add.reduceat(left[:, self.rows] * self.values, self.starts, axis=1)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """A matrix as sum_k slices[k] 2^(-scale_k) exactly, with scale_k = scale + 19 k; `slices` hold integers."""

    slices: tuple[NDArray[np.float32] | Few, ...]
    scale: int
    shape: tuple[int, int]

    @property
    def last_scale(self) -> int:
        """The matrix is an integer matrix times 2^-last_scale."""
        return self.scale + (SLICE + 1) * (len(self.slices) - 1)


def slices_of(matrix: NDArray[Any]) -> Slices:
    """Cuts a matrix of floats into slices, exactly.

    Raises:
        InvalidInput: an entry is not finite.
        Unsupported: the entries range over too many orders of magnitude.
    """
    left = matrix.astype(np.float64)  # keeps the layout, so that a transposed view stays one
    largest = float(np.abs(left).max(initial=0.0))
    if not np.isfinite(largest):
        raise InvalidInput("Expected finite weights, but got an infinity or NaN; the file is damaged.")
    exponent = int(np.frexp(largest)[1])
    if largest and not -800 < exponent < 800:
        raise Unsupported(f"Expected weights of ordinary size, but got entries near 2^{exponent}.")
    left = np.ldexp(left, SLICE - exponent)
    if not np.array_equal(np.ldexp(left, exponent - SLICE), matrix):
        raise Unsupported("Expected weights of comparable size, but the smallest would be lost beside the largest.")
    slices: list[NDArray[np.float32] | Few] = []
    while True:
        whole = np.rint(left)
        slices.append(_kept(whole))
        left -= whole  # exact: the fraction of a double is a double
        if not left.any():
            break
        left *= 2.0 ** (SLICE + 1)
        if len(slices) == MOST_SLICES:
            raise Unsupported("Expected weights of comparable size, but they need too many slices.")
    rows, columns = matrix.shape
    return Slices(tuple(slices), SLICE - exponent, (rows, columns))


def _kept(whole: Floats) -> NDArray[np.float32] | Few:
    crowded = int(np.count_nonzero(whole, axis=0).max(initial=0)) > LONGEST
    if crowded or np.count_nonzero(whole) > SPARSE * whole.size:
        return whole.astype(np.float32)
    columns, rows = np.nonzero(whole.T)
    unique, starts = np.unique(columns, return_index=True)
    return Few(rows, unique, starts, whole[rows, columns])


def product_with_slices(values: Integers, weights: Slices) -> Integers:
    """The exact integers of `values @ matrix * 2^last_scale` for values of shape (rows, n)."""
    limbs = to_limbs(values)
    count, rows, terms = limbs.shape
    if terms > MOST_TERMS:
        raise Unsupported(f"Expected a product of at most {MOST_TERMS} terms, but got {terms}; nothing is said of it.")
    width = weights.shape[1]
    flat = limbs.reshape(count * rows, terms)
    total: NDArray[np.int64] | None = None
    for part in weights.slices:
        term = _exact_product(flat, part, width).reshape(count, rows, width)
        if total is None:
            total = term
        else:
            digits = carried(total)  # below 2^24, the top one small: the shift by 19 bits stays below 2^62
            digits <<= SLICE + 1
            digits[:count] += term
            total = digits
    assert total is not None  # there is at least one slice
    return from_limbs(total)


def _exact_product(left: Floats, part: NDArray[np.float32] | Few, width: int) -> NDArray[np.int64]:
    terms = left.shape[1]
    result = np.zeros((len(left), width), dtype=np.int64)
    if isinstance(part, Few):
        return result + part.product(left, width).astype(np.int64) if len(part.rows) else result
    for start in range(0, terms, LONGEST):
        stop = start + LONGEST
        result += (left[:, start:stop] @ part[start:stop].astype(np.float64)).astype(np.int64)
    return result


def product(left: Integers, right: Integers) -> Integers:
    """The exact matrix product of integers, shapes (..., m, n) and (..., n, p) with equal leading axes.

    Where several products of limbs meet at one place, so many terms go together that their sum stays below 2^62.
    """
    x, y = to_limbs(left), to_limbs(right)
    together = MOST_PRODUCTS // min(len(x), len(y))
    parts = range(0, max(left.shape[-1], 1), together)
    sums = (_product(x[..., at : at + together], y[..., at : at + together, :]) for at in parts)
    return functools.reduce(operator.add, sums)


def _product(x: Floats, y: Floats) -> Integers:
    """The product of limbs, shapes (limbs, ..., m, n) and (limbs, ..., n, p)."""
    batch, (height, terms), width = x.shape[1:-2], x.shape[-2:], y.shape[-1]
    total = np.zeros((len(x) + len(y) - 1, *batch, height, width), dtype=np.int64)
    columns = np.moveaxis(y, 0, -2).reshape(*batch, terms, -1)  # all limbs of the right factor side by side
    for place, limb in enumerate(x):
        for start in range(0, terms, LONGEST_OF_LIMBS):
            stop = start + LONGEST_OF_LIMBS
            part = (limb[..., start:stop] @ columns[..., start:stop, :]).astype(np.int64)
            part = part.reshape(*batch, height, len(y), width)
            total[place : place + len(y)] += np.moveaxis(part, -2, 0)
    return from_limbs(total)
