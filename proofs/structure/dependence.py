"""On which tokens does each state depend? Causality and the reach of windows, read off the graph.

Every entry carries a set of prompt positions as the bits of an integer. Weights that a mask makes exactly zero carry
nothing on, which is why a masked attention is causal. Arrays keep size one along axes on which the set does not vary,
so that the analysis of a wide network costs no more than that of a narrow one. The sets are upper bounds: a position
that is not in a set has no influence, whatever the parameters.
"""

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from proofs.network.axes import groups
from proofs.network.graph import Graph, Node
from proofs.operations import REGISTRY
from proofs.operations.base import integer, integers
from proofs.operations.derivation import derive
from proofs.operations.interpreter import live
from proofs.operations.normalization import unshifted
from proofs.regularity import Facts, Pattern
from proofs.structure.entrywise import ENTRYWISE

LONGEST = 62  # tokens; one bit each
Bits: TypeAlias = Any  # an int64 numpy array of the node's rank, of size one along axes that do not matter


@dataclass(frozen=True, slots=True)
class Influence:
    """Sets of positions, and where an entry is exactly zero (None: nowhere known)."""

    bits: Bits
    zero: Any = None


def influences(graph: Graph) -> list[tuple[int, ...]]:
    """For each position of the output, the prompt positions that may influence it.

    Returns:
        One tuple per index of axis 1 of the output, which has shape (1, length, width).
    """
    facts, _ = derive(graph)
    found: dict[int, Influence] = {}
    for index in live(graph):
        node = graph.nodes[index]
        found[index] = _of(graph, index, node, [found[i] for i in node.arguments], facts, found)
    bits = found[graph.output].bits
    length = graph.nodes[graph.output].type.shape[1]
    per_position = np.bitwise_or.reduce(
        np.broadcast_to(bits, (bits.shape[0], length, *bits.shape[2:])), axis=(0, *range(2, bits.ndim))
    )
    return [tuple(i for i in range(LONGEST) if int(value) >> i & 1) for value in per_position]


def causal(graph: Graph) -> bool:
    """Whether no state depends on a later token, for every value of the parameters."""
    return graph.length <= LONGEST and all(max(seen, default=0) <= t for t, seen in enumerate(influences(graph)))


def _of(
    graph: Graph,
    index: int,
    node: Node,
    arguments: Sequence[Influence],
    facts: Sequence[Facts],
    found: dict[int, Influence],
) -> Influence:
    shape, operation = node.type.shape, node.operation
    if operation == "tokens":
        return Influence(np.left_shift(np.int64(1), np.arange(shape[-1], dtype=np.int64)).reshape(1, -1))
    if operation in ("parameter", "constant"):
        return Influence(np.zeros((1,) * len(shape), dtype=np.int64), _zeros(graph, node))
    shapes = [graph.nodes[i].type.shape for i in node.arguments]
    if operation not in REGISTRY:  # each of its entries may depend on all that it reads
        seen = [int(np.bitwise_or.reduce(a.bits, axis=None)) for a in arguments]
        return Influence(np.full((1,) * len(shape), functools.reduce(operator.or_, seen, 0), dtype=np.int64))
    if operation == "reshape":
        parts = [None if a is None else _reshape(a, shapes[0], shape) for a in (arguments[0].bits, arguments[0].zero)]
        return Influence(parts[0], parts[1])
    if operation == "permute":
        order = integers(node.attributes, "order")
        return _each(arguments[0], lambda a: np.transpose(a, order))
    if operation == "expand":
        return _each(arguments[0], lambda a: a.reshape((1,) * (len(shape) - a.ndim) + a.shape))
    if operation == "slice":
        axis, start, stop, step = (integer(node.attributes, n) for n in ("axis", "start", "stop", "step"))
        cut = (slice(None),) * axis + (slice(start, stop, step),)
        return _each(arguments[0], lambda a: a if a.shape[axis] == 1 else a[cut])
    if operation == "concatenate":
        return Influence(_concatenate([a.bits for a in arguments], shapes, integer(node.attributes, "axis")))
    if operation == "take":
        return Influence(_take(arguments, integer(node.attributes, "axis")))
    if operation == "matmul":
        return Influence(_matmul(arguments[0], arguments[1], shapes[0][-1]))
    if operation == "softmax":
        source = unshifted(graph, index)
        return _softmax(found[source], facts[source].excluded, shape, integer(node.attributes, "axis"))
    if operation == "log_sum_exp":
        excluded = facts[node.arguments[0]].excluded
        return Influence(_softmax(arguments[0], excluded, shapes[0], integer(node.attributes, "axis")).bits)
    if operation == "exp" and (excluded := facts[node.arguments[0]].excluded) is not None:
        return _exp(arguments[0], excluded, len(shape))
    if operation == "multiply":
        zero = _either_zero(arguments, len(shape))
        bits: Bits = np.bitwise_or(arguments[0].bits, arguments[1].bits)
        return Influence(bits if zero is None else np.where(zero, 0, bits), zero)
    if operation == "cumulative_sum":
        axis = integer(node.attributes, "axis")
        return Influence(np.bitwise_or.accumulate(_full(arguments[0].bits, axis, shape[axis]), axis=axis))
    axes = _mixed_axes(node, len(shapes[0]))
    mixed = [_or(a.bits, axes) if i == 0 else a.bits for i, a in enumerate(arguments)]
    if operation in ("sum", "mean", "largest") and node.attributes["keep"] is False:
        mixed[0] = mixed[0].reshape([n for i, n in enumerate(mixed[0].shape) if i not in axes])
    if operation in ("gather", "scatter"):  # of further axes as many places are read as the index has
        mixed = [_or(a.bits, axes) for a in arguments]
    if operation == "gather":
        mixed[0] = mixed[0][tuple(slice(0, max(n, 1)) for n in shape)]
    bits = mixed[0]
    for other in mixed[1:]:
        bits = bits | other
    return Influence(bits.reshape((1,) * (len(shape) - bits.ndim) + bits.shape))


