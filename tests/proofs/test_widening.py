"""Growing networks: what the graph allows is compared with larger networks that hold a small one."""

import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proofs.arithmetic.ball import Balls
from proofs.kernel.zeros import silence, vanishing
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate, live
from proofs.structure.width import widening
from proofs.theorems.generic_position import examine
from tests.proofs.building import Net

D, HEAD, UNITS, EPSILON = 4, 2, 3, Fraction(1, 2**10)
TOKENS = (1, 2, 1)


def network(*, width: int = D, heads: int = 2, units: int = UNITS, spoil: str = "", layer_norm: bool = True) -> Graph:
    """One pre-norm block; `spoil` puts in what keeps the width, the heads or the units from growing."""
    net, length = Net(), len(TOKENS)
    x = net.op("take", net.parameter("embedding", 4, width), net.tokens(length, 4), axis=0)
    if spoil == "constant":
        x = net.op("add", x, net.constant([Fraction(i) for i in range(width)], (width,)))
    normal = _norm(net, x, width, "first", layer_norm)
    fused = net.op("matmul", normal, net.parameter("fused", width, 3 * heads * HEAD))
    part = heads * HEAD
    q, k, v = (net.op("slice", fused, axis=2, start=i * part, stop=(i + 1) * part, step=1) for i in range(3))
    if spoil == "joint norm":
        q = _norm(net, q, part, "queries", layer_norm)
    q, k, v = (
        net.op("permute", net.op("reshape", y, shape=(1, length, heads, HEAD)), order=(0, 2, 1, 3)) for y in (q, k, v)
    )
    scores = net.op("matmul", q, net.op("permute", k, order=(0, 1, 3, 2)))
    if spoil == "slopes":
        scores = net.op("multiply", scores, net.constant([Fraction(i + 1) for i in range(heads)], (heads, 1, 1)))
    mask = [0 if j <= i else float("-inf") for i in range(length) for j in range(length)]
    weights = net.op("softmax", net.op("add", scores, net.constant(mask, (1, 1, length, length))), axis=3)
    mixed = net.op("permute", net.op("matmul", weights, v), order=(0, 2, 1, 3))
    mixed = net.op("reshape", mixed, shape=(1, length, part))
    x = net.op("add", x, net.op("matmul", mixed, net.parameter("out", part, width)))
    inner = net.op("matmul", _norm(net, x, width, "second", layer_norm), net.parameter("up", width, units))
    inner = net.op("tanh", inner)
    if spoil == "softmax":
        inner = net.op("softmax", inner, axis=2)
    if spoil == "sum":
        x = net.op("add", x, net.op("sum", x, axes=(2,), keep=True))
    net.op("add", x, net.op("matmul", inner, net.parameter("down", units, width)))
    return net.graph()


def _norm(net: Net, x: int, width: int, name: str, layer_norm: bool) -> int:
    if layer_norm:
        scale, shift = net.parameter(name + ".scale", width), net.parameter(name + ".shift", width)
        return net.op("layer_norm", x, scale, shift, axes=1, epsilon=EPSILON)
    square = net.op("mean", net.op("power", x, exponent=2), axes=(2,), keep=True)
    root = net.op("rsqrt", net.op("add", square, net.constant(EPSILON)))
    return net.op("multiply", net.op("multiply", x, root), net.parameter(name + ".scale", width))


def values(graph: Graph, seed: int = 5) -> dict[str, Any]:
    source = random.Random(seed)
    return {
        name: np.array([Fraction(source.getrandbits(8) - 128, 128) for _ in range(kind.size)]).reshape(kind.shape)
        for name, kind in graph.parameters()
    }


def states(graph: Graph, parameters: dict[str, Any]) -> Any:
    with Balls(200) as balls:
        inputs = {
            name: np.vectorize(lambda x: balls.number(Fraction(int(x)) if x == 0 else x), otypes=[object])(value)
            for name, value in parameters.items()
        }
        return evaluate(graph, inputs | {"tokens": np.array([TOKENS])}, balls)


