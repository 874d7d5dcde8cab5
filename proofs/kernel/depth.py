"""Depth lifting: is the last block the identity when some of its parameters are zero? Decided on the graph.

If it is, a witness for L blocks is one for every L' >= L, with those parameters zero in the further blocks. Post-norm
blocks and blocks without residual connection do not qualify, and are recognised by this test, not by name.
"""

from collections.abc import Collection

from proofs.enclosures.segments import segments
from proofs.kernel.branches import fixed_branches_are_analytic
from proofs.kernel.zeros import vanishing
from proofs.network.graph import Graph, Node
from proofs.operations.interpreter import live


def last_block_lifts(graph: Graph, silenced: Collection[str]) -> bool:
    """Whether zeros in `silenced` turn the last block into the identity, whatever its other parameters.

    Args:
        graph: from tokens to the states after all blocks.
        silenced: names of parameters of one block; what they begin with, up to a number, names the block.

    Returns:
        True where the output is, by x + 0 = x and 0 y = 0 alone, the entries of a node of as many entries that no
        parameter of that block enters, and through which alone the tokens enter the rest, and the rest is defined and
        analytic, branch by branch, whatever that node holds: so what is behind it is a block, which may follow itself.
    """
    prefixes = {_block(name) for name in silenced}
    if len(prefixes) != 1 or "" in prefixes:
        return False
    (prefix,) = prefixes
    origin = origins(graph, silenced)[graph.output]
    if origin == graph.output or any(node.operation == "tokens" for node in _reached(graph, graph.output, origin)):
        return False
    names = (str(node.attributes.get("name")) for node in _reached(graph, origin) if node.operation == "parameter")
    of_block = any(f"{name}.".startswith(f"{prefix}.") for name in names)
    return not of_block and fixed_branches_are_analytic(segments(graph, (origin, graph.output))[1])


def origins(graph: Graph, silenced: Collection[str], moves: Collection[str] = ("reshape",)) -> dict[int, int]:
    """For each node the one whose entries it has where `silenced` are zero, by x + 0 = x, 0 y = 0 and `moves` alone."""
    zero, found = vanishing(graph, silenced), dict[int, int]()
    for index in live(graph):
        node = graph.nodes[index]
        kept = [argument for argument in node.arguments if argument not in zero]
        added = node.operation == "add" and len(kept) == 1 and graph.nodes[kept[0]].type == node.type
        found[index] = found[kept[0]] if added else found[node.arguments[0]] if node.operation in moves else index
    return found


def _block(name: str) -> str:
    """The name up to its first number, which counts blocks; empty where it has none."""
    parts = name.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdecimal()), None)
    return "" if number is None else ".".join(parts[: number + 1])


def _reached(graph: Graph, end: int, around: int | None = None) -> list[Node]:
    """The nodes that one depends on, those left out that only another one leads to."""
    needed = {end}
    for index in range(end, -1, -1):
        if index in needed and index != around:
            needed.update(graph.nodes[index].arguments)
    return [graph.nodes[index] for index in sorted(needed)]
