"""Prompts with bit-identical states, of which a search sees the first alone: what it finds is said of all of them.

A first prompt may be known to collide with its partner where others of its group are not. So what is found is named,
counted and listed by members of different classes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from math import comb

import numpy as np
from numpy.typing import NDArray

from numerics.pairs.search import Pair
from sipit.collisions.known import KnownCollisions, in_turn

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class EqualStates:
    """Which prompts have equal states, and which of these are known to collide.

    Attributes:
        first: shape (prompts,), int64: for every prompt the first one with the same state.
        family: shape (prompts,), int64: for such a first prompt the class of all that have its state; where they are of
            several classes, a negative number of its own.
        classes: shape (prompts,), int64: for every prompt the first one that it is known to collide with.
        members: for the first of every group of at least two its members by class, in the order of their first ones.
    """

    first: Rows
    family: Rows
    classes: Rows
    members: dict[int, dict[int, list[int]]]

    @classmethod
    def of(cls, groups: Sequence[tuple[int, ...]], known: KnownCollisions) -> "EqualStates":
        """Of groups of prompts with equal states, increasing."""
        first, family = np.arange(len(known.first)), known.first.copy()
        members: dict[int, dict[int, list[int]]] = {}
        for number, group in enumerate(groups):
            first[list(group)] = group[0]
            by_class = members.setdefault(group[0], {})
            for member in group:
                by_class.setdefault(int(known.first[member]), []).append(member)
            if len(by_class) > 1:  # rounding made one of states that may differ: such a group belongs to no class
                family[group[0]] = -1 - number
        return cls(first, family, known.first, members)

    @property
    def identical(self) -> int:
        """How many pairs of prompts have equal states and are not known to collide."""
        return sum(
            comb(sum(map(len, classes.values())), 2) - sum(comb(len(some), 2) for some in classes.values())
            for classes in self.members.values()
        )

    def apart(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """Pairs of first prompts, those for which two members are not known to collide, named by the first two such."""
        for pair in pairs:
            if self.family[pair.first] != self.family[pair.second]:
                yield self._named(pair) if self.classes[pair.first] == self.classes[pair.second] else pair

    def count(self, firsts: Rows, seconds: Rows) -> int:
        """For how many pairs of prompts pairs of prompts of different states speak, those known to collide left out."""
        sizes = np.bincount(self.first, minlength=len(self.first))
        firsts, seconds = self.first[firsts], self.first[seconds]
        one, other = self.family[firsts], self.family[seconds]
        mixed = (one < 0) | (other < 0)
        whole = int((sizes[firsts] * sizes[seconds])[(one != other) | mixed].sum())
        known = (
            len(some) * len(right.get(number, ()))
            for left, right in map(self._both, firsts[mixed].tolist(), seconds[mixed].tolist())
            for number, some in left.items()
        )
        return whole - sum(known)

    def listed(self, pairs: Sequence[Pair], most: int) -> Iterator[Pair]:
        """At most so many pairs of prompts that are not known to collide: those of equal states, then those given.

        One of each group and each pair comes first, and of a group one of every two classes, so that no member speaks
        for all others.
        """
        equal = ((0.0, first, first) for first in self.members if self.family[first] < 0)
        given = ((pair.distance, int(self.first[pair.first]), int(self.first[pair.second])) for pair in pairs[:most])
        return in_turn((self._all(*one, most) for one in chain(equal, given)), most)

    def _all(self, distance: float, first: int, second: int, most: int) -> Iterator[Pair]:
        left, right = self._both(first, second)
        if first == second:
            numbers = list(left)
            classes = ((one, other) for place, other in enumerate(numbers) for one in numbers[:place])
        else:
            classes = ((one, other) for one, other in product(left, right) if one != other)
        pairs = in_turn((product(left[one], right[other]) for one, other in classes), most)
        return (Pair(distance, min(pair), max(pair)) for pair in pairs)

    def _named(self, pair: Pair) -> Pair:
        """A pair of two first prompts of one class, by the first two members of different classes."""
        own = int(self.classes[pair.first])
        left, right = self._both(pair.first, pair.second)
        others = [(pair.first, min(some)) for number, some in right.items() if number != own]
        others += [(pair.second, min(some)) for number, some in left.items() if number != own]
        return Pair(pair.distance, *min((min(named), max(named)) for named in others))

    def _both(self, first: int, second: int) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """The members by class of the groups of two first prompts."""
        left, right = (self.members.get(one) or {int(self.classes[one]): [one]} for one in (first, second))
        return left, right
