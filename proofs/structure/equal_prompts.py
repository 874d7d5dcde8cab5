"""Pairs of prompts whose states are equal over the reals, each with the reason that a checker can confirm."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from numpy.typing import NDArray

from proofs.network.graph import Graph
from proofs.operations.interpreter import live
from proofs.structure.collisions import collisions
from proofs.structure.dependence import LONGEST, influences

SAME, ROWS, REPEATED, PERMUTED, UNSEEN = (
    "same prompt", "equal embedding rows", "repeated tokens", "permuted prefixes", "window reach"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Identity:
    """Prompts `first` < `second` have the same state, because of `family`."""

    first: int
    second: int
    family: str

    def to_json(self) -> dict[str, Any]:
        """The pair as a JSON object."""
        return {"first": self.first, "second": self.second, "family": self.family}


def identities(
    graphs: Mapping[int, Graph], weights: Mapping[str, NDArray[Any]], prompts: Sequence[tuple[int, ...]]
) -> tuple[Identity, ...]:
    """All pairs of prompts that are equal for a reason known here, in order.

    The reasons: the same tokens; tokens whose rows are equal in every table that the tokens index; and the families
    of `proofs.structure.collisions`, read off the graph of the longer prompt.
    """
    views = {length: _View.of(graph) for length, graph in graphs.items()}
    longest = views[max(views)]
    rows = {token: _rows(graphs, weights, token) for token in {t for prompt in prompts for t in prompt}}
    keyed: dict[Hashable, list[int]] = {}
    for number, prompt in enumerate(prompts):
        keyed.setdefault(views[len(prompt)].key([rows[t] for t in prompt], longest.repeats), []).append(number)
    found: list[Identity] = []
    for group in keyed.values():
        for first, second in combinations(group, 2):
            classes = [tuple(rows[t] for t in prompts[i]) for i in (first, second)]
            if prompts[first] == prompts[second]:
                family = SAME
            elif classes[0] == classes[1]:
                family = ROWS
            else:
                family = _family(*classes, view=views[len(prompts[first])])
            found.append(Identity(first, second, family))
    return tuple(sorted(found, key=lambda pair: (pair.first, pair.second)))


@dataclass(frozen=True, slots=True)
class _View:
    """What the graph of one length proves: which tokens the last state sees, and two families."""

    seen: tuple[int, ...]
    repeats: bool
    permutations: bool

    @classmethod
    def of(cls, graph: Graph) -> "_View":
        length = graph.length
        if length > LONGEST:
            return cls(tuple(range(length)), False, False)
        families = {family.family for family in collisions(graph)}
        return cls(influences(graph)[-1], REPEATED in families, PERMUTED in families)

    def key(self, classes: Sequence[Hashable], repeats: bool) -> Hashable:
        """Equal for prompts whose states are equal."""
        if repeats and len(set(classes)) == 1:
            return REPEATED, classes[0]
        if self.permutations:
            return PERMUTED, len(classes), classes[-1], frozenset(Counter(classes[:-1]).items())
        return len(classes), tuple(classes[place] for place in self.seen)


def _family(first: tuple[Hashable, ...], second: tuple[Hashable, ...], view: _View) -> str:
    if len(set(first)) == len(set(second)) == 1:
        return REPEATED
    return PERMUTED if view.permutations else UNSEEN


def _rows(graphs: Mapping[int, Graph], weights: Mapping[str, NDArray[Any]], token: int) -> Hashable:
    """Equal for tokens that no graph can tell apart; the token itself where it is read but by tables."""
    found: list[bytes] = []
    for graph in graphs.values():
        for index in live(graph):
            node = graph.nodes[index]
            places = [i for i in node.arguments if graph.nodes[i].operation == "tokens"]
            if not places:
                continue
            table = graph.nodes[node.arguments[0]]
            if node.operation != "take" or table.operation != "parameter" or node.attributes["axis"] != 0:
                return token
            row = weights[str(table.attributes["name"])][token]
            found.append((row.astype("<f8") + 0.0).tobytes())  # -0.0 is the same number
    return tuple(found)
