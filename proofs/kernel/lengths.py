"""The graphs of a certificate by length: the one that its claim names, and the same network captured for others."""

from collections.abc import Mapping
from typing import Any

from proofs.kernel.result import Rejected
from proofs.kernel.wellformed import known_are_well_formed
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
    others = certificate.get("other_lengths", {})
    if not isinstance(others, Mapping):
        raise Rejected("the graphs of other lengths are no object")
    for name, written in others.items():
        graph = known_are_well_formed(Graph.from_json(written))
        if name != str(graph.length) or graph.length in found:
            raise Rejected("a graph stands under another length than its own, or twice")
        if dict(graph.parameters()) != dict(first.parameters()) or graph.layer != first.layer:
            raise Rejected(f"the graph for {name} tokens has other parameters, or passes another number of blocks")
        found[graph.length] = graph
    return found
