"""Where a network can be cut in two: nodes that everything computed later from the tokens passes through.

Between two cuts the network is a graph of its own, from one state to the next, so that each step of a long evaluation
can be checked by itself. Any node that passes `cuts` may serve; which of them end a block does not matter.
"""

from dataclasses import replace
from itertools import pairwise

from proofs.errors import Unsupported
from proofs.network.graph import Graph, Node
from proofs.operations.interpreter import live

STATE = "(state)"  # the name under which a segment reads the state that it starts from


def cuts(graph: Graph) -> tuple[int, ...]:
    """Nodes to cut at, in order, the output last: one per block where the blocks are alike, else all there are.

    A node is a cut if no later node reads, of all that depends on the tokens, anything from before it.

    Raises:
        Unsupported: the output does not depend on the tokens, or is not a real tensor (1, length, width).
    """
    shape = graph.nodes[graph.output].type.shape
    depends = reached_by_tokens(graph)
    data = [i for i in live(graph) if i in depends]
    real = graph.nodes[graph.output].type.kind == "real"
    if graph.output not in data or not real or len(shape) != 3 or shape[:2] != (1, graph.length):
        raise Unsupported(f"Expected real states of shape (1, {graph.length}, width) that depend on the tokens.")
    dependent = set(data)
    found: list[int] = []
    earliest = graph.output  # the earliest node that is read after the one at hand
    for index in reversed(data):
        node = graph.nodes[index]
        if earliest >= index and node.type == graph.nodes[graph.output].type:
            found.append(index)
        earliest = min([earliest, *(i for i in node.arguments if i in dependent)])
    kept = found[::-1]
    kept = [at for at, after in pairwise(kept) if _works(graph, at, after)] + [graph.output]
    if kept[0] != graph.output and not _works(graph, -1, kept[0]):
        kept = kept[1:]  # the embeddings: cheap to compute again
    if graph.layer > 0 and len(kept) % graph.layer == 0:
        each = len(kept) // graph.layer
        kept = kept[each - 1 :: each]  # the last of each block, and so the output too
    return tuple(kept)


def segments(graph: Graph, places: tuple[int, ...]) -> tuple[Graph, ...]:
    """The graphs from the tokens to the first cut, from there to the next, and so on.

    Raises:
        Unsupported: a parameter has the name that is kept for states.
    """
    if any(name == STATE for name, _ in graph.parameters()):
        raise Unsupported(f"Expected no parameter called {STATE!r}, but the graph has one; rename it.")
    result: list[Graph] = []
    for start, stop in zip((None, *places), places, strict=False):
        nodes = list(graph.nodes)
        if start is not None:
            type_ = nodes[start].type
            attributes = {"name": STATE, "shape": type_.shape, "kind": type_.kind}
            nodes[start] = Node("parameter", (), attributes, type_)
        result.append(replace(graph, nodes=tuple(nodes), output=stop))
    return tuple(result)


def inputs_of(graph: Graph) -> tuple[str, ...]:
    """The parameters that the output is computed from."""
    nodes = [graph.nodes[i] for i in live(graph)]
    return tuple(str(node.attributes["name"]) for node in nodes if node.operation == "parameter")


def rows_of_tokens(graph: Graph) -> dict[int, str]:
    """The nodes that take rows of a table at the tokens, and what the table is called.

    Raises:
        Unsupported: the tokens are read by something else too.
    """
    found: dict[int, str] = {}
    for index in live(graph):
        node = graph.nodes[index]
        if not any(graph.nodes[i].operation == "tokens" for i in node.arguments):
            continue
        table = graph.nodes[node.arguments[0]]
        if node.operation != "take" or table.operation != "parameter" or node.attributes["axis"] != 0:
            raise Unsupported(f"Expected tokens that only index tables, but {graph.where(index)} reads them too.")
        found[index] = str(table.attributes["name"])
    return found


def _works(graph: Graph, start: int, stop: int) -> bool:
    """Whether a matrix product lies between two cuts."""
    return any(graph.nodes[i].operation == "matmul" for i in range(start + 1, stop + 1))


def reached_by_tokens(graph: Graph) -> set[int]:
    """Nodes that depend on the tokens."""
    found: set[int] = set()
    for index, node in enumerate(graph.nodes):
        if node.operation == "tokens" or any(i in found for i in node.arguments):
            found.add(index)
    return found
