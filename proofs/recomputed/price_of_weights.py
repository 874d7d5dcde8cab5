"""What claims about weights cost beside their graphs, in the unit of `proofs.kernel.price`."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from proofs.enclosures.continuations import BATCH
from proofs.enclosures.segments import cuts, reached_by_tokens
from proofs.errors import SipitError
from proofs.kernel.price import (
    BALL,
    MALFORMED,
    MOVES,
    NODE,
    OBJECT,
    POINTER,
    Part,
    list_in,
    numbering,
    object_in,
    of_node,
    whole_of,
)
from proofs.network.graph import LEAVES, Graph, Node
from proofs.operations.interpreter import live

FIXED_TERM, FLOAT_TERM, FLOAT = 0.012, 0.0006, 0.02  # of a product in fixed point, or in floats; of an entry in floats
DISTANCE = 0.00005  # of a coordinate of a distance
PAIR = 16  # bytes of a midpoint beside its radius


def enclosures(certificate: Mapping[str, Any], graphs: list[Graph]) -> Iterator[Part]:
    """What claims about weights pay beside: prompts in fixed point, those named as equal; a vocabulary in floats."""
    for body in (certificate, object_in(certificate.get("closest"))):
        prompts = [list_in(object_in(row).get("token_ids")) for row in list_in(body.get("prompts"))]
        counts = Counter(map(len, prompts))
        for graph in graphs:
            if counts[graph.length]:
                yield _in_fixed_point(graph, counts[graph.length])
        named = map(object_in, list_in(body.get("identical")))
        pairs = [(entry.get("first"), entry.get("second")) for entry in named]
        there = [(a, b) for a, b in pairs if type(a) is int and type(b) is int and 0 <= a < b < len(prompts)]
        numbered = {place for a, b in there if prompts[a] != prompts[b] for place in (a, b)}
        yield from numbering(graphs if numbered else [], Counter(len(prompts[place]) for place in numbered))
    given = certificate.get("tokens")
    tokens = given if isinstance(given, int) else 0
    for graph in graphs if tokens > 0 else []:
        sizes = [(node.type.size, _term(node, arguments)) for _, node, arguments in _computed(graph)]
        work = sum(FLOAT * entries + FLOAT_TERM * terms for entries, terms in sizes)
        work += DISTANCE * tokens * max(graph.nodes[graph.output].type.shape, default=1)  # for each of the others
        yield "vocabulary", tokens * work, float(BATCH * PAIR * max((entries for entries, _ in sizes), default=0))


def _computed(graph: Graph) -> Iterator[tuple[int, Node, list[Node]]]:
    """Every node that is evaluated, beside its arguments: not the leaves, nor weights whose axes are only reordered."""
    weights: set[int] = set()
    for index in live(graph):
        node = graph.nodes[index]
        if node.operation in LEAVES or (node.operation == "permute" and weights.issuperset(node.arguments)):
            weights.add(index)
        else:
            yield index, node, [graph.nodes[i] for i in node.arguments]


def _in_fixed_point(graph: Graph, times: int) -> Part:
    """So many prompts; what no token enters is made once for every segment."""
    depends, parts = reached_by_tokens(graph), _segments(graph)
    work = largest = 0.0
    for index, node, arguments in _computed(graph):
        each = NODE + _of_node_in_fixed_point(node, arguments)
        work += each * (1 if index in depends else parts)
        largest = max(largest, node.type.size * (2.0 * POINTER if node.operation in MOVES else OBJECT))
    return "evaluations", times * work, largest


def _segments(graph: Graph) -> int:
    try:
        return len(cuts(graph))
    except (SipitError, *MALFORMED):  # which the kernel says better
        return 1


def _of_node_in_fixed_point(node: Node, arguments: list[Node]) -> float:
    if node.operation == "matmul":
        return FIXED_TERM * _term(node, arguments) + BALL * node.type.size
    if node.operation == "power":  # by repeated products
        return BALL * node.type.size * whole_of(node.attributes, "exponent")
    if node.operation in MOVES:  # of leaves rows alone are read
        arguments = [one for one in arguments if one.operation not in LEAVES]
    return of_node(node, arguments)


def _term(node: Node, arguments: list[Node]) -> int:
    return node.type.size * max(arguments[0].type.shape, default=1) if node.operation == "matmul" and arguments else 0
