"""Along which axes are entries told apart? The axis of the prompt, and every axis that meets it, to a fixpoint.

A tensor is cut along these axes into sub-tensors that keep size one there; the other axes stay whole, so that a wide
network costs no more than a narrow one. Any choice to begin with is sound, as long as ties are followed: more axes only
tell more apart.
"""

from collections.abc import Collection, Iterator

from proofs.network.axes import groups
from proofs.network.graph import Graph, Node
from proofs.operations import REGISTRY

Axis = tuple[int, int]  # a node and one of its axes


def cut_axes(graph: Graph, order: list[int], also: Collection[Axis] = ()) -> dict[int, tuple[int, ...]]:
    """For every node of `order` the axes along which it is cut: those that meet the prompt, or one of `also`."""
    ties: dict[Axis, list[list[Axis]]] = {}
    for index in order:
        for group in _ties(graph, index):
            tied = [(i, axis) for i, axis in group if graph.nodes[i].type.shape[axis] != 1]
            for place in tied:
                ties.setdefault(place, []).append(tied)
    cut: set[Axis] = {(i, 1) for i in order if graph.nodes[i].operation == "tokens"}.union(also)
    waiting = sorted(cut)
    while waiting:
        for tied in ties.get(waiting.pop(), []):
            new = [axis for axis in tied if axis not in cut]
            cut.update(new)
            waiting += new
    return {i: tuple(a for a, n in enumerate(graph.nodes[i].type.shape) if n != 1 and (i, a) in cut) for i in order}


def _ties(graph: Graph, index: int) -> Iterator[list[Axis]]:
    """Groups of axes of a node and its arguments of which all are cut if one is."""
    node = graph.nodes[index]
    shapes = [graph.nodes[i].type.shape for i in node.arguments]
    rank = len(node.type.shape)
    if node.operation == "reshape":
        for left, right in groups(shapes[0], node.type.shape):
            yield [(node.arguments[0], a) for a in left] + [(index, a) for a in right]
    elif node.operation == "permute":
        order = _numbers(node, "order")
        for place, axis in enumerate(order):
            yield [(node.arguments[0], axis), (index, place)]
    elif node.operation == "matmul":
        (x, y), (first, second) = node.arguments, shapes
        yield [(x, len(first) - 1), (y, len(second) - 2)]
        yield [(x, len(first) - 2), (index, rank - 2)]
        yield [(y, len(second) - 1), (index, rank - 1)]
        for argument, own in ((x, first), (y, second)):
            for axis in range(len(own) - 2):
                if own[axis] != 1:  # else it is repeated, or of size one in the result too
                    yield [(argument, axis), (index, axis + rank - len(own))]
    elif node.operation == "take":
        axis, (table, places) = _number(node, "axis"), node.arguments
        inner = len(shapes[1])
        for i in range(len(shapes[0])):
            if i != axis:
                yield [(table, i), (index, i if i < axis else i + inner - 1)]
        for i in range(inner):
            yield [(places, i), (index, axis + i)]
    elif node.operation in ("sum", "mean", "largest") and node.attributes.get("keep") is False:
        kept = [axis for axis in range(len(shapes[0])) if axis not in _numbers(node, "axes")]
        for place, axis in enumerate(kept):
            yield [(node.arguments[0], axis), (index, place)]
    elif node.operation in REGISTRY:  # of an unknown one nothing is equal, however it is cut
        for argument, own in zip(node.arguments, shapes, strict=True):
            for axis, size in enumerate(own):
                if size != 1:
                    yield [(argument, axis), (index, axis + rank - len(own))]


def _number(node: Node, name: str) -> int:
    value = node.attributes[name]
    assert isinstance(value, int)
    return value


def _numbers(node: Node, name: str) -> tuple[int, ...]:
    value = node.attributes[name]
    assert isinstance(value, tuple)
    return tuple(i for i in value if isinstance(i, int))
