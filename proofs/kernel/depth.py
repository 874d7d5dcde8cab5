"""Depth lifting: is the last block the identity when some of its parameters are zero? Decided on the graph.

If it is, a witness for L blocks is one for every L' >= L, with those parameters zero in the further blocks. Post-norm
blocks and blocks without residual connection do not qualify, and are recognised by this test, not by name.
"""

from collections.abc import Collection

from proofs.kernel.zeros import vanishing
from proofs.network.graph import Graph
from proofs.operations.interpreter import live


def last_block_lifts(graph: Graph, silenced: Collection[str]) -> bool:
    """Whether zeros in `silenced` turn the last block into the identity, whatever its other parameters.

    Args:
        graph: from tokens to the states after all blocks.
        silenced: names of parameters of one block; what they begin with, up to a number, names the block.

    Returns:
        True where the output is, by x + 0 = x and 0 y = 0 alone, the entries of a node of as many entries that no
        parameter of that block enters, and through which alone the tokens enter the rest: so what is behind it is a
        block, which may follow itself.
    """
    prefixes = {_block(name) for name in silenced}
    if len(prefixes) != 1 or "" in prefixes:
        return False
    (prefix,) = prefixes
    source: dict[int, int] = {}
    zero = vanishing(graph, silenced)
    for index in live(graph):
        node = graph.nodes[index]
        source[index] = index
        added = [argument for argument in node.arguments if argument not in zero]
        if node.operation == "add" and len(added) == 1:
            (other,) = added
            if graph.nodes[other].type == node.type:
                source[index] = source[other]
        if node.operation == "reshape":  # the same entries in the same order
            source[index] = source[node.arguments[0]]
    origin = source[graph.output]
    own = {name for name, _ in graph.parameters() if f"{name}.".startswith(f"{prefix}.")}
    return origin != graph.output and not own & _parameters_of(graph, origin) and not _passes(graph, origin)


def _block(name: str) -> str:
    """The name up to its first number, which counts blocks; empty where it has none."""
    parts = name.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdecimal()), None)
    return "" if number is None else ".".join(parts[: number + 1])


def _passes(graph: Graph, origin: int) -> bool:
    """Whether tokens reach the output by a way that does not go through a node."""
    reached = {graph.output}
    for index in range(graph.output, -1, -1):
        if index in reached and index != origin:
            reached.update(graph.nodes[index].arguments)
    return any(graph.nodes[index].operation == "tokens" for index in reached)


def _parameters_of(graph: Graph, index: int) -> set[str]:
    needed = {index}
    for i in range(index, -1, -1):
        if i in needed:
            needed.update(graph.nodes[i].arguments)
    return {str(graph.nodes[i].attributes["name"]) for i in needed if graph.nodes[i].operation == "parameter"}
