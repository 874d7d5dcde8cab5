"""The closest of all pairs of very many enclosed states: lower bounds of their distances, with every rounding counted.

Matrix products exclude all pairs but a few by a bound that holds for any order of summation; those few are measured by
direct differences, and counted: more than are paid for are refused. Proof: docs/separation.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.midpoint_functions import ROOT_UNDERFLOW, UNIT, UP, Floats
from proofs.errors import Unsupported
from proofs.processes import in_order

ROWS, COLUMNS = 512, 2048  # of a block of pairs
SAMPLE = 512  # states whose pairs give a first threshold
PIECE = 2**14  # pairs measured at a time
MOST_MEASURED = 2**16  # of those whose smaller row is in one block (priced in `recomputed.price_of_vocabulary`)
LARGEST = 2.0**480  # of a coordinate or a radius: sums of squares, and products of two, stay finite

Bound = tuple[float, int, int]  # a lower bound of the distance, and the two rows, the smaller number first


class Crowded(Unsupported):
    """So many pairs are about equally close that looking at each takes too long."""


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Midpoints (states, width), and for each state a radius in the 2-norm that its true value lies within.

    Raises:
        Unsupported: numbers whose squares overflow, of which float64 would tell no distance.
    """

    mid: Floats
    radius: Floats

    def __post_init__(self) -> None:
        if not (np.abs(self.mid) < LARGEST).all() or not (np.abs(self.radius) < LARGEST).all():
            raise Unsupported(
                f"Expected states below {LARGEST:.0e}, whose squares float64 holds, but some are not; bound pairs of "
                "prompts instead, which is done in fixed point."
            )

    def closest(
        self, count: int, workers: int = 1, progress: Callable[[int, int], None] = lambda done, of: None
    ) -> list[Bound]:
        """The `count` least lower bounds of all pairs, in order: every other pair has at least the last of them.

        A bound is ‖m_i - m_j‖ - r_i - r_j, rounded down; it may be negative. Fewer than `count` if there are no more.

        Raises:
            Unsupported: so many pairs are about equally close that matrix products do not exclude them.
        """
        squares = np.square(self.mid).sum(axis=1)
        search = _Search(self, squares, count, _threshold(self, squares, count))
        starts = range(0, len(self.mid), ROWS)
        best: list[Bound] = []
        for done, found in enumerate(in_order(search, _Search.rows_from, starts, workers)):
            best = sorted([*best, *found])[:count]
            progress(done + 1, len(starts))
        return best

    def bounds(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
        """Lower bounds of the distances of given pairs, by direct differences."""
        width = self.mid.shape[1]
        squares = np.square(self.mid[first] - self.mid[second]).sum(axis=1)
        distance = np.sqrt(squares) * (1 - (width + 16) * 2.0**-52) - ROOT_UNDERFLOW
        return distance - self.radius[first] - self.radius[second] - distance * 2.0**-50


@dataclass(slots=True, eq=False)
class _Search:
    """A crowd with its squared norms, and a bound that the pairs sought do not exceed."""

    crowd: Crowd
    squares: Floats
    count: int
    threshold: float

    def rows_from(self, start: int) -> list[Bound]:
        """The best pairs whose smaller row is one of the block that begins at `start`."""
        crowd = self.crowd
        rows = crowd.mid[start : start + ROWS] * -2.0
        slack = 2 * (crowd.mid.shape[1] + 16) * UNIT * UP
        low = self.squares * (1 - slack)
        best: list[Bound] = []
        threshold, measured = self.threshold, 0
        for begin in range(start, len(crowd.mid), COLUMNS):
            block = rows @ crowd.mid[begin : begin + COLUMNS].T
            block += low[begin : begin + COLUMNS]
            radii = np.add.outer(crowd.radius[start : start + ROWS], crowd.radius[begin : begin + COLUMNS])
            near = np.argwhere(block <= _reach(radii, threshold) - low[start : start + ROWS, None])
            near = near[near[:, 0] + start < near[:, 1] + begin]
            while len(near):
                piece = np.add(near[:PIECE], (start, begin))
                measured += len(piece)
                if measured > MOST_MEASURED:
                    raise Crowded(
                        "Expected matrix products to tell most pairs of states apart, but too many are about equally "
                        "close; bound pairs of prompts instead, or stop at an earlier layer."
                    )
                bounds = crowd.bounds(piece[:, 0], piece[:, 1])
                kept = bounds <= threshold
                found = zip(bounds[kept].tolist(), *piece[kept].T.tolist(), strict=True)
                best = sorted([*best, *found])[: self.count]
                if len(best) == self.count:
                    threshold = min(threshold, best[-1][0])
                near = near[PIECE:]
                at = tuple(near.T)
                near = near[block[at] <= _reach(radii[at], threshold) - low[start + at[0]]]
        return best


def _reach(radii: Floats, threshold: float) -> Floats:
    """The square of how far apart midpoints may be for their bound not to exceed a threshold, rounded up.

    Each pair goes by its own r_i + r_j: one wide state would else let all pairs through.
    """
    size = abs(threshold) + float(radii.max(initial=0.0))
    reach = radii + (threshold + size * 2.0**-50)  # more than these sums, of which much may cancel, have rounded away
    np.maximum(reach, 0.0, out=reach)
    reach *= UP
    reach += ROOT_UNDERFLOW
    np.square(reach, out=reach)
    reach *= UP
    return reach


def _threshold(crowd: Crowd, squares: Floats, count: int) -> float:
    """Some `count` pairs have bounds up to here; infinite where a sample has no so many pairs."""
    rows = np.unique(np.linspace(0, len(crowd.mid) - 1, SAMPLE).astype(np.int64))
    first, second = np.triu_indices(len(rows), 1)
    if len(first) < count:
        return math.inf
    sample = crowd.mid[rows]
    rough = (squares[rows][:, None] + squares[rows] - 2 * (sample @ sample.T))[first, second]
    rough = np.sqrt(np.maximum(rough, 0.0)) - crowd.radius[rows[first]] - crowd.radius[rows[second]]
    chosen = np.argpartition(rough, count - 1)[:count]
    return float(crowd.bounds(rows[first[chosen]], rows[second[chosen]]).max())
