"""Pairs that are neighbours along one coordinate of the sketch: a threshold query, and first guesses for any search.

Entries are sorted by one coordinate; two points within the bound lie within a window of that width, and what is in
the window is tested by the whole sketch before its distance is computed. Fast where the bound is small against the
spread of the data: O(N log N) plus the number of pairs inside the windows.
"""

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.compiled import Array, compiled, compiled_sums
from numerics.pairs.exact_distance import scaled_distance
from numerics.pairs.harvest import Harvest
from numerics.pairs.points import in_parallel
from numerics.pairs.sketch import LANES, Sketch

ROWS_OF_WORK = 4096
SEED_AXES = 4
SEED_REACH = 4
SEED_ROWS = 1024
SAMPLE = 1 << 16  # entries from which the best coordinate is chosen
COST_OF_SKETCH = 24  # of one sketch comparison, in coordinates of a direct distance


def join(sketched: Sketch, harvest: Harvest, axis: int) -> None:
    """Offers every pair within the harvest's bound, by windows along one coordinate of the sketch."""
    keys, order = _sorted_along(sketched, axis)
    starts = range(0, len(order), ROWS_OF_WORK)

    def work(number: int) -> None:
        _scan(sketched, harvest, keys, order, starts[number], starts[number] + ROWS_OF_WORK, len(order))

    in_parallel(work, len(starts))


def offer_neighbours(sketched: Sketch, harvest: Harvest, most: float) -> None:
    """Offers pairs that are close in the order of a few coordinates, to begin a search with a small bound.

    Stops when the cost, in coordinates of direct distances, exceeds `most`.
    """
    spent = 0.0
    for axis in range(min(SEED_AXES, sketched.coordinates.shape[1])):
        keys, order = _sorted_along(sketched, axis)
        for start in range(0, len(order), SEED_ROWS):
            spent += _scan(sketched, harvest, keys, order, start, start + SEED_ROWS, SEED_REACH)
            if spent > most:
                return


def pairs_in_windows(sketched: Sketch, bound: float) -> tuple[int, int]:
    """A coordinate with few pairs inside its windows at this bound, and that number of pairs."""
    width = bound * sketched.stretch + 2 * float(sketched.radii.max())
    step = -(-len(sketched.rows) // SAMPLE)
    inside = [_inside(coordinate[::step], width * step) for coordinate in sketched.coordinates.T]
    axis = int(np.argmin(inside))
    return axis, _inside(sketched.coordinates[:, axis], width)


def _inside(coordinate: NDArray[np.float64], width: float) -> int:
    keys = np.sort(coordinate)
    ends = np.searchsorted(keys, keys + width, side="right")
    return int(ends.sum()) - len(keys) * (len(keys) + 1) // 2


def _sorted_along(sketched: Sketch, axis: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    order = np.argsort(sketched.coordinates[:, axis], kind="stable")
    return sketched.coordinates[order, axis], order


def _scan(
    sketched: Sketch,
    harvest: Harvest,
    keys: NDArray[np.float64],
    order: NDArray[np.int64],
    start: int,
    stop: int,
    reach: int,
) -> float:
    """Scans the windows of entries start..stop; returns the cost."""
    room, spent = 4 * ROWS_OF_WORK, 0.0
    stop, largest = min(stop, len(order)), float(sketched.radii.max())
    while start < stop:
        firsts, seconds, distances = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
        following, found, cost = _scan_windows(
            sketched.points.values, sketched.points.unit, sketched.rows, sketched.coordinates, sketched.radii,
            sketched.stretch, largest, keys, order, start, stop, reach, harvest.bound, firsts, seconds, distances,
        )  # fmt: skip
        harvest.offer(firsts[:found], seconds[:found], distances[:found])
        spent += cost
        room = 2 * room if following == start else room
        start = following
    return spent


@compiled_sums
def sketch_exceeds(coordinates: Array, first: int, second: int, reach: float) -> bool:
    """Whether two sketches are farther apart than `reach`, decided as early as possible."""
    limit = reach * reach
    a, b = coordinates[first], coordinates[second]
    total = 0.0
    for start in range(0, a.shape[0], LANES):
        part = 0.0
        for lane in range(LANES):
            place = np.uint64(start + lane)  # unsigned: no check for counting from the end
            difference = a[place] - b[place]
            part += difference * difference
        total += part
        if total > limit:
            return True
    return False


@compiled
def _scan_windows(
    values: Array,
    unit: float,
    rows: Array,
    coordinates: Array,
    radii: Array,
    stretch: float,
    largest_radius: float,
    keys: Array,
    order: Array,
    start: int,
    stop: int,
    reach: int,
    bound: float,
    firsts: Array,
    seconds: Array,
    distances: Array,
) -> tuple[int, int, float]:
    """Pairs within `bound` of entries start..stop and at most `reach` followers; stops before the buffer overflows.

    Returns the entry to go on with, how many pairs were written, and the cost in coordinates of direct distances.
    """
    found, cost = 0, 0.0
    dimensions = float(values.shape[1])
    for place in range(start, stop):
        first = order[place]
        width = bound * stretch + radii[first] + largest_radius
        before = found
        for other in range(place + 1, min(place + 1 + reach, order.shape[0])):
            if keys[other] - keys[place] > width:
                break
            second = order[other]
            cost += COST_OF_SKETCH
            if sketch_exceeds(coordinates, first, second, bound * stretch + radii[first] + radii[second]):
                continue
            cost += dimensions
            distance = scaled_distance(values, unit, rows[first], rows[second], bound)
            if distance <= bound:
                if found == firsts.shape[0]:
                    return place, before, cost
                firsts[found], seconds[found], distances[found] = rows[first], rows[second], distance
                found += 1
    return stop, found, cost
