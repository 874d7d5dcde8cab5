"""Lemmas of single operations: certificates, bounds against an independent oracle, and controls that must fail."""

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.multiprecision import Multiprecision
from proofs.kernel.lemmas.table import LEMMAS
from proofs.network.graph import Graph
from proofs.operations import REGISTRY
from proofs.operations.elementary import CERTIFICATES, Certificate
from proofs.operations.interpreter import evaluate
from proofs.operations.symbolic import holds
from tests.proofs.building import Net

UNARY: dict[str, dict[str, Any]] = {
    **{
        name: {}
        for name in ("exp", "expm1", "sin", "cos", "tanh", "erf", "sigmoid", "silu", "gelu", "tanh_gelu", "mish")
    },
    **{name: {} for name in ("log", "log1p", "rsqrt", "sqrt", "relu", "absolute", "negate")},
    "softplus": {"beta": Fraction(2)},
    "clamp": {"low": Fraction(-1, 2), "high": Fraction(1, 4)},
    "leaky_relu": {"slope": Fraction(1, 8)},
    "elu": {"scale": Fraction(1)},
    "power": {"exponent": 3},
}


def test_the_kernel_knows_exactly_the_operations_that_have_a_meaning() -> None:
    assert set(LEMMAS) == set(REGISTRY)


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_polynomial_differential_equation_certifies_analyticity(name: str) -> None:
    assert name in REGISTRY
    assert holds(CERTIFICATES[name])


@pytest.mark.parametrize(
    "wrong",
    [
        Certificate("tanh(x)", (), (("y", "1 - y**3"),)),
        Certificate("exp(x)", (), (("y", "2*y"),)),
        Certificate("Abs(x)", (), (("y", "1"),)),
        Certificate("sqrt(x)", (), (("y", "1/(2*y)"),)),
        Certificate("Max(x, 0)", (("z", "Heaviside(x)"),), (("y", "z"), ("z", "0"))),
        Certificate("sin(x)", (("z", "cos(x)"),), (("y", "z"),)),
    ],
    ids=lambda c: c.function,
)
def test_a_wrong_certificate_is_refused(wrong: Certificate) -> None:
    assert not holds(wrong)


def between(low: Fraction, high: Fraction, name: str) -> tuple[Graph, Any]:
    """The operation applied to low + (high - low) sigmoid(p), whose bounds are the ends, strictly."""
    net = Net()
    part = net.op("sigmoid", net.parameter("p", 1, 1, 1))
    x = net.op("add", net.op("multiply", part, net.constant(high - low)), net.constant(low))
    net.op(name, x, **UNARY[name])
    from proofs.operations.derivation import derive

    graph = net.graph()
    return graph, derive(graph)[0][-1].bounds


RATIONALS = st.fractions(min_value=-3, max_value=3, max_denominator=8)


@pytest.mark.parametrize("name", UNARY)
@given(low=RATIONALS, width=st.fractions(min_value=Fraction(1, 8), max_value=4, max_denominator=8), p=RATIONALS)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_bounds_hold_every_value_and_balls_hold_the_oracle(
    name: str, low: Fraction, width: Fraction, p: Fraction
) -> None:
    if name in ("log", "rsqrt", "sqrt"):
        low = abs(low)
    if name == "log1p":
        low = abs(low) - 1
    graph, bounds = between(low, low + width, name)
    oracle = Multiprecision(200)
    value = evaluate(graph, {"p": oracle.scalar(p).reshape(1, 1, 1)}, oracle).item()
    assert bounds.lower is None or value > oracle.number(bounds.lower) - oracle.number(Fraction(1, 2**180))
    assert bounds.upper is None or value < oracle.number(bounds.upper) + oracle.number(Fraction(1, 2**180))
    with Balls(128) as balls:
        ball = evaluate(graph, {"p": balls.scalar(p).reshape(1, 1, 1)}, balls).item()
        exact = balls.number(_rational(value))
    with Balls(300):
        assert abs(ball.mid() - exact) <= ball.rad() + exact.rad() + balls.number(Fraction(1, 2**120))
        assert ball.rad() < balls.number(Fraction(1, 2**90))


def _rational(value: Any) -> Fraction:
    sign, mantissa, exponent, _ = value._mpf_
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


@pytest.mark.parametrize(("name", "limit"), [("log", 0), ("log1p", -1), ("rsqrt", 0)])
def test_a_domain_that_is_not_known_leaves_the_operation_unproved(name: str, limit: int) -> None:
    from proofs import prove_analytic

    for bound, expected in ((Fraction(limit), "analytic"), (Fraction(limit) - Fraction(1, 2**60), "unproved")):
        graph, _ = between(bound, bound + 1, name)
        assert str(prove_analytic(graph).regularity) == expected


def test_exp_is_right_where_another_interval_library_is_not() -> None:
    """Points at which mpmath's interval exp misses the true value (mpmath issue 1181)."""
    for bits, point in ((53, Fraction(3893924827815215, 2**50)), (113, Fraction(1381846513289487, 2**46))):
        with Balls(bits) as balls:
            ball = balls.apply("exp", balls.scalar(point)).item()
        context = mpmath.MPContext()
        context.prec = 400
        true = context.exp(context.mpf(point.numerator) / point.denominator)
        with Balls(400) as wide:
            assert abs(ball.mid() - wide.number(_rational(true))) <= ball.rad()


def test_balls_leave_the_precision_as_it_was() -> None:
    import flint

    before = flint.ctx.prec
    with Balls(200), Balls(77):
        assert flint.ctx.prec == 77
    assert flint.ctx.prec == before


def test_sympy_names_stay_what_the_certificates_mean() -> None:
    assert sympy.sympify("Rational(1, 2)") == sympy.Rational(1, 2)
    assert np.all([c.derivatives[0][0] == "y" for c in CERTIFICATES.values()])
