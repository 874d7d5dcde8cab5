"""For every operation there is a line that must be rejected: a wrong shape, a class or bound that does not follow."""

import copy
import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from proofs import Verdict, check, prove_analytic
from proofs.operations import REGISTRY
from tests.proofs.building import Net

Build = Callable[[Net], Any]


def real(net: Net, name: str = "x") -> int:
    return net.parameter(name, 1, 2, 4)


def positive(net: Net) -> int:
    return net.op("exp", real(net))


def indices(net: Net, *shape: int) -> int:
    return net.constant(0, shape, "integer")


def truth(net: Net) -> int:
    return net.op("greater", real(net), real(net, "y"))


def plain(name: str, **attributes: Any) -> Build:
    return lambda net: net.op(name, real(net), **attributes)


def paired(name: str) -> Build:
    return lambda net: net.op(name, real(net), real(net, "y"))


EXAMPLES: dict[str, Build] = {
    **{name: plain(name) for name in (
        "absolute", "cos", "erf", "exp", "expm1", "floor", "gelu", "mish", "negate", "relu", "sigmoid", "silu", "sin",
        "tanh", "tanh_gelu",
    )},
    **{name: paired(name) for name in (
        "add", "at_most", "equal", "greater", "maximum", "minimum", "multiply", "subtract",
    )},
    **{name: lambda net, name=name: net.op(name, positive(net)) for name in ("log", "log1p", "rsqrt", "sqrt")},
    **{name: plain(name, axes=(2,), keep=True) for name in ("largest", "mean", "sum")},
    **{name: plain(name, axis=2, count=2) for name in ("top_indices", "top_values")},
    **{name: lambda net, name=name: net.op(name, truth(net)) for name in ("as_integer", "as_real", "opposite")},
    **{name: lambda net, name=name: net.op(name, truth(net), truth(net)) for name in ("both", "either")},
    **{name: lambda net, name=name: net.op(name, net.tokens(), by=3) for name in ("remainder", "whole_quotient")},
    "clamp": plain("clamp", low=Fraction(-1), high=Fraction(1)),
    "concatenate": lambda net: net.op("concatenate", real(net), real(net, "y"), axis=1),
    "constant": lambda net: net.constant(2, (1, 2)),
    "cumulative_sum": plain("cumulative_sum", axis=1),
    "divide": lambda net: net.op("divide", real(net), positive(net)),
    "elu": plain("elu", scale=Fraction(1)),
    "expand": plain("expand", shape=(3, 2, 4)),
    "gather": lambda net: net.op("gather", real(net), indices(net, 1, 2, 1), axis=2),
    "layer_norm": plain("layer_norm", axes=1, epsilon=Fraction(1, 8)),
    "leaky_relu": plain("leaky_relu", slope=Fraction(1, 8)),
    "matmul": lambda net: net.op("matmul", real(net), net.parameter("m", 4, 3)),
    "parameter": lambda net: real(net),
    "permute": plain("permute", order=(0, 2, 1)),
    "power": plain("power", exponent=3),
    "reshape": plain("reshape", shape=(1, 8)),
    "scatter": lambda net: net.op("scatter", real(net), indices(net, 1, 2, 1), net.parameter("v", 1, 2, 1), axis=2),
    "select": lambda net: net.op("select", truth(net), real(net), real(net, "y")),
    "slice": plain("slice", axis=2, start=1, stop=3, step=1),
    "log_sum_exp": plain("log_sum_exp", axis=2),
    "softmax": plain("softmax", axis=2),
    "softplus": plain("softplus", beta=Fraction(1)),
    "take": lambda net: net.op("take", net.parameter("t", 5, 4), net.tokens(), axis=0),
    "tokens": lambda net: net.tokens(),
}  # fmt: skip


def proof_of(name: str) -> dict[str, Any]:
    net = Net()
    EXAMPLES[name](net)
    assert net.nodes[-1].operation == name
    return json.loads(json.dumps(prove_analytic(net.graph()).to_json()))


def assert_rejected(data: dict[str, Any], name: str, reason: str = "") -> None:
    result = check(data)
    assert result.verdict is Verdict.REJECTED
    assert f"({name})" in result.reason
    assert reason in result.reason


