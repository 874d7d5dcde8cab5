"""A certificate of regularity as lines of text for the checker that was extracted from its proof (`main.ml`).

Written apart from the kernel: only the reader of graphs is shared. What is claimed of a node is written as the
certificate has it; where the class is `unproved`, nothing is claimed.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from proofs.errors import InvalidInput
from proofs.network.graph import Constant, Graph, Node, Number

PLAIN = {
    "reshape", "expand", "add", "subtract", "multiply", "divide", "maximum", "minimum", "greater", "at_most", "equal",
    "both", "either", "opposite", "matmul", "select", "negate", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt",
    "sigmoid", "tanh", "erf", "sin", "cos", "gelu", "tanh_gelu", "silu", "mish", "relu", "absolute", "floor",
    "as_real", "as_integer",
}  # fmt: skip
# Operations with attributes, each in the order in which the checker reads them.
NUMBERED: Mapping[str, tuple[str, ...]] = {
    "tokens": ("vocabulary",),
    "slice": ("axis", "start", "step"),
    "concatenate": ("axis",),
    "softplus": ("beta",),
    "leaky_relu": ("slope",),
    "elu": ("scale",),
    "clamp": ("low", "high"),
    "power": ("exponent",),
    "whole_quotient": ("by",),
    "remainder": ("by",),
    "cumulative_sum": ("axis",),
    "softmax": ("axis",),
    "log_sum_exp": ("axis",),
    "layer_norm": ("axes", "epsilon"),
    "top_values": ("axis", "count"),
    "top_indices": ("axis", "count"),
    "take": ("axis",),
    "gather": ("axis",),
    "scatter": ("axis",),
}


def network_text(name: str, certificate: Mapping[str, Any]) -> str:
    """The lines of a certificate of regularity, under a name without blanks."""
    graph = Graph.from_json(certificate["graph"])
    facts, places = certificate["facts"], certificate["lines"]
    lines = node_lines(graph, [facts[place] for place in places])
    return "\n".join((f"network {name}", *lines)) + "\n"


def node_lines(graph: Graph, claims: Sequence[Sequence[Any]]) -> Iterator[str]:
    """One line for every node; a claim is [class, lower, open, upper, open, masked], as certificates have it."""
    for index, (node, claim) in enumerate(zip(graph.nodes, claims, strict=True)):
        parts = (
            _operation(graph, index),
            " ".join((node.type.kind, *map(str, node.type.shape))),
            " ".join(str(index - 1 - argument) for argument in _arguments(graph, node)),
            _claim(claim),
        )
        yield " ; ".join(parts)


def _arguments(graph: Graph, node: Node) -> Sequence[int]:
    """What a node reads; softmax(x - max x) along one axis is written as softmax(x): `Soundness.softmax_of_shifted`."""
    if node.operation != "softmax":
        return node.arguments
    difference = graph.nodes[node.arguments[0]]
    if difference.operation != "subtract":
        return node.arguments
    scores, less = difference.arguments
    largest = graph.nodes[less]
    along = largest.attributes.get("axes"), largest.attributes.get("keep")
    own = largest.operation == "largest" and largest.arguments == (scores,)
    return (scores,) if own and along == ((node.attributes.get("axis"),), True) else node.arguments


def _operation(graph: Graph, index: int) -> str:
    node = graph.nodes[index]
    name, attributes = node.operation, node.attributes
    if name in PLAIN:
        return name
    if name in NUMBERED:
        return " ".join((name, *(_number(attributes.get(key)) for key in NUMBERED[name])))
    special = SPECIAL.get(name)
    return "unknown" if special is None else special(graph, index, node)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        raise InvalidInput(f"Expected an exact number as an attribute, but got {value!r}; the file is damaged.")
    return str(value)


def _parameter(graph: Graph, index: int, node: Node) -> str:
    return f"parameter {index}"  # names are unique, so that a node is its own


def _constant(graph: Graph, index: int, node: Node) -> str:
    value = graph.constant(node)
    if value is None:
        return f"given {index}" if node.type.kind == "real" else "unknown"
    if value.shape != node.type.shape or value.kind != node.type.kind or any(v == math.inf for v in value.values):
        return "unknown"
    return " ".join(("constant", *_entries(value)))


def _entries(value: Constant) -> Iterator[str]:
    """The entry that stands for all that are not listed, then all where they differ."""
    yield _entry(value.values[0]) if value.values else "0"
    if len(value.values) > 1:
        yield from map(_entry, value.values)


def _entry(value: Number) -> str:
    return "-" if isinstance(value, float) else str(int(value) if isinstance(value, bool) else value)


def _reduction(graph: Graph, index: int, node: Node) -> str:
    axes: Any = node.attributes.get("axes")
    rank = len(graph.nodes[node.arguments[0]].type.shape)
    marks = " ".join("1" if axis in axes else "0" for axis in range(rank))
    return f"{node.operation} {int(node.attributes.get('keep') is True)} {marks}"


def _largest(graph: Graph, index: int, node: Node) -> str:
    axes: Any = node.attributes.get("axes")
    return f"largest {int(node.attributes.get('keep') is True)} {axes[0]}"


def _permute(graph: Graph, index: int, node: Node) -> str:
    order: Any = node.attributes.get("order")
    return " ".join(("permute", *map(str, order)))


SPECIAL: Mapping[str, Callable[[Graph, int, Node], str]] = {
    "parameter": _parameter,
    "constant": _constant,
    "sum": _reduction,
    "mean": _reduction,
    "largest": _largest,
    "permute": _permute,
}


def _claim(claim: Sequence[Any]) -> str:
    regularity, lower, open_below, upper, open_above, masked = claim
    if regularity == "unproved":
        return "nothing"
    return f"bounds {_end(lower, open_below)} {_end(upper, open_above)} {int(masked)} {regularity}"


def _end(value: str | None, opened: bool) -> str:
    return "-" if value is None else f"{'open' if opened else 'closed'}:{value}"
