"""The kernel's lemmas of functions of one tensor, kinks and decisions (see `proofs.kernel.lemmas.algebra`)."""

from collections.abc import Callable
from fractions import Fraction

from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.kernel.lemmas.algebra import raised
from proofs.kernel.lemmas.instance import ONE, OPEN, ZERO, Instance, Line, Rule, broadcast
from proofs.kernel.result import Rejected
from proofs.regularity import ANALYTIC, CONSTANT, CONTINUOUS, DISCONTINUOUS, UNPROVED, smooth

NUMBERS = "real|integer"


def unary(step: Instance, kinds: str = "real") -> Interval:
    """The bounds of the one argument, which is of one of these kinds, and whose shape and kind the result has."""
    (shape,) = step.shapes(kinds)
    step.result(shape, step.kind)
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
    """e^x > 0, and it grows strictly: on the side of 1 where x is of 0, and strictly if x is."""
    lower = Interval(ONE, x.positive) if x.non_negative else Interval(ZERO, True)
    return Interval(lower.lower, lower.open_below, ONE, x.negative) if x.at_most(ZERO) else lower


def exponential(step: Instance) -> Line:
    """e^x, which is 0 where a mask holds -inf."""
    x = exp(unary(step))
    masked = step.lines[0].mask is not None
    return Line(step.at_best(ANALYTIC), x.hull(Interval(ZERO, False, ZERO)) if masked else x)


def log(x: Interval) -> Interval:
    """It grows strictly: on the side of 0 where x is of 1, and strictly if x is."""
    if x.at_most(ONE):
        return Interval(None, False, ZERO, (Interval.point(1) - x).positive)
    return Interval(ZERO, x.above(ONE)) if x.at_least(ONE) else EVERYTHING


def odd(x: Interval) -> Interval:
    """tanh and erf: between -1 and 1, never reached; 0 at 0 and strictly growing, so of the strict sign of x."""
    return Interval(
        ZERO if x.non_negative else -ONE,
        x.positive or not x.non_negative,
        ZERO if x.at_most(ZERO) else ONE,
        x.negative or not x.at_most(ZERO),
    )


def gate(floor: Fraction) -> Callable[[Interval], Interval]:
    """x times a factor in (0, 1): of the strict sign of x; `floor` lies below its least value, so that is not reached.

    The least values are -0.27846... (silu), -0.16997... and -0.17004... (gelu by erf and tanh), -0.30884... (mish).
    """
    return lambda x: Interval(ZERO if x.non_negative else floor, x.positive or not x.non_negative)


def square_root(step: Instance) -> Line:
    """Analytic above 0, continuous at 0; 0 at 0 alone."""
    x = unary(step)
    if not x.non_negative:
        return OPEN
    return Line(step.at_best(ANALYTIC if x.positive else CONTINUOUS), Interval(ZERO, x.positive))


def softplus(step: Instance) -> Line:
    """Analytic and positive for a positive slope, as the logarithm of 1 and more; it comes near 0."""
    unary(step)
    positive = step.get("beta", Fraction) > 0
    return Line(step.at_best(ANALYTIC), Interval(ZERO, True)) if positive else OPEN


def split_at_zero(step: Instance, slope: Fraction, bounds: Interval, order: int = 0) -> Line:
    """x for x > 0 and slope x below: no kink where x is proved to stay on one side; at 0 both are 0."""
    x = step.lines[0].bounds
    if x.non_negative:
        return Line(step.worst, x)
    if x.at_most(ZERO):
        return Line(step.worst if slope or step.worst >= UNPROVED else CONSTANT, x.scaled(slope))
    return Line(step.at_best(smooth(order)), bounds)


def relu(step: Instance) -> Line:
    """max(x, 0): 0 for every x <= 0, and x near an upper end above 0, which is reached only if x reaches it."""
    x = unary(step)
    return split_at_zero(step, ZERO, Interval(ZERO, False, x.upper, x.open_above))


def absolute(step: Instance) -> Line:
    """|x|."""
    unary(step)
    return split_at_zero(step, -ONE, Interval(ZERO))


def leaky_relu(step: Instance) -> Line:
    """x, or slope x below 0: one of the two, so what holds both intervals holds it."""
    x, slope = unary(step), step.get("slope", Fraction)
    return Line(step.worst, x) if slope == 1 else split_at_zero(step, slope, x.hull(x.scaled(slope)))


