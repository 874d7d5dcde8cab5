"""What holds at every node of a network, from the lemmas of its operations."""

from proofs.network.graph import Graph
from proofs.operations import REGISTRY
from proofs.operations.base import Application, prove
from proofs.operations.normalization import unshifted
from proofs.regularity import UNPROVED, Condition, Facts


def derive(graph: Graph) -> tuple[tuple[Facts, ...], tuple[Condition, ...]]:
    """The facts of every node, and all side conditions on the way."""
    facts: list[Facts] = []
    conditions: list[Condition] = []
    for index, node in enumerate(graph.nodes):
        operation = REGISTRY.get(node.operation)
        if operation is None:
            facts.append(Facts(UNPROVED))
            continue
        proved = prove(operation, Application(graph, index, facts))
        facts.append(proved.facts)
        conditions.extend(proved.conditions)
    return tuple(facts), tuple(conditions)


def relevant(graph: Graph) -> set[int]:
    """The nodes that the output's class rests on; the shift of a softmax is not among them."""
    used = {graph.output}
    for index in range(graph.output, -1, -1):
        if index not in used:
            continue
        node = graph.nodes[index]
        used.update((unshifted(graph, index),) if node.operation == "softmax" else node.arguments)
    return used
