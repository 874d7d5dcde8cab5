"""Looks for prompts whose states are equal over the reals; `proofs.kernel` shows each.

Candidates for pairs are prompts with the same last token and the same relative frequencies, and prompts that agree in
all tokens that the last state sees.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from numpy.typing import NDArray

from proofs.kernel.equal_pairs import EqualPairs
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from proofs.structure.dependence import LONGEST, influences


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
    """Pairs of prompts that are shown to be equal, in order.

    Args:
        graphs: the network by length.
        weights: arrays by parameter name.
        prompts: token ids.
    """
    equal = EqualPairs(graphs, weights, prompts)
    seen = {length: _seen(graph) for length, graph in graphs.items()}
    groups: dict[Hashable, list[int]] = {}
    for number, symbols in enumerate(equal.symbols):
        shares = frozenset((u, Fraction(n, len(symbols))) for u, n in Counter(symbols).items())
        groups.setdefault((symbols[-1], shares), []).append(number)
        groups.setdefault(tuple(symbols[place] for place in seen[len(symbols)]), []).append(number)
    pairs = {pair for group in groups.values() for pair in combinations(group, 2)}
    found = ((first, second, equal.family(first, second)) for first, second in sorted(pairs))
    return tuple(Identity(first, second, family) for first, second, family in found if family is not None)


def _seen(graph: Graph) -> tuple[int, ...]:
    """The places that the last state sees; all of them in a long prompt."""
    return influences(graph)[-1] if graph.length <= LONGEST else tuple(range(graph.length))


def repeated_tokens_collide(graphs: Mapping[int, Graph]) -> bool:
    """Whether a^m and a^k are shown to collide for all captured lengths m < k, of which there are two at least."""
    numbering = Numbering(graphs.values())
    return len(graphs) > 1 and len({numbering.last_state(graph, (1,) * n) for n, graph in graphs.items()}) == 1