def elu(step: Instance) -> Line:
    """x, or scale (e^x - 1) below 0, which is above -scale as e^x > 0; so is every x > 0 if scale > 0."""
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
    if (low is None or x.at_least(low)) and (high is None or x.at_most(high)):
        return Line(step.worst, x)
    return Line(step.at_best(CONTINUOUS), clamped(x, low, high))


def clamped(x: Interval, low: Fraction | None, high: Fraction | None) -> Interval:
    """The limited interval; low above high gives high, and then no order of the two matters."""
    if low is not None and high is not None and low > high:
        return Interval.point(high)
    least = lower_end(x, low, high)
    most = lower_end(-x, None if high is None else -high, None if low is None else -low)
    return Interval(*least, None if most[0] is None else -most[0], most[1])


def lower_end(x: Interval, low: Fraction | None, high: Fraction | None) -> tuple[Fraction | None, bool]:
    """The least value and whether it is only neared: so it is where x nears its own end and moves the result there.

    From an end below `low`, and from one at `high` or above, the members of x nearby all give the limit itself.
    """
    if x.lower is None or (low is not None and x.lower < low):
        return low, False
    return (high, False) if high is not None and x.lower >= high else (x.lower, x.open_below)


def extreme(step: Instance) -> Line:
    """The larger or the smaller of two; max(x, -inf) = x.

    The maximum is at least x and at least y: so at least the higher of both lower ends, and above it if x or y is. It
    is x or y: so within both, and it stays below the higher upper end if all that have that end do.
    """
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
    """The maximum along an axis, which is one of the entries."""
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
    """The largest entries along an axis, or their places: some of the entries, and places from 0."""
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
    if step.kind == "boolean":
        raise Rejected("truth values are compared as numbers")
    step.result(broadcast(*step.shapes(step.kind, step.kind)), "boolean")
    return Line(step.at_best(DISCONTINUOUS))


def logical(step: Instance) -> Line:
    """A truth value of truth values."""
    count = 1 if step.node.operation == "opposite" else 2
    step.result(broadcast(*step.shapes(*["boolean"] * count)), "boolean")
    return Line(step.worst)


def floor(step: Instance) -> Line:
    """An integer that jumps with data; it does not fall as x grows, and may be that of an end that x only nears."""
    (shape,) = step.shapes("real")
    step.result(shape, "integer")
    x = step.lines[0].bounds
    lower, upper = (None if end is None else Fraction(end // 1) for end in (x.lower, x.upper))
    return Line(step.at_best(DISCONTINUOUS), Interval(lower, False, upper))


def converted(step: Instance) -> Line:
    """Integers, or truth values as 0 and 1, as numbers of another kind."""
    to_real = step.node.operation == "as_real"
    (shape,) = step.shapes("integer|boolean" if to_real else "boolean")
    step.result(shape, "real" if to_real else "integer")
    return Line(step.worst, Interval(ZERO, False, ONE) if step.kind == "boolean" else step.lines[0].bounds)


def whole(step: Instance) -> Line:
    """floor(n / by), which does not fall as n grows, or n mod by, from 0 to by - 1 whatever the sign of n."""
    x, by = unary(step, "integer"), step.get("by", int)
    if by < 1:
        raise Rejected("integers are divided by less than 1")
    if step.node.operation == "remainder":
        return Line(step.worst, Interval(ZERO, False, Fraction(by - 1)))
    lower, upper = (None if end is None else Fraction(end // by) for end in (x.lower, x.upper))
    return Line(step.worst, Interval(lower, False, upper))


def negated(step: Instance) -> Line:
    """-x."""
    return Line(step.worst, -unary(step, NUMBERS))


LARGEST_EXPONENT = 1024


def power(step: Instance) -> Line:
    """x^n."""
    unary(step, NUMBERS)
    exponent = step.get("exponent", int)
    if not 0 <= exponent <= LARGEST_EXPONENT:
        raise Rejected("a power is negative, or too large to be worked out")
    return raised(step, exponent)


def partial_sums(step: Instance) -> Line:
    """Sums of one to n entries along an axis; those of k lie within k times the bounds, between once and n times."""
    bounds, shape = unary(step, NUMBERS), step.node.type.shape
    return Line(step.worst, bounds.hull(bounds.scaled(Fraction(max(shape[step.axis(shape)], 1)))))
