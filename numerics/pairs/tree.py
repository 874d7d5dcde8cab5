"""Close pairs by a tree over the sketches: the method where the data has few large directions.

A complete k-d tree halves the entries at the median of the widest coordinate. Every leaf meets itself and the leaves
after it whose box is near enough; a pair is tested leaf box to box, point to box, sketch to sketch, and only then by
its distance. Source: ours; dual-tree pruning (Gray and Moore, 2000) on principal components and residual norms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.compiled import Array, compiled, compiled_sums
from numerics.pairs.exact_distance import scaled_distance
from numerics.pairs.harvest import Harvest
from numerics.pairs.points import in_parallel
from numerics.pairs.sketch import Sketch
from numerics.pairs.windows import COST_OF_SKETCH, sketch_exceeds

LEAF = 32
LEAVES_OF_WORK = 16
LEAVES_PER_PROBE = 64  # one leaf in so many is searched to estimate the cost of them all
MOST_PROBES = 48


@dataclass(frozen=True, slots=True, eq=False)
class PairTree:
    """A complete binary tree over the entries of a sketch, in heap order: node 1 is the root, 2n and 2n+1 follow n.

    Attributes:
        sketched: the entries in tree order, so that every node is a contiguous range.
        borders: shape (nodes, 2), int64: that range.
        lower, upper: shape (nodes, sketch width): bounding boxes.
        radii: shape (nodes,): the largest radius inside.
        depth: leaves are the nodes from 2**depth on.
    """

    sketched: Sketch
    borders: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    radii: NDArray[np.float64]
    depth: int

    def nodes_at_most(self, entries: int) -> range:
        """The nodes of the highest level on which no node has more than `entries` entries."""
        level = 0
        while level < self.depth and -(-len(self.sketched.rows) // 2**level) > entries:
            level += 1
        return range(2**level, 2 ** (level + 1))

    def apart(self, first: int, second: int, bound: float) -> bool:
        """Whether no pair between two nodes can be within the scaled distance `bound`."""
        reach = bound * self.sketched.stretch + self.radii[first] + self.radii[second]
        return bool(_boxes_exceed(self.lower, self.upper, first, second, reach))


def pair_tree(sketched: Sketch) -> PairTree:
    """Builds the tree. O(N log N) operations; 400 bytes an entry."""
    count = len(sketched.rows)
    depth = max(0, (count - 1) // LEAF).bit_length()
    borders = np.zeros((2 ** (depth + 1), 2), dtype=np.int64)
    order = np.arange(count, dtype=np.int64)
    borders[1] = 0, count
    for level in range(depth):
        base = 2**level

        def split(number: int, base: int = base) -> None:
            _split(sketched.coordinates, order, borders, base + number)

        in_parallel(split, base)
    ordered = sketched.reordered(order)
    width = sketched.coordinates.shape[1]
    lower, upper, radii = np.empty((len(borders), width)), np.empty((len(borders), width)), np.empty(len(borders))
    _boxes(ordered.coordinates, ordered.radii, borders, 2**depth, lower, upper, radii)
    return PairTree(ordered, borders, lower, upper, radii, depth)


def search_tree(tree: PairTree, harvest: Harvest) -> None:
    """Offers every pair within the harvest's bound."""
    leaves = 2**tree.depth
    starts = range(0, leaves, LEAVES_OF_WORK)

    def work(number: int) -> None:
        _search(tree, harvest, starts[number], min(starts[number] + LEAVES_OF_WORK, leaves), np.inf)

    in_parallel(work, len(starts))


