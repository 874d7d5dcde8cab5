"""What the lemmas establish of a graph, node by node: the class in the parameters, exact bounds, and masks."""

from collections.abc import Callable, Sequence

from proofs.kernel.lemmas.instance import Instance, Line
from proofs.kernel.lemmas.table import establish
from proofs.kernel.result import Rejected
from proofs.network.graph import Graph
from proofs.regularity import Regularity

Rule = Callable[[Instance], Line | None]


def instance(graph: Graph, index: int, lines: Sequence[Line]) -> Instance:
    """A node with what is established of its arguments."""
    node = graph.nodes[index]
    before, nodes = tuple(lines[i] for i in node.arguments), tuple(graph.nodes[i] for i in node.arguments)
    return Instance(graph, node, before, nodes, lines.__getitem__)


def lines_of(graph: Graph, instead: Rule | None = None) -> list[Line]:
    """One line per node, by the lemma of its operation.

    Args:
        graph: any graph.
        instead: gives the line of some nodes by another rule, and None for the others.

    Raises:
        Rejected: a node has another type than its operation gives it.
    """
    lines: list[Line] = []
    for index in range(len(graph.nodes)):
        at = instance(graph, index, lines)
        try:
            own = establish(at)  # also where another rule applies, so that every type is checked
            other = None if instead is None else instead(at)
        except Rejected as fault:
            raise Rejected(f"{graph.where(index)}: {fault}") from None
        lines.append(own if other is None else other)
    return lines


def class_of(graph: Graph, instead: Rule | None = None) -> Regularity | None:
    """The class of the output; None where it holds masked entries."""
    line = lines_of(graph, instead)[graph.output]
    return None if line.mask is not None else line.regularity
