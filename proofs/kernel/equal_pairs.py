"""Pairs of prompts that have one state under given weights: the same rows of every table, or one number.

Tokens whose rows are equal in every table that tokens index are one symbol; what tokens do besides is not believed.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from proofs.enclosures.segments import rows_of_tokens
from proofs.errors import Unsupported
from proofs.kernel.collisions import family_of
from proofs.kernel.result import Rejected, same
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph

SAME, ROWS = "same prompt", "equal embedding rows"
Pair = tuple[int, int]


class EqualPairs:
    """Which of given prompts are equal for a reason that is known here.

    Args:
        graphs: well-formed, by length.
        weights: arrays by parameter name.
        prompts: token ids.
    """

    def __init__(
        self, graphs: Mapping[int, Graph], weights: Mapping[str, NDArray[Any]], prompts: Sequence[tuple[int, ...]]
    ) -> None:
        self._graphs, self._prompts = graphs, prompts
        self._numbering = Numbering(graphs.values())
        names: dict[Hashable, int] = {}
        tables, tokens = _tables(graphs, weights), sorted({token for prompt in prompts for token in prompt})
        symbols = {token: names.setdefault(_row(tables, token), token) for token in tokens}
        self.symbols = [tuple(symbols[token] for token in prompt) for prompt in prompts]

    def family(self, first: int, second: int) -> str | None:
        """Why two of the prompts have one state; None where it is not known that they do."""
        if self._prompts[first] == self._prompts[second]:
            return SAME
        one, other = self.symbols[first], self.symbols[second]
        if one == other:
            return ROWS
        equal = self._numbering.equal(self._graphs[len(one)], one, self._graphs[len(other)], other)
        return family_of(one, other) if equal else None


def derive_equal_pairs(equal: EqualPairs, claimed: Any, count: int) -> set[Pair]:
    """The pairs that a certificate names as equal, each shown again.

    Raises:
        Rejected: a pair is not shown to be equal, or has another reason, or the pairs are not in order.
    """
    if not isinstance(claimed, list):
        raise Rejected("the equal pairs are no list")
    found: list[Pair] = []
    for entry in claimed:
        first, second = (entry.get(name) if isinstance(entry, Mapping) else None for name in ("first", "second"))
        if type(first) is not int or type(second) is not int or not 0 <= first < second < count:
            raise Rejected("an equal pair is none of two prompts")
        family = equal.family(first, second)
        if family is None or not same(entry, {"first": first, "second": second, "family": family}):
            raise Rejected(f"the prompts {first} and {second} are not shown to be equal as stated")
        found.append((first, second))
    if sorted(set(found)) != found:
        raise Rejected("the equal pairs are not in order")
    return set(found)


def _tables(graphs: Mapping[int, Graph], weights: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]] | None:
    """The tables of which tokens take rows, each once; None where anything but a table reads tokens."""
    try:
        names = dict.fromkeys(name for graph in graphs.values() for name in rows_of_tokens(graph).values())
        return [weights[name] for name in names]
    except Unsupported:
        return None


def _row(tables: list[NDArray[Any]] | None, token: int) -> Hashable:
    """Equal for tokens that no graph can tell apart; the token itself where anything but a table reads it."""
    if tables is None:
        return token
    return tuple((table[token].astype("<f8") + 0.0).tobytes() for table in tables)  # -0.0 is the same number
