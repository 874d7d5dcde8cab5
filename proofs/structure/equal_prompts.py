"""Looks for prompts whose states are equal over the reals; `proofs.kernel` shows each.

Candidates for pairs are prompts with the same last token and the same relative frequencies, and prompts that agree in
all tokens that the last state sees.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any, TypeVar

from numpy.typing import NDArray

from proofs.kernel.equal_pairs import EqualPairs
from proofs.kernel.value_numbering.number import Numbering
from proofs.kernel.value_numbering.table import LARGEST_TABLE, TooMany
from proofs.network.graph import Graph
from proofs.structure.dependence import LONGEST, influences

UNTOLD = (
    f"the values of the network are told apart by more than {LARGEST_TABLE} entries, the most that there is room for"
)
_Answer = TypeVar("_Answer")


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
) -> tuple[tuple[Identity, ...], bool]:
    """Pairs of prompts that are shown to be equal, in order.

    Args:
        graphs: the network by length.
        weights: arrays by parameter name.
        prompts: token ids.

    Returns:
        The pairs, and whether some were left untold, as the values of the network take more room than there is.
    """
    equal = EqualPairs(graphs, weights, prompts)
    seen = {length: _seen(graph) for length, graph in graphs.items()}
    groups: dict[Hashable, list[int]] = {}
    for number, symbols in enumerate(equal.symbols):
        shares = frozenset((u, Fraction(n, len(symbols))) for u, n in Counter(symbols).items())
        groups.setdefault((symbols[-1], shares), []).append(number)
        groups.setdefault(tuple(symbols[place] for place in seen[len(symbols)]), []).append(number)
    pairs = {pair for group in groups.values() for pair in combinations(group, 2)}
    found: list[Identity] = []
    untold = False
    for first, second in sorted(pairs):
        try:
            family = equal.family(first, second)
        except TooMany:
            family, untold = None, True
        if family is not None:
            found.append(Identity(first, second, family))
    return tuple(found), untold


def _seen(graph: Graph) -> tuple[int, ...]:
    """The places that the last state sees; all of them in a long prompt."""
    return influences(graph)[-1] if graph.length <= LONGEST else tuple(range(graph.length))


def repeated_tokens_collide(graphs: Mapping[int, Graph]) -> bool:
    """Whether a^m and a^k are shown to collide for all captured lengths m < k, of which there are two at least."""
    numbering = Numbering(graphs.values())
    return len(graphs) > 1 and len({numbering.last_state(graph, (1,) * n) for n, graph in graphs.items()}) == 1


def in_room(ask: Callable[..., _Answer], *arguments: Any) -> _Answer | None:
    """What value numbering answers; None where that would take more room than there is (`UNTOLD`)."""
    try:
        return ask(*arguments)
    except TooMany:
        return None
