"""Elementary functions, entry by entry, each with the polynomial differential equation that makes it analytic.

A function whose derivative is a polynomial in it, in companions with the same property and in x is real-analytic
where it exists. A `Certificate` names those companions in sympy's notation; `proofs.operations.symbolic`
differentiates and simplifies to zero. Functions that are written by others (silu = x sigmoid(x), ...) are evaluated by
that formula.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from proofs.arithmetic.base import Arithmetic, Reals
from proofs.arithmetic.bounds import EVERYTHING, ONE, ZERO, Interval
from proofs.operations.base import Application, Operation, Proved, bounded, exact, same_type, same_type_with, unmet
from proofs.regularity import ANALYTIC, CONSTANT, CONTINUOUS, Facts, Regularity


@dataclass(frozen=True, slots=True)
class Certificate:
    """y = `function` of x, and for y and every companion its derivative as a polynomial in all of them and x."""

    function: str
    companions: tuple[tuple[str, str], ...]
    derivatives: tuple[tuple[str, str], ...]


def _everywhere(bounds: Callable[[Interval], Interval]) -> Callable[[Application], Proved]:
    def facts(at: Application) -> Proved:
        return bounded(_analytic(at), bounds(at.known().bounds))

    return facts


def _above(limit: Fraction, bounds: Callable[[Interval], Interval]) -> Callable[[Application], Proved]:
    def facts(at: Application) -> Proved:
        holds = at.known().bounds.above(limit)
        condition = at.condition(f"argument > {limit}", holds, "exact bounds of the argument")
        if not holds:
            return unmet(at, condition)
        return Proved(Facts(_analytic(at), bounds(at.known().bounds)), (condition,))

    return facts


def _analytic(at: Application) -> Regularity:
    return CONSTANT if at.worst() == CONSTANT else max(at.worst(), ANALYTIC)


def _exp(x: Interval) -> Interval:
    lower, strict = (ONE, x.above(ZERO)) if x.non_negative else (ZERO, True)
    if x.at_most(ZERO):
        return Interval(lower, strict, ONE, x.negative)
    return Interval(lower, strict)


def _exponential(at: Application) -> Proved:
    x = at.known()
    bounds = _exp(x.bounds)
    if x.excluded is not None:  # e^(-inf) = 0, whatever the parameters
        bounds = bounds.hull(Interval(ZERO, False, ZERO))
    return bounded(_analytic(at), bounds)


def _expm1(x: Interval) -> Interval:
    return _exp(x) - Interval.point(1)


def _log(x: Interval) -> Interval:
    if x.at_most(ONE):
        return Interval(None, False, ZERO, (Interval.point(1) - x).positive)
    return Interval(ZERO, x.above(ONE)) if x.at_least(ONE) else EVERYTHING


def _log1p(x: Interval) -> Interval:
    return _log(x + Interval.point(1))


def _signed(largest: Fraction) -> Callable[[Interval], Interval]:
    """Odd, increasing, with values strictly between -largest and largest."""

    def bounds(x: Interval) -> Interval:
        lower = (ZERO, x.positive) if x.non_negative else (-largest, True)
        upper = (ZERO, x.negative) if x.at_most(ZERO) else (largest, True)
        return Interval(*lower, *upper)

    return bounds


def _sqrt(x: Interval) -> Interval:
    return Interval(ZERO, x.positive)


def _square_root(at: Application) -> Proved:
    """Analytic on x > 0; on x >= 0 only continuous."""
    x = at.known().bounds
    condition = at.condition("argument >= 0", x.non_negative, "exact bounds of the argument")
    if not x.non_negative:
        return unmet(at, condition)
    if x.positive or at.worst() == CONSTANT:
        return Proved(Facts(_analytic(at), _sqrt(x)), (condition,))
    return Proved(Facts(max(at.worst(), CONTINUOUS), _sqrt(x)), (condition,))


def _times_sigmoid(a: Arithmetic, x: Reals) -> Reals:
    return a.multiply(x, a.apply("sigmoid", x))


def _gelu(a: Arithmetic, x: Reals) -> Reals:
    half_width = a.apply("rsqrt", a.scalar(Fraction(2)))
    return a.multiply(
        a.multiply(x, a.scalar(Fraction(1, 2))), a.add(a.apply("erf", a.multiply(x, half_width)), a.scalar(ONE))
    )


def _tanh_gelu(a: Arithmetic, x: Reals) -> Reals:
    """x (1 + tanh(c (x + 0.044715 x^3))) / 2 with c = sqrt(2/pi), the constants as the library's doubles."""
    cubic = a.multiply(a.power(x, 3), a.scalar(TANH_GELU_CUBIC))
    inner = a.multiply(a.add(x, cubic), a.scalar(TANH_GELU_SCALE))
    return a.multiply(a.multiply(x, a.scalar(Fraction(1, 2))), a.add(a.apply("tanh", inner), a.scalar(ONE)))


