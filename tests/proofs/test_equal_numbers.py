"""What has one number has one value, at every node and place, and what is known of a constant is what it is."""

import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.arithmetic.ball import Balls
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from tests.adversary.networks import LONGEST, VOCABULARY, WIDTH
from tests.adversary.points import every_value, inputs_at
from tests.adversary.prompts import GENERATORS, RELATED
from tests.proofs.building import Net

ENTRIES = (0, 0, 1, -1, 2, Fraction(1, 2), Fraction(-3, 2))
SHAPES = ((), (1, 1, 1), (1, 1, WIDTH), (1, LONGEST, 1), (1, LONGEST, WIDTH))


def constant(net: Net, length: int, chance: random.Random) -> int:
    """Known numbers that broadcast with rows, all equal or not, the same at every length."""
    shape, values = chance.choice(SHAPES), [chance.choice(ENTRIES) for _ in range(LONGEST * WIDTH)]
    if chance.random() < 0.5 or len(shape) < 2:
        return net.constant(values[0], tuple(length if n == LONGEST else n for n in shape))
    entries = [values[i * WIDTH + j] for i in range(shape[1]) for j in range(shape[2])]
    return net.constant(entries[: min(shape[1], length) * shape[2]], (1, min(shape[1], length), shape[2]))


def over(net: Net, x: int, chance: random.Random) -> int:
    """A sum, mean, maximum or logarithm of a sum along an axis, or partial sums."""
    axis, name = chance.choice((1, 2)), chance.choice(("sum", "mean", "largest", "cumulative_sum", "log_sum_exp"))
    keep, shape = chance.random() < 0.5, net.nodes[x].type.shape
    if len(shape) < 3:
        return x
    if name in ("cumulative_sum", "log_sum_exp"):
        return net.op(name, x, axis=axis)
    found = net.op(name, x, axes=(axis,), keep=keep)
    return found if keep else net.op("reshape", found, shape=(*shape[:axis], 1, *shape[axis + 1 :]))


def two(net: Net, x: int, y: int, chance: random.Random) -> int:
    return net.op(chance.choice(("add", "add", "subtract", "multiply", "multiply", "maximum")), x, y)


def put(net: Net, x: int, y: int, length: int, chance: random.Random) -> int:
    """One or the other by a condition that is known, or entries moved about."""
    kind, truths = (
        chance.choice(("select", "concatenate", "mix", "across", "fold", "gather")),
        [chance.random() < 0.5 for _ in range(LONGEST)],
    )
    x, y = (net.op("expand", z, shape=(1, length, WIDTH)) for z in (x, y))
    if kind == "select":
        uniform = chance.random() < 0.5
        truth = net.constant(truths[:1] if uniform else truths[:length], (1, 1 if uniform else length, 1), "boolean")
        return net.op("select", truth, x, y)
    if kind == "concatenate":
        both, start = net.op("concatenate", x, y, axis=1), chance.randrange(2)
        return net.op("slice", both, axis=1, start=start, stop=start + length, step=1)
    if kind == "mix":
        scores = net.op("matmul", x, net.op("permute", y, order=(0, 2, 1)))
        return net.op("matmul", net.op("softmax", scores, axis=2), y)
    if kind == "across":
        square = [chance.choice((0, 0, 0, 1, 1, 2)) for _ in range(LONGEST**2)]
        known = [square[i * LONGEST + j] for i in range(length) for j in range(length)]
        return net.op("matmul", net.constant(known, (1, length, length)), x)
    if kind == "gather":  # places, known or not, of every entry or of whole rows and columns
        axis, size = chance.choice(((1, length), (2, WIDTH)))
        shape = (1, *chance.choice(((length, WIDTH), (length, 1), (1, WIDTH))))
        drawn = [[chance.randrange(LONGEST) for _ in range(WIDTH)] for _ in range(LONGEST)]
        places = [place % size for row in drawn[: shape[1]] for place in row[: shape[2]]]
        index = net.constant(places, shape, "integer")
        if chance.random() < 0.3:
            index = net.op("top_indices", x, axis=axis, count=size) if size == length else index
        return net.op("gather", x, index, axis=axis)
    return net.op("permute", net.op("reshape", x, shape=(1, WIDTH, length)), order=(0, 2, 1))


def worked_out(chance: random.Random, length: int) -> Graph:
    """Sums and products of rows and constants, in any order and repeated."""
    net = Net()
    pool = [net.op("take", net.parameter("embedding", VOCABULARY, WIDTH), net.tokens(length, VOCABULARY), axis=0)]
    pool += [constant(net, length, chance) for _ in range(3)]
    for _ in range(chance.randint(4, 10)):
        draw, x, y = chance.random(), chance.choice(pool), chance.choice(pool)
        if draw < 0.6:
            pool.append(two(net, x, y, chance))
        elif draw < 0.8:
            pool.append(over(net, x, chance))
        else:
            pool.append(put(net, x, y, length, chance))
    last = pool[0]
    for x in pool[1:]:
        last = net.op("add", last, x)
    return net.graph(last)


def parts(graph: Graph, prompt: Sequence[int], numbering: Numbering, balls: Balls) -> Iterator[tuple[int, int, Any]]:
    """Every node and sub-tensor that has a number: the node, the number, and the value at a drawn point."""
    numbering.last_state(graph, prompt)
    plan = numbering._plans[id(graph)]
    values: dict[int, Any] = {}
    for index in plan.order:
        values[index] = plan.fixed.get(index) or numbering._value(plan, index, prompt, values)
    inputs = inputs_at(graph, "point", balls) | {"tokens": np.array([prompt], dtype=np.int64)}
    for index, value in every_value(graph, inputs, balls):
        numbers = values[index].numbers
        for place in np.ndindex(*numbers.shape):
            cut = tuple(slice(i, i + 1) if a in plan.cut[index] else slice(None) for a, i in enumerate(place))
            yield index, int(numbers[place]), None if value is None else np.atleast_1d(value)[cut or ...]


def differ(first: Any, second: Any) -> bool:
    """Whether two arrays are of other shapes, or certainly of other entries."""
    if first.shape != second.shape:
        return True
    exact = first.dtype != object
    pairs = zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
    return any(a != b if exact else not (a - b).contains(0) for a, b in pairs)


@pytest.mark.parametrize("generator", [*sorted(GENERATORS), "worked out"])
@given(seed=st.integers(0, 10**6))
def test_what_has_one_number_has_one_value(generator: str, seed: int) -> None:
    make: Callable[[random.Random, int], Graph] = worked_out if generator == "worked out" else GENERATORS[generator]
    graphs = {n: make(random.Random(f"{generator} {seed}"), n) for n in range(1, LONGEST + 1)}
    numbering = Numbering(graphs.values())
    seen: dict[int, Any] = {}
    with Balls(256) as balls:
        for prompt in RELATED[seed % len(RELATED)]:
            for index, number, value in parts(graphs[len(prompt)], prompt, numbering, balls):
                known = numbering.table.known.get(number)
                if value is None:
                    continue
                where = (seed, prompt, graphs[len(prompt)].where(index))
                assert not differ(value, seen.setdefault(number, value)), where
                if known is not None:
                    entries = known.values * (value.size if len(known.values) == 1 else 1)
                    assert (known.shape or (1,), len(entries)) == (value.shape, value.size), where
                    assert all(map(holds, value.ravel().tolist(), entries)), where


def holds(value: Any, entry: Any) -> bool:
    """Whether a ball, or a whole number, may be an entry of a known constant."""
    if isinstance(value, bool | int):
        return value == entry
    return value.contains(Balls(256).number(entry)) or not value.is_finite()
