"""Finitely many patterns of prompt pairs stand for all pairs over every vocabulary.

Relabelling tokens permutes rows of the embedding, which maps parameters to parameters and null sets to null sets. So
whether two prompts collide for every parameter depends only on which of their positions hold equal tokens. A reserved
first token (BOS) is fixed by every relabelling and is written 0.
"""

from collections.abc import Iterator
from itertools import product

from proofs.network.graph import Graph, Node
from proofs.operations.interpreter import live

Prompt = tuple[int, ...]


def patterns(context: int, *, bos: bool = False) -> list[tuple[Prompt, Prompt]]:
    """One pair of prompts for every pattern of s != t, up to relabelling and exchange of s and t.

    Args:
        context: largest number of tokens, BOS not counted.
        bos: put the reserved token 0 in front of both; it does not occur elsewhere.

    Returns:
        Pairs in order of their lengths; tokens are numbered from 1 by first occurrence.
    """
    found: dict[tuple[Prompt, Prompt], None] = {}
    for first_length, second_length in product(range(1, context + 1), repeat=2):
        if first_length > second_length:
            continue
        for word in _growing(first_length + second_length):
            first, second = word[:first_length], word[first_length:]
            if first != second:
                found.setdefault(min((first, second), relabelled(second, first), key=_order))
    lead = (0,) if bos else ()
    return [(lead + first, lead + second) for first, second in sorted(found, key=_order)]


def relabelled(first: Prompt, second: Prompt, *, start: int = 1) -> tuple[Prompt, Prompt]:
    """The same pair with tokens numbered by first occurrence."""
    names: dict[int, int] = {}
    word = [names.setdefault(token, len(names) + start) for token in first + second]
    return tuple(word[: len(first)]), tuple(word[len(first) :])


def rows_are_free(*graphs: Graph) -> bool:
    """Whether relabelling tokens permutes parameters: tokens only select rows of tables that nothing else reads.

    Args:
        *graphs: of one network. What tokens index at one length is a table of theirs at every length: a row of it that
            is read without a token at another length would stay where it is when tokens are relabelled.
    """
    uses = [
        (_reads_rows(graph, node), place, graph.nodes[argument])
        for graph in graphs
        for node in map(graph.nodes.__getitem__, live(graph))
        for place, argument in enumerate(node.arguments)
    ]
    tables = [read for by_row, place, read in uses if by_row and place == 0]
    names = {table.attributes.get("name") for table in tables}
    return all(table.operation == "parameter" for table in tables) and all(
        by_row and place == (1 if read.operation == "tokens" else 0)
        for by_row, place, read in uses
        if read.operation == "tokens" or (read.operation == "parameter" and read.attributes.get("name") in names)
    )


def constants_are_known(graph: Graph) -> bool:
    """Whether every constant that the output depends on has entries: unknown ones may make prompts one, unseen."""
    nodes = map(graph.nodes.__getitem__, live(graph))
    return all(node.operation != "constant" or graph.constant(node) is not None for node in nodes)


def _reads_rows(graph: Graph, node: Node) -> bool:
    """Whether a node selects rows of a table by the tokens."""
    by_rows = node.operation == "take" and len(node.arguments) == 2 and node.attributes.get("axis") == 0
    return by_rows and graph.nodes[node.arguments[1]].operation == "tokens"


def _order(pair: tuple[Prompt, Prompt]) -> tuple[int, int, Prompt, Prompt]:
    return len(pair[0]), len(pair[1]), *pair


def _growing(length: int) -> Iterator[Prompt]:
    """Words whose letters appear for the first time in the order 1, 2, 3, ..."""
    if length == 0:
        yield ()
        return
    for word in _growing(length - 1):
        for letter in range(1, max(word, default=0) + 2):
            yield (*word, letter)
