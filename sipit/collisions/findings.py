"""What a search for collisions finds at one layer, and what finding nothing allows one to say.

Pairs that are known to collide over the reals are set apart: what rounding makes of them says nothing of the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.bit_identity import bit_identical
from numerics.pairs.lipschitz import CoLipschitz, co_lipschitz
from numerics.pairs.points import norm
from numerics.pairs.search import ClosePairs, Pair, closest_pairs, pairs_within
from sipit.collisions.equal_states import EqualStates
from sipit.collisions.known import KnownCollisions
from sipit.prompts.windows import Prefixes

ROWS_AT_A_TIME = 8192


class Search(Protocol):
    """Who looks for pairs of different states; of equal states only the first takes part."""

    def closest_pairs(self, states: Any, *, count: int) -> ClosePairs:
        """The `count` closest pairs, as `numerics.closest_pairs`."""
        ...

    def pairs_within(self, states: Any, *, threshold: float) -> ClosePairs:
        """All pairs within a threshold, as `numerics.pairs_within`."""
        ...


class LocalSearch:
    """This process."""

    def closest_pairs(self, states: Any, *, count: int) -> ClosePairs:
        """See `Search`."""
        return closest_pairs(states, count=count, distinct=True)

    def pairs_within(self, states: Any, *, threshold: float) -> ClosePairs:
        """See `Search`."""
        return pairs_within(states, threshold=threshold, distinct=True)


LOCAL = LocalSearch()


@dataclass(frozen=True, slots=True)
class AtLength:
    """The least distance among prompts of one length; of prompts known to collide the first stands for all."""

    length: int
    prompts: int
    minimum_distance: float


@dataclass(frozen=True, slots=True)
class LayerFindings:
    """Close pairs among the states of one layer; distances are absolute L2 of the stored states.

    Of bit-identical states only the first takes part in `below`, `closest` and `outside`; of `below` and `outside`,
    where it is known to collide with its partner, the first that is not.

    Attributes:
        layer: after this block.
        threshold: absolute L2; pairs at or below it are hits.
        known: which prompts collide over the reals.
        bit_identical: groups of prompts with equal states.
        equal: the same with what is known of them.
        below: pairs of different states at most `threshold` apart and not known to collide.
        below_threshold: how many pairs of prompts are at most `threshold` apart, for whatever reason.
        below_outside: how many of these are not known to collide: the hits to explain.
        closest: the closest pairs of different states.
        outside: the closest pairs of different states that are not known to collide.
        relative_minimum: the least distance outside over the larger norm of its pair; None where there are none.
        median_norm: of the states.
        by_length: least distances by prompt length.
        co_lipschitz: least ratios of state distance to prompt distance, over all prompts.
        co_lipschitz_outside: the same over one prompt of each class that is known to collide.
    """

    layer: int
    threshold: float
    known: KnownCollisions
    bit_identical: tuple[tuple[int, ...], ...]
    equal: EqualStates
    below: tuple[Pair, ...]
    below_threshold: int
    below_outside: int
    closest: tuple[Pair, ...]
    outside: tuple[Pair, ...]
    relative_minimum: float | None
    median_norm: float
    by_length: tuple[AtLength, ...]
    co_lipschitz: CoLipschitz
    co_lipschitz_outside: CoLipschitz

    @property
    def minimum_distance(self) -> float:
        """The least distance between two prompts: 0 where states are bit-identical."""
        return 0.0 if self.bit_identical or not self.closest else self.closest[0].distance

    @property
    def minimum_outside(self) -> float | None:
        """The least distance between two prompts that are not known to collide; None where there are none."""
        if self.equal.identical:
            return 0.0
        return self.outside[0].distance if self.outside else None

    def hits(self, most: int) -> list[Pair]:
        """At most so many of the pairs of prompts to explain."""
        return list(self.equal.listed(self.below, most))

    def to_json(self, numbers: NDArray[np.int64]) -> dict[str, Any]:
        """This layer in the record of `collide`; `numbers` names the prompts."""

        def named(pairs: Sequence[Pair]) -> dict[str, Any]:
            return {
                "closest": [sorted((int(numbers[pair.first]), int(numbers[pair.second]))) for pair in pairs],
                "closest_distances": [pair.distance for pair in pairs],
            }

        margin = self.minimum_outside
        return {
            "layer": self.layer,
            "minimum_distance": self.minimum_distance,
            **named(self.closest),
            "bit_identical": sum(math.comb(len(group), 2) for group in self.bit_identical),
            "below_threshold": self.below_threshold,
            "threshold": self.threshold,
            "known_to_collide": {
                "pairs": self.known.pairs,
                "classes": len(self.known.groups),
                "causes": {cause.value: pairs for cause, pairs in self.known.causes.items() if pairs},
            },
            "outside": {
                "minimum_distance": margin,
                **named(self.outside),
                "bit_identical": self.equal.identical,
                "below_threshold": self.below_outside,
                "co_lipschitz": _ratios(self.co_lipschitz_outside),
            },
            "relative_minimum": self.relative_minimum,
            "separation_margin": {
                "minimum_distance": margin,
                "over_median_norm": None if margin is None or not self.median_norm else margin / self.median_norm,
                "over_threshold": None if margin is None or not self.threshold else margin / self.threshold,
            },
            "median_norm": self.median_norm,
            "by_length": [
                {"length": at.length, "prompts": at.prompts, "minimum_distance": at.minimum_distance}
                for at in self.by_length
            ],
            "co_lipschitz": _ratios(self.co_lipschitz),
        }


def search_layer(
    states: Any,
    prompts: Prefixes,
    known: KnownCollisions,
    *,
    layer: int,
    threshold: float,
    seed: int,
    count: int = 10,
    search: Search = LOCAL,
) -> LayerFindings:
    """Searches the states of all prompts at one layer, exactly.

    Args:
        states: shape (prompts, d), an array or memory map as for `numerics.closest_pair`.
        known: which prompts collide over the reals.
        threshold: absolute L2; pairs at or below it are hits.
        seed: of the sample for the co-Lipschitz estimates.
        count: how many closest pairs to report.
        search: who looks for them.

    Raises:
        InvalidInput: states that cannot be searched, or a threshold that is negative or not finite.
    """
    groups = bit_identical(states)
    equal = EqualStates.of(groups, known)
    sizes = np.ones(len(prompts), dtype=np.int64)
    for group in groups:
        sizes[group[0]] = len(group)

    below = search.pairs_within(states, threshold=threshold)
    leaders = np.flatnonzero(known.first == np.arange(len(prompts)))
    different = np.setdiff1d(np.arange(len(prompts)), [member for group in groups for member in group[1:]])
    near = _neighbourhood(search, states, equal.family, leaders, different, count)
    closest = near[:count] if len(near) >= count else search.closest_pairs(states, count=count)
    outside = tuple(islice(equal.apart(near), count))
    close = [(pair.first, pair.second) for pair in (*closest, *outside)]
    places = np.searchsorted(leaders, known.first)  # where each prompt's leader stands among the leaders
    led = [(int(places[first]), int(places[second])) for first, second in close if places[first] != places[second]]
    return LayerFindings(
        layer=layer,
        threshold=threshold,
        known=known,
        bit_identical=groups,
        equal=equal,
        below=tuple(equal.apart(below)),
        below_threshold=int((sizes[below.first] * sizes[below.second]).sum() + (sizes * (sizes - 1) // 2).sum()),
        below_outside=equal.identical + equal.count(below.first, below.second),
        closest=tuple(closest),
        outside=outside,
        relative_minimum=_relative(states, equal, outside),
        median_norm=median_norm(states),
        by_length=_by_length(states, prompts, leaders),
        co_lipschitz=co_lipschitz(states, _TokenIds(prompts), seed=seed, close=close),
        co_lipschitz_outside=(
            co_lipschitz(_rows(states, leaders), _TokenIds(prompts, leaders), seed=seed, close=led)
            if len(leaders) > 1
            else CoLipschitz(math.inf, math.inf, True, 0)
        ),
    )


def _neighbourhood(
    search: Search,
    states: Any,
    family: NDArray[np.int64],
    leaders: NDArray[np.int64],
    different: NDArray[np.int64],
    count: int,
) -> Sequence[Pair]:
    """All pairs of different states within a distance that holds the `count` closest pairs not known to collide.

    Where there are not so many of these, it holds all of them. So the first `count` of what it returns are the closest
    pairs of all, if it returns so many.

    Args:
        different: the rows that take part: the first of bit-identical states.
    """
    known: Sequence[Pair] = ()
    if len(leaders) > 1:
        known = search.closest_pairs(_rows(states, leaders), count=count)
    if len(known) < count:  # few classes: other members than their leaders make the closest pairs
        some = different[_some_of_each(family[different], count)]
        pairs = len(some) * (len(some) - 1) // 2
        every: Sequence[Pair] = closest_pairs(states[some], count=pairs) if pairs else ()
        known = [one for one in every if family[some[one.first]] != family[some[one.second]]][:count]
    return search.pairs_within(states, threshold=known[-1].distance * (1 + 2.0**-48)) if known else ()


def _some_of_each(family: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Places with at least `count` pairs of different families among them, or all such pairs.

    A family of `count` members has so many with any other one; so have `count` + 1 families.
    """
    places = [np.flatnonzero(family == one)[:count] for one in np.unique(family)[: count + 1]]
    return np.sort(np.concatenate(places))


