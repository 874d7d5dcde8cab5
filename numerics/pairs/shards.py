"""The same searches cut into shards, for more machines than one: pieces along one coordinate, each with a halo.

Rows are sorted by one coordinate of the sketch and cut into pieces of equal size. Two rows within a distance D lie
within a window of known width along that coordinate, so every pair within D is found in the piece of its first row
together with the rows up to that width behind it, its halo. Pieces are searched on their own, in any order, by anyone;
the bound that is known when a piece is handed out decides its halo, and a stale bound is only larger.
Proofs: docs/closest-pair.md, "Shards".
"""

import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.bit_identity import equal_rows
from numerics.pairs.exact_distance import UNDERFLOW, Rows, distances, exact_order
from numerics.pairs.points import PointSet, point_set
from numerics.pairs.search import ClosePairs, closest_pairs, pairs_within
from numerics.pairs.sketch import Sketch, sketch
from numerics.pairs.windows import pairs_in_windows
from proofs.errors import InvalidInput

ROUNDED = 1 + 2.0**-48  # a reported distance is the true one within 2**-51
FIRST_LOOK = 4096  # neighbouring rows from which the first bound is taken


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Rows to be searched together.

    Attributes:
        rows: shape (rows,), int64, ascending row numbers of the whole array.
        count: how many closest pairs are wanted; None for all pairs within the threshold.
        threshold: an absolute L2 distance.
    """

    rows: Rows
    count: int | None = None
    threshold: float = 0.0


class Workers(Protocol):
    """Whoever searches shards: `results` takes them one by one as they are free, and returns answers in any order."""

    def results(self, points: Any, shards: Iterator[Shard]) -> Iterable[ClosePairs]:
        """`search_shard(points, shard)` of each shard."""
        ...


def search_shard(points: Any, shard: Shard) -> ClosePairs:
    """The pairs of different rows that a shard asks for, with row numbers of the whole array.

    Args:
        points: the whole array or memory map; only the rows of the shard are read.
    """
    part = np.asarray(points[shard.rows])
    if shard.count is None:
        found = pairs_within(part, threshold=shard.threshold, distinct=True)
    else:
        found = closest_pairs(part, count=shard.count, distinct=True)
    return ClosePairs(found.distance, shard.rows[found.first], shard.rows[found.second])


def closest_pairs_in_shards(points: Any, *, count: int, pieces: int, workers: Workers) -> ClosePairs:
    """As `closest_pairs(points, count=count, distinct=True)`, by workers: the identical answer.

    Args:
        pieces: how many pieces to cut, at least 1; several for each worker, so that later ones profit from the bound.

    Raises:
        InvalidInput: as for `closest_pairs`, or no pieces.
    """
    cut = _Pieces.of(points, pieces)
    if len(cut.rows) < 2:
        return _none()
    middle = max(0, len(cut.rows) // 2 - FIRST_LOOK // 2)
    best = search_shard(points, Shard(np.sort(cut.rows[middle : middle + FIRST_LOOK]), count=count))

    def shards() -> Iterator[Shard]:
        for number in range(pieces):
            bound = math.nextafter(best.distance[-1] * ROUNDED, math.inf) if len(best) == count else math.inf
            rows = cut.with_halo(number, bound)
            if len(rows) > 1:
                yield Shard(rows, count=count)

    for found in workers.results(points, shards()):
        first, second = _once((best, found))
        order = exact_order(cut.points, first, second)[:count]
        first, second = first[order], second[order]
        best = ClosePairs(distances(cut.points, first, second), first, second)
    return best


def pairs_within_in_shards(points: Any, *, threshold: float, pieces: int, workers: Workers) -> ClosePairs:
    """As `pairs_within(points, threshold=threshold, distinct=True)`, by workers: the identical answer.

    Raises:
        InvalidInput: as for `pairs_within`, or no pieces.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise InvalidInput(
            f"Expected a threshold that is finite and not negative, but got threshold={threshold}; pass an L2 distance."
        )
    cut = _Pieces.of(points, pieces, threshold)
    halos = (cut.with_halo(number, threshold) for number in range(pieces))
    shards = (Shard(rows, threshold=threshold) for rows in halos if len(rows) > 1)
    first, second = _once((_none(), *workers.results(points, shards)))
    order = exact_order(cut.points, first, second)
    first, second = first[order], second[order]
    return ClosePairs(distances(cut.points, first, second), first, second)


class Here:
    """One worker: this process."""

    def results(self, points: Any, shards: Iterator[Shard]) -> Generator[ClosePairs]:
        """Answers in order, each shard made after the one before it was searched."""
        for shard in shards:
            yield search_shard(points, shard)


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """Distinct rows in order of one coordinate, cut into pieces.

    Attributes:
        rows: shape (n,), the first row of every class of equal rows, sorted by `keys`.
        keys: shape (n,), ascending: one coordinate of the sketch.
        starts: where each piece begins, and n.
    """

    sketched: Sketch
    rows: Rows
    keys: NDArray[np.float64]
    starts: NDArray[np.int64]

    @property
    def points(self) -> PointSet:
        """All of them."""
        return self.sketched.points

    @classmethod
    def of(cls, points: Any, pieces: int, bound: float = 0.0) -> "_Pieces":
        if pieces < 1:
            raise InvalidInput(f"Expected at least one piece, but got pieces={pieces}; pass a positive number.")
        checked = point_set(points)
        sketched = sketch(checked, equal_rows(checked).representatives)
        axis, _ = pairs_in_windows(sketched, checked.scaled(bound))
        order = np.argsort(sketched.coordinates[:, axis], kind="stable")
        starts = np.linspace(0, len(order), pieces + 1).astype(np.int64)
        return cls(sketched, sketched.rows[order], sketched.coordinates[order, axis], starts)

    def with_halo(self, number: int, bound: float) -> Rows:
        """The rows of a piece and those within `bound` behind it, ascending."""
        start, stop = self.starts[number], self.starts[number + 1]
        if start == stop:
            return np.empty(0, dtype=np.int64)
        reach = self.points.scaled(bound) * ROUNDED + UNDERFLOW
        width = reach * self.sketched.stretch + 2 * float(self.sketched.radii.max())
        end = int(np.searchsorted(self.keys, np.nextafter(self.keys[stop - 1] + width, np.inf), side="right"))
        return np.sort(self.rows[start : max(end, stop)])


def _once(parts: Iterable[ClosePairs]) -> tuple[Rows, Rows]:
    """The pairs of all parts in order of their rows, each once: a pair of two halos comes twice.

    Their distances are measured again by the caller: shards scale by units of their own, which shows in the last bit.
    """
    pairs = np.concatenate([np.column_stack((part.first, part.second)) for part in parts])
    first, second = np.unique(pairs, axis=0).T
    return first, second


def _none() -> ClosePairs:
    rows = np.empty(0, dtype=np.int64)
    return ClosePairs(np.empty(0), rows, rows)
