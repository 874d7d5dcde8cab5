"""Small decoders by hand, without torch: position schemes, windows, sinks, the published witness, a jump."""

from fractions import Fraction
from typing import Any

import numpy as np

from proofs.network.graph import Graph
from proofs.recomputed.published_witness import WIDTH
from proofs.theorems.classification import Scheme
from tests.proofs.building import Net

D, VOCABULARY, EPSILON = 4, 9, Fraction(1, 2**10)
PROMPTS = [(0, 1, 2), (0, 1, 3), (4, 1, 2), (3, 3, 0), (0, 1, 2)]
SMALL_EPSILON = Fraction(1, 2**17)  # of `gpt2`


def network(
    length: int, *, scheme: Scheme = "none", activation: str = "tanh", residual: bool = True, window: int | None = None,
    sink: bool = False, depth: int = 1, bend: bool = False, clipped: bool = False, epsilon: Fraction = EPSILON,
    frozen: bool = False,
) -> Graph:  # fmt: skip
    """Pre-norm blocks of one head; `bend` makes the bias of ALiBi quadratic in the distance.

    `clipped` clamps queries, keys and values; `frozen` makes the first row of the embedding a constant zero.
    """
    net = Net()
    table = net.parameter("embedding", VOCABULARY - frozen, D)
    if frozen:
        table = net.op("concatenate", net.constant(0, (1, D)), table, axis=0)
    x = net.op("take", table, net.tokens(length, VOCABULARY), axis=0)
    if scheme == "learned":
        places = net.constant(list(range(length)), (1, length), "integer")
        x = net.op("add", x, net.op("take", net.parameter("positions", 4, D), places, axis=0))
    for number in range(depth):
        name = f"block.{number}."
        normal = net.op("multiply", _normal(net, x, epsilon), net.parameter(name + "scale", D))
        q, k, v = (net.op("matmul", normal, net.parameter(name + part, D, D)) for part in ("query", "key", "value"))
        if clipped:
            q, k, v = (net.op("clamp", y, low=Fraction(-1, 8), high=Fraction(1, 8)) for y in (q, k, v))
        scores = net.op("matmul", q, net.op("permute", k, order=(0, 2, 1)))
        if scheme == "alibi":
            slope = [Fraction(-((i - j) ** (2 if bend else 1)), 2) for i in range(length) for j in range(length)]
            scores = net.op("add", scores, net.constant(slope, (1, length, length)))
        reach = window or length
        mask = [0 if i - reach < j <= i else float("-inf") for i in range(length) for j in range(length)]
        scores = net.op("add", scores, net.constant(mask, (1, length, length)))
        if sink:
            extra = net.op("expand", net.parameter(name + "sink", 1, 1, 1), shape=(1, length, 1))
            scores = net.op("concatenate", scores, extra, axis=2)
        weights = net.op("softmax", scores, axis=2)
        if sink:
            weights = net.op("slice", weights, axis=2, start=0, stop=length, step=1)
        attended = net.op("matmul", net.op("matmul", weights, v), net.parameter(name + "out", D, D))
        x = net.op("add", x, attended) if residual else attended
        hidden = net.op(activation, net.op("matmul", _normal(net, x, epsilon), net.parameter(name + "up", D, D)))
        step = net.op("matmul", hidden, net.parameter(name + "down", D, D))
        x = net.op("add", x, step) if residual else step
    return net.graph(layer=depth)


def graphs(longest: int, **options: Any) -> dict[int, Graph]:
    return {length: network(length, **options) for length in range(1, longest + 1)}


def gpt2(length: int, vocabulary: int = 3, epsilon: Fraction = SMALL_EPSILON) -> Graph:
    """One pre-norm block with one head of width 4, learned positions and a tanh layer."""
    net = Net()
    d = WIDTH
    tokens = net.tokens(length, vocabulary)
    places = net.constant(list(range(length)), (1, length), "integer")
    x = net.op(
        "add", net.op("take", net.parameter("wte.weight", vocabulary, d), tokens, axis=0),
        net.op("take", net.parameter("wpe.weight", 4, d), places, axis=0),
    )  # fmt: skip
    normal = net.op(
        "layer_norm", x, net.parameter("ln_1.weight", d), net.parameter("ln_1.bias", d), axes=1, epsilon=epsilon
    )
    mixed = net.op("matmul", normal, net.parameter("c_attn.weight", d, 3 * d))
    q, k, v = (net.op("slice", mixed, axis=2, start=i * d, stop=(i + 1) * d, step=1) for i in range(3))
    scores = net.op("multiply", net.op("matmul", q, net.op("permute", k, order=(0, 2, 1))), net.constant("1/2"))
    mask = [0 if j <= i else float("-inf") for i in range(length) for j in range(length)]
    weights = net.op("softmax", net.op("add", scores, net.constant(mask, (1, length, length))), axis=2)
    attended = net.op("matmul", net.op("matmul", weights, v), net.parameter("attn.c_proj.weight", d, d))
    h = net.op("add", x, attended)
    normal = net.op(
        "layer_norm", h, net.parameter("ln_2.weight", d), net.parameter("ln_2.bias", d), axes=1, epsilon=epsilon
    )
    hidden = net.op("tanh", net.op("matmul", normal, net.parameter("up", d, d)))
    net.op("add", h, net.op("matmul", hidden, net.parameter("down", d, d)))
    return net.graph()


def jumping() -> Graph:
    net = Net()
    x = net.op("take", net.parameter("e", 5, 4), net.tokens(), axis=0)
    net.op("select", net.op("greater", x, net.constant(0)), net.op("negate", x), net.op("add", x, net.constant(1)))
    return net.graph()


def weights_of(graph: Any, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {name: random.normal(size=t.shape).astype(np.float32) for name, t in graph.parameters()}


def _normal(net: Net, x: int, epsilon: Fraction) -> int:
    square = net.op("mean", net.op("power", x, exponent=2), axes=(2,), keep=True)
    return net.op("multiply", x, net.op("rsqrt", net.op("add", square, net.constant(epsilon))))
