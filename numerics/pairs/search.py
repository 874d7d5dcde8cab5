"""The closest pairs of many points, and all pairs within a threshold: exact, and found without comparing all pairs.

Equal rows are set aside by their bits. Among the rest a search (by windows, by a tree or by matrix products, chosen
from a probe) excludes pairs by lower bounds that include every rounding error; what is left is measured by direct
differences, and what float64 cannot decide is decided in exact arithmetic. Proofs: docs/closest-pair.md.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.bit_identity import equal_rows
from numerics.pairs.exact_distance import UNDERFLOW, Rows, distances, exact_ranks, exact_squares, relative_error, within
from numerics.pairs.harvest import Harvest, Nearest, WithinReach
from numerics.pairs.points import PointSet, point_set
from numerics.pairs.product import search_products
from numerics.pairs.sketch import sketch
from numerics.pairs.tree import pair_tree, probe, search_tree
from numerics.pairs.windows import join, offer_neighbours, pairs_in_windows
from proofs.arguments import called, number, one_of, shown, switch, whole
from proofs.errors import InvalidInput

Method = Literal["auto", "windows", "tree", "product"]
Progress = Callable[[int, int], None]  # called with (done, of)

PAIRS_PER_ROW = 16  # windows that hold at most so many pairs a row need no tree
PRODUCT_SPEED = 16  # float32 products done in the time of one coordinate of a direct distance
SEED_SHARE, PROBE_SHARE = 0.01, 0.02  # of the cost of the product method, spent on finding out whether to use it


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two rows and their distance; pairs sort by (reported distance, first, second).

    Attributes:
        distance: absolute L2 of the stored values, within 2**-51 relative (rounded to nearest where denormal;
            infinity where it exceeds the largest float64).
        first, second: row numbers, first < second.
    """

    distance: float
    first: int
    second: int


@dataclass(frozen=True, slots=True, eq=False)
class ClosePairs(Sequence[Pair]):
    """Pairs in increasing order of (exact distance, first, second): a sequence of `Pair`, held as columns.

    Two reported distances may be equal where the exact ones are not, or a last bit out of order.

    Attributes:
        distance: shape (pairs,), float64, absolute L2.
        first, second: shape (pairs,), int64, row numbers, first < second.
    """

    distance: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.distance)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> "ClosePairs": ...
    def __getitem__(self, index: int | slice) -> "Pair | ClosePairs":
        if isinstance(index, slice):
            return ClosePairs(self.distance[index], self.first[index], self.second[index])
        return Pair(float(self.distance[index]), int(self.first[index]), int(self.second[index]))

    def __iter__(self) -> Iterator[Pair]:
        return map(Pair, self.distance.tolist(), self.first.tolist(), self.second.tolist())


def closest_pair(points: Any, *, method: Method = "auto") -> Pair:
    """The two closest rows: the exact minimum over all N(N-1)/2 pairs of the stored values.

    Of several pairs at exactly the same distance, the one with the smallest (first, second).

    Args:
        points: float16, float32 or float64 array or memory map, shape (N, d), N >= 2, d >= 1, finite. bfloat16 has
            no numpy type: widen it to float32 first, which is exact.
        method: how to search; every method gives the same answer. "auto" probes.

    Raises:
        InvalidInput: points or method are not as above.

    Cost: O(N d) to read, then between O(N log N) where bounds prune and N**2 d / 2 float32 multiply-adds where
    nothing does. About 600 bytes a row beside the data; on all processors this process may use.

    Examples:
        >>> import numpy as np
        >>> closest_pair(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]))
        Pair(distance=1.0, first=1, second=2)
    """
    return closest_pairs(points, count=1, method=method)[0]


def closest_pairs(
    points: Any, *, count: int, distinct: bool = False, method: Method = "auto", progress: Progress | None = None
) -> ClosePairs:
    """The `count` closest pairs of rows, by exact distance, then (first, second); fewer if there are not so many.

    Args:
        points: as for `closest_pair`.
        count: how many pairs, at least 1. Time and memory grow with it once it exceeds the number of rows.
        distinct: leave out pairs at distance 0, and let the first row of each class of equal rows speak for all.
        method: as for `closest_pair`.
        progress: called with (blocks compared, blocks in all) by the method of products.

    Raises:
        InvalidInput: points, count or method are not as above.
    """
    _check_method(method)
    count, distinct = whole("count", count, least=1, most=2**62), switch("distinct", distinct)
    called("progress", progress)
    checked = point_set(points)
    equal = equal_rows(checked)
    groups = () if distinct else equal.groups
    zero = itertools.islice(heapq.merge(*(itertools.combinations(group, 2) for group in groups)), count)
    found = np.array(list(zero), dtype=np.int64).reshape(-1, 2)
    if len(found) < count:
        nearest = Nearest(checked, count - len(found))
        _search(checked, equal.representatives, nearest, method, progress)
        rest = _closest_members(checked, groups, *nearest.settled(), count - len(found))
        found = np.concatenate((found, rest))
    firsts, seconds = found[:, 0], found[:, 1]
    return ClosePairs(distances(checked, firsts, seconds), firsts, seconds)


