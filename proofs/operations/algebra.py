"""Sums, products, quotients, powers, matrix products."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

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
    bounded,
    broadcast,
    broadcast_type,
    expect,
    flag,
    integer,
    integers,
    reduced,
    unmet,
)
from proofs.operations.masks import union
from proofs.regularity import ANALYTIC, CONSTANT, UNPROVED, Facts, smooth

LARGEST_EXPONENT = 1024  # beyond it nothing is captured, and a power would be too long to work out


def _number_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 2 and types[0].kind != "boolean", "two tensors of numbers")
    return broadcast_type(types, attributes)


def _unary_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 1 and types[0].kind != "boolean", "one tensor of numbers")
    return types[0]


def _power_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(0 <= integer(attributes, "exponent") <= LARGEST_EXPONENT, f"an exponent from 0 to {LARGEST_EXPONENT}")
    return _unary_type(types, attributes)


def _quotient_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 2 and types[0].kind == types[1].kind == "real", "two real tensors")
    return broadcast_type(types, attributes)


def _matmul_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 2 and types[0].kind == types[1].kind == "real", "two real tensors")
    x, y = types[0].shape, types[1].shape
    expect(len(x) >= 2 and len(y) >= 2 and x[-1] == y[-2], f"matrices that fit, not {x} and {y}")
    rows, columns = x[len(x) - 2], y[len(y) - 1]
    return TensorType((*broadcast([x[:-2], y[:-2], ()]), rows, columns))


def _reduced_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(len(types) == 1 and types[0].kind != "boolean", "one tensor of numbers")
    shape = reduced(types[0].shape, integers(attributes, "axes"), flag(attributes, "keep"))
    return TensorType(shape, types[0].kind)


def _mean_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    result = _reduced_type(types, attributes)
    expect(types[0].kind == "real" and _count(types[0].shape, attributes) > 0, "a mean of at least one real number")
    return result


def _axis_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(0 <= integer(attributes, "axis") < len(types[0].shape), f"an axis of {types[0].shape}")
    return _unary_type(types, attributes)


def _count(shape: tuple[int, ...], attributes: Attributes) -> int:
    return math.prod(shape[axis] for axis in integers(attributes, "axes"))


def times(bounds: Interval, count: int) -> Interval:
    """Bounds of a sum of `count` numbers with these bounds."""
    return bounds.scaled(Fraction(count)) if count else Interval.point(0)


def _sum_of_two(at: Application) -> Proved:
    first, second = at.known(0), at.known(1)
    pattern = union(first.excluded, second.excluded, at.node.type.shape)
    return Proved(Facts(at.worst(), first.bounds + second.bounds, pattern))


def _difference(at: Application) -> Proved:
    first, second = at.known(0), at.known(1)
    if second.excluded is not None:
        return unmet(at, at.condition("no masked value (-inf) is subtracted", False, "a mask reaches the operation"))
    pattern = union(first.excluded, None, at.node.type.shape)
    return Proved(Facts(at.worst(), first.bounds - second.bounds, pattern))


def _product(at: Application) -> Proved:
    first, second = at.node.arguments
    if first == second:
        return _whole_power(at, 2)
    return bounded(at.worst(), at.known(0).bounds * at.known(1).bounds)


def _quotient(at: Application) -> Proved:
    denominator = at.known(1)
    nonzero = denominator.bounds.positive or denominator.bounds.negative
    condition = at.condition("denominator is not 0", nonzero, "bounds of the denominator")
    if not nonzero:
        return unmet(at, condition)
    worst = at.worst() if denominator.regularity == CONSTANT else max(at.worst(), ANALYTIC)
    return Proved(Facts(worst, at.known(0).bounds * denominator.bounds.reciprocal()), (condition,))


def _power(at: Application) -> Proved:
    return _whole_power(at, at.integer("exponent"))


def _whole_power(at: Application, exponent: int) -> Proved:
    """x^n; where x = max(u, 0) the power is C^(n-1), because n-1 derivatives of u^n vanish at the kink."""
    known = at.known()
    bounds = EVERYTHING
    if exponent == 0:
        bounds = Interval.point(1)
    elif known.bounds.non_negative:
        bounds = known.bounds.raised(exponent)
    elif exponent % 2 == 0:
        bounds = Interval(Fraction(0), known.bounds.negative)
    inner = at.argument(0)
    if inner.operation == "relu" and exponent >= 2:
        before = at.facts[inner.arguments[0]].regularity
        if before < known.regularity < UNPROVED:
            return bounded(max(before, smooth(exponent - 1)), bounds)
    return bounded(known.regularity, bounds)


def _matmul(at: Application) -> Proved:
    terms = at.argument(0).type.shape[-1]
    return bounded(at.worst(), times(at.known(0).bounds * at.known(1).bounds, terms))


def _sum(at: Application) -> Proved:
    count = _count(at.argument(0).type.shape, at.node.attributes)
    return bounded(at.known().regularity, times(at.known().bounds, count))


def _partial_sums(at: Application) -> Proved:
    bounds = at.known().bounds
    count = at.argument(0).type.shape[at.integer("axis")]
    return bounded(at.known().regularity, bounds.hull(times(bounds, max(count, 1))))


def _numbers(reals: Evaluate, wholes: Callable[[Sequence[Any], Attributes], Any]) -> Evaluate:
    """The value of real numbers in the number system at hand; whole numbers are the same in all of them."""
    return lambda a, v, p: wholes(v, p) if whole.are_discrete(v) else reals(a, v, p)


def _reduce(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    return a.sum(v[0], integers(p, "axes"), flag(p, "keep"))


def _mean(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    return a.multiply(_reduce(a, v, p), a.scalar(Fraction(1, _count(tuple(v[0].shape), p))))


POLYNOMIAL_MAP = "a polynomial in its arguments"

OPERATIONS = (
    Operation("add", "x + y", POLYNOMIAL_MAP + "; finite + (-inf) = -inf", _number_type, _sum_of_two,
              _numbers(lambda a, v, p: a.add(v[0], v[1]), lambda v, p: whole.add(v[0], v[1])), masked=True),
    Operation("subtract", "x - y", POLYNOMIAL_MAP, _number_type, _difference,
              _numbers(lambda a, v, p: a.subtract(v[0], v[1]), lambda v, p: whole.subtract(v[0], v[1])), masked=True),
    Operation("multiply", "x y", POLYNOMIAL_MAP, _number_type, _product,
              _numbers(lambda a, v, p: a.multiply(v[0], v[1]), lambda v, p: whole.multiply(v[0], v[1]))),
    Operation("negate", "-x", POLYNOMIAL_MAP, _unary_type, lambda at: bounded(at.worst(), -at.known().bounds),
              _numbers(lambda a, v, p: a.negate(v[0]), lambda v, p: whole.negate(v[0]))),
    Operation("divide", "x / y", "analytic where y is not 0: 1/y solves z' = -z^2", _quotient_type, _quotient,
              lambda a, v, p: a.divide(v[0], v[1])),
    Operation("power", "x^n for a whole n >= 0", POLYNOMIAL_MAP + "; max(u, 0)^n is C^(n-1)",
              _power_type, _power, _numbers(lambda a, v, p: a.power(v[0], integer(p, "exponent")),
                                            lambda v, p: whole.power(v[0], integer(p, "exponent")))),
    Operation("matmul", "matrix product over the last two axes", POLYNOMIAL_MAP, _matmul_type, _matmul,
              lambda a, v, p: a.matmul(v[0], v[1])),
    Operation("sum", "sum over axes", POLYNOMIAL_MAP, _reduced_type, _sum,
              _numbers(_reduce, lambda v, p: whole.total(v[0], integers(p, "axes"), flag(p, "keep")))),
    Operation("mean", "mean over axes", POLYNOMIAL_MAP + "; within the bounds of the terms", _mean_type,
              lambda at: bounded(at.worst(), at.known().bounds), _mean),
    Operation("cumulative_sum", "partial sums along an axis", POLYNOMIAL_MAP, _axis_type, _partial_sums,
              _numbers(lambda a, v, p: a.cumulative_sum(v[0], integer(p, "axis")),
                       lambda v, p: whole.cumulative(v[0], integer(p, "axis")))),
)  # fmt: skip
