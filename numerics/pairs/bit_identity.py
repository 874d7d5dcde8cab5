"""Rows that are equal entry by entry: the exact collision question, answered in one pass without any distance.

Rows are grouped by a fingerprint of their bits, with -0.0 read as 0.0 (they are the same number), and every hit of
the fingerprint is compared entry by entry, so that the answer does not depend on the hash.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.points import PointSet, point_set


@dataclass(frozen=True, slots=True, eq=False)
class EqualRows:
    """How rows fall into classes of equal rows.

    Attributes:
        groups: every class of at least two rows, as increasing row numbers; in the order of their first rows.
        representatives: shape (classes,), int64: the first row of every class, increasing.
    """

    groups: tuple[tuple[int, ...], ...]
    representatives: NDArray[np.int64]


def bit_identical(points: Any) -> tuple[tuple[int, ...], ...]:
    """Groups of rows that are bit-identical (-0.0 counts as 0.0), that is, at distance exactly 0.

    Args:
        points: float16, float32 or float64 array or memory map, shape (at least 2, at least 1), finite.

    Returns:
        Every group of two or more equal rows as increasing row numbers, groups in the order of their first rows.
        Rows that are alone in their value are not listed.

    Raises:
        InvalidInput: another type or shape, fewer than two rows, or an entry that is NaN or infinite.

    Cost: O(rows * dimensions) expected; 24 bytes a row beside the data.

    Examples:
        >>> import numpy as np
        >>> bit_identical(np.array([[0.0, 1.0], [2.0, 3.0], [-0.0, 1.0]]))
        ((0, 2),)
    """
    return equal_rows(point_set(points)).groups


def equal_rows(points: PointSet) -> EqualRows:
    """Classes of equal rows (see `bit_identical`), with one representative each."""
    order = np.argsort(points.fingerprints, kind="stable")  # rows of one fingerprint stay increasing
    ranked = points.fingerprints[order]
    follows = np.flatnonzero(ranked[1:] == ranked[:-1]) + 1  # positions whose fingerprint is that of the one before
    repeats: list[int] = []
    groups: list[tuple[int, ...]] = []
    for run in np.split(follows, np.flatnonzero(np.diff(follows) > 1) + 1):
        if len(run):
            for members in _classes(points, order[run[0] - 1 : run[-1] + 1]):
                groups.append(tuple(members))
                repeats.extend(members[1:])
    distinct = np.ones(len(points.values), dtype=bool)
    distinct[repeats] = False
    return EqualRows(tuple(sorted(groups)), np.flatnonzero(distinct).astype(np.int64))


def _classes(points: PointSet, rows: NDArray[np.int64]) -> list[list[int]]:
    """The classes of two or more equal rows among increasing rows that share a fingerprint."""
    found: list[list[int]] = []
    while len(rows) > 1:
        equal = np.empty(len(rows), dtype=bool)
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            equal[start : start + 1024] = (points.values[part] == points.values[rows[0]]).all(axis=1)
        if equal.sum() > 1:
            found.append([int(row) for row in rows[equal]])
        rows = rows[~equal]
    return found