def median_norm(states: Any) -> float:
    """The median L2 norm of the rows."""
    starts = range(0, len(states), ROWS_AT_A_TIME)
    parts = [np.asarray(states[start : start + ROWS_AT_A_TIME], dtype=np.float64) for start in starts]
    return float(np.median(np.concatenate([norm(part, axis=1) for part in parts])))


def zero_hits_bound(prompts: int, *, confidence: float = 0.95) -> float:
    """An upper bound on the probability that two independent prompts collide, when none of N independent ones did.

    The N(N-1)/2 pairs share prompts and are not independent; floor(N/2) disjoint pairs of independent prompts are,
    and none of them collided. If p is the probability of a hit, that has probability (1-p)^floor(N/2), so with the
    given confidence p <= 1 - (1-confidence)^(1/floor(N/2)), about 3/floor(N/2) at 95 %. It says nothing of a fixed
    corpus, whose prompts (prefixes of one text) are no independent sample of anything.
    """
    return -float(np.expm1(np.log1p(-confidence) / (prompts // 2)))


def _rows(states: Any, rows: NDArray[np.int64]) -> Any:
    return states if len(rows) == len(states) else states[rows]


def _relative(states: Any, equal: EqualStates, outside: Sequence[Pair]) -> float | None:
    if equal.identical:
        return 0.0
    return outside[0].distance / _larger_norm(states, outside[0]) if outside else None


def _larger_norm(states: Any, pair: Pair) -> float:
    return max(float(norm(np.asarray(states[row], dtype=np.float64))) for row in (pair.first, pair.second))


def _by_length(states: Any, prompts: Prefixes, leaders: NDArray[np.int64]) -> tuple[AtLength, ...]:
    found: list[AtLength] = []
    lengths = prompts.length[leaders]
    for length in np.unique(lengths).tolist():
        rows = leaders[lengths == length]
        if len(rows) > 1:
            found.append(AtLength(length, len(rows), closest_pairs(states[rows], count=1)[0].distance))
    return tuple(found)


def _ratios(found: CoLipschitz) -> dict[str, Any]:
    return {
        "edit": found.edit if np.isfinite(found.edit) else None,
        "hamming": found.hamming if np.isfinite(found.hamming) else None,
        "exact": found.exact,
        "pairs": found.pairs,
    }


class _TokenIds(Sequence[list[int]]):
    """The prompts, or some of them, as a sequence, cut from their windows only when asked for."""

    def __init__(self, prompts: Prefixes, rows: NDArray[np.int64] | None = None) -> None:
        self._prompts = prompts
        self._rows = np.arange(len(prompts)) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._prompts.token_ids(int(self._rows[index]))
