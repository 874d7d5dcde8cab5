"""Random small decoders that do what the claims about prompts have to see: all drawn from one seed, for any length.

The same seed gives one network at every length: what is drawn does not depend on the length, and parameters have names
and shapes of their own.
"""

import random
from collections.abc import Callable
from fractions import Fraction

from proofs.network.graph import Graph
from tests.proofs.building import Net

VOCABULARY, WIDTH, LONGEST = 7, 2, 4
Generator = Callable[[random.Random, int], Graph]


def decoder(chance: random.Random, length: int) -> Graph:
    """Blocks of attention: masks, windows and chunks, biases, positions, selections, a table that is read twice."""
    net = Net()
    tokens = net.tokens(length, VOCABULARY)
    table = net.parameter("embedding", VOCABULARY, WIDTH)
    x = net.op("take", table, tokens, axis=0)
    if chance.random() < 0.15:
        first = net.op("take", table, net.constant(0, (), "integer"), axis=0)
        x = net.op(chance.choice(("subtract", "add", "multiply")), x, first)
    x = _with_places(net, x, chance, length)
    depth = chance.choice((1, 1, 2))
    for number in range(depth):
        x = _block(net, x, chance, length, f"block.{number}.")
    if chance.random() < 0.1:
        x = net.op("add", x, net.op("slice", x, axis=1, start=0, stop=1, step=1))
    return net.graph(x, layer=depth)


def _with_places(net: Net, x: int, chance: random.Random, length: int) -> int:
    """Learned or fixed positions, added or multiplied in, or none."""
    kind = chance.choice(("none", "none", "none", "learned", "sliced", "fixed", "counted"))
    if kind == "learned":
        places = net.constant(list(range(length)), (1, length), "integer")
        return net.op("add", x, net.op("take", net.parameter("places", LONGEST, WIDTH), places, axis=0))
    if kind == "sliced":
        rows = net.op("slice", net.parameter("places", LONGEST, WIDTH), axis=0, start=0, stop=length, step=1)
        return net.op("multiply", x, rows)
    if kind == "fixed":
        steps = chance.choice(((1, 1, 1, 1), (1, 2, 3, 4), (1, 1, 2, 2), (1, 2, 1, 2), (0, 0, 0, 0)))
        return net.op("multiply", x, net.constant([Fraction(s) for s in steps[:length]], (1, length, 1)))
    if kind == "counted":
        ones = net.op("expand", net.constant(1, (1, 1), "integer"), shape=(1, length))
        count = net.op("as_real", net.op("cumulative_sum", ones, axis=1))
        return net.op("multiply", x, net.op("reshape", count, shape=(1, length, 1)))
    return x


def _block(net: Net, x: int, chance: random.Random, length: int, name: str) -> int:
    heads = chance.choice((1, 2))
    q, k, v = (_heads(net, x, name + part, heads, length) for part in "qkv")
    scores = net.op("matmul", q, net.op("permute", k, order=(0, 1, 3, 2)))
    scores = _biased(net, scores, chance, length, heads, name)
    weights = net.op("softmax", _masked(net, scores, chance, length), axis=3)
    if chance.random() < 0.1:
        weights = net.op("multiply", weights, net.parameter(name + "gain", 1, heads, 1, 1))
    mixed = net.op("permute", net.op("matmul", weights, v), order=(0, 2, 1, 3))
    mixed = net.op("reshape", mixed, shape=(1, length, heads * WIDTH))
    step = net.op("matmul", mixed, net.parameter(name + "out", heads * WIDTH, WIDTH))
    x = net.op("add", x, step) if chance.random() < 0.8 else step
    kind = chance.choice(("none", "tanh", "tanh", "norm", "shift", "mean", "experts", "running"))
    if kind == "tanh":
        x = net.op("add", x, net.op("tanh", net.op("matmul", x, net.parameter(name + "up", WIDTH, WIDTH))))
    elif kind == "norm":
        x = net.op("layer_norm", x, axes=1, epsilon=Fraction(1, 8))
    elif kind == "shift":
        wide = net.op("concatenate", net.constant(0, (1, 1, WIDTH)), x, axis=1)
        x = net.op("add", x, net.op("slice", wide, axis=1, start=0, stop=length, step=1))
    elif kind == "mean":
        x = net.op("add", x, net.op("mean", x, axes=(1,), keep=True))
    elif kind == "running":
        x = net.op("add", x, net.op("cumulative_sum", x, axis=1))
    elif kind == "experts":
        shares = net.op("softmax", net.op("matmul", x, net.parameter(name + "router", WIDTH, 3)), axis=2)
        rows = net.op("reshape", shares, shape=(3 * length, 1))
        each = net.op("reshape", net.op("expand", net.op("reshape", x, shape=(1, length, 1, WIDTH)),
                                        shape=(1, length, 3, WIDTH)), shape=(3 * length, WIDTH))  # fmt: skip
        weighted = net.op("reshape", net.op("multiply", rows, each), shape=(1, length, 3, WIDTH))
        x = net.op("sum", weighted, axes=(2,), keep=False)
    return x


