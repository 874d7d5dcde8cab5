"""The kernel's table for functions of one tensor, kinks and decisions (see `proofs.kernel.lemmas.algebra`)."""

from collections.abc import Callable
from fractions import Fraction

from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.kernel.lemmas.algebra import raised
from proofs.kernel.lemmas.instance import ONE, OPEN, ZERO, Instance, Line, Rule, broadcast
from proofs.kernel.result import Rejected
from proofs.regularity import ANALYTIC, CONSTANT, CONTINUOUS, DISCONTINUOUS, UNPROVED, smooth


def unary(step: Instance) -> Interval:
    """The bounds of the one real argument, whose shape the result has."""
    (shape,) = step.shapes("real")
    step.result(shape, "real")
    return step.lines[0].bounds


def analytic(bounds: Callable[[Interval], Interval], above: Fraction | None = None) -> Rule:
    """Analytic on the line, or above a limit that the argument must be proved to exceed."""

    def rule(step: Instance) -> Line:
        x = unary(step)
        if above is not None and not x.above(above):
            return OPEN
        return Line(step.at_best(ANALYTIC), bounds(x))

    return rule


def exp(x: Interval) -> Interval:
    """e^x > 0, on the side of 1 where x is of 0."""
    lower = Interval(ONE, x.positive) if x.non_negative else Interval(ZERO, True)
    return Interval(lower.lower, lower.open_below, ONE, x.negative) if x.at_most(ZERO) else lower


def exponential(step: Instance) -> Line:
    """e^x, which is 0 where a mask holds -inf."""
    x = exp(unary(step))
    masked = step.lines[0].mask is not None
    return Line(step.at_best(ANALYTIC), x.hull(Interval(ZERO, False, ZERO)) if masked else x)


def log(x: Interval) -> Interval:
    """On the side of 0 where x is of 1."""
    if x.at_most(ONE):
        return Interval(None, False, ZERO, (Interval.point(1) - x).positive)
    return Interval(ZERO, x.above(ONE)) if x.at_least(ONE) else EVERYTHING


def odd(x: Interval) -> Interval:
    """tanh and erf: between -1 and 1, of the sign of x."""
    return Interval(
        ZERO if x.non_negative else -ONE,
        x.positive or not x.non_negative,
        ZERO if x.at_most(ZERO) else ONE,
        x.negative or not x.at_most(ZERO),
    )


def gate(floor: Fraction) -> Callable[[Interval], Interval]:
    """x times a sigmoid-like factor: above its least value, of the sign of x where x >= 0."""
    return lambda x: Interval(ZERO if x.non_negative else floor, x.positive or not x.non_negative)


def square_root(step: Instance) -> Line:
    """Analytic above 0, continuous at 0."""
    x = unary(step)
    if not x.non_negative:
        return OPEN
    return Line(step.at_best(ANALYTIC if x.positive else CONTINUOUS), Interval(ZERO, x.positive))


def softplus(step: Instance) -> Line:
    """Analytic and positive for a positive slope."""
    unary(step)
    positive = step.get("beta", Fraction) > 0
    return Line(step.at_best(ANALYTIC), Interval(ZERO, True)) if positive else OPEN


def split_at_zero(step: Instance, slope: Fraction, bounds: Interval, order: int = 0) -> Line:
    """x for x > 0 and slope x below: no kink where x is proved to stay on one side."""
    x = step.lines[0].bounds
    if x.non_negative:
        return Line(step.worst, x)
    if x.at_most(ZERO):
        return Line(step.worst if slope or step.worst >= UNPROVED else CONSTANT, x.scaled(slope))
    return Line(step.at_best(smooth(order)), bounds)


def relu(step: Instance) -> Line:
    """max(x, 0)."""
    x = unary(step)
    return split_at_zero(step, ZERO, Interval(ZERO, False, x.upper, x.open_above))


def absolute(step: Instance) -> Line:
    """|x|."""
    unary(step)
    return split_at_zero(step, -ONE, Interval(ZERO))


def leaky_relu(step: Instance) -> Line:
    """x, or slope x below 0."""
    x, slope = unary(step), step.get("slope", Fraction)
    return Line(step.worst, x) if slope == 1 else split_at_zero(step, slope, x.hull(x.scaled(slope)))


def elu(step: Instance) -> Line:
    """x, or scale (e^x - 1) below 0."""
    x, scale = unary(step), step.get("scale", Fraction)
    bounds = Interval(-scale, True) if scale > 0 else Interval()
    if x.non_negative:
        return Line(step.worst, x)
    if x.at_most(ZERO):
        return Line(step.at_best(ANALYTIC), bounds)
    return Line(step.at_best(smooth(1 if scale == 1 else 0)), bounds)


def clamp(step: Instance) -> Line:
    """min(max(x, low), high), analytic where it is proved never to act."""
    x = unary(step)
    low, high = (None if step.node.attributes.get(n) is None else step.get(n, Fraction) for n in ("low", "high"))
    acts_low, acts_high = low is not None and not x.at_least(low), high is not None and not x.at_most(high)
    if not acts_low and not acts_high:
        return Line(step.worst, x)
    lower, upper = (x.lower, x.open_below), (x.upper, x.open_above)
    lower = (low, False) if acts_low else lower
    upper = (high, False) if acts_high else upper
    if high is not None and lower[0] is not None and lower[0] > high:
        lower = (high, False)
    if low is not None and upper[0] is not None and upper[0] < low:
        upper = (low, False)
    return Line(step.at_best(CONTINUOUS), Interval(*lower, *upper))


