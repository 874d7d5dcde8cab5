"""Every number system encloses what exact rationals give, node by node, or refuses: comparisons, choices and casts too.

Random graphs of rational operations. One parameter differs from prompt to prompt, as what a vocabulary is run with
does; another is only enclosed; a third is exact.
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numerics.graphs.float64 import TorchArithmetic
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Arithmetic, Undecided
from proofs.arithmetic.fixed_point import FixedPoint
from proofs.arithmetic.lanes import Laned, Lanes
from proofs.arithmetic.midpoint import Middle, Midpoint, Sign, enclosed
from proofs.arithmetic.objects import ObjectArithmetic
from proofs.arithmetic.surds import Surds
from proofs.errors import Unsupported
from proofs.network.graph import Constant, Graph, Number
from proofs.operations import REGISTRY
from proofs.operations.interpreter import evaluate
from proofs.provers.separation import certify_separation
from proofs.provers.vocabulary import certify_vocabulary
from tests.proofs.building import Net
from tests.proofs.writing import SHAPE, Writer

RATIONAL = (
    "absolute", "add", "as_integer", "as_real", "at_most", "both", "clamp", "concatenate", "cumulative_sum", "divide",
    "either", "equal", "expand", "floor", "gather", "greater", "largest", "leaky_relu", "matmul", "maximum",
    "mean", "minimum", "multiply", "negate", "opposite", "permute", "power", "relu", "remainder", "reshape", "scatter",
    "select", "slice", "subtract", "sum", "take", "top_indices", "top_values", "whole_quotient",
)  # fmt: skip
STEERING = ("select", "select", "select", "greater", "as_real", "as_integer", "opposite", "scatter", "reshape")
PROMPTS = 3
Inputs = dict[str, Any]


class Exact(ObjectArithmetic):
    """Rationals: the truth."""

    def number(self, value: Number) -> Fraction:
        return Fraction(value)

    def elementary(self, name: str) -> Callable[[Any], Any]:
        raise Unsupported(f"Expected rational operations, but got {name}.")

    def shift(self, x: Any, axis: int) -> Any:
        return np.max(x, axis=axis, keepdims=True)

    def greater(self, x: Any, y: Any) -> Any:
        return np.asarray(x > y, dtype=np.bool_)

    def top(self, x: Any, axis: int, count: int) -> Any:
        return self.slice(np.argsort(-x, axis=axis, kind="stable"), axis, 0, count, 1)

    def floor(self, x: Any) -> Any:
        return np.array([math.floor(v) for v in x.ravel()], dtype=np.int64).reshape(x.shape)


class Rational(Writer):
    """A graph whose real leaves are constants and bare parameters."""

    def leaf(self, kind: str) -> int:
        if kind == "real" and self.draw(st.booleans()):
            return self.kept(self.net.parameter(f"p{self.draw(st.integers(0, 2))}", *SHAPE))
        return super().leaf(kind)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Graph, list[Inputs], Any, Any]:
    """A graph; the true parameters of each prompt; which entries of p0 vary; and how far off the middles of p1 are."""
    writer = Rational(draw)
    writer.kept(writer.net.op("greater", writer.net.parameter("p0", *SHAPE), writer.pick("real")))
    writer.write(draw(st.sampled_from(STEERING)))
    for _ in range(draw(st.integers(0, 5))):
        writer.write(draw(st.sampled_from([*RATIONAL, *STEERING * 3])))
    numbers = st.integers(-8, 8).map(lambda n: Fraction(n, 4))
    tensors = st.lists(numbers, min_size=4, max_size=4).map(lambda v: np.array(v, dtype=object).reshape(SHAPE))
    varies = np.array(draw(st.lists(st.booleans(), min_size=4, max_size=4))).reshape(SHAPE)
    varies[draw(st.integers(0, 1)), draw(st.integers(0, 1))] = True
    first, shared = draw(tensors), {"p1": draw(tensors), "p2": draw(tensors)}
    each = [first, *(np.where(varies, draw(tensors), first) for _ in range(PROMPTS - 1))]
    off = np.array(draw(st.lists(st.sampled_from([0.0, 0.0, 2.0**-20, 0.5]), min_size=4, max_size=4))).reshape(SHAPE)
    return writer.net.graph(), [{"p0": one, **shared} for one in each], varies, off


def values_of(graph: Graph, inputs: Inputs, arithmetic: Arithmetic) -> Iterator[Any]:
    """The value of every node up to the first that the system refuses."""
    values: list[Any] = []
    for node in graph.nodes:
        if node.operation == "parameter":
            values.append(inputs[str(node.attributes["name"])])
        elif node.operation == "constant":
            constant = graph.constant(node)
            assert constant is not None
            values.append(arithmetic.constant(constant))
        else:
            arguments = [values[i] for i in node.arguments]
            try:
                values.append(REGISTRY[node.operation].evaluate(arithmetic, arguments, node.attributes))
            except (Undecided, Unsupported, ZeroDivisionError):
                return
        yield values[-1]


def floats(tensor: Any) -> Any:
    return tensor.astype(np.float64)


def holds(mid: Any, radius: Any, true: Any) -> bool:
    """Whether rationals lie within radii of middles, all told entry by entry."""
    parts = (np.broadcast_to(part, true.shape).ravel().tolist() for part in (mid, radius, true))
    return all(not math.isfinite(r) or abs(Fraction(m) - t) <= Fraction(r) for m, r, t in zip(*parts, strict=True))


def told(sign: Middle, true: Any) -> bool:
    """Whether a comparison that is decided in some entries is the true one in those."""
    above, below = sign.mid > sign.radius, sign.mid <= -sign.radius
    return bool(np.all(~above | true) and np.all(~below | ~true))


def assert_enclosed(graph: Graph, index: int, value: Any, true: Any, unpacked: Callable[[Any], Middle]) -> None:
    """A value of a node is of its shape and kind, and encloses the true one."""
    node, where = graph.nodes[index], graph.where(index)
    assert value.shape == node.type.shape, where
    if isinstance(value, Sign):
        assert node.type.kind == "boolean" and told(unpacked(value.difference), true), where
    elif node.type.kind == "real":
        middle = unpacked(value)
        assert holds(middle.mid, middle.radius, true), where
    else:
        assert isinstance(value, np.ndarray) and np.array_equal(value, true), where


def middle_of(value: Any, bits: int) -> Middle:
    """A tensor of balls or of fixed point; doubles that are off by less than their radius is raised by."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        pairs = [(float(b.mid()), float(b.rad()) + abs(float(b.mid())) * 2.0**-50) for b in value.ravel().tolist()]
        return Middle(*(np.array(part).reshape(value.shape) for part in zip(*pairs, strict=True)))
    fixed = FixedPoint(bits).fixed(value)
    mid = floats(fixed.mantissa) * 2.0**-bits
    return Middle(mid, floats(fixed.radius) * 2.0**-bits + np.abs(mid) * 2.0**-50)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_every_system_encloses_the_exact_values_or_refuses(case: tuple[Graph, list[Inputs], Any, Any]) -> None:
    graph, prompts, _, off = case
    inputs = prompts[0]
    exact = list(values_of(graph, inputs, Exact()))
    small = [v.dtype != object or all(w.denominator < 2**12 and abs(w) < 2**12 for w in v.ravel()) for v in exact]
    bare = {name: floats(value) for name, value in inputs.items()}
    middles = {**bare, "p1": Middle(bare["p1"] + off / 2, off)}
    with Balls(200) as balls:
        systems: list[tuple[Arithmetic, Inputs, Callable[[Any], Middle]]] = [
            (FixedPoint(96), bare, lambda x: middle_of(x, 96)), (Midpoint(), middles, enclosed),
            (balls, {name: balls_of(value) for name, value in inputs.items()}, lambda x: middle_of(x, 0)),
        ]  # fmt: skip
        for system, given_, unpacked in systems:
            with np.errstate(all="ignore"):
                for index, (value, true) in enumerate(zip(values_of(graph, given_, system), exact, strict=False)):
                    assert_enclosed(graph, index, value, true, unpacked)
    tensors = {name: torch.from_numpy(value) for name, value in bare.items()}
    for index, (value, true) in enumerate(zip(values_of(graph, tensors, TorchArithmetic()), exact, strict=False)):
        if not all(small[: index + 1]) or "divide" in {node.operation for node in graph.nodes[: index + 1]}:
            break
        found = value.numpy() if isinstance(value, torch.Tensor) else value
        assert found.shape == true.shape and np.array_equal(found, floats(true) if true.dtype == object else true)


