"""Relabelling tokens permutes parameters: where tokens select rows of tables that nothing else reads."""

from collections.abc import Callable

import pytest

from proofs.kernel.patterns import rows_are_free
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
