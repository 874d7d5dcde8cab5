"""The points of a search, checked once: what may be searched, and what is known about it for free.

One blockwise pass over the rows finds whatever must be refused (NaN, infinities), the largest magnitude, and a
fingerprint of every row's bits; the second pass of `numerics.pairs.bit_identity` groups equal rows from that.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.compiled import Array, compiled
from proofs.arguments import nothing_hidden
from proofs.errors import InvalidInput
from proofs.processes import processors

ACCEPTED = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
ROWS_AT_A_TIME = 4096
LARGEST_SHIFT = 1000  # of the exponent; keeps 2**shift itself a normal number

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class PointSet:
    """Rows that can be searched.

    Attributes:
        values: shape (rows, dimensions), float32 or float64, finite, native byte order, C order, read-only; a view
            of the caller's array or memory map wherever that is already so (float16 is widened, which is exact).
        fingerprints: shape (rows,), uint64: equal for rows with equal entries, nearly always different otherwise.
        shift: the exponent s such that `largest magnitude * 2**-s` lies in [1/2, 1), clamped to [-1000, 1000].
    """

    values: Floats
    fingerprints: NDArray[np.uint64]
    shift: int

    @property
    def unit(self) -> float:
        """The power of two `2**-shift`, by which coordinates are multiplied before they are squared."""
        return math.ldexp(1.0, -self.shift)

    def scaled(self, distance: float) -> float:
        """An absolute distance in scaled units; exact unless below 2**-1022, infinite where too large."""
        try:
            return math.ldexp(distance, -self.shift)
        except OverflowError:
            return math.inf


def point_set(points: Any) -> PointSet:
    """Checks an array of points and takes its fingerprints.

    Args:
        points: a float16, float32 or float64 array, memory map or whatever `numpy.asarray` makes one of, shape
            (at least 2, at least 1). bfloat16 has no numpy type: widen it to float32 first, which is exact.

    Raises:
        InvalidInput: another type or shape, fewer than two rows, or an entry that is NaN, infinite or hidden by a mask.

    Cost: O(rows * dimensions) time, one read of the data; O(rows) memory unless a copy is needed (see `PointSet`).
    """
    nothing_hidden("the points", points)
    try:
        array = np.asarray(points)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            f"Expected an array of points, but got {type(points).__name__} ({error}); "
            "pass a float16, float32 or float64 array of shape (rows, dimensions)."
        ) from None
    if array.dtype.newbyteorder("=") not in ACCEPTED:
        raise InvalidInput(
            f"Expected points in float16, float32 or float64, but got dtype={array.dtype}; "
            "convert them with .astype (bfloat16 to float32 is exact)."
        )
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
        raise InvalidInput(
            f"Expected points of shape (at least 2 rows, at least 1 dimension), but got shape={array.shape}; "
            "pass one row per point."
        )
    stored = np.float64 if array.dtype.itemsize == 8 else np.float32
    values = np.ascontiguousarray(array, dtype=stored).view(np.ndarray)
    values.flags.writeable = False
    words = values.view(np.uint64 if stored is np.float64 else np.uint32)
    multipliers = np.random.default_rng(0).integers(0, 2**64, size=array.shape[1], dtype=np.uint64) | np.uint64(1)
    fingerprints = np.empty(len(values), dtype=np.uint64)
    starts = range(0, len(values), ROWS_AT_A_TIME)
    largest_words = np.zeros(len(starts), dtype=words.dtype)
    kernel = _fingerprint_doubles if stored is np.float64 else _fingerprint_singles

    def fingerprint(block: int) -> None:
        rows = slice(starts[block], starts[block] + ROWS_AT_A_TIME)
        largest_words[block] = kernel(words[rows], multipliers, fingerprints[rows])

    in_parallel(fingerprint, len(starts))
    largest = float(largest_words.max(keepdims=True).view(stored)[0])
    if not math.isfinite(largest):
        raise InvalidInput(
            f"Expected finite points, but row {_first_row_not_finite(values)} holds NaN or an infinity; "
            "leave such rows out."
        )
    shift = max(-LARGEST_SHIFT, min(LARGEST_SHIFT, math.frexp(largest)[1]))
    return PointSet(values, fingerprints, shift)


def in_parallel(work: Callable[[int], None], count: int) -> None:
    """Runs `work(0) ... work(count - 1)` on all processors; the first exception stops what has not begun."""
    if count == 1:
        work(0)
        return
    with ThreadPoolExecutor(max_workers=min(count, processors())) as pool:
        try:
            for _ in pool.map(work, range(count)):
                pass
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _first_row_not_finite(values: Floats) -> int:
    for start in range(0, len(values), ROWS_AT_A_TIME):
        finite = np.isfinite(values[start : start + ROWS_AT_A_TIME]).all(axis=1)
        if not finite.all():
            return start + int(np.argmin(finite))
    raise ValueError("Expected a row that is not finite, but found none.")


@compiled
def _fingerprint_singles(words: Array, multipliers: Array, fingerprints: Array) -> Any:
    """Multilinear hash of each row of float32 bits, -0.0 read as 0.0; returns the largest magnitude's bits."""
    sign, magnitude = np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
    largest = np.uint32(0)
    for row in range(words.shape[0]):
        total = np.uint64(0)
        for column in range(words.shape[1]):
            word = words[row, column]
            word = np.uint32(0) if word == sign else word
            largest = max(largest, word & magnitude)
            total += np.uint64(word) * multipliers[column]
        fingerprints[row] = total
    return largest


@compiled
def _fingerprint_doubles(words: Array, multipliers: Array, fingerprints: Array) -> Any:
    """As `_fingerprint_singles`; the halves are folded, because a factor 2**k in every word would weaken the hash."""
    sign, magnitude = np.uint64(0x8000000000000000), np.uint64(0x7FFFFFFFFFFFFFFF)
    largest = np.uint64(0)
    for row in range(words.shape[0]):
        total = np.uint64(0)
        for column in range(words.shape[1]):
            word = words[row, column]
            word = np.uint64(0) if word == sign else word
            largest = max(largest, word & magnitude)
            total += (word ^ (word >> np.uint64(32))) * multipliers[column]
        fingerprints[row] = total
    return largest


def norm(values: NDArray[np.float64], axis: int | None = None) -> Any:
    """L2 norms of any size: without a scale the squares of tiny entries are 0, and those of large ones infinite.

    The scale is a power of two, so that elsewhere every bit is that of the plain norm.
    """
    _, exponent = np.frexp(np.abs(values).max(axis=axis, keepdims=True, initial=0.0))
    return np.ldexp(np.linalg.norm(np.ldexp(values, -exponent), axis=axis), exponent.squeeze(axis))