def balls_of(tensor: Any) -> Any:
    flat = np.empty(tensor.size, dtype=object)
    flat[:] = [flint.arb(flint.fmpq(v.numerator, v.denominator)) for v in tensor.ravel()]
    return flat.reshape(tensor.shape)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_prompts_together_enclose_the_exact_values_of_each_or_refuse(
    case: tuple[Graph, list[Inputs], Any, Any],
) -> None:
    graph, prompts, varies, off = case
    lanes = Lanes(Midpoint())
    rows, columns = (np.flatnonzero(varies.any(axis=axis)) for axis in (1, 0))
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    bare = {name: floats(value) for name, value in prompts[0].items()}
    each = np.stack([floats(inputs["p0"])[box] for inputs in prompts])
    given_ = {**bare, "p0": Laned(bare["p0"], each, varies, box), "p1": Middle(bare["p1"] + off / 2, off)}
    with np.errstate(all="ignore"):
        found = list(values_of(graph, given_, lanes))
        for place, inputs in enumerate(prompts):

            def of_prompt(value: Any, place: int = place) -> Middle:
                whole = enclosed(lanes.on(value, tuple(slice(0, n) for n in value.shape)))
                return whole.moved(lambda a: a[min(place, len(a) - 1)])

            for index, (value, true) in enumerate(zip(found, values_of(graph, inputs, Exact()), strict=False)):
                assert_enclosed(graph, index, value, true, of_prompt)


