"""The kernel's lemmas of what normalises the entries along an axis: softmax, the logarithm of its sum, layer norm."""

import math
from fractions import Fraction

import numpy as np

from proofs.arithmetic.bounds import Interval
from proofs.kernel.lemmas.instance import ONE, OPEN, ZERO, Instance, Line, Mask
from proofs.kernel.result import Rejected
from proofs.network.graph import Graph, Node
from proofs.regularity import ANALYTIC, CONSTANT


def scores(graph: Graph, node: Node) -> int:
    """The scores of a softmax: x where its argument is x - max x along its axis, as softmax(x - c) = softmax(x)."""
    (argument,) = node.arguments
    difference = graph.nodes[argument]
    if difference.operation != "subtract" or len(difference.arguments) != 2:
        return argument
    source, shift = difference.arguments
    largest = graph.nodes[shift]
    over = (largest.attributes.get("axes"), largest.attributes.get("keep"))
    same = largest.operation == "largest" and largest.arguments == (source,)
    return source if same and over == ((node.attributes.get("axis"),), True) else argument


def empty_row(shape: tuple[int, ...], axis: int, mask: Mask) -> bool:
    """Whether a row along an axis has no entry, or none that is not masked: its exponentials would sum to nothing."""
    return shape[axis] < 1 or (mask is not None and bool(np.any(np.all(np.broadcast_to(mask, shape), axis=axis))))


def softmax(step: Instance) -> Line:
    """Positive sums of exponentials; a maximum along the axis may be subtracted before, whatever its kinks."""
    (shape,) = step.shapes("real")
    axis = step.axis(shape)
    step.result(shape, "real")
    x = step.before(scores(step.graph, step.node))
    if empty_row(shape, axis, x.mask):
        return OPEN
    lower = Interval(ONE, False) if shape[axis] == 1 else Interval(ZERO, x.mask is None)
    worst = CONSTANT if x.regularity == CONSTANT else max(x.regularity, ANALYTIC)
    return Line(worst, Interval(lower.lower, lower.open_below, ONE, x.mask is None and shape[axis] > 1))


def log_sum_exp(step: Instance) -> Line:
    """The logarithm of a positive sum of exponentials."""
    (shape,) = step.shapes("real")
    axis = step.axis(shape)
    step.result((*shape[:axis], 1, *shape[axis + 1 :]), "real")
    if empty_row(shape, axis, step.lines[0].mask):
        return OPEN
    return Line(step.at_best(ANALYTIC))


def layer_norm(step: Instance) -> Line:
    """Analytic for epsilon > 0."""
    shape = step.nodes[0].type.shape if step.nodes else ()
    axes, epsilon = step.get("axes", int), step.get("epsilon", Fraction)
    if not 1 <= axes <= len(shape) or not 1 <= len(step.nodes) <= 3 or math.prod(shape[-axes:]) < 1:
        raise Rejected("a layer norm over axes that are not there")
    if any(s != shape[-axes:] for s in step.shapes(*["real"] * len(step.nodes))[1:]):
        raise Rejected("scale or shift of a layer norm do not fit")
    step.result(shape, "real")
    return Line(step.at_best(ANALYTIC)) if epsilon > 0 else OPEN