def pairs_within(points: Any, *, threshold: float, distinct: bool = False, method: Method = "auto") -> ClosePairs:
    """Every pair of rows at most `threshold` apart, decided exactly for the stored values and the stored threshold.

    Args:
        points: as for `closest_pair`. A memory map is read twice, blockwise, and never loaded whole.
        threshold: absolute L2, finite, at least 0; at 0 the answer is the pairs of bit-identical rows.
        distinct: leave out pairs at distance 0, and let the first row of each class of equal rows speak for all.
        method: as for `closest_pair`.

    Returns:
        All pairs, by exact distance, then (first, second). Their number can be N(N-1)/2, and memory grows with it:
        24 bytes a pair, and more while they are sorted.

    Raises:
        InvalidInput: points, threshold or method are not as above.

    Cost: where the threshold is small against the spread of the data, O(N d + N log N).

    Examples:
        >>> import numpy as np
        >>> [(pair.first, pair.second) for pair in pairs_within(np.array([[0.0], [1.0], [1.5]]), threshold=0.5)]
        [(1, 2)]
    """
    _check_method(method)
    distance, distinct = number(threshold), switch("distinct", distinct)
    if distance is None or not (math.isfinite(distance) and distance >= 0):
        raise InvalidInput(
            f"Expected a threshold that is finite and not negative, but got threshold={shown(threshold)}; pass an L2 "
            "distance."
        )
    threshold = distance if type(threshold) not in (int, float) else threshold  # of another library, or a fraction
    checked = point_set(points)
    equal = equal_rows(checked)
    groups = () if distinct else equal.groups
    reach = WithinReach(checked.scaled(threshold) * (1 + 4 * relative_error(checked.values.shape[1])) + 4 * UNDERFLOW)
    if threshold > 0:
        _search(checked, equal.representatives, reach, method)
    firsts, seconds = reach.pairs()
    near = within(checked, firsts, seconds, threshold)
    firsts, seconds = firsts[near], seconds[near]
    length, rank = distances(checked, firsts, seconds), exact_ranks(checked, firsts, seconds)
    same = [np.array(group)[np.column_stack(np.triu_indices(len(group), 1))] for group in groups]
    pairs, places = _all_members(groups, firsts, seconds)
    zeros = np.zeros(sum(map(len, same)))
    pairs, length = np.concatenate((*same, pairs)), np.concatenate((zeros, length[places]))
    order = np.lexsort((pairs[:, 1], pairs[:, 0], np.concatenate((zeros - 1, rank[places]))))
    return ClosePairs(length[order], pairs[order, 0], pairs[order, 1])


def _search(points: PointSet, rows: Rows, harvest: Harvest, method: Method, progress: Progress | None = None) -> None:
    """Offers every pair of the given distinct rows within the harvest's bound, by the method asked for or the best."""
    if len(rows) < 2:
        return
    sketched = sketch(points, rows)
    product_cost = len(rows) ** 2 / 2 * points.values.shape[1] / PRODUCT_SPEED
    if harvest.repeats:
        offer_neighbours(sketched, harvest, SEED_SHARE * product_cost)
    if method in ("auto", "windows"):
        axis, inside = pairs_in_windows(sketched, harvest.bound)
        if method == "windows" or inside <= PAIRS_PER_ROW * len(rows):
            join(sketched, harvest, axis)
            return
    tree = pair_tree(sketched)
    if method == "auto":
        method = "tree" if probe(tree, harvest, PROBE_SHARE * product_cost) < product_cost else "product"
    if method == "tree":
        search_tree(tree, harvest)
    else:
        search_products(tree, harvest, progress)


def _closest_members(
    points: PointSet, groups: tuple[tuple[int, ...], ...], firsts: Rows, seconds: Rows, count: int
) -> NDArray[np.int64]:
    """The closest pairs of rows, given the closest pairs of representatives, `count` of them.

    These suffice: a pair left out is preceded by all that were chosen, and so are the pairs of its classes, because
    a representative is the smallest row of its class. Nor does any row past the first `count` of a class matter.
    """
    if not groups:
        return np.column_stack((firsts, seconds))
    members = {group[0]: group[:count] for group in groups}
    squares = exact_squares(points, firsts, seconds)
    ranked = sorted(
        (square, min(pair), max(pair))
        for square, first, second in zip(squares, firsts.tolist(), seconds.tolist(), strict=True)
        for pair in itertools.product(members.get(first, (first,)), members.get(second, (second,)))
    )
    return np.array([pair[1:] for pair in ranked[:count]], dtype=np.int64).reshape(-1, 2)


def _all_members(groups: tuple[tuple[int, ...], ...], firsts: Rows, seconds: Rows) -> tuple[NDArray[np.int64], Rows]:
    """All pairs of rows of the classes whose representatives are paired, and the place of each of these pairs."""
    members = {group[0]: np.array(group) for group in groups}
    leaders = np.array(list(members), dtype=np.int64)
    repeated = np.isin(firsts, leaders) | np.isin(seconds, leaders)
    found, places = [np.column_stack((firsts, seconds))[~repeated]], [np.flatnonzero(~repeated)]
    for place in np.flatnonzero(repeated):
        first, second = int(firsts[place]), int(seconds[place])
        left, right = np.meshgrid(members.get(first, np.array([first])), members.get(second, np.array([second])))
        found.append(np.sort(np.column_stack((left.ravel(), right.ravel())), axis=1))
        places.append(np.full(left.size, place))
    return np.concatenate(found), np.concatenate(places)


def _check_method(method: str) -> None:
    one_of("a method", method, get_args(Method))
