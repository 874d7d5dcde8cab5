"""Moves of single entries: columns, pairs of rows, places and choices that the tokens name, sums of a part."""

import random
from collections.abc import Mapping
from fractions import Fraction

from proofs.network.graph import Graph
from tests.adversary.moves import HIDDEN, ROWS, Move, moved
from tests.adversary.networks import LONGEST, VOCABULARY, WIDTH
from tests.proofs.building import Net


def mingled(chance: random.Random, length: int) -> Graph:
    """These moves, and now and then one of whole rows."""
    net = Net()
    x = net.op("take", net.parameter("embedding", VOCABULARY, WIDTH), net.tokens(length, VOCABULARY), axis=0)
    for number in range(chance.randint(1, 4)):
        x = moved(net, x, length, chance, ENTRIES if chance.random() < 0.75 else ROWS, 1, f"step.{number}")
    return net.graph(x)


def _tokens(net: Net, n: int, by: int = WIDTH) -> int:
    """The remainders of the tokens, (1, n, 1)."""
    read = next(i for i, node in enumerate(net.nodes) if node.operation == "tokens")
    return net.op("reshape", net.op("remainder", read, by=by), shape=(1, n, 1))


def _whole(net: Net, values: list[int], shape: tuple[int, ...]) -> int:
    return net.constant(values, shape, "integer")


def _some(c: random.Random, below: int, count: int) -> list[int]:
    """Places; as many are drawn at every length."""
    return [c.randrange(64) % below for _ in range(LONGEST * WIDTH)][:count]


def _rows(net: Net, x: int, n: int) -> tuple[int, int]:
    """Every row beside every other."""
    return net.op("reshape", x, shape=(1, n, 1, WIDTH)), net.op("reshape", x, shape=(1, 1, n, WIDTH))


def _over(net: Net, x: int, name: str, axis: int) -> int:
    return net.op(name, x, axes=(axis,), keep=False)


def _weighed_pairs(net: Net, x: int, n: int, axis: int) -> int:
    one, other = _rows(net, x, n)
    weights = net.op("softmax", net.op("add", one, other), axis=axis)
    return _over(net, net.op("multiply", weights, other), "sum", 2)


def _turned(net: Net, x: int) -> int:
    return net.op("permute", x, order=(0, 2, 1))


def _first(net: Net, x: int, axis: int) -> int:
    return net.op("slice", x, axis=axis, start=0, stop=1, step=1)


def _mask(net: Net, x: int, n: int, c: random.Random, width: int) -> int:
    hidden = [HIDDEN if i >= width and c.random() < 0.4 else 0 for i in range(LONGEST * width)]
    return net.op("add", x, net.constant(hidden[: n * width], (1, n, width)))


def _column_by_token(net: Net, x: int, n: int) -> int:
    """Of every row the columns that all tokens name, summed."""
    read = net.op("reshape", _tokens(net, n), shape=(1, n))
    return net.op("reshape", _over(net, net.op("take", _turned(net, x), read, axis=1), "sum", 3), shape=(1, n, 1))


def _flat(net: Net, x: int, n: int, c: random.Random) -> int:
    flat = net.op("reshape", x, shape=(n * WIDTH,))
    places = _whole(net, _some(c, n * WIDTH, n * WIDTH), (n * WIDTH,))
    return net.op("reshape", net.op("take", flat, places, axis=0), shape=(1, n, WIDTH))


def _share(net: Net, x: int) -> int:
    """A mixture without a softmax: running sums of e^x x over those of e^x."""
    weights = net.op("exp", x)
    return net.op("divide", net.op("cumulative_sum", net.op("multiply", weights, x), axis=1),
                  net.op("cumulative_sum", weights, axis=1))  # fmt: skip


def _one_column(net: Net, x: int) -> int:
    return _first(net, net.op("sin", x), 2)


