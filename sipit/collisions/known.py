"""Prompts that collide over the real numbers, whatever the other weights: known before anything is measured.

Each prompt gets a key at a layer; prompts with equal keys have equal states there. Rounding may separate them all the
same, so a search by distances neither finds these pairs reliably nor may it count them as close calls.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, zip_longest
from math import comb
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from numerics.graphs.windows import CHUNK, named_windows
from sipit.collisions.causes import Cause, window_reach
from sipit.models import LanguageModel
from sipit.prompts.windows import Prefixes

Item = TypeVar("Item")

SHOWN = (2, 3)  # tokens of the prompts at which families are shown
PERMUTED = ((1, 2, 3), (2, 1, 3))
TRIED = 4  # tokens that are tried at layer 0, each in a prompt of so many of it


@dataclass(frozen=True, slots=True)
class Families:
    """What the captured network at one layer proves, and what the weights and the config add.

    Attributes:
        repeats: a^m and a^k collide for every token a, at the lengths where it was shown.
        permutations: only the last token and the counts of the others matter, likewise.
        reach: how many of the last tokens can be seen; None for all.
        back: how many tokens back each block sees, where `reach` is not None and not that of a chunk.
        anywhere: whether a prompt's state depends on the tokens in reach alone and not on where in the context they
            stand. Believed, as an idealisation, where positions change nothing but attention weights.
        lengths: the lengths of prompts at which this was shown by value numbering. Of other lengths the same is
            believed, as an idealisation.
        chunked: whether `reach` is the size of chunks: all that is seen stands behind the last border of a chunk.
    """

    repeats: bool
    permutations: bool
    reach: int | None
    back: int
    anywhere: bool
    lengths: tuple[int, ...] = ()
    chunked: bool = False

    def key(self, classes: Sequence[int]) -> Hashable:
        """The key of a prompt, given the classes of equal embedding rows of its tokens.

        Where all blocks see w tokens back, a^m s and a^w s collide for all m >= w and every s: all states on the run
        are equal, and no position of s sees more than w of them. (Ours, by induction over the blocks; an idealisation
        where positions are read from rounded tables.) Behind the border of a chunk, what is seen counts from there.
        """
        seen, where = self._seen(classes)
        if self.repeats and where == 0:
            run = _run(seen)
            sliding = self.reach is not None and not self.chunked
            kept = 1 if run == len(seen) else min(run, max(1, self.back)) if sliding else run
            seen = seen[run - kept :]
        if self.permutations:
            return _counted(seen)
        return seen, where

    def cause(self, first: Sequence[int], second: Sequence[int]) -> Cause | None:
        """Why two prompts (as classes) have equal states, or None where nothing is known of them."""
        if tuple(first) == tuple(second):
            return Cause.DUPLICATE_ROWS
        if self.key(first) != self.key(second):
            return None
        return Cause.WINDOW_REACH if self._seen(first) == self._seen(second) else Cause.STRUCTURAL

    def _seen(self, classes: Sequence[int]) -> tuple[tuple[int, ...], int]:
        """The tokens that can be seen, and where they start if that matters."""
        last = len(classes) - 1
        begin = 0 if self.reach is None else last // self.reach * self.reach if self.chunked else last + 1 - self.reach
        seen = tuple(classes[max(0, begin) :])
        return seen, 0 if self.anywhere or len(seen) == len(classes) else len(classes)

    def count(self, group: Sequence[Sequence[int]]) -> Counter[Cause]:
        """How many pairs of a group of prompts (as classes) with equal keys there are for each cause."""
        equal = _equal_pairs(map(tuple, group))
        reached = _equal_pairs(map(self._seen, group))
        return Counter(
            {
                Cause.DUPLICATE_ROWS: equal,
                Cause.WINDOW_REACH: reached - equal,
                Cause.STRUCTURAL: comb(len(group), 2) - reached,
            }
        )

    def claims(self, group: Collection[Sequence[int]]) -> set[str]:
        """What some pair of a group (as classes) with equal keys is itself an instance of.

        By the names of `proofs.formal.names`. Of a pair that takes several steps, such as one that is cut to what is
        seen and is a run then, and of what stands before a chunk, there is no theorem.
        """
        prompts = {tuple(one) for one in group}
        found = {"equal embedding rows"} if len(prompts) < len(group) else set[str]()
        sliding = self.reach is not None and not self.chunked
        if sliding and _some_pair(prompts, same=lambda one: (self._seen(one), len(one)), other=tuple):
            found.add("window reach")
        if sliding and _some_pair(prompts, same=self._seen, other=len):
            found.add("window reach, two lengths")
        runs = {one for one in prompts if len(set(one)) == 1} if self.repeats else set[tuple[int, ...]]()
        if _some_pair(runs, same=lambda one: one[0], other=self._seen):
            found.add("repeated tokens")
        if self.permutations and _some_pair(prompts - runs, same=_counted, other=self._seen):
            found.add("permuted prefixes")
        if self.repeats and sliding:
            long = {one for one in prompts - runs if _run(one) >= self.back}
            if _some_pair(long, same=lambda one: (one[0], one[_run(one) :]), other=self._seen):
                found.add("long runs")
        return found

    def shown(self, group: Iterable[Sequence[int]]) -> set[str]:
        """What value numbering showed of some pair of a group with equal keys, of whatever tokens."""
        at_hand = [one for one in group if len(one) in self.lengths]
        return self.claims(at_hand) & {"repeated tokens", "permuted prefixes"}


def _run(prompt: Sequence[int]) -> int:
    """How often the first token stands at the start."""
    return next((at for at, token in enumerate(prompt) if token != prompt[0]), len(prompt))


def _counted(prompt: Sequence[int]) -> Hashable:
    """The last token, and how often each stands before it."""
    return frozenset(Counter(prompt[:-1]).items()), prompt[-1]


def _some_pair(
    prompts: Iterable[tuple[int, ...]],
    *,
    same: Callable[[tuple[int, ...]], Hashable],
    other: Callable[[tuple[int, ...]], Hashable],
) -> bool:
    """Whether two prompts agree in one thing and differ in the other."""
    found = {(same(one), other(one)) for one in prompts}
    return len({first for first, _ in found}) < len(found)


def _equal_pairs(values: Iterable[Hashable]) -> int:
    return sum(comb(number, 2) for number in Counter(values).values())


def families_at(model: LanguageModel, layer: int) -> Families:
    """The families of a model's network up to a layer, shown by value numbering at two short lengths."""
    from numerics.graphs.capture import capture_graph
    from proofs.kernel.collisions import colliding_pairs
    from proofs.structure.equal_prompts import in_room, repeated_tokens_collide

    if layer == 0:
        everywhere = _same_everywhere(model)
        return Families(repeats=everywhere, permutations=False, reach=1, back=0, anywhere=everywhere)
    graphs = {n: capture_graph(model.module.config, layer, "eager", length=n, stored=True) for n in SHOWN}
    reach, chunked = _reach(model, layer)
    repeats = bool(in_room(repeated_tokens_collide, graphs))  # what there is no room to show is not known
    permutations = reach is None and PERMUTED in (in_room(colliding_pairs, graphs) or ())
    back = 0 if reach is None or chunked else (reach - 1) // layer
    return Families(repeats, permutations, reach, back, anywhere=repeats, lengths=SHOWN, chunked=chunked)