def _mixed_axes(node: Node, rank: int) -> tuple[int, ...]:
    """The axes along which an operation mixes entries; all of them where nothing else is written here."""
    if node.operation in ENTRYWISE:
        return ()
    if node.operation in ("sum", "mean", "largest"):
        return integers(node.attributes, "axes")
    if node.operation == "layer_norm":
        return tuple(range(rank - integer(node.attributes, "axes"), rank))
    if node.operation in ("top_values", "top_indices", "gather", "scatter"):
        return (integer(node.attributes, "axis"),)
    return tuple(range(rank))


def _each(influence: Influence, change: Any) -> Influence:
    return Influence(change(influence.bits), None if influence.zero is None else change(influence.zero))


def _zeros(graph: Graph, node: Node) -> Any:
    value = graph.constant(node) if node.operation == "constant" else None
    if value is None or value.kind != "real" or not any(v == 0 for v in value.values):
        return None
    return np.array([v == 0 for v in value.entries()]).reshape(value.shape)


def _either_zero(arguments: Sequence[Influence], rank: int) -> Any:
    zeros = [a.zero for a in arguments if a.zero is not None]
    if not zeros:
        return None
    zero = zeros[0] if len(zeros) == 1 else np.logical_or(*zeros)
    return zero.reshape((1,) * (rank - zero.ndim) + zero.shape)


def _or(bits: Bits, axes: Sequence[int]) -> Bits:
    return np.bitwise_or.reduce(bits, axis=tuple(axes), keepdims=True) if axes else bits


def _full(array: Any, axis: int, size: int) -> Any:
    return np.broadcast_to(array, (*array.shape[:axis], size, *array.shape[axis + 1 :]))


def _reshape(array: Any, old: tuple[int, ...], new: tuple[int, ...]) -> Any:
    """Only groups of axes on which the array varies are written out."""
    if 0 in old:  # of no entries, which no axis tells apart
        return np.zeros((1,) * len(new), dtype=array.dtype)
    middle_old: list[int] = []
    result: list[int] = []
    for left, right in groups(old, new):
        varies = any(array.shape[axis] != 1 for axis in left)
        middle_old += [old[axis] if varies else 1 for axis in left]
        result += [new[axis] if varies else 1 for axis in right]
    return np.broadcast_to(array, middle_old).reshape(result)


def _concatenate(parts: Sequence[Bits], shapes: Sequence[tuple[int, ...]], axis: int) -> Bits:
    whole = [_full(part, axis, shape[axis]) for part, shape in zip(parts, shapes, strict=True)]
    rest = np.broadcast_shapes(*[(*part.shape[:axis], 1, *part.shape[axis + 1 :]) for part in whole])
    return np.concatenate([np.broadcast_to(p, (*rest[:axis], p.shape[axis], *rest[axis + 1 :])) for p in whole], axis)


def _take(arguments: Sequence[Influence], axis: int) -> Bits:
    table, index = arguments[0].bits, arguments[1].bits
    table = _or(table, (axis,))
    spread = table.reshape(*table.shape[:axis], *(1,) * index.ndim, *table.shape[axis + 1 :])
    return spread | index.reshape(*(1,) * axis, *index.shape, *(1,) * (table.ndim - axis - 1))


def _matmul(x: Influence, y: Influence, inner: int) -> Bits:
    if x.zero is None and x.bits.shape[-1] == 1 and y.bits.shape[-2] == 1:
        return x.bits | y.bits
    left, right = (
        _full(x.bits, x.bits.ndim - 1, inner)[..., :, :, None],
        _full(y.bits, y.bits.ndim - 2, inner)[..., None, :, :],
    )
    pairs = left | right
    if x.zero is not None:
        zero = _full(x.zero, x.zero.ndim - 1, inner)[..., :, :, None]
        pairs = np.where(zero, 0, pairs)
    return np.bitwise_or.reduce(pairs, axis=-2)


def _exp(x: Influence, excluded: Pattern, rank: int) -> Influence:
    """Exactly zero where -inf stands."""
    mask = np.frombuffer(excluded.excluded, dtype=np.bool_).reshape(excluded.shape)
    mask = mask.reshape((1,) * (rank - mask.ndim) + mask.shape)
    return Influence(np.where(mask, 0, x.bits), mask)


def _softmax(x: Influence, excluded: Pattern | None, shape: tuple[int, ...], axis: int) -> Influence:
    """Every weight depends on all scores of its row that are not masked; masked weights are exactly zero."""
    if excluded is None:
        return Influence(_or(x.bits, (axis,)))
    mask = np.frombuffer(excluded.excluded, dtype=np.bool_).reshape(excluded.shape)
    mask = mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape)
    mask = _full(mask, axis, shape[axis])
    bits = np.where(mask, 0, _full(x.bits, axis, shape[axis]))
    return Influence(_or(bits, (axis,)), mask)