def extreme(step: Instance) -> Line:
    """The larger or the smaller of two; max(x, -inf) = x."""
    step.result(broadcast(*step.shapes("real", "real")), "real")
    largest = step.node.operation == "maximum"
    for x, guard in ((0, 1), (1, 0)) if largest else ():
        value = step.graph.constant(step.nodes[guard]) if step.nodes[guard].operation == "constant" else None
        if value is not None and value.kind == "real" and all(v == float("-inf") for v in value.values):
            return step.lines[x]
    first, second = step.lines
    if first.mask is not None or second.mask is not None or step.worst >= UNPROVED:
        return OPEN  # what is not proved to be a number is not left out for being small
    a, b = (line.bounds if largest else -line.bounds for line in step.lines)
    if (a - b).non_negative:
        return first
    if (a - b).at_most(ZERO):
        return second
    ends = [(i.lower, i.open_below) for i in (a, b) if i.lower is not None]
    best = max((value for value, _ in ends), default=None)
    both = a.hull(b)
    bounds = Interval(best, any(o for v, o in ends if v == best), both.upper, both.open_above)
    return Line(step.at_best(CONTINUOUS), bounds if largest else -bounds)


def largest(step: Instance) -> Line:
    """The maximum along an axis."""
    (shape,) = step.shapes("real")
    axes, keep = step.get("axes", tuple), step.get("keep", bool)
    if len(axes) != 1 or not 0 <= axes[0] < len(shape) or shape[axes[0]] < 1:
        raise Rejected("a maximum over an axis that is not there")
    step.result(tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes), "real")
    x = step.lines[0]
    if x.mask is not None:
        return OPEN
    return x if shape[axes[0]] == 1 else Line(step.at_best(CONTINUOUS), x.bounds)


def top(step: Instance) -> Line:
    """The largest entries along an axis, or their places."""
    (shape,) = step.shapes("real")
    axis, count = step.axis(shape), step.get("count", int)
    if not 1 <= count <= shape[axis]:
        raise Rejected("more entries are picked than there are")
    values = step.node.operation == "top_values"
    step.result((*shape[:axis], count, *shape[axis + 1 :]), "real" if values else "integer")
    if values:
        return Line(step.at_best(CONTINUOUS), step.lines[0].bounds)
    return Line(step.at_best(DISCONTINUOUS), Interval(ZERO, False, Fraction(shape[axis] - 1)))


def compared(step: Instance) -> Line:
    """A truth value that jumps with data."""
    kind = step.nodes[0].type.kind if step.nodes else "real"
    if kind == "boolean":
        raise Rejected("truth values are compared as numbers")
    step.result(broadcast(*step.shapes(kind, kind)), "boolean")
    return Line(step.at_best(DISCONTINUOUS))


def logical(step: Instance) -> Line:
    """A truth value of truth values."""
    count = 1 if step.node.operation == "opposite" else 2
    step.result(broadcast(*step.shapes(*["boolean"] * count)), "boolean")
    return Line(step.worst)


def floor(step: Instance) -> Line:
    """An integer that jumps with data."""
    (shape,) = step.shapes("real")
    step.result(shape, "integer")
    x = step.lines[0].bounds
    lower, upper = (None if end is None else Fraction(end // 1) for end in (x.lower, x.upper))
    return Line(step.at_best(DISCONTINUOUS), Interval(lower, False, upper))


def converted(step: Instance) -> Line:
    """Integers or truth values as numbers of another kind."""
    to_real = step.node.operation == "as_real"
    (shape,) = step.shapes("integer|boolean" if to_real else "boolean")
    step.result(shape, "real" if to_real else "integer")
    boolean = step.nodes[0].type.kind == "boolean"
    return Line(step.worst, Interval(ZERO, False, ONE) if boolean else step.lines[0].bounds)


def whole(step: Instance) -> Line:
    """Quotient or remainder of integers."""
    (shape,) = step.shapes("integer")
    step.result(shape, "integer")
    by, x = step.get("by", int), step.lines[0].bounds
    if by < 1:
        raise Rejected("integers are divided by less than 1")
    if step.node.operation == "remainder":
        return Line(step.worst, Interval(ZERO, False, Fraction(by - 1)))
    lower, upper = (None if end is None else Fraction(end // by) for end in (x.lower, x.upper))
    return Line(step.worst, Interval(lower, False, upper))


def negated(step: Instance) -> Line:
    """-x."""
    (shape,) = step.shapes("real|integer")
    step.result(shape, step.nodes[0].type.kind)
    return Line(step.worst, -step.lines[0].bounds)


LARGEST_EXPONENT = 1024


def power(step: Instance) -> Line:
    """x^n."""
    (shape,) = step.shapes("real|integer")
    step.result(shape, step.nodes[0].type.kind)
    exponent = step.get("exponent", int)
    if not 0 <= exponent <= LARGEST_EXPONENT:
        raise Rejected("a power is negative, or too large to be worked out")
    return raised(step, exponent)


def partial_sums(step: Instance) -> Line:
    """Sums of one to all entries along an axis."""
    (shape,) = step.shapes("real|integer")
    step.result(shape, step.nodes[0].type.kind)
    bounds = step.lines[0].bounds
    return Line(step.worst, bounds.hull(bounds.scaled(Fraction(max(shape[step.axis(shape)], 1)))))
