"""How many ids of tokens a module of one's own takes, which no config says."""

from dataclasses import replace

import torch

from proofs.network.graph import Graph

_SAME_IDS = ("reshape", "permute", "expand")  # of which every id is among the results


def guessed_vocabulary(module: torch.nn.Module) -> int:
    """The size of the first table of a module; 2^31 where it has none."""
    tables = [part.num_embeddings for part in module.modules() if isinstance(part, torch.nn.Embedding)]
    return tables[0] if tables else 2**31


def with_read_vocabulary(graph: Graph) -> Graph:
    """The graph for the ids that every table has which the tokens index directly; as it is where there is none."""
    sizes = [
        graph.nodes[node.arguments[0]].type.shape[0]
        for node in graph.nodes
        if node.operation == "take" and node.attributes["axis"] == 0 and _are_tokens(graph, node.arguments[1])
    ]
    if not sizes:
        return graph
    nodes = [
        replace(node, attributes={**node.attributes, "vocabulary": min(sizes)}) if node.operation == "tokens" else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes))


def _are_tokens(graph: Graph, index: int) -> bool:
    while graph.nodes[index].operation in _SAME_IDS:
        index = graph.nodes[index].arguments[0]
    return graph.nodes[index].operation == "tokens"
