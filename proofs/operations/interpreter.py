"""One loop that runs a graph in any number system."""

from collections.abc import Mapping
from typing import Any

from proofs.arithmetic.base import Arithmetic
from proofs.errors import InvalidInput, Unsupported
from proofs.network.graph import LEAVES, Graph
from proofs.operations import REGISTRY

TOKENS = "tokens"  # the name of the prompt among the inputs


def live(graph: Graph) -> list[int]:
    """The nodes that the output depends on, in order."""
    needed = {graph.output}
    for index in range(graph.output, -1, -1):
        if index in needed:
            needed.update(graph.nodes[index].arguments)
    return sorted(needed)


def evaluate(graph: Graph, inputs: Mapping[str, Any], arithmetic: Arithmetic) -> Any:
    """The output of a graph in one number system.

    Args:
        graph: what to run; only the nodes that the output depends on are run.
        inputs: the values of the leaves in that number system: `tokens` (integers, shape (1, length)) and every
            parameter under its own name.
        arithmetic: the number system.

    Returns:
        A tensor of the arithmetic, shape `graph.nodes[graph.output].type.shape`.

    Raises:
        InvalidInput: an input is missing or has another shape than its node.
        Unsupported: the graph holds an operation or a constant whose value is not known, or a parameter that is called
            as the prompt is among the inputs.
        Undecided: a comparison that the arithmetic cannot decide.
    """
    order = live(graph)
    last_use = {argument: index for index in order for argument in graph.nodes[index].arguments}
    values: dict[int, Any] = {}
    for index in order:
        node = graph.nodes[index]
        if node.operation in LEAVES:
            values[index] = _leaf(graph, index, inputs, arithmetic)
        else:
            operation = REGISTRY.get(node.operation)
            if operation is None:
                raise Unsupported(f"Expected known operations, but got {graph.where(index)}; it has no meaning here.")
            arguments = [values[i] for i in node.arguments]
            values[index] = operation.evaluate(arithmetic, arguments, node.attributes)
        for argument in node.arguments:
            if last_use[argument] == index and argument != graph.output:
                values.pop(argument, None)
    return values[graph.output]


def _leaf(graph: Graph, index: int, inputs: Mapping[str, Any], arithmetic: Arithmetic) -> Any:
    node = graph.nodes[index]
    if node.operation == "constant":
        constant = graph.constant(node)
        if constant is None:
            raise Unsupported(
                f"Expected constants with known values, but got {graph.where(index)}; it cannot be evaluated."
            )
        return arithmetic.constant(constant)
    name = TOKENS if node.operation == "tokens" else str(node.attributes["name"])
    if node.operation == "parameter" and name == TOKENS:
        raise Unsupported(f"Expected no parameter called {TOKENS!r}, as the prompt is, but got one; rename it.")
    if name not in inputs:
        raise InvalidInput(f"Expected a value for {name!r}, but got none; pass it among the inputs.")
    value = inputs[name]
    if tuple(value.shape) != node.type.shape:
        raise InvalidInput(f"Expected {name!r} of shape {node.type.shape}, but got {tuple(value.shape)}.")
    return value
