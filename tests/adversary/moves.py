"""Operations in any order: on rows along the prompt, and on the weights of an attention before they mix.

A move is a function from (net, x, length, name, chance) to a node of the shape of x. What it draws does not depend on
the length; parameters have `name` in front.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from proofs.network.graph import Graph
from tests.adversary.networks import LONGEST, VOCABULARY, WIDTH
from tests.proofs.building import Net

Move = Callable[[Net, int, int, str, random.Random], int]
HIDDEN = float("-inf")


def shuffled(chance: random.Random, length: int) -> Graph:
    """Moves of rows (1, length, width), one after the other."""
    net = Net()
    x = net.op("take", net.parameter("embedding", VOCABULARY, WIDTH), net.tokens(length, VOCABULARY), axis=0)
    return net.graph(moved(net, x, length, chance, ROWS, chance.randint(1, 6), "step"))


def weighted(chance: random.Random, length: int) -> Graph:
    """The weights of a softmax are moved about before they mix the rows: some still sum to one then, most do not."""
    net = Net()
    x = net.op("take", net.parameter("embedding", VOCABULARY, WIDTH), net.tokens(length, VOCABULARY), axis=0)
    if chance.random() < 0.3:
        x = moved(net, x, length, chance, ROWS, 1, "before")
    weights = softmax_of(net, x, length, "first", chance)
    weights = moved(net, weights, length, chance, WEIGHTS, chance.choice((0, 1, 1, 2)), "w")
    values = x if chance.random() < 0.7 else net.op("tanh", x)
    if chance.random() < 0.15:
        values = ROWS["zero"](net, values, length, "", chance)
    mixed = net.op("matmul", *_some_keys(net, weights, values, length, chance))
    if chance.random() < 0.3:
        mixed = net.op("add", x, mixed)
    return net.graph(moved(net, mixed, length, chance, ROWS, chance.choice((0, 0, 1)), "after"))


def _some_keys(net: Net, weights: int, values: int, n: int, chance: random.Random) -> tuple[int, int]:
    """All keys and their rows, mostly; or the first ones, every second one, or each of them twice."""
    kind = chance.choice(("all", "all", "all", "first", "second", "twice"))
    if kind == "twice":
        return net.op("concatenate", weights, weights, axis=2), net.op("concatenate", values, values, axis=1)
    if kind == "all" or n == 1:
        return weights, values
    stop, step = (n - 1, 1) if kind == "first" else (n, 2)
    return _cut(net, weights, 2, 0, stop, step), _cut(net, values, 1, 0, stop, step)


def moved(
    net: Net, x: int, length: int, chance: random.Random, moves: Mapping[str, Move], count: int, name: str
) -> int:
    """Some moves, drawn from a table."""
    for number in range(count):
        x = moves[chance.choice(sorted(moves))](net, x, length, f"{name}.{number}.", chance)
    return x


def softmax_of(net: Net, x: int, length: int, name: str, chance: random.Random) -> int:
    """Weights (1, length, length): scores of the rows, learned, or none; with a bias, and a mask or none."""
    kind, bias, mask = (chance.choice(k) for k in (("rows", "rows", "flat", "learned"), "001234", "ccchbw"))
    holes = [[chance.random() < 0.4 for _ in range(LONGEST)] for _ in range(LONGEST)]
    scores = net.op("matmul", net.op("matmul", x, net.parameter(name + "q", WIDTH, WIDTH)),
                    net.op("permute", x, order=(0, 2, 1)))  # fmt: skip
    if kind == "flat":
        scores = net.op("multiply", scores, net.constant(0))
    if kind == "learned":
        scores = net.op("add", net.op("multiply", scores, net.constant(0)), net.parameter(name + "s", 1, 1, 1))
    steps = {"0": 0, "1": 1, "2": Fraction(1, 3), "3": 2, "4": -1}
    entries = [steps[bias] * (j - i) ** (2 if bias == "3" else 1) for i in range(length) for j in range(length)]
    seen = {"c": lambda i, j: j <= i, "h": lambda i, j: i == j or (j < i and not holes[i][j]),
            "b": lambda i, j: True, "w": lambda i, j: i - 2 < j <= i}[mask]  # fmt: skip
    hidden = [0 if seen(i, j) else HIDDEN for i in range(length) for j in range(length)]
    scores = net.op("add", scores, net.constant(entries, (1, length, length)))
    if chance.random() < 0.2:
        scores = net.op("multiply", scores, net.constant(Fraction(chance.choice((2, -1, 3)), 2)))
    if chance.random() < 0.3:
        table = net.constant([h == 0 for h in hidden], (1, length, length), "boolean")
        scores = net.op("select", table, scores, net.constant(HIDDEN, ()))
    else:
        scores = net.op("add", scores, net.constant(hidden, (1, length, length)))
    if chance.random() < 0.15 and mask == "b":
        scores = net.op("subtract", scores, net.op("largest", scores, axes=(2,), keep=True))
    return net.op("softmax", scores, axis=2)


def _places(chance: random.Random, length: int) -> list[int]:
    return [chance.randrange(LONGEST) % length for _ in range(LONGEST)][:length]


def _drawn(chance: random.Random, of: Sequence[int], shape: tuple[int, ...]) -> list[Fraction]:
    """Constants of a shape cut from one of four by four, so that they are the same at every length."""
    square = [[Fraction(chance.choice(of)) for _ in range(LONGEST)] for _ in range(LONGEST)]
    return [square[i][j] for i in range(shape[-2]) for j in range(shape[-1])]


def _index(net: Net, places: list[int], shape: tuple[int, ...]) -> int:
    return net.constant(places, shape, "integer")


def _cut(net: Net, x: int, axis: int, start: int, stop: int, step: int = 1) -> int:
    return net.op("slice", x, axis=axis, start=start, stop=stop, step=step)


def _rotated(net: Net, x: int, n: int, axis: int = 1) -> int:
    return net.op("concatenate", _cut(net, x, axis, 1, n), _cut(net, x, axis, 0, 1), axis=axis) if n > 1 else x


def _tokens(net: Net) -> int:
    return next(i for i, node in enumerate(net.nodes) if node.operation == "tokens")


def _hot(net: Net, n: int) -> int:
    """(1, n, VOCABULARY): 1 where the token is that one."""
    wide = net.op("expand", net.op("reshape", _tokens(net), shape=(1, n, 1)), shape=(1, n, VOCABULARY))
    every = _index(net, list(range(VOCABULARY)), (1, 1, VOCABULARY))
    return net.op("as_real", net.op("equal", wide, every))


def _by_token(net: Net, x: int, n: int, by: int) -> int:
    """Rows by the remainder of their token."""
    places = net.op("remainder", _tokens(net), by=min(by, n))
    return net.op("reshape", net.op("take", x, places, axis=1), shape=(1, n, WIDTH))


def _odd(net: Net, n: int) -> int:
    odd = net.op("equal", net.op("remainder", _tokens(net), by=2), net.constant(1, (), "integer"))
    return net.op("reshape", odd, shape=(1, n, 1))


def _counted(net: Net, n: int) -> int:
    """How many of the tokens so far are odd, as a number."""
    return net.op("as_real", net.op("cumulative_sum", net.op("as_integer", _odd(net, n)), axis=1))


def _across(net: Net, x: int, n: int, name: str) -> int:
    table = _cut(net, _cut(net, net.parameter(name + "across", 1, LONGEST, LONGEST), 1, 0, n), 2, 0, n)
    return net.op("permute", net.op("matmul", net.op("permute", x, order=(0, 2, 1)), table), order=(0, 2, 1))


def _scrambled(net: Net, x: int, n: int) -> int:
    """The entries of a transpose, read as rows."""
    return net.op("reshape", net.op("permute", x, order=(0, 2, 1)), shape=(1, n, WIDTH))


def _ones(net: Net, x: int, n: int, to: int) -> int:
    """A softmax of one score, which is 1, repeated: rows of it sum to `to`."""
    score = net.op("sum", x, axes=(2,), keep=True)
    return net.op("expand", net.op("softmax", score, axis=2), shape=(1, n, to))


def _gated(net: Net, x: int, name: str, c: random.Random) -> int:
    """Rows where a product of two parameters is small, or has one sign, or as far as it lies between two numbers."""
    size = net.op("multiply", net.parameter(name + "u", 1, 1, 1), net.parameter(name + "w", 1, 1, 1))
    test = c.choice(("at_most", "greater", "clamp", "relu", "floor"))
    if test == "clamp":
        return net.op("multiply", x, net.op("clamp", size, low=Fraction(0), high=Fraction(1)))
    if test == "relu":
        return net.op("add", x, net.op("relu", net.op("multiply", x, size)))
    if test == "floor":
        return net.op("multiply", x, net.op("as_real", net.op("floor", net.op("add", size, net.constant(1)))))
    return net.op("multiply", x, net.op("as_real", net.op(test, size, net.constant(c.choice((0, 1))))))


def _stepped(net: Net, x: int, name: str, c: random.Random) -> int:
    """A residual step with a kink or a choice inside, and a matrix behind it."""
    up = net.op("matmul", x, net.parameter(name + "up", WIDTH, WIDTH))
    kind = c.choice(("relu", "top", "switch"))
    if kind == "relu":
        inner = net.op("relu", up)
    elif kind == "top":
        inner = net.op("gather", x, net.op("top_indices", up, axis=2, count=WIDTH), axis=2)
    else:
        inner = net.op("select", net.op("greater", up, net.constant(0)), x, net.op("tanh", x))
    return net.op("add", x, net.op("matmul", inner, net.parameter(name + "down", WIDTH, WIDTH)))


def _gathered(net: Net, x: int, n: int, c: random.Random) -> int:
    places = [p for p in _places(c, n) for _ in range(WIDTH)]
    return net.op("gather", x, _index(net, places, (1, n, WIDTH)), axis=1)


ROWS: Mapping[str, Move] = {
    "flip": lambda net, x, n, name, c: net.op("take", x, _index(net, list(range(n))[::-1], (n,)), axis=1),
    "rotate": lambda net, x, n, name, c: _rotated(net, x, n),
    "every second": lambda net, x, n, name, c: _cut(
        net, net.op("concatenate", x, net.op("tanh", x), axis=1), 1, c.randrange(2), 2 * n, 2),
    "constant row": lambda net, x, n, name, c: _cut(
        net, net.op("concatenate", net.constant(c.randrange(2), (1, 1, WIDTH)), x, axis=1), 1, 0, n),
    "pick": lambda net, x, n, name, c: net.op("add", x, net.op("take", x, _index(net, _places(c, n), (n,)), axis=1)),
    "gather": lambda net, x, n, name, c: net.op("multiply", x, _gathered(net, x, n, c)),
    "scatter": lambda net, x, n, name, c: net.op(
        "scatter", x, _index(net, [c.randrange(LONGEST) % n] * WIDTH, (1, 1, WIDTH)),
        _cut(net, net.op("tanh", x), 1, 0, 1), axis=1),
    "sum": lambda net, x, n, name, c: net.op("add", x, net.op("sum", x, axes=(1,), keep=True)),
    "all": lambda net, x, n, name, c: net.op("add", x, net.op("reshape", net.op(
        "sum", x, axes=(1, 2), keep=False), shape=(1, 1, 1))),
    "mean": lambda net, x, n, name, c: net.op("subtract", x, net.op("mean", x, axes=(0, 1), keep=True)),
    "largest": lambda net, x, n, name, c: net.op("add", x, net.op("largest", x, axes=(1,), keep=True)),
    "least": lambda net, x, n, name, c: net.op("minimum", x, net.op("negate", net.op(
        "largest", net.op("negate", x), axes=(c.choice((1, 2)),), keep=True))),
    "running": lambda net, x, n, name, c: net.op("cumulative_sum", x, axis=c.choice((1, 1, 2))),
    "weights": lambda net, x, n, name, c: net.op("multiply", x, net.op("softmax", x, axis=c.choice((1, 2)))),
    "together": lambda net, x, n, name, c: net.op("add", x, net.op("log_sum_exp", x, axis=c.choice((1, 2)))),
    "shares": lambda net, x, n, name, c: net.op("divide", net.op("exp", x), net.op(
        "sum", net.op("exp", x), axes=(c.choice((1, 2)),), keep=True)),
    "matrix": lambda net, x, n, name, c: net.op("matmul", x, net.parameter(name + "matrix", WIDTH, WIDTH)),
    "across": lambda net, x, n, name, c: _across(net, x, n, name),
    "tanh": lambda net, x, n, name, c: net.op("tanh", net.op("add", x, net.parameter(name + "bias", WIDTH))),
    "fold": lambda net, x, n, name, c: net.op("reshape", net.op("layer_norm", net.op(
        "reshape", x, shape=(1, n * WIDTH)), axes=1, epsilon=Fraction(1, 8)), shape=(1, n, WIDTH)),
    "scramble": lambda net, x, n, name, c: _scrambled(net, x, n),
    "sort": lambda net, x, n, name, c: net.op("top_values", x, axis=1, count=n),
    "rank": lambda net, x, n, name, c: net.op("add", x, net.op("as_real", net.op("top_indices", x, axis=1, count=n))),
    "zero": lambda net, x, n, name, c: net.op("multiply", x, net.constant(_drawn(c, (0, 1), (n, 1)), (1, n, 1))),
    "offset": lambda net, x, n, name, c: net.op("add", x, net.constant(_drawn(c, (0, 1, 2), (n, 1)), (1, n, 1))),
    "by place": lambda net, x, n, name, c: net.op(
        "select", net.constant([v == 1 for v in _drawn(c, (0, 1), (n, WIDTH))], (1, n, WIDTH), "boolean"),
        x, net.op("negate", x)),
    "by size": lambda net, x, n, name, c: net.op(
        "select", net.op("greater", x, net.op("mean", x, axes=(1,), keep=True)), x, net.op("tanh", x)),
    "by token": lambda net, x, n, name, c: net.op("select", _odd(net, n), x, net.op("multiply", x, net.constant(2))),
    "read by token": lambda net, x, n, name, c: _by_token(net, x, n, c.choice((2, 3))),
    "count": lambda net, x, n, name, c: net.op("multiply", x, _counted(net, n)),
    "one hot": lambda net, x, n, name, c: net.op("add", x, net.op(
        "matmul", _hot(net, n), net.parameter("embedding", VOCABULARY, WIDTH))),
    "floor": lambda net, x, n, name, c: net.op("add", x, net.op("as_real", net.op("floor", x))),
    "places": lambda net, x, n, name, c: net.op("add", x, _cut(
        net, net.parameter("places", 1, LONGEST, WIDTH), 1, 0, n)),
    "copies": lambda net, x, n, name, c: net.op("add", x, net.op("matmul", _ones(net, x, n, n), x)),
    "mix": lambda net, x, n, name, c: net.op("matmul", softmax_of(net, x, n, name, c), x),
}  # fmt: skip


CHOICES: Mapping[str, Move] = {
    "gate": lambda net, x, n, name, c: _gated(net, x, name, c),
    "step": lambda net, x, n, name, c: _stepped(net, x, name, c),
    "other step": lambda net, x, n, name, c: _stepped(net, x, name, c),
}


def _halves(net: Net, w: int, n: int, name: str, c: random.Random) -> int:
    """Each half of the keys by itself, beside each other: rows that sum to two."""
    scores = net.op("multiply", w, net.parameter(name + "score", 1, 1, 1))
    if n == 1:
        return net.op("softmax", scores, axis=2)
    parts = [_cut(net, scores, 2, *ends) for ends in ((0, n // 2), (n // 2, n))]
    return net.op("concatenate", *(net.op("softmax", part, axis=2) for part in parts), axis=2)


def _taken(net: Net, w: int, n: int, c: random.Random) -> int:
    return net.op("take", w, _index(net, _places(c, n), (n,)), axis=c.choice((1, 2)))


def _headed(net: Net, w: int, n: int, c: random.Random) -> int:
    """Repeated for two heads, and one of them taken."""
    wide = net.op("expand", net.op("reshape", w, shape=(1, 1, n, n)), shape=(1, 2, n, n))
    sloped = net.op("multiply", wide, net.constant([1, c.choice((0, 1, 2))], (1, 2, 1, 1)))
    return net.op("reshape", _cut(net, sloped, 1, 1, 2), shape=(1, n, n))


def _wide(net: Net, w: int, n: int) -> int:
    """The first weight of every row, repeated along it."""
    return net.op("expand", _cut(net, w, 2, 0, 1), shape=(1, n, n))


WEIGHTS: Mapping[str, Move] = {
    "turn": lambda net, w, n, name, c: net.op("permute", w, order=(0, 2, 1)),
    "rotate": lambda net, w, n, name, c: _rotated(net, w, n, c.choice((1, 2))),
    "take": lambda net, w, n, name, c: _taken(net, w, n, c),
    "gather": lambda net, w, n, name, c: net.op("gather", w, _index(
        net, [p for p in _places(c, n) for _ in range(n)], (1, n, n)), axis=c.choice((1, 2))),
    "double": lambda net, w, n, name, c: net.op("multiply", w, net.constant(c.choice((0, 1, 2)))),
    "hide": lambda net, w, n, name, c: net.op("multiply", w, net.constant(_drawn(c, (0, 1), (n, n)), (1, n, n))),
    "choose": lambda net, w, n, name, c: net.op("select", net.constant(
        [v == 1 for v in _drawn(c, (0, 1), (n, n))], (1, n, n), "boolean"), w, net.constant(0)),
    "shift": lambda net, w, n, name, c: net.op("add", w, net.constant(_drawn(c, (0, 0, 1), (n, n)), (1, n, n))),
    "gain": lambda net, w, n, name, c: net.op("multiply", w, net.parameter(name + "gain", 1, 1, 1)),
    "shares": lambda net, w, n, name, c: net.op("divide", w, net.op("sum", w, axes=(2,), keep=True)),
    "twice": lambda net, w, n, name, c: net.op("softmax", w, axis=c.choice((1, 2))),
    "product": lambda net, w, n, name, c: net.op("matmul", w, w),
    "square": lambda net, w, n, name, c: net.op("power", w, exponent=2),
    "running": lambda net, w, n, name, c: net.op("cumulative_sum", w, axis=2),
    "sort": lambda net, w, n, name, c: net.op("top_values", w, axis=2, count=n),
    "halves": _halves,
    "heads": lambda net, w, n, name, c: _headed(net, w, n, c),
    "wide": lambda net, w, n, name, c: _wide(net, w, n),
    "flat": lambda net, w, n, name, c: net.op("reshape", net.op("take", net.op("reshape", w, shape=(1, n * n)), _index(
        net, list(range(n * n))[::-1], (n * n,)), axis=1), shape=(1, n, n)),
    "single": lambda net, w, n, name, c: net.op("expand", net.op(
        "softmax", net.op("sum", w, axes=(2,), keep=True), axis=2), shape=(1, n, n)),
}  # fmt: skip