# sqrt(2) * (2 / sqrt(pi)) / 2 and 0.044715 as the doubles that the library's code holds
TANH_GELU_SCALE = Fraction(7186705221432913, 2**53)
TANH_GELU_CUBIC = Fraction(6444110634811895, 2**57)


def _mish(a: Arithmetic, x: Reals) -> Reals:
    return a.multiply(x, a.apply("tanh", a.apply("softplus", x)))


def _softplus(a: Arithmetic, v: Sequence[Any], p: Any) -> Any:
    beta = exact(p, "beta")
    return a.multiply(a.apply("softplus", a.multiply(v[0], a.scalar(beta))), a.scalar(1 / beta))


def _softplus_facts(at: Application) -> Proved:
    beta = exact(at.node.attributes, "beta")
    condition = at.condition("softplus slope is positive", beta > 0, f"beta = {beta}")
    return Proved(Facts(_analytic(at), Interval(ZERO, True)), (condition,)) if beta > 0 else unmet(at, condition)


def _primitive(name: str, meaning: str, lemma: str, facts: Callable[[Application], Proved]) -> Operation:
    return Operation(name, meaning, lemma, same_type, facts, lambda a, v, p: a.apply(name, v[0]))


def _written(
    name: str, meaning: str, lemma: str, floor: Fraction, formula: Callable[[Arithmetic, Reals], Reals]
) -> Operation:
    facts = _everywhere(lambda x: Interval(ZERO if x.non_negative else floor, x.positive or not x.non_negative))
    return Operation(name, meaning, lemma, same_type, facts, lambda a, v, p: formula(a, v[0]))


_ANY = "analytic on the real line: "
_UNIT = Interval(-ONE, False, ONE, False)

OPERATIONS = (
    Operation("exp", "e^x, and 0 for -inf", _ANY + "y' = y", same_type, _exponential,
              lambda a, v, p: a.apply("exp", v[0]), masked=True),
    _primitive("expm1", "e^x - 1", _ANY + "y' = y + 1", _everywhere(_expm1)),
    _primitive("sin", "sin x", _ANY + "y' = z, z' = -y", _everywhere(lambda x: _UNIT)),
    _primitive("cos", "cos x", _ANY + "y' = -z, z' = y", _everywhere(lambda x: _UNIT)),
    _primitive("tanh", "tanh x", _ANY + "y' = 1 - y^2", _everywhere(_signed(ONE))),
    _primitive("erf", "2/sqrt(pi) integral of e^(-t^2)", _ANY + "y' = g, g' = -2xg", _everywhere(_signed(ONE))),
    _primitive("sigmoid", "1/(1 + e^-x)", _ANY + "y' = y(1-y)", _everywhere(lambda x: Interval(ZERO, True, ONE, True))),
    Operation("softplus", "log(1 + e^(beta x))/beta", _ANY + "y' = s, s' = s(1-s) at beta = 1",
              same_type_with("beta"), _softplus_facts, _softplus),
    _primitive("log", "log x", "analytic on x > 0: y' = z, z' = -z^2", _above(ZERO, _log)),
    _primitive("log1p", "log(1 + x)", "analytic on x > -1: y' = z, z' = -z^2", _above(-ONE, _log1p)),
    _primitive("rsqrt", "x^(-1/2)", "analytic on x > 0: y' = -y^3/2", _above(ZERO, _sqrt)),
    _primitive("sqrt", "x^(1/2)", "analytic on x > 0: y' = z/2, z' = -z^3/2; continuous at 0", _square_root),
    # Least values: silu -0.27846..., gelu -0.16997... (erf) and -0.17004... (tanh), mish -0.30884...
    _written("silu", "x sigmoid(x)", _ANY + "a product of such", Fraction(-3, 10), _times_sigmoid),
    _written("gelu", "x (1 + erf(x/sqrt 2))/2", _ANY + "a product of such", Fraction(-1, 5), _gelu),
    _written("tanh_gelu", "x (1 + tanh(c(x + 0.044715 x^3)))/2", _ANY + "a product", Fraction(-1, 5), _tanh_gelu),
    _written("mish", "x tanh(softplus(x))", _ANY + "a product of such", Fraction(-1, 3), _mish),
)  # fmt: skip