def probe(tree: PairTree, harvest: Harvest, most: float) -> float:
    """The cost of a whole search, estimated from leaves spread over the tree, in coordinates of direct distances.

    Infinity as soon as the few leaves have cost more than `most`. What was found on the way is offered where the
    harvest takes a pair twice.
    """
    leaves = 2**tree.depth
    probes = min(MOST_PROBES, -(-leaves // LEAVES_PER_PROBE))
    spent = 0.0
    for number in range(probes):
        leaf = (2 * number + 1) * leaves // (2 * probes)
        spent += _search(tree, harvest, leaf, leaf + 1, most - spent)
        if spent >= most:
            return np.inf
    return spent * leaves / probes


def _search(tree: PairTree, harvest: Harvest, leaf: int, stop: int, most: float) -> float:
    """Searches leaves `leaf`..`stop` until the cost exceeds `most`; returns the cost."""
    sketched, room, spent = tree.sketched, 1 << 13, 0.0
    probing = most < np.inf
    while leaf < stop:
        firsts, seconds, distances = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
        following, found, cost = _search_leaves(
            sketched.points.values, sketched.points.unit, sketched.rows, sketched.coordinates, sketched.radii,
            sketched.stretch, tree.borders, tree.lower, tree.upper, tree.radii, 2**tree.depth, leaf, stop,
            harvest.bound, most - spent, firsts, seconds, distances,
        )  # fmt: skip
        if harvest.repeats or not probing:
            harvest.offer(firsts[:found], seconds[:found], distances[:found])
        spent += cost
        if spent >= most:
            break
        room = 4 * room if following == leaf else room
        leaf = following
    return spent


@compiled
def _split(coordinates: Array, order: Array, borders: Array, node: int) -> None:
    """Halves a node at the median of its widest coordinate (Hoare's selection), and writes its children's borders."""
    start, stop = borders[node, 0], borders[node, 1]
    middle = (start + stop + 1) // 2
    borders[2 * node, 0], borders[2 * node, 1] = start, middle
    borders[2 * node + 1, 0], borders[2 * node + 1, 1] = middle, stop
    width = coordinates.shape[1]
    lower, upper = coordinates[order[start]].copy(), coordinates[order[start]].copy()
    for place in range(start, stop):
        for axis in range(width):
            value = coordinates[order[place], axis]
            lower[axis] = min(lower[axis], value)
            upper[axis] = max(upper[axis], value)
    widest = int(np.argmax(upper - lower))
    left, right = start, stop - 1
    while left < right:
        pivot = coordinates[order[(left + right) // 2], widest]
        low, high = left, right
        while low <= high:
            while coordinates[order[low], widest] < pivot:
                low += 1
            while coordinates[order[high], widest] > pivot:
                high -= 1
            if low <= high:
                order[low], order[high] = order[high], order[low]
                low += 1
                high -= 1
        if middle <= high:
            right = high
        elif middle >= low:
            left = low
        else:
            break


@compiled
def _boxes(
    coordinates: Array,
    entry_radii: Array,
    borders: Array,
    leaves: int,
    lower: Array,
    upper: Array,
    radii: Array,
) -> None:
    for node in range(2 * leaves - 1, 0, -1):
        for axis in range(coordinates.shape[1]):
            if node < leaves:
                lower[node, axis] = min(lower[2 * node, axis], lower[2 * node + 1, axis])
                upper[node, axis] = max(upper[2 * node, axis], upper[2 * node + 1, axis])
            else:
                inside = coordinates[borders[node, 0] : borders[node, 1], axis]
                lower[node, axis], upper[node, axis] = inside.min(), inside.max()
        if node < leaves:
            radii[node] = max(radii[2 * node], radii[2 * node + 1])
        else:
            radii[node] = entry_radii[borders[node, 0] : borders[node, 1]].max()


@compiled_sums
def _boxes_exceed(lower: Array, upper: Array, first: int, second: int, reach: float) -> bool:
    first_lower, first_upper, second_lower, second_upper = lower[first], upper[first], lower[second], upper[second]
    total = 0.0
    for axis in range(first_lower.shape[0]):
        gap = max(0.0, max(second_lower[axis] - first_upper[axis], first_lower[axis] - second_upper[axis]))
        total += gap * gap
    return total > reach * reach


@compiled_sums
def _box_exceeds(entry: Array, lower: Array, upper: Array, reach: float) -> bool:
    total = 0.0
    for axis in range(entry.shape[0]):
        gap = max(0.0, max(lower[axis] - entry[axis], entry[axis] - upper[axis]))
        total += gap * gap
    return total > reach * reach


@compiled
def _search_leaves(
    values: Array,
    unit: float,
    rows: Array,
    coordinates: Array,
    radii: Array,
    stretch: float,
    borders: Array,
    lower: Array,
    upper: Array,
    node_radii: Array,
    leaves: int,
    start: int,
    stop: int,
    bound: float,
    most: float,
    firsts: Array,
    seconds: Array,
    distances: Array,
) -> tuple[int, int, float]:
    """Pairs within `bound` of leaves start..stop with themselves and all later leaves.

    Returns the leaf to go on with (the current one where the buffer would overflow), the pairs written, the cost.
    """
    depth_first = np.empty(128, dtype=np.int64)
    reach = bound * stretch
    dimensions = float(values.shape[1])
    found, cost = 0, 0.0
    for leaf in range(start, stop):
        home, before = leaves + leaf, found
        depth_first[0], waiting = 1, 1
        while waiting > 0:
            waiting -= 1
            node = depth_first[waiting]
            if borders[node, 1] <= borders[home, 0]:
                continue  # lies wholly before this leaf, which it has already met
            if _boxes_exceed(lower, upper, home, node, reach + node_radii[home] + node_radii[node]):
                continue
            if node < leaves:
                depth_first[waiting], depth_first[waiting + 1] = 2 * node + 1, 2 * node
                waiting += 2
                continue
            for first in range(borders[home, 0], borders[home, 1]):
                own = reach + radii[first]
                if node != home and _box_exceeds(coordinates[first], lower[node], upper[node], own + node_radii[node]):
                    continue
                for second in range(max(first + 1, borders[node, 0]), borders[node, 1]):
                    cost += COST_OF_SKETCH
                    if sketch_exceeds(coordinates, first, second, own + radii[second]):
                        continue
                    cost += dimensions
                    distance = scaled_distance(values, unit, rows[first], rows[second], bound)
                    if distance <= bound:
                        if found == firsts.shape[0]:
                            return leaf, before, cost
                        firsts[found], seconds[found], distances[found] = rows[first], rows[second], distance
                        found += 1
            if cost > most:
                return leaf, before, cost
    return stop, found, cost