def test_every_operation_has_a_control() -> None:
    assert set(EXAMPLES) == set(REGISTRY)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_lemma_itself_is_accepted(name: str) -> None:
    assert check(proof_of(name)).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_another_shape_does_not_follow(name: str) -> None:
    data = proof_of(name)
    row = data["graph"]["nodes"][-1]
    shape, kind = data["graph"]["types"][row[3]]
    data["graph"]["types"].append([[*shape[:-1], shape[-1] + 1], kind])
    row[3] = len(data["graph"]["types"]) - 1
    assert_rejected(data, name)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_better_class_does_not_follow(name: str) -> None:
    data = proof_of(name)
    line = data["facts"][data["lines"][-1]]
    better = {"polynomial": "constant", "analytic": "polynomial", "C0": "C1", "C1": "C2", "discontinuous": "C0"}
    data["facts"].append([better.get(line[0], "polynomial"), *line[1:]])
    data["lines"][-1] = len(data["facts"]) - 1
    assert_rejected(data, name, "claimed")


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_tighter_bound_does_not_follow(name: str) -> None:
    data = proof_of(name)
    line = copy.deepcopy(data["facts"][data["lines"][-1]])
    line[1:5] = ["7", True, "8", True]
    data["facts"].append(line)
    data["lines"][-1] = len(data["facts"]) - 1
    assert_rejected(data, name, "claimed")


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"tokens", "parameter", "constant", "concatenate"}))
def test_an_argument_too_many_does_not_fit(name: str) -> None:
    data = proof_of(name)
    row = data["graph"]["nodes"][-1]
    row[1] = [*row[1], *[0] * 3]
    assert_rejected(data, name)


def refused(build: Build, expected: str) -> None:
    net = Net()
    build(net)
    found = prove_analytic(net.graph())
    assert str(found.regularity) == expected
    assert check(found).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (plain("log"), "unproved"),
        (plain("log1p"), "unproved"),
        (plain("rsqrt"), "unproved"),
        (plain("sqrt"), "unproved"),
        (paired("divide"), "unproved"),
        (plain("softplus", beta=Fraction(-1)), "unproved"),
        (plain("layer_norm", axes=1, epsilon=Fraction(0)), "unproved"),
        (lambda net: net.op("softmax", net.constant(float("-inf"), (1, 2, 4)), axis=2), "unproved"),
        (lambda net: net.op("log_sum_exp", net.constant(float("-inf"), (1, 2, 4)), axis=2), "unproved"),
        (lambda net: net.op("take", net.parameter("t", 4, 4), net.tokens(), axis=0), "unproved"),
        (lambda net: net.op("gather", real(net), net.constant(4, (1, 2, 1), "integer"), axis=2), "unproved"),
        (
            lambda net: net.op(
                "scatter", real(net), net.constant(-1, (1, 2, 1), "integer"), net.parameter("v", 1, 2, 1), axis=2
            ),
            "unproved",
        ),
        (plain("relu"), "C0"),
        (plain("absolute"), "C0"),
        (plain("leaky_relu", slope=Fraction(1, 8)), "C0"),
        (plain("elu", scale=Fraction(1)), "C1"),
        (plain("elu", scale=Fraction(2)), "C0"),
        (plain("clamp", low=Fraction(-1), high=None), "C0"),
        (paired("maximum"), "C0"),
        (paired("minimum"), "C0"),
        (plain("largest", axes=(2,), keep=True), "C0"),
        (plain("top_values", axis=2, count=2), "C0"),
        (plain("top_indices", axis=2, count=2), "unproved"),
        (plain("floor"), "unproved"),
        (paired("greater"), "unproved"),
        (paired("at_most"), "unproved"),
        (paired("equal"), "unproved"),
        (lambda net: net.op("select", truth(net), real(net), real(net, "y")), "unproved"),
    ],
)  # fmt: skip
def test_outside_its_domain_an_operation_keeps_only_what_is_true(build: Build, expected: str) -> None:
    refused(build, expected)
