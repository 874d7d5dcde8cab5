"""Depth lifting: is the last block the identity when some of its parameters are zero? Decided on the graph.

If it is, a witness for L blocks is one for every L' >= L, with those parameters zero in the further blocks. Post-norm
blocks and blocks without residual connection do not qualify, and are recognised by this test, not by name.
"""

from collections.abc import Collection

from proofs.graph import Graph
from proofs.interpreter import live

_LINEAR = ("reshape", "permute", "expand", "slice", "negate", "sum", "mean", "cumulative_sum")


def last_block_lifts(graph: Graph, silenced: Collection[str]) -> bool:
    """Whether zeros in `silenced` turn the last block into the identity, whatever its other parameters.

    Args:
        graph: from tokens to the states after all blocks.
        silenced: names of parameters of one block; their common prefix names the block.

    Returns:
        True where the output is, by x + 0 = x and 0 y = 0 alone, a node that no parameter of that block enters.
    """
    prefix = _common_module(silenced)
    if len(silenced) < 2 or not prefix:
        return False
    source: dict[int, int] = {}
    zero: set[int] = set()
    for index in live(graph):
        node = graph.nodes[index]
        source[index] = index
        vanishing = [argument in zero for argument in node.arguments]
        if _vanishes(graph, index, vanishing, silenced):
            zero.add(index)
        elif node.operation == "add" and any(vanishing):
            other = node.arguments[vanishing.index(False)]
            if graph.nodes[other].type == node.type:
                source[index] = source[other]
    origin = source[graph.output]
    own = {name for name, _ in graph.parameters() if name.startswith(prefix + ".")}
    return origin != graph.output and not own & _parameters_of(graph, origin)


def _common_module(names: Collection[str]) -> str:
    """The longest dotted path that all names begin with, without their last parts."""
    paths = [name.split(".")[:-1] for name in names]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def _vanishes(graph: Graph, index: int, vanishing: list[bool], silenced: Collection[str]) -> bool:
    node = graph.nodes[index]
    if node.operation == "parameter":
        return node.attributes["name"] in silenced
    if node.operation in ("matmul", "multiply"):
        return any(vanishing)
    return node.operation in ("add", *_LINEAR) and bool(vanishing) and all(vanishing)


def _parameters_of(graph: Graph, index: int) -> set[str]:
    needed = {index}
    for i in range(index, -1, -1):
        if i in needed:
            needed.update(graph.nodes[i].arguments)
    return {str(graph.nodes[i].attributes["name"]) for i in needed if graph.nodes[i].operation == "parameter"}
