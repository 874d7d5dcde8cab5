"""Prompts that collide over the real numbers, whatever the other weights: known before anything is measured.

Each prompt gets a key at a layer; prompts with equal keys have equal states there. Rounding may separate them all the
same, so a search by distances neither finds these pairs reliably nor may it count them as close calls.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from sipit.collision_causes import Cause, window_reach
from sipit.models import LanguageModel
from sipit.prefixes import Prefixes


@dataclass(frozen=True, slots=True)
class Families:
    """What the captured network at one layer proves (`proofs.structural`), and what the weights and config add.

    Attributes:
        repeats: a^m and a^k collide for every token a.
        permutations: only the last token and the counts of the others matter.
        reach: how many of the last tokens can be seen; None for all.
        anywhere: whether a prompt's state depends on its tokens alone and not on where in the context they stand.
    """

    repeats: bool
    permutations: bool
    reach: int | None
    anywhere: bool

    def key(self, classes: Sequence[int]) -> Hashable:
        """The key of a prompt, given the classes of equal embedding rows of its tokens."""
        seen = tuple(classes if self.reach is None else classes[-self.reach :])
        where = 0 if self.anywhere or len(seen) == len(classes) else len(classes)
        if self.repeats and where == 0 and len(set(seen)) == 1:
            return seen[:1], 0
        if self.permutations:
            return frozenset(Counter(seen[:-1]).items()), seen[-1]
        return seen, where

    def cause(self, first: Sequence[int], second: Sequence[int]) -> Cause | None:
        """Why two prompts (as classes) have equal states, or None where nothing is known of them."""
        if tuple(first) == tuple(second):
            return Cause.DUPLICATE_ROWS
        if self.key(first) != self.key(second):
            return None
        structural = self.reach is None or (self.repeats and len({*first, *second}) == 1)
        return Cause.STRUCTURAL if structural else Cause.WINDOW_REACH


def families_at(model: LanguageModel, layer: int) -> Families:
    """The families of a model's network up to a layer, read off the captured graph."""
    from numerics.capture import capture_graph
    from proofs.structural import collisions, positions, repeated_tokens_collide

    if layer == 0:
        scheme = "none" if _same_everywhere(model) else "absolute"
        return Families(scheme == "none", False, 1, scheme == "none")
    graph = capture_graph(model.module.config, layer, "eager", length=11)
    named = {family.family for family in collisions(graph, full_context=window_reach(model, layer) is None)}
    anywhere = positions(graph).scheme in {"relative", "none"}
    return Families(repeated_tokens_collide(graph), "permuted prefixes" in named, window_reach(model, layer), anywhere)


def _same_everywhere(model: LanguageModel) -> bool:
    """Whether the input of the first block is the same for a token at every position."""
    import torch

    from sipit.network import Network

    run = Network(model, 0).run(torch.zeros(1, 4, dtype=torch.long, device=model.device), use_cache=False)[0]
    return bool((run == run[0]).all())


@dataclass(frozen=True, slots=True, eq=False)
class KnownCollisions:
    """The classes of prompts with equal keys at one layer.

    Attributes:
        first: shape (prompts,), int64: for every prompt the first one with the same key.
        groups: every class of at least two prompts, increasing.
        causes: how many pairs there are for each cause.
    """

    first: NDArray[np.int64]
    groups: tuple[tuple[int, ...], ...]
    causes: dict[Cause, int]

    @property
    def pairs(self) -> int:
        """How many pairs of prompts are known to collide."""
        return sum(comb(len(group), 2) for group in self.groups)

    def listed(self, most: int) -> Iterator[tuple[int, int]]:
        """At most so many of the pairs: one group after the other in turn, so that every group is seen early."""
        turns = [combinations(group, 2) for group in self.groups]
        while turns and most > 0:
            for turn in turns[:most]:
                pair = next(turn, None)
                if pair is None:
                    turns = [other for other in turns if other is not turn]
                else:
                    most -= 1
                    yield pair


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
    for group in groups:
        sequences = [tuple(token_classes[prompts.token_ids(prompt)].tolist()) for prompt in group]
        equal = sum(comb(number, 2) for number in Counter(sequences).values())
        different = comb(len(group), 2) - equal
        structural = different if families.reach is None else _different_runs(sequences) * families.repeats
        causes += Counter(
            {Cause.DUPLICATE_ROWS: equal, Cause.STRUCTURAL: structural, Cause.WINDOW_REACH: different - structural}
        )
    return KnownCollisions(first, groups, dict(causes))


def _different_runs(sequences: Sequence[tuple[int, ...]]) -> int:
    """Pairs of different sequences among those that repeat one token; all of one group repeat the same."""
    runs = Counter(classes for classes in sequences if len(set(classes)) == 1)
    return comb(runs.total(), 2) - sum(comb(number, 2) for number in runs.values())
