"""Whether every node of a graph has the type that its operation gives it, so that what is read off types is true."""

from proofs.errors import InvalidInput
from proofs.kernel.result import Rejected
from proofs.network.graph import Graph
from proofs.operations import REGISTRY
from proofs.operations.base import typed
from proofs.operations.interpreter import live

LARGEST_NODE = 2**33  # entries


def well_formed(graph: Graph) -> Graph:
    """The graph itself, once every node that the output depends on has the shape and the kind that follow.

    Raises:
        Rejected: a node has another type, an operation without a meaning here, or too many entries.
    """
    unknown = [index for index in live(graph) if graph.nodes[index].operation not in REGISTRY]
    if unknown:
        raise Rejected(f"{graph.where(unknown[0])} has no meaning here")
    return known_are_well_formed(graph)


def known_are_well_formed(graph: Graph) -> Graph:
    """The same where operations may be unknown: of those nothing is believed, whatever their type."""
    for index in live(graph):
        node = graph.nodes[index]
        operation = REGISTRY.get(node.operation)
        if operation is None:
            continue
        try:
            type_ = typed(operation, node, [graph.nodes[i].type for i in node.arguments])
        except (InvalidInput, IndexError, KeyError, TypeError, ValueError) as fault:
            raise Rejected(f"{graph.where(index)}: {fault}") from None
        if type_ != node.type or type_.size > LARGEST_NODE:
            raise Rejected(f"{graph.where(index)} is not of the type that its operation gives, or too large")
    return graph