def _heads(net: Net, x: int, name: str, heads: int, length: int) -> int:
    wide = net.op("matmul", x, net.parameter(name, WIDTH, heads * WIDTH))
    return net.op("permute", net.op("reshape", wide, shape=(1, length, heads, WIDTH)), order=(0, 2, 1, 3))


def _biased(net: Net, scores: int, chance: random.Random, length: int, heads: int, name: str) -> int:
    """A bias of scores: learned of the key's place or of the distance, linear, bent, sliced from a longer table."""
    kind = chance.choice(("none", "none", "key", "distance", "linear", "bent", "table", "select"))
    slopes = [Fraction(1, 2 ** (h + 1)) for h in range(heads)]
    if kind == "key":
        row = net.op("slice", net.parameter(name + "bias", 1, 1, 1, LONGEST), axis=3, start=0, stop=length, step=1)
        return net.op("add", scores, row)
    if kind == "distance":
        places = [max(i - j, 0) for i in range(length) for j in range(length)]
        near = net.constant(places, (length, length), "integer")
        rows = net.op("take", net.parameter(name + "near", LONGEST, heads), near, axis=0)
        return net.op("add", scores, net.op("reshape", net.op("permute", rows, order=(2, 0, 1)),
                                            shape=(1, heads, length, length)))  # fmt: skip
    if kind in ("linear", "bent"):
        power = 1 if kind == "linear" else 2
        entries = [s * (j - i) ** power for s in slopes for i in range(length) for j in range(length)]
        return net.op("add", scores, net.constant(entries, (1, heads, length, length)))
    if kind == "table":
        entries = [s * j for s in slopes for j in range(2 * LONGEST)]
        long = net.constant(entries, (1, heads, 1, 2 * LONGEST))
        return net.op("add", scores, net.op("slice", long, axis=3, start=0, stop=length, step=1))
    if kind == "select":
        first = net.constant([j == 0 for j in range(length)], (1, 1, 1, length), "boolean")
        return net.op("select", first, net.op("multiply", scores, net.constant(3)), scores)
    return scores


def _masked(net: Net, scores: int, chance: random.Random, length: int) -> int:
    """Causal, with a window or a chunk, with holes, both ways, as -inf added or selected."""
    kind, size = chance.choice(("causal", "causal", "window", "chunk", "holes", "both")), chance.choice((1, 2, 3))
    holes = [[chance.random() < 0.3 for _ in range(LONGEST)] for _ in range(LONGEST)]
    selected = chance.random() < 0.3

    def seen(i: int, j: int) -> bool:
        allowed = {
            "causal": j <= i, "window": i - size < j <= i, "chunk": j <= i and i // size == j // size,
            "holes": j <= i and (i == j or not holes[i][j]), "both": True,
        }  # fmt: skip
        return allowed[kind]

    table = [seen(i, j) for i in range(length) for j in range(length)]
    if selected:
        condition = net.constant(table, (1, 1, length, length), "boolean")
        return net.op("select", condition, scores, net.constant(float("-inf"), ()))
    if kind == "both" and chance.random() < 0.5:
        return scores
    return net.op("add", scores, net.constant([0 if s else float("-inf") for s in table], (1, 1, length, length)))
