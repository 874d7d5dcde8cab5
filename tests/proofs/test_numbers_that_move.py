"""Rows, columns and tables that are moved about: at every node, what has one number has one value, of one shape."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from proofs.arithmetic.ball import Balls
from proofs.kernel.value_numbering.number import Numbering
from proofs.kernel.value_numbering.table import Table
from proofs.kernel.value_numbering.values import Value
from proofs.network.graph import Graph
from tests.adversary.points import every_value, inputs_at
from tests.proofs.building import Net
from tests.proofs.numbering import VOCABULARY, WIDTH, rows

PROMPTS = [(1,), (2,), (1, 1), (1, 2), (2, 1), (1, 2, 1), (1, 1, 2), (3, 3, 3)]
Made = Callable[[Net, int, int], Iterator[int]]  # of a net, its rows and their number: nodes that are looked at


def expanded(net: Net, name: str, *shape: int) -> int:
    return net.op("expand", net.parameter(name, shape[-1]), shape=shape)


def entry(net: Net, x: int) -> int:
    return net.op("slice", x, axis=2, start=0, stop=1, step=1)


def turned(net: Net, x: int, length: int) -> list[tuple[int, int]]:
    """Rows whose axis is the second, the first and the last one."""
    matrix = net.op("reshape", x, shape=(length, WIDTH))
    return [(x, 1), (matrix, 0), (net.op("permute", matrix, order=(1, 0)), 1)]


def gathered(net: Net, x: int, length: int) -> Iterator[int]:
    """By known places of every number that fits, along the rows and along what is in a row."""
    for source, _ in turned(net, x, length):
        yield source
        shape = net.nodes[source].type.shape
        for axis, index in product(range(len(shape)), product(*(range(1, size + 1) for size in shape))):
            yield net.op("gather", source, net.constant(0, index, "integer"), axis=axis)
            places = [place[axis] for place in np.ndindex(*index)]
            yield net.op("gather", source, net.constant(places, index, "integer"), axis=axis)


def taken(net: Net, x: int, length: int) -> Iterator[int]:
    """One place, written several times, of a table that is cut along both ends, or along none."""
    entries = entry(net, x)
    across, beside = (
        net.op("add", *(net.op("reshape", entries, shape=shape) for shape in ((length, *ones), (*ones, length))))
        for ones in ((1, 1), (1, 1, 1))
    )
    for size in (2, 3):
        table = net.op("add", across, net.parameter(f"middle.{size}", 1, size, 1))
        for axis, shape in product((0, 2), ((1, size), (size, 1), (size,), ())):
            yield net.op("take", table, net.constant(0, shape, "integer"), axis=axis)
        for axis, shape in ((0, (length, size)), (2, (size, length))):  # and these are cut on one side
            yield net.op("add", beside, net.op("take", table, net.constant(0, shape, "integer"), axis=axis))
    square = net.parameter("square", WIDTH, WIDTH)
    for axis, place in product((0, 1), (0, 1)):
        yield net.op("take", square, net.constant(place, (), "integer"), axis=axis)


def told_by_place(net: Net, _x: int, length: int) -> Iterator[int]:
    """Tokens whose places are the first axis, and never the second one."""
    tokens = net.op("permute", net.tokens(length, VOCABULARY), order=(1, 0))
    found = net.op("take", net.parameter("embedding", VOCABULARY, WIDTH), tokens, axis=0)
    placed = net.op("tanh", net.op("add", found, net.parameter("places", length, 1, WIDTH)))
    yield net.op("sum", placed, axes=(0,), keep=True)


def wider(net: Net, x: int, length: int) -> Iterator[int]:
    """What is given more axes, or entries, by what it is added to or taken with."""
    for scale, shape in (
        (net.parameter("scale", WIDTH), (1, 1, WIDTH)), (net.parameter("wide", 1, WIDTH), (length, WIDTH)),
        (entry(net, x), (1, length, WIDTH)), (x, (WIDTH, length, WIDTH)),
    ):  # fmt: skip
        yield from (scale, net.op("expand", scale, shape=shape))
        nothing = net.constant(0, shape)
        yield from (net.op("add", scale, nothing), net.op("add", nothing, scale), net.op("subtract", scale, nothing))
        other = net.parameter(f"other.{len(shape)}.{shape[0]}", *shape)
        for truth, kind in product((True, False), (shape, (1,) * len(shape))):
            test = net.constant(truth, kind, "boolean")
            yield from (net.op("select", test, scale, other), net.op("select", test, other, scale))


def weighed(net: Net, x: int, length: int) -> Iterator[int]:
    """Weights along rows and columns, moved about, and what they mix: by two heads at once, too."""
    scores = net.op("matmul", x, net.op("permute", x, order=(0, 2, 1)))
    heads = net.op("softmax", net.op("add", scores, net.parameter("heads", WIDTH, 1, 1)), axis=2)
    yield from (heads, net.op("matmul", heads, x), net.op("matmul", heads, net.parameter("one", 1, length, WIDTH)))
    weights = net.op("softmax", x, axis=1)
    for shape in ((1, WIDTH, length), (length, WIDTH), (1, length * WIDTH), (1, 1, length, WIDTH)):
        yield net.op("reshape", weights, shape=shape)
    yield net.op("expand", weights, shape=(WIDTH, length, WIDTH))
    yield net.op("permute", weights, order=(2, 1, 0))
    for start, stop, step in ((0, length, 1), (0, length, 2), (0, 1, 1), (length - 1, length, 1)):
        yield net.op("slice", weights, axis=1, start=start, stop=stop, step=step)


def mixed(net: Net, x: int, length: int) -> Iterator[int]:
    """What reads all along an axis, for every axis of rows, and of a parameter that stays whole."""
    square = net.parameter("square", 1, WIDTH, WIDTH)
    for source, axis in [*turned(net, x, length), *((square, axis) for axis in range(3)), (x, 2)]:
        for operation in ("softmax", "log_sum_exp", "cumulative_sum"):
            yield net.op(operation, source, axis=axis)
        size = net.nodes[source].type.shape[axis]
        for count in range(1, size + 1):
            yield net.op("top_values", source, axis=axis, count=count)
            yield net.op("top_indices", source, axis=axis, count=count)
        shape = tuple(1 if a == axis else n for a, n in enumerate(net.nodes[source].type.shape))
        yield net.op("scatter", source, net.constant(0, shape, "integer"), net.constant(3, shape), axis=axis)


def normed(net: Net, x: int, length: int) -> Iterator[int]:
    entries, epsilon = entry(net, x), Fraction(1, 8)
    scale, by = net.parameter("scale", 1), net.parameter("by", 1)
    for arguments in ((), (scale,), (scale, by), (by, scale)):
        yield net.op("layer_norm", entries, *arguments, axes=1, epsilon=epsilon)
    yield from (expanded(net, name, 1, 1, 1) for name in ("scale", "by"))
    yield from (expanded(net, name, 1, length, 1) for name in ("scale", "by"))


def network(make: Made, length: int) -> Graph:
    """Rows with the sum of all that is made of them added."""
    net, x = rows(length)
    last = x
    for made in make(net, x, length):
        type_ = net.nodes[made].type
        real = made if type_.kind == "real" else net.op("as_real", made)
        total = net.op("sum", real, axes=tuple(range(len(type_.shape))), keep=False)
        last = net.op("add", last, net.op("reshape", total, shape=(1, 1, 1)))
    return net.graph(last)


def valued(numbering: Numbering, graph: Graph, prompt: Sequence[int], balls: Balls) -> Iterator[tuple[int, Value, Any]]:
    """Every node with its numbers and its value at a drawn point."""
    numbering.last_state(graph, prompt)
    plan, found = numbering._plans[id(graph)], dict[int, Value]()
    inputs = inputs_at(graph, "point", balls) | {"tokens": np.array([prompt], dtype=np.int64)}
    values = dict(every_value(graph, inputs, balls))
    assert list(values) == plan.order
    for index in plan.order:
        found[index] = plan.fixed.get(index) or numbering._value(plan, index, prompt, found)
        yield index, found[index], np.asarray(values[index])


def equal(first: Any, second: Any) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return all(map(may_be, first.ravel().tolist(), second.ravel().tolist()))


def may_be(first: Any, second: Any) -> bool:
    return (first - second).contains(0) if hasattr(first, "contains") else first == second


@pytest.mark.parametrize("make", [gathered, taken, told_by_place, wider, weighed, mixed, normed])
def test_what_has_one_number_has_one_value_wherever_it_is_moved(make: Made) -> None:
    """And there is a number for every place along the axes that are cut, and weights that are said to sum to one do."""
    lengths = {len(prompt) for prompt in PROMPTS}
    graphs = {length: network(make, length) for length in lengths}
    numbering = Numbering([network(lambda _, x, __: iter([x]), max(lengths)), *graphs.values()])
    seen: dict[int, Any] = {}
    with Balls(128) as balls:
        for prompt in PROMPTS:
            graph = graphs[len(prompt)]
            for index, found, value in valued(numbering, graph, prompt, balls):
                cut, where = numbering._plans[id(graph)].cut[index], (prompt, graph.where(index), index)
                assert found.numbers.shape == tuple(n if a in cut else 1 for a, n in enumerate(value.shape)), where
                for place in np.ndindex(*found.numbers.shape):
                    at = (slice(i, i + 1) if a in cut else slice(None) for a, i in enumerate(place))
                    part = value[(*at, ...)]
                    assert equal(part, seen.setdefault(int(found.numbers[place]), part)), where
                for axis in found.sums_to_one:
                    assert all(may_be(total, 1) for total in np.ravel(value.sum(axis=axis))), where


def test_networks_are_told_apart_and_known_again() -> None:
    table, graphs = Table(), [network(wider, length) for length in (1, 1, 2)]
    numbers = [table.number_of(graph) for graph in graphs]
    assert len(set(numbers)) == len(graphs)
    assert [table.number_of(graph) for graph in reversed(graphs)] == numbers[::-1]