def grown(small: dict[str, Any], large: Graph, copies: int, heads: int) -> dict[str, Any]:
    """The parameters of the large network that hold the small one: states `copies` times, further heads silent."""
    result: dict[str, Any] = {}
    for name, kind in large.parameters():
        value = small[name]
        if name in ("fused", "up"):  # read the state: the first copy only
            value = np.concatenate([value] + [0 * value] * (copies - 1), axis=0)
        else:  # write it
            value = np.concatenate([value] * copies, axis=-1)
        if name == "fused":
            parts = [np.pad(part, ((0, 0), (0, (heads - 2) * HEAD))) for part in np.split(value, 3, axis=1)]
            value = np.concatenate(parts, axis=1)
        full = np.zeros(kind.shape, dtype=object)
        full[tuple(slice(n) for n in value.shape)] = value
        result[name] = full
    return result


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize(("copies", "heads", "units"), [(2, 2, UNITS), (1, 3, UNITS), (1, 2, 7), (3, 4, 5)])
def test_what_may_grow_holds_the_small_network_exactly(copies: int, heads: int, units: int, layer_norm: bool) -> None:
    small = network(layer_norm=layer_norm)
    assert widening(small).to_json() == {"width": True, "heads": True, "units": True}
    large = network(width=copies * D, heads=heads, units=units, layer_norm=layer_norm)
    parameters = values(small)
    expected, found = states(small, parameters), states(large, grown(parameters, large, copies, heads))
    for copy in range(copies):
        for place in np.ndindex(expected.shape):
            difference = found[(*place[:-1], copy * D + place[-1])] - expected[place]
            assert difference.contains(0) and float(difference.rad()) < 1e-30


@pytest.mark.parametrize(
    ("spoil", "stuck", "reason"),
    [
        ("constant", "width", "varies along it"), ("sum", "width", "sums"), ("joint norm", "heads", "averages"),
        ("slopes", "heads", "varies along it"), ("softmax", "units", "normalises"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_named(spoil: str, stuck: str, reason: str) -> None:
    found = widening(network(spoil=spoil)).to_json()
    assert reason in str(found[stuck])
    assert [name for name in found if found[name] is not True] == [stuck]


def test_an_axis_grows_where_it_does_at_every_length() -> None:
    def graph(length: int) -> Graph:
        net = Net()
        x = net.op("take", net.parameter("embedding", 5, D), net.tokens(length, 5), axis=0)
        other = net.op("softmax", x, axis=2) if length == 1 else x
        return net.graph(net.op("add", x, net.op("multiply", x, other)))

    assert widening(graph(2)).width == ""
    assert "normalises" in str(examine({n: graph(n) for n in (1, 2)}, context=2).grows["width"])


def test_an_operation_that_is_not_known_lets_nothing_grow() -> None:
    net = Net()
    x = net.op("take", net.parameter("embedding", 4, D), net.tokens(2, 4), axis=0)
    net.op("cumulative_sum", x, axis=2)
    assert "mixes" in str(widening(net.graph()).to_json()["width"])


def experts(*, loose: bool = False) -> Graph:
    """A state, and the best of two experts by a learned score; `loose`: the score itself is added."""
    net, length = Net(), 2
    x = net.op("take", net.parameter("embedding", 6, D), net.tokens(length, 6), axis=0)
    scores = net.op("matmul", x, net.parameter("router", D, 3))
    chosen = net.op("top_indices", scores, axis=2, count=1)
    flat = net.op("reshape", chosen, shape=(length,))
    matrices = net.op("take", net.parameter("experts.down", 3, D, D), flat, axis=0)
    rows = net.op("reshape", x, shape=(length, 1, D))
    x = net.op("add", x, net.op("reshape", net.op("matmul", rows, matrices), shape=(1, length, D)))
    if loose:
        x = net.op("add", x, net.op("top_values", scores, axis=2, count=1))
    return net.graph()


def test_zeros_behind_a_choice_make_it_irrelevant() -> None:
    graph = experts()
    quiet = silence(graph, ["experts.down"])
    assert "top_indices" not in {quiet.nodes[i].operation for i in live(quiet)}
    assert "top_indices" in {graph.nodes[i].operation for i in live(silence(graph, []))}
    loose = silence(experts(loose=True), ["experts.down"])
    assert "top_values" in {loose.nodes[i].operation for i in live(loose)}


def test_nothing_masked_counts_as_a_factor_of_zero() -> None:
    net = Net()
    x = net.op("take", net.parameter("embedding", 4, D), net.tokens(2, 4), axis=0)
    scores = net.op("matmul", x, net.op("permute", x, order=(0, 2, 1)))
    masked = net.op("add", scores, net.constant([0, float("-inf"), 0, 0], (1, 2, 2)))
    product = net.op("multiply", masked, net.op("expand", net.parameter("zero", 1), shape=(1, 2, 2)))
    net.op("matmul", product, x)
    assert product not in vanishing(net.graph(), ["zero"])
