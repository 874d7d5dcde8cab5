"""Along which axes is a node constant when the same token stands at every position?

For every axis a period is kept: entry i equals entry i mod p, whatever the parameters. Period 1 is a constant axis;
larger ones arise where positions and experts share an axis, as mixtures of experts lay them out. A tensor that sums
to one along an axis mixes equal rows into that row, which is what makes attention rows harmless.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofs.network.axes import groups
from proofs.network.graph import Graph, Node
from proofs.operations.base import integer, integers

Periods = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sameness:
    """The period of every axis, and the axes along which the entries sum to one."""

    periods: Periods
    sums_to_one: frozenset[int] = frozenset()

    def equal(self, axis: int) -> bool:
        """Whether the node is constant along an axis."""
        return self.periods[axis] == 1


def sameness(graph: Graph) -> list[Sameness]:
    """For every node what is the same when all tokens are equal, whatever the parameters."""
    found: list[Sameness] = []
    for node in graph.nodes:
        result = _same(graph, node, [found[i] for i in node.arguments])
        periods = tuple(_divisor(p, n) for p, n in zip(result.periods, node.type.shape, strict=True))
        found.append(Sameness(periods, result.sums_to_one))
    return found


def _divisor(period: int, size: int) -> int:
    """The period itself, or no information where it does not divide the axis."""
    return 1 if size <= 1 else period if 0 < period < size and size % period == 0 else size


def _same(graph: Graph, node: Node, arguments: Sequence[Sameness]) -> Sameness:
    shape, operation, attributes = node.type.shape, node.operation, node.attributes
    shapes = [graph.nodes[i].type.shape for i in node.arguments]
    if operation == "tokens":
        return Sameness((1,) * len(shape))
    if operation in ("parameter", "constant"):
        return Sameness(_constant_periods(graph, node))
    if operation == "reshape":
        return _reshaped(arguments[0], shapes[0], shape)
    if operation == "permute":
        order = integers(attributes, "order")
        periods = tuple(arguments[0].periods[axis] for axis in order)
        return Sameness(periods, frozenset(i for i, axis in enumerate(order) if axis in arguments[0].sums_to_one))
    if operation == "expand":
        return _expanded(arguments[0], shapes[0], shape)
    if operation == "take":
        axis = integer(attributes, "axis")
        table = arguments[0].periods
        return Sameness((*table[:axis], *arguments[1].periods, *table[axis + 1 :]))
    if operation == "matmul":
        return Sameness(_matmul_periods(arguments, shapes, shape))
    if operation == "softmax":
        return Sameness(arguments[0].periods, frozenset({integer(attributes, "axis")}))
    if operation == "log_sum_exp":
        return Sameness(tuple(1 if i == attributes["axis"] else p for i, p in enumerate(arguments[0].periods)))
    if operation in ("sum", "mean", "largest"):
        axes = integers(attributes, "axes")
        keep = attributes["keep"]
        pairs = enumerate(arguments[0].periods)
        return Sameness(tuple(1 if axis in axes else p for axis, p in pairs if keep or axis not in axes))
    return Sameness(_entrywise(node, arguments, shapes))


_KNOWN = {
    "add", "subtract", "multiply", "divide", "negate", "power", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh",
    "erf", "sigmoid", "softplus", "rsqrt", "sqrt", "silu", "gelu", "tanh_gelu", "mish", "relu", "absolute", "clamp",
    "maximum", "minimum", "leaky_relu", "elu", "greater", "at_most", "equal", "both", "either", "opposite", "floor",
    "as_real", "as_integer", "whole_quotient", "remainder", "select", "layer_norm", "slice", "concatenate",
    "cumulative_sum", "gather", "scatter", "top_values", "top_indices",
}  # fmt: skip


def _entrywise(node: Node, arguments: Sequence[Sameness], shapes: Sequence[tuple[int, ...]]) -> Periods:
    """The common period of all arguments; nothing is known along axes that the operation mixes."""
    shape = node.type.shape
    if node.operation not in _KNOWN:
        return shape
    periods = [1] * len(shape)
    lost = _lost(node, len(shape))
    if node.operation == "slice" and arguments[0].equal(integer(node.attributes, "axis")):
        lost = set()
    for same, own in zip(arguments, shapes, strict=True):
        lead = len(shape) - len(own)
        for axis, period in enumerate(same.periods):
            periods[axis + lead] = math.lcm(periods[axis + lead], period)
    return tuple(n if axis in lost else p for axis, (p, n) in enumerate(zip(periods, shape, strict=True)))


def _lost(node: Node, rank: int) -> set[int]:
    operation, attributes = node.operation, node.attributes
    if operation in ("concatenate", "cumulative_sum", "gather", "scatter", "top_values", "top_indices"):
        return {integer(attributes, "axis")}
    if operation == "slice":
        whole = integer(attributes, "step") == 1 and integer(attributes, "start") == 0
        return set() if whole else {integer(attributes, "axis")}
    if operation == "layer_norm":
        return set(range(rank - integer(attributes, "axes"), rank))
    return set()


def _constant_periods(graph: Graph, node: Node) -> Periods:
    value = graph.constant(node) if node.operation == "constant" else None
    if value is None:
        return node.type.shape
    if len(value.values) == 1:
        return (1,) * len(value.shape)
    entries = np.array(value.entries(), dtype=object).reshape(value.shape)
    return tuple(_period(entries, axis) for axis in range(entries.ndim))


def _period(entries: "np.ndarray[tuple[int, ...], np.dtype[np.object_]]", axis: int) -> int:
    size = entries.shape[axis]
    for period in range(1, min(size, 64)):
        pattern = np.take(entries, np.arange(size) % period, axis=axis)
        if size % period == 0 and np.all(pattern == entries):
            return period
    return size


def _expanded(same: Sameness, old: tuple[int, ...], new: tuple[int, ...]) -> Sameness:
    lead = len(new) - len(old)
    grown = {i for i in range(len(new)) if i < lead or old[i - lead] != new[i]}
    periods = tuple(1 if i in grown else same.periods[i - lead] for i in range(len(new)))
    return Sameness(periods, frozenset(axis + lead for axis in same.sums_to_one) - grown)


def _matmul_periods(
    arguments: Sequence[Sameness], shapes: Sequence[tuple[int, ...]], shape: tuple[int, ...]
) -> Periods:
    (x, y), rank = arguments, len(shape)
    first, second = ((1,) * (rank - len(s.periods)) + s.periods for s in (x, y))
    if len(shapes[0]) - 1 in x.sums_to_one and second[-2] == 1:
        return (*second[:-2], 1, second[-1])  # a mixture of equal rows is that row
    if len(shapes[1]) - 2 in y.sums_to_one and first[-1] == 1:
        return (*first[:-2], first[-2], 1)
    return (*(math.lcm(a, b) for a, b in zip(first[:-2], second[:-2], strict=True)), first[-2], second[-1])


def _reshaped(same: Sameness, old: tuple[int, ...], new: tuple[int, ...]) -> Sameness:
    """Each group of axes is read as one axis with a period, which is then cut into the new axes."""
    periods = list(new)
    sums: set[int] = set()
    for left, right in groups(old, new):
        merged, below = 1, 1  # the period of the flattened group, built from its last axis
        for axis in reversed(left):
            if same.periods[axis] > 1:
                merged = same.periods[axis] * below
            below *= old[axis]
        for axis in reversed(right):
            # An axis with `merged` entries to repeat below it takes what is left of the period.
            fits = new[axis] % merged == 0 or merged % new[axis] == 0
            periods[axis] = min(merged, new[axis]) if fits else new[axis]
            merged = (max(1, merged // new[axis]) if merged % new[axis] == 0 else 1) if fits else below
        large_left, large_right = [a for a in left if old[a] != 1], [a for a in right if new[a] != 1]
        if len(large_left) == len(large_right) == 1 and large_left[0] in same.sums_to_one:
            sums.update(large_right)
    return Sameness(tuple(periods), frozenset(sums))