_POLYNOMIAL_INSIDE = "sqrt(2/pi)*(x + Rational(44715, 1000000)*x**3)"

CERTIFICATES = {
    "exp": Certificate("exp(x)", (), (("y", "y"),)),
    "expm1": Certificate("exp(x) - 1", (), (("y", "y + 1"),)),
    "sin": Certificate("sin(x)", (("z", "cos(x)"),), (("y", "z"), ("z", "-y"))),
    "cos": Certificate("cos(x)", (("z", "sin(x)"),), (("y", "-z"), ("z", "y"))),
    "tanh": Certificate("tanh(x)", (), (("y", "1 - y**2"),)),
    "erf": Certificate("erf(x)", (("g", "exp(-x**2)"),), (("y", "2/sqrt(pi)*g"), ("g", "-2*x*g"))),
    "sigmoid": Certificate("1/(1 + exp(-x))", (), (("y", "y*(1 - y)"),)),
    "softplus": Certificate("log(1 + exp(x))", (("s", "1/(1 + exp(-x))"),), (("y", "s"), ("s", "s*(1 - s)"))),
    "log": Certificate("log(x)", (("z", "1/x"),), (("y", "z"), ("z", "-z**2"))),
    "log1p": Certificate("log(1 + x)", (("z", "1/(1 + x)"),), (("y", "z"), ("z", "-z**2"))),
    "rsqrt": Certificate("x**Rational(-1, 2)", (), (("y", "-y**3/2"),)),
    "sqrt": Certificate("sqrt(x)", (("z", "x**Rational(-1, 2)"),), (("y", "z/2"), ("z", "-z**3/2"))),
    "divide": Certificate("1/x", (), (("y", "-y**2"),)),
    "silu": Certificate("x/(1 + exp(-x))", (("s", "1/(1 + exp(-x))"),), (("y", "s + x*s*(1 - s)"), ("s", "s*(1 - s)"))),
    "gelu": Certificate(
        "x*(1 + erf(x/sqrt(2)))/2",
        (("e", "erf(x/sqrt(2))"), ("g", "exp(-x**2/2)")),
        (("y", "(1 + e)/2 + x*g/sqrt(2*pi)"), ("e", "sqrt(2/pi)*g"), ("g", "-x*g")),
    ),
    "tanh_gelu": Certificate(
        f"x*(1 + tanh({_POLYNOMIAL_INSIDE}))/2",
        (("u", f"tanh({_POLYNOMIAL_INSIDE})"),),
        (
            ("y", "(1 + u)/2 + x/2*(1 - u**2)*sqrt(2/pi)*(1 + 3*Rational(44715, 1000000)*x**2)"),
            ("u", "(1 - u**2)*sqrt(2/pi)*(1 + 3*Rational(44715, 1000000)*x**2)"),
        ),
    ),
    "mish": Certificate(
        "x*tanh(log(1 + exp(x)))",
        (("t", "tanh(log(1 + exp(x)))"), ("s", "1/(1 + exp(-x))")),
        (("y", "t + x*(1 - t**2)*s"), ("t", "(1 - t**2)*s"), ("s", "s*(1 - s)")),
    ),
}