ENTRIES: Mapping[str, Move] = {
    "columns": lambda net, x, n, name, c: net.op("take", x, _whole(net, _some(c, WIDTH, WIDTH), (WIDTH,)), axis=2),
    "gathered": lambda net, x, n, name, c: net.op("gather", x, _whole(
        net, _some(c, WIDTH, n * WIDTH), (1, n, WIDTH)), axis=2),
    "gathered by token": lambda net, x, n, name, c: net.op("gather", x, net.op(
        "expand", _tokens(net, n), shape=(1, n, WIDTH)), axis=2),
    "read by token": lambda net, x, n, name, c: net.op("multiply", x, _column_by_token(net, x, n)),
    "one row": lambda net, x, n, name, c: net.op("add", x, net.op("gather", x, _whole(
        net, _some(c, n, WIDTH), (1, 1, WIDTH)), axis=1)),
    "one entry": lambda net, x, n, name, c: net.op("add", x, net.op("gather", x, _whole(
        net, _some(c, n, 1), (1, 1, 1)), axis=1)),
    "every second": lambda net, x, n, name, c: net.op("slice", net.op(
        "concatenate", x, net.op("tanh", x), axis=2), axis=2, start=c.randrange(2), stop=2 * WIDTH, step=2),
    "gram": lambda net, x, n, name, c: net.op("matmul", net.op("matmul", x, _turned(net, x)), x),
    "outer": lambda net, x, n, name, c: net.op("matmul", x, net.op("matmul", _turned(net, x), x)),
    "copies": lambda net, x, n, name, c: _over(net, net.op("multiply", net.op("expand", net.op(
        "reshape", x, shape=(1, n, 1, WIDTH)), shape=(1, n, 3, WIDTH)), net.parameter(name + "copy", 1, 1, 3, 1)),
        c.choice(("sum", "mean")), 2),
    "pairs": lambda net, x, n, name, c: _over(net, net.op("tanh", net.op("add", *_rows(net, x, n))), c.choice(
        ("sum", "mean", "largest")), c.choice((1, 2))),
    "differences": lambda net, x, n, name, c: _over(net, net.op("subtract", *_rows(net, x, n)), c.choice(
        ("sum", "mean", "largest")), c.choice((1, 2))),
    "weighed pairs": lambda net, x, n, name, c: _weighed_pairs(net, x, n, c.choice((1, 2, 3))),
    "norm of all": lambda net, x, n, name, c: net.op("layer_norm", x, axes=2, epsilon=Fraction(1, 8)),
    "scaled norm": lambda net, x, n, name, c: net.op(
        "layer_norm", x, net.parameter(name + "scale", WIDTH), axes=1, epsilon=Fraction(1, 8)),
    "top": lambda net, x, n, name, c: net.op("add", x, net.op("top_values", x, axis=c.choice((1, 2)), count=1)),
    "sorted": lambda net, x, n, name, c: net.op("gather", x, net.op("top_indices", x, axis=1, count=n), axis=1),
    "column set": lambda net, x, n, name, c: net.op(
        "scatter", x, _whole(net, [c.randrange(WIDTH)] * n, (1, n, 1)), _one_column(net, x), axis=2),
    "set by token": lambda net, x, n, name, c: net.op("scatter", x, _tokens(net, n), _one_column(net, x), axis=2),
    "flat": lambda net, x, n, name, c: _flat(net, x, n, c),
    "first for some": lambda net, x, n, name, c: net.op("select", net.constant(
        [p == 1 for p in _some(c, 2, n)], (1, n, 1), "boolean"), _first(net, x, 1), x),
    "sum or not": lambda net, x, n, name, c: net.op("select", net.constant(
        c.random() < 0.5, (1, 1, 1), "boolean"), net.op("sum", x, axes=(1,), keep=True), x),
    "hidden rows": lambda net, x, n, name, c: net.op("add", x, net.op("log_sum_exp", _mask(net, x, n, c, 1), axis=1)),
    "hidden entries": lambda net, x, n, name, c: net.op(
        "multiply", x, net.op("softmax", _mask(net, x, n, c, WIDTH), axis=1)),
    "running mean": lambda net, x, n, name, c: net.op("divide", net.op("cumulative_sum", x, axis=1), net.constant(
        [Fraction(i + 1) for i in range(n)], (1, n, 1))),
    "running share": lambda net, x, n, name, c: _share(net, x),
    "turned twice": lambda net, x, n, name, c: net.op("reshape", net.op(
        "permute", net.op("reshape", x, shape=(1, n, WIDTH)), order=(1, 2, 0)), shape=(1, n, WIDTH)),
    "batch": lambda net, x, n, name, c: net.op("sum", net.op("concatenate", x, net.op(
        "take", x, _whole(net, list(range(n))[::-1], (n,)), axis=1), axis=0), axes=(0,), keep=True),
    "weights of queries": lambda net, x, n, name, c: net.op("matmul", _turned(net, net.op(
        "softmax", net.op("matmul", x, _turned(net, x)), axis=1)), x),
    "as at the other end": lambda net, x, n, name, c: net.op("select", net.op("equal", _tokens(net, n, 7), net.op(
        "take", _tokens(net, n, 7), _whole(net, list(range(n))[::-1], (n,)), axis=1)), x, net.op("negate", x)),
    "sum of tokens": lambda net, x, n, name, c: net.op("multiply", x, net.op("as_real", net.op(
        "sum", _tokens(net, n, 7), axes=(1,), keep=True))),
    "half of token": lambda net, x, n, name, c: net.op("multiply", x, net.op("as_real", net.op("whole_quotient", net.op(
        "multiply", _tokens(net, n, 7), net.constant(3, (), "integer")), by=2))),
}  # fmt: skip
