"""Functions with kinks: analytic only where they are proved to stay on one side, else continuous."""

from collections.abc import Sequence
from typing import Any

from proofs.arithmetic.base import Arithmetic
from proofs.arithmetic.bounds import ZERO, Interval
from proofs.network.graph import TensorType
from proofs.operations.base import (
    Application,
    Attributes,
    Operation,
    Proved,
    bounded,
    broadcast_type,
    exact,
    expect,
    flag,
    integers,
    optional_exact,
    reduced,
    same_type,
    same_type_with,
    unmet,
)
from proofs.regularity import ANALYTIC, CONSTANT, CONTINUOUS, UNPROVED, Facts, smooth


def _relu(at: Application) -> Proved:
    x = at.known()
    if x.bounds.non_negative:
        return bounded(x.regularity, x.bounds)
    if x.bounds.at_most(ZERO):
        return bounded(x.regularity if x.regularity >= UNPROVED else CONSTANT, Interval.point(0))
    return bounded(_kinked(at), Interval(ZERO, False, x.bounds.upper, x.bounds.open_above))


def _kinked(at: Application) -> Any:
    return CONSTANT if at.worst() == CONSTANT else max(at.worst(), CONTINUOUS)


def _absolute(at: Application) -> Proved:
    x = at.known()
    if x.bounds.non_negative:
        return bounded(x.regularity, x.bounds)
    if x.bounds.at_most(ZERO):
        return bounded(x.regularity, -x.bounds)
    return bounded(_kinked(at), Interval(ZERO))


def _clamp(at: Application) -> Proved:
    x = at.known()
    low, high = optional_exact(at.node.attributes, "low"), optional_exact(at.node.attributes, "high")
    inactive = (low is None or x.bounds.at_least(low)) and (high is None or x.bounds.at_most(high))
    if inactive:
        return Proved(Facts(x.regularity, x.bounds), (at.condition("clamp is never active", True, "exact bounds"),))
    limited = x.bounds if low is None else _higher(x.bounds, Interval.point(low))
    limited = limited if high is None else _lower(limited, Interval.point(high))
    return bounded(_kinked(at), limited)


