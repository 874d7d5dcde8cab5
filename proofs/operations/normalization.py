"""Softmax, the logarithm of its denominator, layer norm: kept whole, as one lemma is better than their expansion."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from proofs.arithmetic.base import Arithmetic
from proofs.arithmetic.bounds import ONE, ZERO, Interval
from proofs.network.graph import Graph, TensorType
from proofs.operations.base import Application, Attributes, Operation, Proved, exact, expect, integer, same_type, unmet
from proofs.operations.masks import broadcast_to
from proofs.regularity import ANALYTIC, CONSTANT, Facts, Pattern


def _softmax_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axis = integer(attributes, "axis")
    expect(0 <= axis < len(types[0].shape) and types[0].shape[axis] > 0, f"a non-empty axis of {types[0].shape}")
    return same_type(types, attributes)


def unshifted(graph: Graph, index: int) -> int:
    """The argument of a softmax, or x where the argument is x - max x over the same axis.

    softmax(x - c) = softmax(x) for any c that is constant along the axis, so the kinks of the maximum cancel.
    """
    node = graph.nodes[index]
    argument = node.arguments[0]
    difference = graph.nodes[argument]
    if node.operation != "softmax" or difference.operation != "subtract":
        return argument
    x, shift = difference.arguments
    largest = graph.nodes[shift]
    axis = node.attributes["axis"]
    same = largest.operation == "largest" and largest.arguments == (x,)
    if same and largest.attributes.get("axes") == (axis,) and largest.attributes.get("keep") is True:
        return x
    return argument


def rows_left(pattern: Pattern, shape: tuple[int, ...], axis: int) -> bool:
    """Whether every row along `axis` keeps an entry that is not excluded."""
    rank = len(shape)
    padded = (1,) * (rank - len(pattern.shape)) + pattern.shape
    small = tuple(shape[i] if i == axis else n for i, n in enumerate(padded))
    excluded = broadcast_to(pattern, small).excluded
    below = 1
    for n in small[axis + 1 :]:
        below *= n
    block = below * small[axis]
    return all(
        not all(excluded[start + offset : start + block : below])
        for start in range(0, len(excluded), block)
        for offset in range(below)
    )


def _softmax_facts(at: Application) -> Proved:
    source = unshifted(at.graph, at.index)
    known = at.facts[source]
    axis = at.integer("axis")
    shape = at.node.type.shape
    left = known.excluded is None or rows_left(known.excluded, shape, axis)
    condition = at.condition("softmax denominator > 0", left, "a sum of exponentials over rows that are not all masked")
    if not left:
        return unmet(at, condition)
    worst = CONSTANT if known.regularity == CONSTANT else max(known.regularity, ANALYTIC)
    lower = (ONE, False) if shape[axis] == 1 else (ZERO, known.excluded is None)
    return Proved(Facts(worst, Interval(*lower, ONE, known.excluded is None and shape[axis] > 1)), (condition,))


def _softmax(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    """exp(x - c) / sum exp(x - c) for any c that is constant along the axis."""
    axis = integer(p, "axis")
    weights = a.apply("exp", a.subtract(v[0], a.shift(v[0], axis)))
    return a.divide(weights, a.sum(weights, (axis,), True))


def _log_sum_exp_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axis, shape = integer(attributes, "axis"), _softmax_type(types, attributes).shape
    return TensorType((*shape[:axis], 1, *shape[axis + 1 :]))


def _log_sum_exp_facts(at: Application) -> Proved:
    known = at.known()
    left = known.excluded is None or rows_left(known.excluded, at.argument(0).type.shape, at.integer("axis"))
    condition = at.condition("sum of exponentials > 0", left, "rows that are not all masked")
    if not left:
        return unmet(at, condition)
    return Proved(Facts(CONSTANT if at.worst() == CONSTANT else max(at.worst(), ANALYTIC)), (condition,))


def _log_sum_exp(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    """c + log sum exp(x - c) for any c that is constant along the axis."""
    axis = integer(p, "axis")
    shift = a.shift(v[0], axis)
    return a.add(a.apply("log", a.sum(a.apply("exp", a.subtract(v[0], shift)), (axis,), True)), shift)


def _layer_norm_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    exact(attributes, "epsilon")
    axes = integer(attributes, "axes")
    shape = types[0].shape
    expect(1 <= axes <= len(shape) and all(n > 0 for n in shape[-axes:]), f"trailing axes of {shape}")
    expect(1 <= len(types) <= 3 and all(t.kind == "real" for t in types), "one to three real arguments")
    expect(all(t.shape == shape[-axes:] for t in types[1:]), "scale and shift of the normalised shape")
    return types[0]


def _short(epsilon: Fraction) -> str:
    return f"{float(epsilon):.3g}" if epsilon < 2**1000 else "more than a float holds"


def _layer_norm_facts(at: Application) -> Proved:
    epsilon = exact(at.node.attributes, "epsilon")
    condition = at.condition("variance + epsilon > 0", epsilon > 0, f"variance >= 0 and epsilon = {_short(epsilon)}")
    if epsilon <= 0:
        return unmet(at, condition)
    worst = CONSTANT if at.worst() == CONSTANT else max(at.worst(), ANALYTIC)
    return Proved(Facts(worst), (condition,))


def _layer_norm(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    """scale (x - mean x) / sqrt(mean (x - mean x)^2 + epsilon) + shift."""
    rank = len(v[0].shape)
    axes = tuple(range(rank - integer(p, "axes"), rank))
    count = 1
    for axis in axes:
        count *= v[0].shape[axis]
    share = a.scalar(Fraction(1, count))
    centred = a.subtract(v[0], a.multiply(a.sum(v[0], axes, True), share))
    variance = a.multiply(a.sum(a.power(centred, 2), axes, True), share)
    result = a.multiply(centred, a.apply("rsqrt", a.add(variance, a.scalar(exact(p, "epsilon")))))
    if len(v) > 1:
        result = a.multiply(result, v[1])
    return a.add(result, v[2]) if len(v) > 2 else result


OPERATIONS = (
    Operation("softmax", "e^x / sum e^x along an axis, -inf giving weight 0",
              "analytic where no row is wholly masked: the denominator is a positive sum of exponentials",
              _softmax_type, _softmax_facts, _softmax, masked=True),
    Operation("log_sum_exp", "log sum e^x along an axis, which is kept, -inf adding nothing",
              "analytic where no row is wholly masked: the logarithm is taken of a positive sum of exponentials",
              _log_sum_exp_type, _log_sum_exp_facts, _log_sum_exp, masked=True),
    Operation("layer_norm", "scale (x - mean)/sqrt(variance + epsilon) + shift",
              "analytic for epsilon > 0: the root is taken of a square plus epsilon",
              _layer_norm_type, _layer_norm_facts, _layer_norm),
)  # fmt: skip
