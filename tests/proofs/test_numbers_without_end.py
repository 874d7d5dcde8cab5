"""Numbers that no memory holds: seven powers of a power of two write one, and FLINT ends a process that asks for it.

So all of it is done in another process, whose end is looked at.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest

from proofs import check
from proofs.arithmetic.ball import Balls, integer_in
from proofs.arithmetic.base import Undecided
from proofs.arithmetic.choices import Choices
from proofs.arithmetic.fixed_functions import FUNCTIONS
from proofs.arithmetic.fixed_point import LARGEST, SMALLEST, Fixed, FixedPoint, integers
from proofs.errors import SipitError
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from tests.proofs.bombs import generic, table
from tests.proofs.building import Net

ROOT = Path(__file__).parents[2]
PLAIN = ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "sigmoid", "sqrt", "rsqrt", "silu", "gelu",
         "mish", "tanh_gelu", "relu", "absolute", "negate", "floor"]  # fmt: skip
ONE, ZERO = Fraction(1), Fraction(0)
OPERATIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in PLAIN}, "softmax": {"axis": 0}, "log_sum_exp": {"axis": 0}, "softplus": {"beta": ONE},
    "layer_norm": {"axes": 1, "epsilon": ONE}, "clamp": {"low": ZERO, "high": ONE}, "elu": {"scale": ONE},
    "leaky_relu": {"slope": ONE / 2}, "power": {"exponent": 1024}, "sum": {"axes": (0,), "keep": True},
    "cumulative_sum": {"axis": 0}, "largest": {"axes": (0,), "keep": True}, "top_values": {"axis": 0, "count": 1},
}  # fmt: skip
SYSTEMS: dict[str, Callable[[], Any]] = {
    "balls": lambda: Balls(64), "choices": lambda: Choices(64), "fixed": lambda: FixedPoint(64),
}  # fmt: skip


def tower(net: Net, bases: list[Any], powers: int, exponent: int = 1024) -> int:
    """The bases to the power exponent^powers."""
    y = net.constant(bases, (len(bases),))
    for _ in range(powers):
        y = net.op("power", y, exponent=exponent)
    return y


def graphs() -> Iterator[Graph]:
    """An operation on numbers of every size and either sign, some of them so small that their reciprocals are."""
    for operation, attributes in OPERATIONS.items():
        for bases in ([2, 3], [-2, -3], [ONE / 2, ONE / 3]):
            for powers in (1, 7):
                net = Net()
                y = net.op(operation, tower(net, bases, powers), **attributes)
                yield net.graph(net.op("as_real", y) if operation == "floor" else y)


def floored(powers: int, exponent: int) -> dict[str, Any]:
    """Of a network in which there is the floor of such a number, that its patterns differ."""
    net = Net()
    x, y = table(net), tower(net, [2], powers, exponent)
    return generic(net.graph(net.op("add", x, net.op("as_real", net.op("floor", y)))))


def evaluated(name: str) -> str:
    """How many graphs have a value in a number system; the others have none."""
    values = 0
    for graph in graphs():
        system = SYSTEMS[name]()
        try:
            if hasattr(system, "__enter__"):
                with system:
                    evaluate(graph, {}, system)
            else:
                evaluate(graph, {}, system)
            values += 1
        except (SipitError, ArithmeticError):
            continue
    return str(values)


def functions() -> str:
    """How many functions of fixed point have values, at arguments of up to a thousand bits."""
    values = 0
    for function in FUNCTIONS.values():
        for bits in (SMALLEST, 500, LARGEST):
            for size in (bits - 40, bits, bits + 36, bits + 38, bits + 45, bits + 64, 1000, 5000):
                for sign in (1, -1):
                    values += function(integers([sign << size], (1,)), np.zeros(1), None, bits) is not None
    return str(values)


def checked() -> str:
    """What is said of certificates of a kilobyte in which there is such a number, 2^(2^38) the first."""
    texts = [json.dumps(floored(powers, exponent)) for powers, exponent in ((19, 4), (4, 1024), (7, 1024))]
    assert max(map(len, texts)) < 4000
    return " ".join(str(check(json.loads(text)).verdict) for text in texts)


@pytest.mark.parametrize("question", [*(f'evaluated("{name}")' for name in SYSTEMS), "functions()", "checked()"])
def test_a_number_that_no_memory_holds_ends_no_process(question: str) -> None:
    code = f"from tests.proofs.test_numbers_without_end import *; print({question})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    if question == "checked()":
        assert done.stdout.split() == ["rejected"] * 3
    else:
        assert int(done.stdout) > 20


@pytest.mark.parametrize("bits", [1, 64, 1024])
def test_an_integer_is_read_where_it_is_the_only_one_and_no_larger_than_asked_for(bits: int) -> None:
    with Balls(2000):
        for value in (0, 1, 2**bits - 1):
            assert [integer_in(flint.arb(sign * value), bits) for sign in (1, -1)] == [value, -value]
            assert integer_in(flint.arb(value, 0.25), bits) in (value, None)
        assert integer_in(flint.arb(2**bits), bits) is None
        assert integer_in(flint.arb(0, 1), bits) is None
        assert integer_in(flint.arb("nan"), bits) is None


# Integers of fixed point, which nothing but a bound keeps from growing.

GROWING: dict[str, Callable[[FixedPoint, Any], Any]] = {
    "a known factor": lambda a, x: a.multiply(x, a.scalar(Fraction(2) ** 90)),
    "its reciprocal": lambda a, x: a.divide(x, a.scalar(Fraction(1, 3**60))),
    "a factor that no double holds": lambda a, x: a.multiply(x, a.scalar(Fraction(10) ** 400)),
    "weights": lambda a, x: a.matmul(x, np.full((2, 2), 2.0**90)),
    "a small divisor": lambda a, x: a.divide(x, Fixed(integers([2], (1, 1)), np.zeros((1, 1)))),
    "a square": lambda a, x: a.multiply(x, x),
}


@pytest.mark.parametrize("radius", [0.0, 1.0])
@pytest.mark.parametrize("operation", GROWING)
def test_integers_of_fixed_point_grow_to_what_doubles_hold_and_no_further(operation: str, radius: float) -> None:
    a = FixedPoint(64)
    x = Fixed(integers([3 << 70, -5 << 70], (1, 2)), np.full((1, 2), radius))
    with np.errstate(over="ignore"), pytest.raises(Undecided):
        for _ in range(60):
            x = GROWING[operation](a, x)
            assert max(abs(value).bit_length() for value in x.mantissa.ravel().tolist()) <= 2048


@pytest.mark.parametrize("radius", [1.0, 2.0**900])
def test_a_radius_that_is_beyond_doubles_is_none(radius: float) -> None:
    a = FixedPoint(64)
    x = Fixed(integers([0], (1,)), np.array([radius]))
    with np.errstate(over="ignore"), pytest.raises(Undecided):
        for _ in range(60):
            x = a.multiply(x, a.scalar(Fraction(2) ** 90))
