"""Tensors without axes stay tensors in every number system, though numpy hands out their entry."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from numerics.graphs.float64 import TorchArithmetic, segment_states
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.arithmetic.choices import Choices
from proofs.arithmetic.fixed_point import FixedPoint
from proofs.arithmetic.lanes import Laned, Lanes
from proofs.arithmetic.midpoint import Middle, Midpoint, Sign
from proofs.arithmetic.multiprecision import Multiprecision
from proofs.arithmetic.surds import Surds
from proofs.arithmetic.tape import Tape
from proofs.errors import Unsupported
from proofs.network.graph import Graph
from proofs.operations import REGISTRY
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


def second(net: Net, row: int) -> int:
    """The second entry of a row, taken by a place without axes."""
    return net.op("take", row, net.constant(1, (), "integer"), axis=0)


Built = Callable[[Net, int, int, int], int]  # of a net, numbers x and y, and a row r
ENTRYWISE = (*UNARY, "log", "sqrt", "expm1", "log1p", "sin", "erf", "silu", "gelu", "mish")
OVER_AXES = ("sum", "mean", "largest")
MADE: dict[str, Built] = {
    **{name: lambda net, x, y, r, name=name: net.op(name, x) for name in ENTRYWISE},
    **{name: lambda net, x, y, r, name=name: net.op(name, x, y) for name in (*BINARY, "greater", "at_most", "equal")},
    **{f"power {n}": lambda net, x, y, r, n=n: net.op("power", x, exponent=n) for n in (0, 1, 2, 5)},
    **{name: lambda net, x, y, r, name=name: net.op(name, r, axes=(0,), keep=False) for name in OVER_AXES},
    "softplus": lambda net, x, y, r: net.op("softplus", x, beta=Fraction(2)),
    "clamp": lambda net, x, y, r: net.op("clamp", x, low=Fraction(0), high=Fraction(5, 8)),
    "leaky_relu": lambda net, x, y, r: net.op("leaky_relu", net.op("negate", x), slope=Fraction(1, 2)),
    "elu": lambda net, x, y, r: net.op("elu", net.op("negate", x), scale=Fraction(1)),
    "floor": lambda net, x, y, r: net.op("floor", x),
    "whole numbers": lambda net, x, y, r: net.op("remainder", net.op("whole_quotient", net.op("floor", x), by=2), by=3),
    "counted": lambda net, x, y, r: net.op("add", *[net.op("as_integer", net.op("greater", x, y))] * 2),
    "as real": lambda net, x, y, r: net.op("as_real", net.op("greater", x, y)),
    "both": lambda net, x, y, r: net.op("both", *[net.op("greater", x, y)] * 2),
    "neither": lambda net, x, y, r: net.op("opposite", net.op("either", *[net.op("greater", x, y)] * 2)),
    "selected truth": lambda net, x, y, r: net.op("select", *[net.op("greater", x, y)] * 3),
    "taken": lambda net, x, y, r: second(net, r),
    "taken constant": lambda net, x, y, r: second(net, net.constant([1, 2], (2,))),
    "taken whole number": lambda net, x, y, r: net.op("add", *[second(net, net.constant([1, 2], (2,), "integer"))] * 2),
    "taken truth": lambda net, x, y, r: net.op("opposite", second(net, net.op("greater", r, y))),
    "reshaped": lambda net, x, y, r: net.op("reshape", net.op("slice", r, axis=0, start=0, stop=1, step=1), shape=()),
    "expanded": lambda net, x, y, r: net.op("expand", net.op("permute", x, order=()), shape=()),
}  # fmt: skip
NUMBERS = {"x": np.array(0.75), "y": np.array(0.5), "r": np.array([0.5, 0.75])}


def of_numbers(system: Any) -> dict[str, Any]:
    """Arrays of the numbers of a system whose tensors are arrays of them."""
    made = {}
    for name, value in NUMBERS.items():
        flat = np.empty(value.size, dtype=object)
        flat[:] = [system.number(Fraction(v)) for v in value.ravel().tolist()]
        made[name] = flat.reshape(value.shape)
    return made


def together() -> dict[str, Any]:
    """Two prompts in all of whose numbers they differ."""
    return {
        name: Laned(
            value, np.stack([value, value + 0.25]), np.full(value.shape, True), tuple(slice(0, n) for n in value.shape)
        )
        for name, value in NUMBERS.items()
    }


EVERY: dict[str, tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]] = {
    "Arb": (lambda: Balls(64), of_numbers), "choices": (lambda: Choices(64), of_numbers),
    "multiprecision": (Multiprecision, of_numbers), "exact algebra": (Surds, of_numbers),
    "tape": (lambda: Tape(Surds()), of_numbers), "fixed point": (lambda: FixedPoint(64), lambda _: NUMBERS),
    "midpoint": (Midpoint, lambda _: NUMBERS), "lanes": (lambda: Lanes(Midpoint()), lambda _: together()),
    "enclosed": (Midpoint, lambda _: {k: Middle(v, v * 2.0**-30) for k, v in NUMBERS.items()}),
    "float64": (TorchArithmetic, lambda _: {k: torch.from_numpy(v) for k, v in NUMBERS.items()}),
}  # fmt: skip


@pytest.mark.parametrize("name", EVERY)
def test_every_result_is_a_tensor_of_the_stated_shape(name: str) -> None:
    """A later operation moves it about: a bare number of Arb has no shape, and numpy's bare numbers steer nothing."""
    made, inputs = EVERY[name]
    seen = 0
    for case, build in MADE.items():
        net = Net()
        found = build(net, net.parameter("x"), net.parameter("y"), net.parameter("r", 2))
        assert net.nodes[found].type.shape == ()
        net.op("reshape", found, shape=(1, 1))
        graph, system = net.graph(), made()
        values: list[Any] = []
        for index, node in enumerate(graph.nodes):
            try:
                if node.operation == "constant":
                    values.append(system.constant(graph.constant(node)))
                elif node.operation == "parameter":
                    values.append(inputs(system)[str(node.attributes["name"])])
                else:
                    arguments = [values[i] for i in node.arguments]
                    values.append(REGISTRY[node.operation].evaluate(system, arguments, node.attributes))
            except (Undecided, Unsupported):
                break
            value, where = values[-1], f"{case}: {graph.where(index)}"
            assert not np.isscalar(value) and tuple(value.shape) == node.type.shape, where
            assert node.type.kind == "real" or isinstance(value, np.ndarray | Sign), where
        else:
            seen += 1
    assert seen >= 25, seen


def test_a_parameter_without_axes_stays_one_between_segments() -> None:
    net = Net()
    rows = net.op("take", net.parameter("table", 5, 4), net.tokens(), axis=0)
    weights = {"table": np.ones((5, 4), np.float32), "scale": np.array(0.5, np.float32)}
    (states,) = segment_states(net.graph(net.op("multiply", rows, net.parameter("scale"))), [1, 2, 3], weights)
    assert states.shape == (1, 3, 4) and bool((states == 0.5).all())
