"""Tensors without axes stay tensors in every number system, though numpy hands out their entry."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.fixed_point import FixedPoint
from proofs.arithmetic.midpoint import Midpoint
from proofs.arithmetic.multiprecision import Multiprecision
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from tests.proofs.building import Net

UNARY = ["negate", "exp", "tanh", "sigmoid", "relu", "absolute", "cos", "rsqrt"]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "minimum"]


def network(operation: str) -> Graph:
    """An operation on two parameters without axes, a selection by them, a sum over no axes, and so on."""
    net = Net()
    x, y = net.parameter("x"), net.parameter("y")
    found = net.op(operation, x, y) if operation in BINARY else net.op(operation, net.op("multiply", x, y))
    found = net.op("add", net.op("multiply", found, y), net.op("sum", x, axes=(), keep=False))
    larger = net.op("greater", x, y)
    return net.graph(net.op("select", larger, found, net.op("multiply", net.op("power", found, exponent=2), x)))


SYSTEMS: dict[str, Callable[[], Any]] = {"fixed": lambda: FixedPoint(128), "midpoint": Midpoint}


@pytest.mark.parametrize("operation", [*UNARY, *BINARY])
@pytest.mark.parametrize("values", [(0.75, 0.5), (0.5, 0.75)])
def test_an_operation_on_numbers_is_that_on_tensors_of_one_entry(operation: str, values: tuple[float, float]) -> None:
    graph = network(operation)
    oracle = Multiprecision(200)
    numbers = [oracle.number(Fraction(value)) for value in values]
    inputs = {name: np.array(number, dtype=object) for name, number in zip("xy", numbers, strict=True)}
    true = float(np.asarray(evaluate(graph, inputs, oracle)).item())
    with Balls(128) as balls:
        inputs = {name: np.array(balls.number(Fraction(v)), dtype=object) for name, v in zip("xy", values, strict=True)}
        found = np.asarray(evaluate(graph, inputs, balls))
        assert found.shape == () and float(found.item().mid()) == pytest.approx(true, rel=1e-12)
    for name, system in SYSTEMS.items():
        arrays = {letter: np.array(value) for letter, value in zip("xy", values, strict=True)}
        found = evaluate(graph, arrays, system())
        assert found.shape == (), name
        middle = float(found.mid) if name == "midpoint" else int(found.mantissa) / 2**128
        assert middle == pytest.approx(true, rel=1e-9), name
