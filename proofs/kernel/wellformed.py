"""Whether every node of a graph has the type that its operation gives it, so that what is read off types is true."""

from collections.abc import Iterator, Mapping

from proofs.errors import InvalidInput
from proofs.kernel.result import Rejected
from proofs.network.graph import Attribute, Graph
from proofs.operations import REGISTRY
from proofs.operations.interpreter import live

LARGEST_NODE = 2**33  # entries
OF_THE_GRAPH = {"parameter": {"name"}, "constant": {"value"}}  # attributes that are looked at when a graph is read


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
        attributes = _Read(node.attributes)
        try:
            type_ = operation.type([graph.nodes[i].type for i in node.arguments], attributes)
        except (InvalidInput, IndexError, KeyError, TypeError, ValueError) as fault:
            raise Rejected(f"{graph.where(index)}: {fault}") from None
        if type_ != node.type or type_.size > LARGEST_NODE:
            raise Rejected(f"{graph.where(index)} is not of the type that its operation gives, or too large")
        if attributes.unread - OF_THE_GRAPH.get(node.operation, set()):
            raise Rejected(f"{graph.where(index)} has an attribute that its operation does not know")
    return graph


class _Read(Mapping[str, Attribute]):
    """Attributes of a node, and which of them nobody has read."""

    def __init__(self, attributes: Mapping[str, Attribute]) -> None:
        self._attributes = attributes
        self.unread = set(attributes)

    def __getitem__(self, name: str) -> Attribute:
        self.unread.discard(name)
        return self._attributes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)
