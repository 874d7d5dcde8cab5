"""The graphs of a certificate by length: the one that its claim names, and the same network captured for others."""

from collections.abc import Callable, Mapping
from typing import Any

from proofs.kernel.result import Rejected
from proofs.kernel.wellformed import known_are_well_formed, well_formed
from proofs.network.graph import Graph


def graphs_of(certificate: Mapping[str, Any]) -> dict[int, Graph]:
    """All of them, well-formed where their operations are known.

    What is shown of one is shown for its length alone. That they are one network is what the capture says; here it is
    seen that they have the same parameters and pass as many blocks.

    Raises:
        Rejected, InvalidInput: a graph is damaged, of another network, or stands under another length.
    """
    first = known_are_well_formed(Graph.from_json(certificate["graph"]))
    found = {first.length: first}
    for length, graph in by_length(certificate.get("other_lengths", {}), known_are_well_formed).items():
        if length in found:
            raise Rejected(f"two graphs are for {length} tokens")
        if dict(graph.parameters()) != dict(first.parameters()) or graph.layer != first.layer:
            raise Rejected(f"the graph for {length} tokens has other parameters, or passes another number of blocks")
        found[length] = graph
    return found


def by_length(written: Any, formed: Callable[[Graph], Graph] = well_formed) -> dict[int, Graph]:
    """Graphs that stand in an object under the number of their tokens, each once.

    Args:
        written: the object.
        formed: what is asked of each: `well_formed`, or `known_are_well_formed`.

    Raises:
        Rejected, InvalidInput: a graph is damaged, or stands under another name than its length.
    """
    if not isinstance(written, Mapping):
        raise Rejected("the graphs of several lengths are no object")
    found = {name: formed(Graph.from_json(graph)) for name, graph in written.items()}
    if any(name != str(graph.length) for name, graph in found.items()):
        raise Rejected("a graph stands under another length than its own")
    return {graph.length: graph for graph in found.values()}
