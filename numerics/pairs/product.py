"""Close pairs by blocks of a matrix product: the method where no bound prunes, and an independent second method.

Entries are taken in tree order. Two blocks are centred at the mean of the first, scaled, and rounded to float32 rows
a_i and b_j; then one product gives

    G[i, j] = a_i . b_j - |b_j|^2 / 2,      |a_i - b_j|^2 = |a_i|^2 - 2 G[i, j],

so that |a_i - b_j| <= rho means G[i, j] >= (|a_i|^2 - rho^2) / 2. This form cancels, and is used only to *exclude*:
every pair that is not below the limit by more than the a-priori error (docs/closest-pair.md, "The product") is
computed again by direct difference in float64. The scale follows from the bound; where there is none yet, nothing can
be excluded, and pairs are measured directly.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.compiled import Array, compiled_sums
from numerics.pairs.exact_distance import UNDERFLOW, Rows, scaled_distances
from numerics.pairs.harvest import Harvest
from numerics.pairs.points import PointSet, in_parallel
from numerics.pairs.sketch import Sketch
from numerics.pairs.tree import PairTree
from proofs.processes import processors

BLOCK = 2048
PAIRS_AT_A_TIME = 1 << 15
SINGLE_ROUNDOFF = 2.0**-24
SINGLE_UNDERFLOW = 2.0**-120  # more than a float32 operation can lose below the normal numbers, kept or flushed
NEVER = 2.0**60  # half squared norm given to right rows that are excluded beforehand; those of others are below 8

Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]


def search_products(tree: PairTree, harvest: Harvest, progress: Callable[[int, int], None] | None = None) -> None:
    """Offers every pair within the harvest's bound.

    O(N**2 d) operations in float32 and O(block * (block + d)) memory; blocks whose boxes are too far apart are left
    out, and blocks are read as they are needed, so that the points may lie in a memory map.
    """
    blocks = tree.nodes_at_most(BLOCK)
    for first in blocks:
        left: _LeftBlock | None = None
        for second in range(first, blocks.stop):
            if math.isinf(harvest.bound):
                _measure_until_bounded(tree, first, second, harvest)
            if math.isfinite(harvest.bound) and not tree.apart(first, second, harvest.bound):
                left = left or _LeftBlock(tree.sketched, _rows(tree, first), harvest.bound)
                left.meet(_rows(tree, second), first == second, harvest)
        if progress is not None:
            begun = first + 1 - blocks.start
            progress(begun * len(blocks) - begun * (begun - 1) // 2, len(blocks) * (len(blocks) + 1) // 2)


def _rows(tree: PairTree, node: int) -> Rows:
    return tree.sketched.rows[tree.borders[node, 0] : tree.borders[node, 1]]


def _measure_until_bounded(tree: PairTree, first: int, second: int, harvest: Harvest) -> None:
    """Offers pairs of two blocks by direct difference, all of them or until the harvest has a bound."""
    lefts, rights = _rows(tree, first), _rows(tree, second)
    step = max(1, PAIRS_AT_A_TIME // len(rights))
    for start in range(0, len(lefts), step):
        if math.isfinite(harvest.bound):
            return
        left, right = np.indices((len(lefts[start : start + step]), len(rights))).reshape(2, -1)
        wanted = (right > left + start) | (first != second)
        _offer(tree.sketched.points, lefts[start + left[wanted]], rights[right[wanted]], harvest)


def _offer(points: PointSet, firsts: Rows, seconds: Rows, harvest: Harvest) -> None:
    """Measures pairs of rows directly, and offers them."""
    distances = np.empty(len(firsts))
    scaled_distances(points.values, points.unit, firsts, seconds, harvest.bound, distances)
    harvest.offer(firsts, seconds, distances)


class _LeftBlock:
    """One block of rows, centred and rounded once, that meets other blocks.

    Its own norms are at most about 1, and so is the bound, in units of 2**exponent of the scaled distance. Without a
    finite bound no scale would hold the rows it meets.
    """

    def __init__(self, sketched: Sketch, rows: Rows, bound: float) -> None:
        self._points, self._rows = sketched.points, rows
        self._dimensions = self._points.values.shape[1]
        self._centre = np.zeros(self._dimensions)
        largest = _centre(self._points.values, rows, self._points.unit, self._centre) * math.sqrt(self._dimensions)
        largest = max(largest, bound, UNDERFLOW)
        self._factor = math.ldexp(1.0, -math.frexp(largest)[1])
        self._block, self._halves = self._centred(rows, np.inf)
        self._block[:, -1] = 1.0
        self._norms = np.sqrt(2 * self._halves)

    def _centred(self, rows: Rows, farthest: float) -> tuple[Singles, Doubles]:
        """Rows in float32 with a spare last column, and half their squared norms; those beyond `farthest` as zeros."""
        block = np.empty((len(rows), self._dimensions + 1), dtype=np.float32)
        halves = np.empty(len(rows))
        share = -(-len(rows) // processors())

        def centre(number: int) -> None:
            part = slice(number * share, (number + 1) * share)
            _centre_rows(
                self._points.values, rows[part], self._points.unit, self._centre, self._factor, farthest,
                block[part], halves[part],
            )  # fmt: skip

        in_parallel(centre, processors())
        return block, halves

    def meet(self, rows: Rows, same: bool, harvest: Harvest) -> None:
        """Multiplies with another block (or itself), and offers the pairs that the bound does not exclude."""
        farthest = (float(self._norms.max()) + harvest.bound * self._factor) * (1 + 2.0**-16) + 2.0**-100
        right, halves = self._centred(rows, farthest)
        kept = halves[halves < NEVER]
        if not len(kept):
            return
        largest_half = float(kept.max())
        right[:, -1] = -halves
        product = self._block @ right.T
        if same:
            product[np.tri(len(rows), dtype=bool)] = -np.inf
        near = np.flatnonzero(product.max(axis=1) >= self._limits(harvest.bound, largest_half))
        step = max(1, PAIRS_AT_A_TIME // len(rows))
        for start in range(0, len(near), step):
            part = near[start : start + step]
            limits = self._limits(harvest.bound, largest_half)[part, None]
            lefts, rights = np.nonzero(product[part] >= limits)
            _offer(self._points, self._rows[part[lefts]], rows[rights], harvest)

    def _limits(self, bound: float, largest_half: float) -> Singles:
        """For each left row the value of G below which no pair within the scaled distance `bound` can lie."""
        terms = self._dimensions + 2
        gamma = terms * SINGLE_ROUNDOFF / (1 - terms * SINGLE_ROUNDOFF)
        right_norm = math.sqrt(2 * largest_half)
        rounding = 1.01 * SINGLE_ROUNDOFF * (self._norms + right_norm) + terms * SINGLE_UNDERFLOW
        reach = bound * self._factor + rounding
        error = gamma * (self._norms * right_norm + largest_half) + terms * SINGLE_UNDERFLOW
        limits = self._halves * (1 - 2.0**-40) - reach**2 * (0.5 + 2.0**-40) - 1.01 * error
        return np.nextafter(limits.astype(np.float32), np.float32(-np.inf))


@compiled_sums
def _centre(values: Array, rows: Array, unit: float, centre: Array) -> float:
    """Writes the mean of the scaled rows to `centre`; returns the largest magnitude that a coordinate has from it."""
    for entry in range(rows.shape[0]):
        stored = values[rows[entry]]
        for column in range(centre.shape[0]):
            centre[column] += np.float64(stored[column]) * unit
    centre /= rows.shape[0]
    largest = 0.0
    for entry in range(rows.shape[0]):
        stored = values[rows[entry]]
        for column in range(centre.shape[0]):
            largest = max(largest, abs(np.float64(stored[column]) * unit - centre[column]))
    return largest


@compiled_sums
def _centre_rows(
    values: Array,
    rows: Array,
    unit: float,
    centre: Array,
    factor: float,
    farthest: float,
    block: Array,
    halves: Array,
) -> None:
    for entry in range(rows.shape[0]):
        stored, rounded = values[rows[entry]], block[entry]
        square = 0.0
        for column in range(centre.shape[0]):
            value = np.float32((np.float64(stored[column]) * unit - centre[column]) * factor)
            rounded[column] = value
            square += np.float64(value) * np.float64(value)
        halves[entry] = 0.5 * square
        if square > farthest * farthest:
            rounded[:-1] = 0.0
            halves[entry] = NEVER