def _clamp_value(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    result = v[0]
    low, high = optional_exact(p, "low"), optional_exact(p, "high")
    if low is not None:
        limit = a.scalar(low)
        result = a.select(a.greater(result, limit), result, limit)
    if high is not None:
        limit = a.scalar(high)
        result = a.select(a.greater(result, limit), limit, result)
    return result


def _maximum(at: Application) -> Proved:
    first, second = at.known(0), at.known(1)
    for x, guard in ((0, 1), (1, 0)):
        if _is_minus_infinity(at, guard):
            return Proved(Facts(at.known(x).regularity, at.known(x).bounds, at.known(x).excluded))
    if first.excluded is not None or second.excluded is not None:
        return unmet(at, at.condition("no masked value (-inf) is read here", False, "a mask reaches the operation"))
    if at.worst() >= UNPROVED:
        return Proved(Facts(UNPROVED))  # what is not proved to be a number is not left out for being small
    difference = first.bounds - second.bounds
    if difference.non_negative:
        return bounded(first.regularity, first.bounds)
    if difference.at_most(ZERO):
        return bounded(second.regularity, second.bounds)
    return bounded(_kinked(at), _higher(first.bounds, second.bounds))


def _is_minus_infinity(at: Application, position: int) -> bool:
    value = at.graph.constant(at.argument(position)) if at.argument(position).operation == "constant" else None
    return value is not None and value.kind == "real" and all(v == float("-inf") for v in value.values)


def _higher(first: Interval, second: Interval) -> Interval:
    """Bounds of the larger of two numbers."""
    both = first.hull(second)
    ends = [(i.lower, i.open_below) for i in (first, second) if i.lower is not None]
    if not ends:
        return Interval(None, False, both.upper, both.open_above)
    best = max(value for value, _ in ends)
    strict = any(opened for value, opened in ends if value == best)
    return Interval(best, strict, both.upper, both.open_above)


def _lower(first: Interval, second: Interval) -> Interval:
    """Bounds of the smaller of two numbers."""
    return -_higher(-first, -second)


def _minimum(at: Application) -> Proved:
    if at.worst() >= UNPROVED:
        return Proved(Facts(UNPROVED))
    first, second = at.known(0), at.known(1)
    difference = first.bounds - second.bounds
    if difference.at_most(ZERO):
        return bounded(first.regularity, first.bounds)
    if difference.non_negative:
        return bounded(second.regularity, second.bounds)
    return bounded(_kinked(at), _lower(first.bounds, second.bounds))


def _reduced_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axes = integers(attributes, "axes")
    shape = reduced(types[0].shape, axes, flag(attributes, "keep"))
    expect(len(axes) == 1 and types[0].shape[axes[0]] > 0 and types[0].kind == "real", "one non-empty axis of reals")
    return TensorType(shape)


def _largest(at: Application) -> Proved:
    x = at.known()
    if at.argument(0).type.shape[integers(at.node.attributes, "axes")[0]] == 1 and x.excluded is None:
        return bounded(x.regularity, x.bounds)
    if x.excluded is not None:
        return unmet(at, at.condition("no masked value (-inf) is read here", False, "a mask reaches the operation"))
    return bounded(_kinked(at), x.bounds)


def _largest_value(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    """The entry that is first in order; as a mere shift of a softmax any choice gives the same result."""
    axis = integers(p, "axes")[0]
    result = a.gather(v[0], a.top(v[0], axis, 1), axis)
    if flag(p, "keep"):
        return result
    return a.reshape(result, [n for i, n in enumerate(result.shape) if i != axis])


def _leaky(at: Application) -> Proved:
    slope = exact(at.node.attributes, "slope")
    x = at.known()
    if x.bounds.non_negative or slope == 1:
        return bounded(x.regularity, x.bounds)
    if x.bounds.at_most(ZERO):
        gone = slope == 0 and x.regularity < UNPROVED
        return bounded(CONSTANT if gone else x.regularity, x.bounds.scaled(slope))
    return bounded(_kinked(at), x.bounds.hull(x.bounds.scaled(slope)))


def _leaky_value(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    negative = a.multiply(v[0], a.scalar(exact(p, "slope")))
    return a.select(a.greater(v[0], a.scalar(ZERO)), v[0], negative)


def _elu(at: Application) -> Proved:
    """x for x > 0, else scale (e^x - 1): C^1 where scale = 1, else C^0."""
    scale = exact(at.node.attributes, "scale")
    x = at.known()
    if x.bounds.non_negative:
        return bounded(x.regularity, x.bounds)
    order = smooth(1) if scale == 1 else CONTINUOUS
    worst = CONSTANT if x.regularity == CONSTANT else max(x.regularity, order)
    if x.bounds.at_most(ZERO):
        worst = CONSTANT if x.regularity == CONSTANT else max(x.regularity, ANALYTIC)
    return bounded(worst, Interval(-scale, True) if scale > 0 else Interval())


def _elu_value(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    scale = a.scalar(exact(p, "scale"))
    positive = a.greater(v[0], a.scalar(ZERO))
    inner = a.select(positive, a.constant_like(ZERO, tuple(v[0].shape)), v[0])
    return a.select(positive, v[0], a.multiply(scale, a.apply("expm1", inner)))


def _relu_value(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    return a.select(a.greater(v[0], a.scalar(ZERO)), v[0], a.scalar(ZERO))


def _absolute_value(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    return a.select(a.greater(v[0], a.scalar(ZERO)), v[0], a.negate(v[0]))


def _two_reals(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 2 and types[0].kind == "real", "two real tensors")
    return broadcast_type(types, attributes)


KINK = "continuous and piecewise analytic; analytic where exact bounds keep it on one side"

OPERATIONS = (
    Operation("relu", "max(x, 0)", KINK, same_type, _relu, _relu_value),
    Operation("absolute", "|x|", KINK, same_type, _absolute, _absolute_value),
    Operation("clamp", "min(max(x, low), high)", KINK, same_type_with(optional=("low", "high")), _clamp,
              _clamp_value),
    Operation("maximum", "max(x, y)", KINK + "; max(x, -inf) = x", _two_reals, _maximum,
              lambda a, v, p: a.select(a.greater(v[0], v[1]), v[0], v[1]), masked=True),
    Operation("minimum", "min(x, y)", KINK, _two_reals, _minimum,
              lambda a, v, p: a.select(a.greater(v[0], v[1]), v[1], v[0])),
    Operation("largest", "the maximum along an axis", KINK, _reduced_type, _largest, _largest_value, masked=True),
    Operation("leaky_relu", "x for x > 0, else slope x", KINK, same_type_with("slope"), _leaky, _leaky_value),
    Operation("elu", "x for x > 0, else scale (e^x - 1)", "C^1 for scale = 1, else C^0", same_type_with("scale"), _elu,
              _elu_value),
)  # fmt: skip
