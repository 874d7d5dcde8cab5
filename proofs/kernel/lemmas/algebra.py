"""The kernel's own lemmas of leaves, moves, reads, selections, sums, products and quotients.

Each says the shape that a node must have, the class that it keeps, and exact bounds. Written apart from
`proofs.operations`, which finds proofs: here they are only checked. A mask is a boolean numpy array of the node's shape
(True where the entry is -inf), so that moving it is numpy's business. Anything that does not fit raises `Rejected` with
the reason.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.kernel.lemmas.instance import OPEN, ZERO, Instance, Line, Shape, broadcast, hull, mask_of, nonempty, spread
from proofs.kernel.result import Rejected
from proofs.regularity import ANALYTIC, CONSTANT, DISCONTINUOUS, POLYNOMIAL, UNPROVED, Regularity, smooth

Moved: TypeAlias = tuple[Shape, Callable[..., Any]]
"""The shape of what is moved, and what does the same with the masks of the arguments."""


def leaf(step: Instance) -> Line:
    """Tokens are fixed, parameters are coordinates, constants are what they are (held against it by `Graph`)."""
    shape, kind = step.get("shape", tuple), step.get("kind", str)
    step.shapes()
    step.result(shape, kind)
    if step.node.operation == "parameter":
        if kind != "real":
            raise Rejected("a parameter is not real")
        step.get("name", str)
        return Line(POLYNOMIAL)
    if step.node.operation == "tokens":
        if kind != "integer":
            raise Rejected("tokens are not integers")
        size = step.get("vocabulary", int)
        if size < 1:
            raise Rejected("there are no tokens")
        return Line(CONSTANT, Interval(ZERO, False, Fraction(size - 1)))
    value = step.graph.constant(step.node)
    if value is None:
        return Line(CONSTANT)
    finite = [Fraction(v) for v in value.values if not isinstance(v, float)]
    if any(v == math.inf for v in value.values):
        return OPEN  # no real number, and no mask
    mask = None
    if kind == "real" and len(finite) < len(value.values):
        mask = spread(value, [isinstance(v, float) for v in value.values])
    return Line(CONSTANT, Interval(min(finite), False, max(finite)) if finite else EVERYTHING, mask)


def moved(step: Instance) -> Line:
    """Reshaped, permuted, expanded, sliced, concatenated: the shape by arithmetic, the mask by numpy."""
    node, shapes = step.node, [n.type.shape for n in step.nodes]
    if (
        not step.nodes
        or len({n.type.kind for n in step.nodes}) != 1
        or (node.operation != "concatenate" and len(shapes) != 1)
    ):
        raise Rejected(f"{node.operation} is applied to the wrong number or kind of arguments")
    shape, move = _MOVES[node.operation](step, *shapes)
    step.result(shape, step.nodes[0].type.kind)
    masked = any(line.mask is not None for line in step.lines)
    mask = nonempty(move(*(mask_of(step, i) for i in range(len(shapes))))) if masked else None
    return Line(step.worst, hull(step.lines), mask)


def _reshaped(step: Instance, first: Shape) -> Moved:
    shape = step.get("shape", tuple)
    if math.prod(shape) != math.prod(first) or any(n < 0 for n in shape):
        raise Rejected("a reshape changes the number of entries")
    return shape, lambda mask: np.reshape(mask, shape)


def _permuted(step: Instance, first: Shape) -> Moved:
    order = step.get("order", tuple)
    if sorted(order) != list(range(len(first))):
        raise Rejected("a permutation of axes is none")
    return tuple(first[i] for i in order), lambda mask: np.transpose(mask, order)


def _expanded(step: Instance, first: Shape) -> Moved:
    shape = step.get("shape", tuple)
    if broadcast(first, shape) != tuple(shape):
        raise Rejected("an expansion does not fit")
    return shape, lambda mask: np.broadcast_to(mask, shape)


def _sliced(step: Instance, first: Shape) -> Moved:
    axis, (start, stop, stride) = step.axis(first), (step.get(n, int) for n in ("start", "stop", "step"))
    if not (0 <= start <= stop <= first[axis] and stride >= 1):
        raise Rejected("a slice leaves its axis")
    shape = (*first[:axis], len(range(start, stop, stride)), *first[axis + 1 :])
    return shape, lambda mask: mask[(slice(None),) * axis + (slice(start, stop, stride),)]


def _concatenated(step: Instance, *shapes: Shape) -> Moved:
    first, axis = shapes[0], step.axis(shapes[0])
    if any(len(s) != len(first) or s[:axis] != first[:axis] or s[axis + 1 :] != first[axis + 1 :] for s in shapes):
        raise Rejected("concatenated parts do not fit")
    return (*first[:axis], sum(s[axis] for s in shapes), *first[axis + 1 :]), lambda *masks: np.concatenate(masks, axis)


_MOVES: dict[str, Callable[..., Moved]] = {
    "reshape": _reshaped, "permute": _permuted, "expand": _expanded, "slice": _sliced, "concatenate": _concatenated,
}  # fmt: skip


def indexed(step: Instance) -> Line:
    """A table read at indices that are proved to lie in it."""
    table, index = step.shapes(step.kind, "integer")
    axis = step.axis(table)
    if step.node.operation == "take":
        step.result((*table[:axis], *index, *table[axis + 1 :]), step.kind)
    else:
        _expect_fit(index, table, axis)
        step.result(index, step.kind)
    values, places = step.lines
    if not _within(places, table[axis]):
        return OPEN
    return Line(chosen(values.regularity, places), values.bounds)


def chosen(regularity: Regularity, by: Line) -> Regularity:
    """The class of values of some class that are chosen by another: they jump with it unless it is constant."""
    return regularity if by.regularity == CONSTANT else max(regularity, DISCONTINUOUS, by.regularity)


def _expect_fit(index: Shape, table: Shape, axis: int) -> None:
    """Raises Rejected unless there is a place of the table for every index, but for the axis along which it is read."""
    if len(table) != len(index) or any(i > n for a, (i, n) in enumerate(zip(index, table, strict=True)) if a != axis):
        raise Rejected("indices do not fit the table")


def _within(places: Line, size: int) -> bool:
    """Whether indices are proved to lie in an axis of a size."""
    return places.bounds.at_least(ZERO) and places.bounds.at_most(Fraction(size - 1))


def scattered(step: Instance) -> Line:
    """Entries replaced at indices that are proved to lie in the tensor."""
    shape, index, values = step.shapes(step.kind, "integer", step.kind)
    axis = step.axis(shape)
    _expect_fit(index, shape, axis)
    if values != index:
        raise Rejected("scattered values do not fit")
    step.result(shape, step.kind)
    old, places, new = step.lines
    if not _within(places, shape[axis]):
        return OPEN
    return Line(chosen(max(old.regularity, new.regularity), places), old.bounds.hull(new.bounds))


def selected(step: Instance) -> Line:
    """One of two values, by a condition."""
    kind = step.nodes[1].type.kind if len(step.nodes) == 3 else "real"
    shape = broadcast(*step.shapes("boolean", kind, kind))
    step.result(shape, kind)
    condition, first, second = step.lines
    mask = None
    if first.mask is not None or second.mask is not None:
        value = step.graph.constant(step.nodes[0]) if step.nodes[0].operation == "constant" else None
        if value is None:
            return OPEN
        first_is_taken = spread(value, value.values)
        mask = nonempty(np.where(first_is_taken, mask_of(step, 1), mask_of(step, 2)))
    worst = chosen(max(first.regularity, second.regularity), condition)
    return Line(worst, first.bounds.hull(second.bounds), mask)


def binary(step: Instance) -> Line:
    """Sums, differences and products of two tensors."""
    if step.kind == "boolean":
        raise Rejected("truth values are not numbers")
    shape = broadcast(*step.shapes(step.kind, step.kind))
    step.result(shape, step.kind)
    first, second = step.lines
    masks = [line.mask for line in step.lines if line.mask is not None]
    if step.node.operation == "multiply":
        if step.node.arguments[0] == step.node.arguments[1]:
            return raised(step, 2)
        return Line(step.worst, first.bounds * second.bounds)
    if step.node.operation == "subtract" and second.mask is not None:
        return OPEN
    mask = None
    if masks:
        mask = masks[0] if len(masks) == 1 else np.logical_or(*(np.broadcast_to(m, shape) for m in masks))
    bounds = first.bounds + (second.bounds if step.node.operation == "add" else -second.bounds)
    return Line(step.worst, bounds, mask)


def raised(step: Instance, exponent: int) -> Line:
    """x^n, and (max(u, 0))^n, which is smoother than max(u, 0).

    On x >= 0 the power grows strictly, so an end is reached just where x reaches its own; x^0 is 1 even at 0. An even
    power of what may be negative is at least 0, and above it where x is never 0.
    """
    x = step.lines[0]
    bounds = EVERYTHING
    if exponent == 0 or x.bounds.non_negative:
        bounds = x.bounds.raised(exponent)
    elif exponent % 2 == 0:
        bounds = Interval(ZERO, x.bounds.negative)
    inner = step.nodes[0]
    if inner.operation == "relu" and exponent >= 2:
        before = step.before(inner.arguments[0]).regularity
        if before < x.regularity < UNPROVED:  # where a mask reached the maximum, nothing is known of it
            return Line(max(before, smooth(exponent - 1)), bounds)
    return Line(x.regularity, bounds)


def reduced(step: Instance) -> Line:
    """Sums and means over axes: a sum of n numbers above an end is above n times it, and one of none is 0."""
    (shape,) = step.shapes("real|integer")
    axes, keep = step.get("axes", tuple), step.get("keep", bool)
    if len(set(axes)) != len(axes) or any(not 0 <= axis < len(shape) for axis in axes):
        raise Rejected("a reduction over axes that are not there")
    step.result(tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes), step.kind)
    count = math.prod(shape[axis] for axis in axes)
    x = step.lines[0]
    if step.node.operation == "mean":
        if count == 0 or step.kind != "real":
            raise Rejected("a mean of nothing")
        return x
    return Line(x.regularity, x.bounds.scaled(Fraction(count)) if count else Interval.point(0))


def divided(step: Instance) -> Line:
    """Analytic where the denominator is proved to keep off 0: x times 1/y, whose ends are reached as those of y are."""
    step.result(broadcast(*step.shapes("real", "real")), "real")
    x, y = step.lines
    if not (y.bounds.positive or y.bounds.negative):
        return OPEN
    worst = step.worst if y.regularity == CONSTANT else max(step.worst, ANALYTIC)
    return Line(worst, x.bounds * y.bounds.reciprocal())


def matmul(step: Instance) -> Line:
    """Sums of as many products as the inner axis is long."""
    x, y = step.shapes("real", "real")
    if len(x) < 2 or len(y) < 2 or x[-1] != y[-2]:
        raise Rejected(f"matrices of shapes {x} and {y} do not fit")
    step.result((*broadcast(x[:-2], y[:-2]), x[-2], y[-1]), "real")
    bounds = (step.lines[0].bounds * step.lines[1].bounds).scaled(Fraction(x[-1])) if x[-1] else Interval.point(0)
    return Line(step.worst, bounds)
