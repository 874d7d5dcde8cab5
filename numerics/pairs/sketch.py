"""A short vector for every point, whose distances are rigorous lower bounds of the points' distances.

    sketch(x) = (Q'y, |r_1|, ..., |r_8|),   y = x - centre,   r = y - QQ'y in 8 groups of coordinates

with the 16 leading principal axes as the columns of Q. By Pythagoras and the reverse triangle inequality the map
is 1-Lipschitz when Q is orthonormal; how far the stored Q is from that, and every rounding on the way, is bounded
a priori (docs/closest-pair.md, "The sketch"). Source: ours; a principal-component filter with residual norms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.compiled import Array, compiled_sums
from numerics.pairs.exact_distance import UNIT_ROUNDOFF
from numerics.pairs.points import ROWS_AT_A_TIME, PointSet, in_parallel

AXES = 16
RESIDUAL_GROUPS = 8
LANES = 8  # sketches are filled up with zeros to a multiple of this, for loops of constant length
SAMPLE = 2000  # rows from which the centre and the axes are taken; any choice is sound
POWER_STEPS = 3
UNDERFLOW = 2.0**-500  # more than all squares in a sketch can lose by underflow


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """Sketches of some rows of a point set, in scaled units (absolute distance times `points.unit`).

    For any two entries i, j:  |coordinates[i] - coordinates[j]| as computed
    <= stretch * scaled distance of rows[i], rows[j]  +  radii[i] + radii[j].

    Attributes:
        points: the point set.
        rows: shape (entries,), int64, the row of each entry.
        coordinates: shape (entries, 8, 16 or 24), float64.
        radii: shape (entries,), float64, rounding error of each sketch.
        stretch: at least 1; the Lipschitz constant, with the rounding of a sketched distance.
    """

    points: PointSet
    rows: NDArray[np.int64]
    coordinates: NDArray[np.float64]
    radii: NDArray[np.float64]
    stretch: float

    def reordered(self, order: NDArray[np.int64]) -> "Sketch":
        """The same entries in another order."""
        return Sketch(self.points, self.rows[order], self.coordinates[order], self.radii[order], self.stretch)


def sketch(points: PointSet, rows: NDArray[np.int64]) -> Sketch:
    """Sketches the given rows. O(rows * dimensions * 16) operations, one read of the rows, 200 bytes a row."""
    dimensions = points.values.shape[1]
    sample = points.values[rows[:: -(-len(rows) // SAMPLE)]].astype(np.float64) * points.unit
    centre = sample.mean(axis=0)
    axes = _principal_axes(sample - centre)  # (axes, dimensions)
    gram = axes @ axes.T
    gamma = _gamma(dimensions)
    defect = float(np.linalg.norm(gram - np.eye(len(axes)))) + 1.1 * len(axes) * gamma
    groups = RESIDUAL_GROUPS if dimensions > len(axes) else 0
    width = -(-(len(axes) + groups) // LANES) * LANES
    coordinates = np.zeros((len(rows), width))
    radii = np.empty(len(rows))
    slack = 12 * _gamma(dimensions + 20) * (1 + defect) ** 2
    borders = np.linspace(0, dimensions, groups + 1).astype(np.int64)
    starts = range(0, len(rows), ROWS_AT_A_TIME)

    def block(number: int) -> None:
        part = slice(starts[number], starts[number] + ROWS_AT_A_TIME)
        _sketch_rows(
            points.values, rows[part], points.unit, centre, axes, borders, slack, coordinates[part], radii[part]
        )

    in_parallel(block, len(starts))
    stretch = (1 + defect) * (1 + 2 * (width + 4) * UNIT_ROUNDOFF)
    return Sketch(points, rows, coordinates, radii, stretch)


def _gamma(terms: int) -> float:
    return terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)


def _principal_axes(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leading right singular vectors of a sample, as rows, by subspace iteration; orthonormal up to rounding.

    Fewer than 16 where the sample has no more directions.
    """
    dimensions = centred.shape[1]
    if dimensions <= AXES:
        return np.eye(dimensions)
    axes = np.random.default_rng(0).standard_normal((AXES, dimensions))
    for _ in range(POWER_STEPS):
        axes = _orthonormalised(axes @ centred.T @ centred)
    return axes


def _orthonormalised(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Modified Gram-Schmidt, twice; vectors that vanish are left out. (LAPACK's threads wait on each other here.)"""
    kept = np.zeros_like(vectors)
    return kept[: _gram_schmidt(np.ascontiguousarray(vectors), kept)]


@compiled_sums
def _gram_schmidt(vectors: Array, kept: Array) -> int:
    count = 0
    for place in range(vectors.shape[0]):
        vector = vectors[place]
        for _ in range(2):
            norm = np.sqrt((vector * vector).sum())
            if norm == 0.0:
                break
            vector /= norm
            for earlier in range(count):
                vector -= (kept[earlier] * vector).sum() * kept[earlier]
        norm = np.sqrt((vector * vector).sum())
        if norm > 0.0:
            kept[count] = vector / norm
            count += 1
    return count


@compiled_sums
def _sketch_rows(
    values: Array,
    rows: Array,
    unit: float,
    centre: Array,
    axes: Array,
    borders: Array,
    slack: float,
    coordinates: Array,
    radii: Array,
) -> None:
    dimensions, count = centre.shape[0], axes.shape[0]
    centred = np.empty(dimensions)
    for entry in range(rows.shape[0]):
        stored, short = values[rows[entry]], coordinates[entry]
        square = 0.0
        for column in range(dimensions):
            centred[column] = np.float64(stored[column]) * unit - centre[column]
            square += centred[column] * centred[column]
        for axis in range(count):
            direction, product = axes[axis], 0.0
            for column in range(dimensions):
                product += direction[column] * centred[column]
            short[axis] = product
        for axis in range(count):
            direction, product = axes[axis], short[axis]
            for column in range(dimensions):
                centred[column] -= direction[column] * product
        for group in range(borders.shape[0] - 1):
            part, residual = centred[borders[group] : borders[group + 1]], 0.0
            for column in range(part.shape[0]):
                residual += part[column] * part[column]
            short[count + group] = np.sqrt(residual)
        radii[entry] = slack * np.sqrt(square) + UNDERFLOW
