"""How positions enter a network, read off one graph: a description, and no proof of anything.

Positions that only change attention weights leave equal rows equal. What breaks that on the way to the output without
passing a softmax is a position added or multiplied in (absolute), or a recurrence or convolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from proofs.network.graph import Graph
from proofs.operations.interpreter import live
from proofs.structure.sameness import Sameness, sameness


@dataclass(frozen=True, slots=True)
class Positions:
    """How the order of tokens enters: `absolute`, `relative`, `recurrent` or `none`, and where it was seen."""

    scheme: str
    evidence: str


def positions(graph: Graph) -> Positions:
    """How the order of tokens seems to enter, from the graph alone."""
    same = sameness(graph)
    data = _from(graph, "tokens")
    if not same[graph.output].equal(1):
        learned = _from(graph, "parameter")  # what mixes tokens alone only counts them: a position
        fixed = learned | _places(graph, same)
        broken = [i for i in _unweighted(graph) if i in data and _breaks(graph, i, same, data, fixed)]
        sums = [i for i in _unweighted(graph) if i in data and graph.nodes[i].operation == "cumulative_sum"]
        for index in sorted({*broken, *(i for i in sums if graph.nodes[i].type.kind == "real")}):
            if graph.nodes[index].operation in _MIXING and index in learned:
                return Positions("recurrent", graph.where(index))
        for index in broken:
            return Positions("absolute", graph.where(index))
        if not any(graph.nodes[i].operation in _WEIGHTS for i in live(graph)):
            return Positions("recurrent", "equal tokens give different states without any softmax: a sum runs along")
    for index in live(graph):
        node = graph.nodes[index]
        if node.operation == "constant" and _varies_with_position(graph, index, same):
            return Positions("relative", graph.where(index))
    return Positions("none", "no constant of the length of the prompt varies along it but the causal mask")


def _varies_with_position(graph: Graph, index: int, same: Sequence[Sameness]) -> bool:
    node = graph.nodes[index]
    value = graph.constant(node)
    if value is None or node.type.kind == "boolean":
        return False
    finite = {v for v in value.values if v != float("-inf")}
    if len(finite) < len(set(value.values)) <= 2:
        return False  # a plain mask: -inf and one other value; with more, a bias has been merged into it
    return any(size == graph.length and not same[index].equal(axis) for axis, size in enumerate(node.type.shape))


def _from(graph: Graph, leaf: str) -> set[int]:
    """Nodes that depend on a leaf of that kind."""
    found: set[int] = set()
    for index, node in enumerate(graph.nodes):
        if node.operation == leaf or any(i in found for i in node.arguments):
            found.add(index)
    return found


def _places(graph: Graph, same: Sequence[Sameness]) -> set[int]:
    """Nodes from which a position can be read: they depend on a constant that varies with it, other than a mask."""
    found: set[int] = set()
    for index, node in enumerate(graph.nodes):
        unknown = node.operation == "constant" and graph.constant(node) is None
        varies = node.operation == "constant" and _varies_with_position(graph, index, same)
        if unknown or varies or node.operation in _MIXING or any(i in found for i in node.arguments):
            found.add(index)
    return found


def _unweighted(graph: Graph) -> list[int]:
    """Nodes from which the output is reached without passing a softmax or the logarithm of its denominator."""
    used = {graph.output}
    for index in range(graph.output, -1, -1):
        if index in used and graph.nodes[index].operation not in _WEIGHTS:
            used.update(graph.nodes[index].arguments)
    return sorted(used)


def _breaks(graph: Graph, index: int, same: Sequence[Sameness], data: set[int], fixed: set[int]) -> bool:
    """Whether a node varies along an axis as long as the prompt although its data do not.

    Either something fixed that tells the position is put in (a mask alone does not), or entries are put one after the
    other.
    """

    def varies(i: int) -> bool:
        shape = graph.nodes[i].type.shape
        return any(size == graph.length and not same[i].equal(axis) for axis, size in enumerate(shape))

    node = graph.nodes[index]
    if node.operation == "reshape" or not varies(index) or any(varies(i) for i in node.arguments if i in data):
        return False
    return node.operation in _MIXING or any(varies(i) for i in node.arguments if i not in data and i in fixed)


_WEIGHTS = ("softmax", "log_sum_exp")
_MIXING = ("concatenate", "slice", "cumulative_sum", "scatter", "gather")
