"""What a search keeps: every pair within a fixed distance, or the k closest seen so far.

A search offers pairs with float64 distances and asks only for `bound`: pairs beyond it need not be offered. Nearest
pairs shrink the bound as they come; a stale bound is larger, so it costs time and never a pair.
"""

import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.exact_distance import UNDERFLOW, Rows, exact_order, relative_error
from numerics.pairs.points import PointSet

ROOM = 1 << 16  # pairs kept beside the k closest before ties are settled exactly


class Harvest(Protocol):
    """Where a search delivers what it finds."""

    @property
    def bound(self) -> float:
        """Scaled distance above which pairs are of no interest."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether the same pair may be offered more than once."""
        ...

    def offer(self, firsts: Rows, seconds: Rows, distances: NDArray[np.float64]) -> None:
        """Takes pairs of rows with their scaled distances, in any order within a pair."""
        ...


class WithinReach:
    """Keeps every pair offered whose computed distance does not exceed a fixed bound."""

    repeats = False

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._parts: list[tuple[Rows, Rows]] = []

    def offer(self, firsts: Rows, seconds: Rows, distances: NDArray[np.float64]) -> None:
        """Takes pairs (see `Harvest`)."""
        kept = distances <= self.bound
        if kept.any():
            self._parts.append((np.minimum(firsts, seconds)[kept], np.maximum(firsts, seconds)[kept]))

    def pairs(self) -> tuple[Rows, Rows]:
        """All pairs kept, as rows (first < second), in order of (first, second)."""
        if not self._parts:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        firsts = np.concatenate([first for first, _ in self._parts])
        seconds = np.concatenate([second for _, second in self._parts])
        order = np.lexsort((seconds, firsts))
        return firsts[order], seconds[order]


class Nearest:
    """Keeps the `count` closest pairs, ties included, until `settled` puts them in exact order."""

    repeats = True

    def __init__(self, points: PointSet, count: int) -> None:
        self.bound = np.inf
        self._points = points
        self._count = count
        self._error = relative_error(points.values.shape[1])
        self._keys = np.empty(0, dtype=np.int64)
        self._distances = np.empty(0)
        self._lock = threading.Lock()

    def offer(self, firsts: Rows, seconds: Rows, distances: NDArray[np.float64]) -> None:
        """Takes pairs (see `Harvest`), and shrinks the bound to the k-th distance with room for rounding."""
        near = distances <= self.bound
        if not near.any():
            return
        keys = np.minimum(firsts, seconds)[near] * len(self._points.values) + np.maximum(firsts, seconds)[near]
        with self._lock:
            keys, places = np.unique(np.concatenate((self._keys, keys)), return_index=True)
            distances = np.concatenate((self._distances, distances[near]))[places]
            if len(keys) >= self._count:
                last = float(np.partition(distances, self._count - 1)[self._count - 1])
                self.bound = min(self.bound, last * (1 + 4 * self._error) + 4 * UNDERFLOW)
                kept = distances <= self.bound
                keys, distances = keys[kept], distances[kept]
            self._keys, self._distances = keys, distances
            if len(keys) > self._count + ROOM:
                chosen = self._in_order()[: self._count]
                self._keys, self._distances = keys[chosen], distances[chosen]

    def settled(self) -> tuple[Rows, Rows]:
        """The closest pairs as rows, ordered by (exact distance, first, second)."""
        chosen = self._keys[self._in_order()[: self._count]]
        return chosen // len(self._points.values), chosen % len(self._points.values)

    def _in_order(self) -> Rows:
        return exact_order(self._points, *np.divmod(self._keys, len(self._points.values)))
