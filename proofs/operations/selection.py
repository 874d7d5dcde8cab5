"""Operations that decide: comparisons, orders, rounding, and arithmetic on the integers they give.

On data they jump, so they are never better than discontinuous; on constants they are constants.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.arithmetic import whole
from proofs.arithmetic.base import Arithmetic
from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.network.graph import TensorType
from proofs.operations.base import (
    Application,
    Attributes,
    Evaluate,
    Operation,
    Proved,
    TypeRule,
    bounded,
    broadcast,
    expect,
    integer,
    unmet,
)
from proofs.operations.structure import placed
from proofs.regularity import CONSTANT, CONTINUOUS, DISCONTINUOUS, Regularity


def _decided(at: Application) -> Regularity:
    return CONSTANT if at.worst() == CONSTANT else max(at.worst(), DISCONTINUOUS)


def _top_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axis, count = integer(attributes, "axis"), integer(attributes, "count")
    shape = types[0].shape
    expect(len(types) == 1 and types[0].kind == "real" and 0 <= axis < len(shape), f"an axis of {shape}")
    expect(1 <= count <= shape[axis], f"at most {shape[axis]} entries of axis {axis}")
    return TensorType((*shape[:axis], count, *shape[axis + 1 :]))


def _top_indices_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    return TensorType(_top_type(types, attributes).shape, "integer")


def _top_values(at: Application) -> Proved:
    """Sorted values move continuously with the data, but have kinks where two of them cross."""
    worst = CONSTANT if at.worst() == CONSTANT else max(at.worst(), CONTINUOUS)
    return bounded(worst, at.known().bounds)


def _top_indices(at: Application) -> Proved:
    size = at.argument(0).type.shape[at.integer("axis")]
    return bounded(_decided(at), Interval(Fraction(0), False, Fraction(size - 1)))


def _top(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    return a.top(v[0], integer(p, "axis"), integer(p, "count"))


def _compared_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 2 and types[0].kind == types[1].kind != "boolean", "two tensors of numbers of one kind")
    return TensorType(broadcast([t.shape for t in types]), "boolean")


def _logical_type(count: int) -> TypeRule:
    def rule(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
        expect(len(types) == count and all(t.kind == "boolean" for t in types), f"truth values, {count} of them")
        return TensorType(broadcast([t.shape for t in types]), "boolean")

    return rule


def _integer_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 1 and types[0].kind == "real", "one real tensor")
    return TensorType(types[0].shape, "integer")


def _converted_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 1 and types[0].kind != "real", "integers or truth values")
    return TensorType(types[0].shape)


def _counted_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 1 and types[0].kind == "boolean", "truth values")
    return TensorType(types[0].shape, "integer")


def _whole_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 1 and types[0].kind == "integer" and integer(attributes, "by") >= 1, "integers, by at least 1")
    return types[0]


def _floor(at: Application) -> Proved:
    ends = at.known().bounds
    lower, upper = (None if end is None else Fraction(math.floor(end)) for end in (ends.lower, ends.upper))
    return bounded(_decided(at), Interval(lower, False, upper))


def _converted(at: Application) -> Proved:
    """Integers as reals: they may already jump with the data, and are no worse than that."""
    bounds = at.known().bounds
    if at.argument(0).type.kind == "boolean":
        bounds = Interval(Fraction(0), False, Fraction(1))
    return bounded(at.worst(), bounds)


def _quotient(at: Application) -> Proved:
    by = at.integer("by")
    bounds = at.known().bounds
    lower = None if bounds.lower is None else Fraction(bounds.lower // by)
    upper = None if bounds.upper is None else Fraction(bounds.upper // by)
    return bounded(at.worst(), Interval(lower, False, upper, False))


def _remainder(at: Application) -> Proved:
    return bounded(at.worst(), Interval(Fraction(0), False, Fraction(at.integer("by") - 1)))


def _scatter_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axis = integer(attributes, "axis")
    expect(
        len(types) == 3 and types[1].kind == "integer" and types[0].kind == types[2].kind, "a tensor, indices, values"
    )
    shape, index = types[0].shape, types[1].shape
    fits = len(shape) == len(index) and all(
        i <= n for a, (i, n) in enumerate(zip(index, shape, strict=True)) if a != axis
    )
    expect(fits and types[2].shape == index and 0 <= axis < len(shape), "indices and values that fit the tensor")
    return types[0]


def _scatter_facts(at: Application) -> Proved:
    index = at.known(1)
    size = at.node.type.shape[at.integer("axis")]
    inside = index.bounds.at_least(Fraction(0)) and index.bounds.at_most(Fraction(size - 1))
    condition = at.condition(f"indices lie in 0..{size - 1}", inside, "bounds of the indices")
    if not inside:
        return unmet(at, condition)
    worst = max(at.known(0).regularity, at.known(2).regularity)
    if index.regularity != CONSTANT:
        worst = max(worst, DISCONTINUOUS, index.regularity)
    return bounded(worst, at.known(0).bounds.hull(at.known(2).bounds))


def _scatter(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    """Built from selections along the axis, so that no number system needs to assign in place."""
    axis, (target, index, values) = integer(p, "axis"), v
    result, index = target, placed(index, target, p)
    for slot in range(index.shape[axis]):
        at_slot = np.take(index, [slot], axis)
        value = a.slice(values, axis, slot, slot + 1, 1)
        places = np.arange(target.shape[axis]).reshape([-1 if i == axis else 1 for i in range(index.ndim)])
        hit = at_slot == places
        result = a.select(hit, value, result)
    return result


def _compare(positive: bool) -> Evaluate:
    """x > y, or x <= y where `positive` is false; integers are compared as they are."""

    def evaluate(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
        greater = np.asarray(v[0] > v[1]) if whole.are_discrete(v) else a.greater(v[0], v[1])
        return greater if positive else np.asarray(~whole.known(greater))

    return evaluate


def _on_known(operation: Callable[..., Any]) -> Evaluate:
    """What numpy makes of truth values that are known."""
    return lambda a, v, p: np.asarray(operation(*map(whole.known, v)))


def _equal(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    return np.asarray(_compare(False)(a, v, p) & _compare(False)(a, (v[1], v[0]), p))


JUMP = "constant on constants; on data it jumps"

OPERATIONS = (
    Operation("top_values", "the largest entries along an axis, in order", "continuous, with kinks where entries cross",
              _top_type, _top_values, lambda a, v, p: a.gather(v[0], _top(a, v, p), integer(p, "axis"))),
    Operation("top_indices", "the places of the largest entries along an axis", JUMP,
              _top_indices_type, _top_indices, _top),
    Operation("greater", "x > y", JUMP, _compared_type, lambda at: bounded(_decided(at), EVERYTHING), _compare(True)),
    Operation("at_most", "x <= y", JUMP, _compared_type, lambda at: bounded(_decided(at), EVERYTHING), _compare(False)),
    Operation("equal", "x = y", JUMP, _compared_type, lambda at: bounded(_decided(at), EVERYTHING),
              _equal),
    Operation("both", "truth of both", JUMP, _logical_type(2), lambda at: bounded(at.worst(), EVERYTHING),
              _on_known(np.logical_and)),
    Operation("either", "truth of either", JUMP, _logical_type(2), lambda at: bounded(at.worst(), EVERYTHING),
              _on_known(np.logical_or)),
    Operation("opposite", "not x", JUMP, _logical_type(1), lambda at: bounded(at.worst(), EVERYTHING),
              _on_known(np.logical_not)),
    Operation("floor", "the greatest integer at most x", JUMP, _integer_type, _floor, lambda a, v, p: a.floor(v[0])),
    Operation("as_real", "an integer or truth value as a real number", "the identity on values that may jump with data",
              _converted_type, _converted, lambda a, v, p: a.real(v[0])),
    Operation("as_integer", "a truth value as 0 or 1", "the identity on values that may jump with data",
              _counted_type, _converted, lambda a, v, p: whole.known(v[0]).astype(np.int64)),
    Operation("whole_quotient", "floor(n / by)", "a map of integers", _whole_type, _quotient,
              lambda a, v, p: whole.quotient(whole.known(v[0]), integer(p, "by"))),
    Operation("remainder", "n mod by", "a map of integers", _whole_type, _remainder,
              lambda a, v, p: whole.remainder(whole.known(v[0]), integer(p, "by"))),
    Operation("scatter", "x with entries replaced at given places of an axis",
              "linear where the places do not depend on data; else it jumps with them",
              _scatter_type, _scatter_facts, _scatter),
)  # fmt: skip
