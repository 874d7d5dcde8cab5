"""What is zero in a network when some of its parameters are: by x + 0 = x and 0 y = 0 alone, decided on the graph.

Zeros behind a choice make it irrelevant: whatever expert or side of a kink is taken, its output is multiplied by zero.
So one point with such zeros is evaluated once and speaks for every branch (selection principle,
docs/generic-position.md).
"""

import dataclasses
from collections.abc import Collection
from fractions import Fraction

from proofs.kernel.lines import lines_of
from proofs.network.graph import Constant, Graph
from proofs.operations.interpreter import live
from proofs.regularity import UNPROVED

_ANY = ("matmul", "multiply")  # zero where one factor is
_FIRST = ("take", "reshape", "permute", "expand", "slice", "negate", "sum", "mean", "cumulative_sum", "gather")
_ALL = ("add", "subtract", "concatenate")


def vanishing(graph: Graph, names: Collection[str]) -> set[int]:
    """The nodes that are zero whenever the named parameters are, whatever the others and the tokens.

    Every other factor is a real number: nodes that hold masked entries (-inf) stand in no product here.
    """
    lines, names = lines_of(graph), frozenset(names)
    zero: set[int] = set()
    for index in live(graph):
        node = graph.nodes[index]
        known = [argument in zero for argument in node.arguments]
        finite = all(lines[i].mask is None and lines[i].regularity < UNPROVED for i in node.arguments)
        if node.operation == "parameter":
            found = node.attributes["name"] in names
        elif node.operation in _ANY:
            found = any(known) and finite
        elif node.operation in _FIRST:
            found = known[0]
        else:
            found = node.operation in _ALL and bool(known) and all(known)
        if found:
            zero.add(index)
    return zero


def silence(graph: Graph, names: Collection[str]) -> Graph:
    """The same network at points where the named parameters are zero: what vanishes there is written as zero."""
    nodes, constants = list(graph.nodes), list(graph.constants)
    for index in sorted(vanishing(graph, names)):
        node = nodes[index]
        if node.operation != "parameter":
            attributes = {"shape": node.type.shape, "kind": node.type.kind, "value": len(constants)}
            nodes[index] = dataclasses.replace(node, operation="constant", arguments=(), attributes=attributes)
            constants.append(Constant(node.type.shape, node.type.kind, (Fraction(0),)))
    return dataclasses.replace(graph, nodes=tuple(nodes), constants=tuple(constants))