def _reach(model: LanguageModel, layer: int) -> tuple[int | None, bool]:
    """How many of the last tokens can be seen (None: all may be), and whether they are those of the last chunk."""
    named = named_windows(model.module.config)
    # Beside other windows it is not told whether it is the chunk that bounds what is seen.
    reach = window_reach(model, layer) if CHUNK not in named or len(named) == 1 else None
    return reach, reach is not None and CHUNK in named


def _same_everywhere(model: LanguageModel) -> bool:
    """Whether the input of the first block is the same for each of some ordinary tokens wherever it stands."""
    from sipit.models.network import Network

    network = Network(model, 0)
    runs = (network.run(token.expand(1, TRIED))[0] for token in model.ordinary_ids(TRIED)[0])
    return all(bool((run == run[0]).all()) for run in runs)


@dataclass(frozen=True, slots=True, eq=False)
class KnownCollisions:
    """The classes of prompts with equal keys at one layer.

    Attributes:
        first: shape (prompts,), int64: for every prompt the first one with the same key.
        groups: every class of at least two prompts, increasing.
        causes: how many pairs there are for each cause.
        families: what makes keys equal at this layer.
        claims: what some pair is an instance of, by the names of `proofs.formal.names`.
        shown: which of these value numbering showed of some pair.
    """

    first: NDArray[np.int64]
    groups: tuple[tuple[int, ...], ...]
    causes: dict[Cause, int]
    families: Families
    claims: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def pairs(self) -> int:
        """How many pairs of prompts are known to collide."""
        return sum(comb(len(group), 2) for group in self.groups)

    def listed(self, most: int) -> Iterator[tuple[int, int]]:
        """At most so many of the pairs: one group after the other in turn, so that every group is seen early."""
        return in_turn((combinations(group, 2) for group in self.groups), most)


def in_turn(turns: Iterable[Iterable[Item]], most: int) -> Iterator[Item]:
    """At most so many of what there is to take, one of each in turn; none is None."""
    rounds = zip_longest(*islice(turns, most))
    return islice((one for each in rounds for one in each if one is not None), most)


def known_collisions(prompts: Prefixes, token_classes: NDArray[np.int64], families: Families) -> KnownCollisions:
    """Sorts prompts into classes that collide over the reals.

    Args:
        token_classes: shape (vocabulary,): for each token the first one with the same embedding row.
    """
    first = np.empty(len(prompts), dtype=np.int64)
    leaders: dict[Hashable, int] = {}
    members: dict[int, list[int]] = {}
    for prompt in range(len(prompts)):
        key = families.key(token_classes[prompts.token_ids(prompt)].tolist())
        leader = leaders.setdefault(key, prompt)
        first[prompt] = leader
        if leader != prompt:
            members.setdefault(leader, [leader]).append(prompt)
    groups = tuple(tuple(group) for _, group in sorted(members.items()))
    causes: Counter[Cause] = Counter()
    claims, shown = set[str](), set[str]()
    for group in groups:
        classes = [token_classes[prompts.token_ids(prompt)].tolist() for prompt in group]
        causes += families.count(classes)
        claims |= families.claims(classes)
        shown |= families.shown(classes)
    return KnownCollisions(first, groups, dict(causes), families, tuple(sorted(claims)), tuple(sorted(shown)))