def test_the_law_sees_every_operation_on_rationals() -> None:
    """What is left are elementary functions, entry by entry, and softmax and norms, which are made of them."""
    irrational = {
        "exp", "expm1", "sin", "cos", "tanh", "erf", "sigmoid", "softplus", "log", "log1p", "rsqrt", "sqrt", "silu",
        "gelu", "tanh_gelu", "mish", "softmax", "log_sum_exp", "layer_norm", "elu", "tokens", "parameter", "constant",
    }  # fmt: skip
    assert set(REGISTRY) - irrational == set(RATIONAL)


# What a comparison that differs from token to token may steer, and what it may not.

Steered = Callable[[Net, int, int], int]
YES, NO = [True, False, True, True], [False, False, True, False]
WHOLE = (slice(0, 2), slice(0, 2))


def flags(net: Net, values: list[bool]) -> int:
    return net.constant(values, SHAPE, "boolean")


REFUSED: dict[str, Steered] = {
    "select of truth values": lambda net, x, c: net.op("select", c, flags(net, YES), flags(net, NO)),
    "select of integers": lambda net, x, c: net.op("select", c, *(net.constant(v, (), "integer") for v in (1, 2))),
    "select of comparisons": lambda net, x, c: net.op("select", flags(net, YES), c, c),
    "both": lambda net, x, c: net.op("both", c, flags(net, YES)),
    "either": lambda net, x, c: net.op("either", c, flags(net, YES)),
    "opposite": lambda net, x, c: net.op("opposite", c),
    "as_integer": lambda net, x, c: net.op("as_integer", c),
    "at_most": lambda net, x, c: net.op("at_most", x, net.constant(0)),
    "equal": lambda net, x, c: net.op("equal", x, net.constant(0)),
    "concatenate": lambda net, x, c: net.op("concatenate", c, flags(net, YES), axis=0),
    "scatter": lambda net, x, c: net.op("scatter", c, net.constant(0, SHAPE, "integer"), flags(net, YES), axis=0),
}  # fmt: skip
ALLOWED: dict[str, Steered] = {
    "select of reals": lambda net, x, c: net.op("select", c, x, net.constant(0)),
    "as a real": lambda net, x, c: net.op("as_real", c),
    "moved": lambda net, x, c: net.op("select", net.op("permute", c, order=(1, 0)), x, net.constant(0)),
    "taken": lambda net, x, c: net.op("as_real", net.op("take", c, net.constant([1, 0], (2,), "integer"), axis=1)),
}


