"""Relabelling tokens permutes parameters: where tokens select rows of tables that nothing else reads."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest

from proofs import Verdict, check
from proofs.arithmetic.ball import Balls
from proofs.kernel.patterns import rows_are_free
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from proofs.theorems.generic_position import examine
from tests.proofs.building import Net

WIDTH, VOCABULARY = 2, 5
Build = Callable[[Net, int, int, int], int]


def twice(net: Net, x: int, table: int, tokens: int) -> int:
    return net.op("add", x, net.op("take", table, tokens, axis=0))


def second_table(net: Net, x: int, table: int, tokens: int) -> int:
    return net.op("add", x, net.op("take", net.parameter("second", VOCABULARY, WIDTH), tokens, axis=0))


def as_numbers(net: Net, x: int, table: int, tokens: int) -> int:
    return net.op("add", x, net.op("reshape", net.op("as_real", tokens), shape=(1, 2, 1)))


def compared(net: Net, x: int, table: int, tokens: int) -> int:
    first = net.op("equal", tokens, net.constant(0, (), "integer"))
    return net.op("add", x, net.op("reshape", net.op("as_real", first), shape=(1, 2, 1)))


def columns(net: Net, x: int, table: int, tokens: int) -> int:
    read = net.op("take", net.parameter("square", VOCABULARY, VOCABULARY), tokens, axis=1)
    return net.op("add", x, net.op("sum", net.op("permute", read, order=(1, 2, 0)), axes=(2,), keep=True))


def entries(net: Net, x: int, table: int, tokens: int) -> int:
    read = net.op("gather", net.parameter("pairs", VOCABULARY, 2), tokens, axis=0)
    return net.op("add", x, net.op("reshape", read, shape=(1, 2, 1)))


def at_a_constant_row(net: Net, x: int, table: int, tokens: int) -> int:
    return net.op("subtract", x, net.op("take", table, net.constant(0, (), "integer"), axis=0))


def as_a_matrix(net: Net, x: int, table: int, tokens: int) -> int:
    return net.op("matmul", x, net.op("permute", table, order=(1, 0)))


def under_its_name(net: Net, x: int, table: int, tokens: int) -> int:
    """The table stands in the graph a second time."""
    again = net.op("parameter", name="table", shape=(VOCABULARY, WIDTH), kind="real")
    return net.op("add", x, net.op("sum", again, axes=(0,), keep=True))


def made(net: Net, x: int, table: int, tokens: int) -> int:
    weighed = net.op("multiply", net.parameter("second", VOCABULARY, WIDTH), net.constant(list(range(10)), (5, 2)))
    return net.op("add", x, net.op("take", weighed, tokens, axis=0))


def shifted(net: Net, x: int, table: int, tokens: int) -> int:
    moved = net.op("subtract", net.parameter("second", VOCABULARY, WIDTH), net.constant(list(range(10)), (5, 2)))
    return net.op("add", x, net.op("take", moved, tokens, axis=0))


def at_the_largest(net: Net, x: int, table: int, tokens: int) -> int:
    """The row of a number that the states choose, which no relabelling moves with the tokens."""
    place = net.op("top_indices", x, axis=2, count=1)
    return net.op("add", x, net.op("reshape", net.op("take", table, place, axis=0), shape=(1, 2, WIDTH)))


@pytest.mark.parametrize("build", [twice, second_table])
def test_rows_that_tokens_select_are_free(build: Build) -> None:
    assert free(build)


@pytest.mark.parametrize(
    "build",
    [
        as_numbers,
        compared,
        columns,
        entries,
        at_a_constant_row,
        as_a_matrix,
        under_its_name,
        made,
        shifted,
        at_the_largest,
    ],
)
def test_what_is_read_in_another_way_is_not_free(build: Build) -> None:
    assert not free(build)


def free(build: Build) -> bool:
    net = Net()
    tokens, table = net.tokens(2, VOCABULARY), net.parameter("table", VOCABULARY, WIDTH)
    return rows_are_free(net.graph(build(net, net.op("take", table, tokens, axis=0), table, tokens)))


def test_a_table_that_is_read_and_not_reached_does_not_count() -> None:
    net = Net()
    tokens, table = net.tokens(2, VOCABULARY), net.parameter("table", VOCABULARY, WIDTH)
    x = net.op("take", table, tokens, axis=0)
    net.op("sum", table, axes=(0,), keep=True)
    assert rows_are_free(net.graph(x))
    assert rows_are_free(net.graph(table))  # which no token selects from


READ = ("by token", "at a row", "as a whole", "not at all")


def reading(ways: tuple[str, str], length: int) -> Graph:
    """The product of what is read of two tables at a length, each in a way of its own."""
    net = Net()
    tokens = net.tokens(length, VOCABULARY)
    x = net.op("take", net.parameter("always", VOCABULARY, WIDTH), tokens, axis=0)
    for name, way in zip("ab", ways, strict=True):
        table = net.parameter(name, VOCABULARY, WIDTH)
        if way == "by token":
            x = net.op("multiply", x, net.op("take", table, tokens, axis=0))
        elif way == "at a row":
            x = net.op("multiply", x, net.op("slice", table, axis=0, start=0, stop=1, step=1))
        elif way == "as a whole":
            x = net.op("multiply", x, net.op("sum", table, axes=(0,), keep=True))
    return net.graph(x)


@pytest.mark.parametrize("short", list(product(READ, READ)), ids=" beside ".join)
def test_where_rows_are_free_at_all_lengths_relabelling_permutes_them(short: tuple[str, str]) -> None:
    for long in product(READ, READ):
        graphs = {1: reading(short, 1), 2: reading(long, 2)}
        ways = {name: {*read} - {"not at all"} for name, read in zip("ab", zip(short, long, strict=True), strict=True)}
        free = rows_are_free(*graphs.values())
        assert free is all("by token" not in read or len(read) == 1 for read in ways.values())
        tables = {"always", *(name for name, read in ways.items() if "by token" in read)}
        assert not free or all(stay(graph, tables) for graph in graphs.values())


def stay(graph: Graph, tables: set[str]) -> bool:
    """Whether the states of relabelled prompts are those of permuted tables, at a point without symmetries."""
    point = {
        name: np.array([[Fraction(7 * i + 3 * j + at * at + 1, 8) for j in range(WIDTH)] for i in range(VOCABULARY)])
        for at, name in enumerate(("always", "a", "b"))
    }
    prompt = np.arange(graph.length)[None]
    return all(
        state(graph, {**point, "tokens": np.array(order)[prompt]})
        == state(graph, {n: v[list(order)] if n in tables else v for n, v in point.items()} | {"tokens": prompt})
        for order in list(permutations(range(VOCABULARY)))[::7]
    )


def state(graph: Graph, inputs: Mapping[str, Any]) -> list[Any]:
    with Balls(64) as balls:
        exact = {
            name: array if name == "tokens" else np.vectorize(balls.number, otypes=[object])(array)
            for name, array in inputs.items()
        }
        return [str(entry) for entry in evaluate(graph, exact, balls)[0, -1]]


def of_last_token(length: int) -> Graph:
    """a[0] * b[s] of one token s, and a[t] * b[s] of two: r(s) = r(s, 0) whatever a and b are."""
    net = Net()
    tokens = net.tokens(length, VOCABULARY)
    rows = {name: net.parameter(name, VOCABULARY, WIDTH) for name in "ab"}
    first = net.op("slice", net.op("take", rows["b"], tokens, axis=0), axis=1, start=0, stop=1, step=1)
    if length == 1:
        row = net.op("slice", rows["a"], axis=0, start=0, stop=1, step=1)
        last = net.op("reshape", row, shape=(1, 1, WIDTH))
    else:
        last = net.op("slice", net.op("take", rows["a"], tokens, axis=0), axis=1, start=1, stop=2, step=1)
    return net.graph(net.op("expand", net.op("multiply", last, first), shape=(1, length, WIDTH)))


def test_a_table_of_tokens_at_one_length_alone_is_none_that_stands_for_every_vocabulary() -> None:
    found = examine({n: of_last_token(n) for n in (1, 2)}, context=2)
    assert (found.claim["regularity"], found.claim["certified"]) == ("unsuitable", 0)
    forged = found.to_json()
    forged["classes"] = [[s, t, "differ: point 0"] for s, t, _ in forged["classes"]]
    assert check(forged).verdict is Verdict.REJECTED