def steered(build: Steered) -> tuple[Graph, Inputs, Inputs]:
    """A comparison of what differs and what is built of it; for two prompts together, and for a middle by itself."""
    net = Net()
    x = net.parameter("p0", *SHAPE)
    build(net, x, net.op("greater", x, net.constant(0)))
    lanes = Laned(np.ones(SHAPE), np.stack([np.ones(SHAPE), -np.ones(SHAPE)]), np.full(SHAPE, True), WHOLE)
    return net.graph(), {"p0": lanes}, {"p0": Middle(np.ones(SHAPE), np.full(SHAPE, 2.0))}


@pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED)
def test_no_truth_value_or_whole_number_follows_from_what_differs(build: Steered) -> None:
    graph, together, alone = steered(build)
    for inputs, arithmetic in ((together, Lanes(Midpoint())), (alone, Midpoint())):
        with pytest.raises(Unsupported, match="known"):
            evaluate(graph, inputs, arithmetic)


@pytest.mark.parametrize("build", ALLOWED.values(), ids=ALLOWED)
def test_reals_may_follow_from_what_differs(build: Steered) -> None:
    graph, together, alone = steered(build)
    lanes, exact = Lanes(Midpoint()), [evaluate(graph, {"p0": np.full(SHAPE, Fraction(v))}, Exact()) for v in (1, -1)]
    found = lanes.on(evaluate(graph, together, lanes), WHOLE)
    middle = evaluate(graph, alone, Midpoint())
    for place, true in enumerate(exact):
        assert holds(found.mid[place], found.radius[place], true) and holds(middle.mid, middle.radius, true)


@pytest.mark.parametrize(
    "tensor", [Middle(np.ones(2), np.zeros(2)), Sign(np.ones(2)), FixedPoint(64).scalar(Fraction(1))]
)
def test_an_enclosure_is_no_array_and_no_truth_value(tensor: Any) -> None:
    for misuse in (bool, np.asarray, np.logical_not, lambda x: np.where(x, 1, 0), lambda x: np.concatenate([x, x])):
        with pytest.raises(Unsupported):
            misuse(tensor)


def test_a_vocabulary_is_not_told_apart_by_truth_values_that_differ() -> None:
    """where(where(x > 0, true, false), x, 0): of the tokens below 0 all have one state, of which none may be lost."""
    net, rows = Net(), 30
    x = net.op("take", net.parameter("embedding", rows, 2), net.tokens(2, rows), axis=0)
    chosen = net.op(
        "select", net.op("greater", x, net.constant(0)), *(net.constant(v, (), "boolean") for v in (True, False))
    )
    graph = net.graph(net.op("select", chosen, x, net.constant(0)))
    table = np.stack([0.5 * np.arange(1, rows + 1), np.ones(rows)], axis=1)
    table[[17, 18], 0] = -10, -200
    with pytest.raises(Unsupported, match="known"):
        certify_vocabulary(graph, {"embedding": table}, [3], rows)
    states = certify_separation(graph, {"embedding": table}, [(3, 17), (3, 18)])
    assert states.found.minimum is None


@pytest.mark.parametrize("system", [Balls, lambda: FixedPoint(64), Midpoint, lambda: Lanes(Midpoint()), Surds])
def test_infinity_is_no_constant(system: Callable[[], Arithmetic]) -> None:
    with pytest.raises(Unsupported, match=r"\+inf"):
        system().constant(Constant((2,), "real", (Fraction(1), math.inf)))
