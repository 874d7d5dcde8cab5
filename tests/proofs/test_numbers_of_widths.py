"""Along axes that stay whole: what is repeated, summed, normed or weighed there is told from what it is made of."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from tests.proofs.building import Net
from tests.proofs.numbering import WIDTH, equal, last_row, rows

Made = Callable[[Net, int, int], int]  # a net, an entry (1, 1, 1) and a size: what is made of both


def last(net: Net, x: int, length: int, width: int = WIDTH) -> int:
    return net.op("slice", last_row(net, x, length), axis=2, start=0, stop=width, step=1)


def of_a_size(make: Made, axis: int = 2) -> Callable[[int], Graph]:
    """The sum of what is made of an entry: with one token of two of them, with two of three."""

    def network(length: int) -> Graph:
        net, x = rows(length)
        made = make(net, last(net, x, length, 1), length + 1)
        return net.graph(net.op("sum", made, axes=(axis,), keep=True))

    return network


def zeros(net: Net, *shape: int) -> int:
    return net.constant(0, shape)


def selected(net: Net, entry: int, size: int, first: bool) -> int:
    other = net.parameter(f"other.{size}", 1, 1, size)
    test = net.constant(first, (1, 1, 1), "boolean")
    return net.op("select", test, *((entry, other) if first else (other, entry)))


REPEATED: dict[str, tuple[Made, int]] = {
    "added to zeros": (lambda net, e, n: net.op("add", zeros(net, 1, 1, n), e), 2),
    "with zeros added": (lambda net, e, n: net.op("add", e, zeros(net, 1, 1, n)), 2),
    "less zeros": (lambda net, e, n: net.op("subtract", e, zeros(net, 1, 1, n)), 2),
    "times ones": (lambda net, e, n: net.op("multiply", e, net.constant(1, (1, 1, n))), 2),
    "expanded": (lambda net, e, n: net.op("expand", e, shape=(1, 1, n)), 2),
    "the first of two": (lambda net, e, n: selected(net, e, n, True), 2),
    "the second of two": (lambda net, e, n: selected(net, e, n, False), 2),
    "a matrix of ones": (lambda net, e, n: net.op("matmul", net.constant(1, (1, n, 1)), e), 1),
    "a row of ones": (lambda net, e, n: net.op("matmul", e, net.constant(1, (1, 1, n))), 2),
    "a shift of norms": (
        lambda net, e, n: net.op(
            "layer_norm", net.op("expand", e, shape=(1, n, 1)), net.parameter("scale", 1), net.parameter("by", 1),
            axes=1, epsilon=Fraction(1, 8),
        ), 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REPEATED)
def test_what_is_repeated_is_as_often_there(name: str) -> None:
    assert not equal(of_a_size(*REPEATED[name]), (1,), (1, 1))
    assert equal(of_a_size(*REPEATED[name]), (1,), (1,))


def alternatives(one: Callable[[Net, int], int], other: Callable[[Net, int], int]) -> Callable[[int], Graph]:
    """Of one token what is made of its row in one way, of two that of the last in another."""

    def network(length: int) -> Graph:
        net, x = rows(length)
        made = (one if length == 1 else other)(net, last(net, x, length))
        return net.graph(made)

    return network


def normed(net: Net, row: int) -> int:
    entry = net.op("slice", row, axis=2, start=0, stop=1, step=1)
    return net.op(
        "layer_norm", entry, net.parameter("scale", 1), net.parameter("by", 1), axes=1, epsilon=Fraction(1, 8)
    )


def parameter(name: str) -> Callable[[Net, int], int]:
    def read(net: Net, row: int) -> int:
        entry = net.op("slice", row, axis=2, start=0, stop=1, step=1)
        nothing = net.op("multiply", entry, zeros(net, 1, 1, 1))
        return net.op("add", nothing, net.op("reshape", net.parameter(name, 1), shape=(1, 1, 1)))

    return read


def plain(_net: Net, row: int) -> int:
    return row


APART: dict[str, tuple[Any, Any]] = {
    "half a row": (lambda net, row: net.op("matmul", net.constant(Fraction(1, 2), (1, 1, 1)), row), plain),
    "less than nothing of a row": (lambda net, row: net.op("matmul", net.constant(-1, (1, 1, 1)), row), plain),
    "weights of a row": (
        lambda net, row: net.op("softmax", row, axis=2), lambda net, row: net.constant(1, (1, 1, WIDTH))
    ),
    "partial sums of a row": (lambda net, row: net.op("cumulative_sum", row, axis=2), plain),
    "a norm and nothing": (normed, lambda net, row: zeros(net, 1, 1, 1)),
    "a norm and its scale": (normed, parameter("scale")),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_what_is_made_of_a_row_is_not_the_row(name: str) -> None:
    assert not equal(alternatives(*APART[name]), (1,), (1, 1))


def test_a_norm_of_one_entry_is_its_shift() -> None:
    assert equal(alternatives(normed, normed), (1,), (1, 2))


def test_the_logarithm_of_a_sum_counts_what_is_added() -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        entry = last(net, x, length, 1)
        repeated = net.op("expand", entry, shape=(1, 1, length + 1))
        return net.graph(net.op("log_sum_exp", repeated, axis=2, keep=True))

    assert not equal(network, (1,), (1, 1))


def test_of_what_is_masked_the_rest_is_told_apart() -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        entries = net.op("slice", x, axis=2, start=0, stop=1, step=1)
        mask = [float("-inf") if place == 0 else 0 for place in range(length)]
        masked = net.op("add", entries, net.constant(mask, (1, length, 1)))
        return net.graph(net.op("log_sum_exp", masked, axis=1, keep=True))

    assert not equal(network, (1, 2, 3), (1, 2, 4))
    assert equal(network, (1, 2, 3), (4, 2, 3))
    assert equal(network, (1, 2, 3), (4, 3, 2))


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_constants_that_nobody_knows_are_told_apart_by_their_networks(order: tuple[int, int]) -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        unknown = net.op("constant", shape=(1, 1, WIDTH), kind="real")
        return net.graph(net.op("add", last(net, x, length), unknown))

    graphs = {length: network(length) for length in (1, 2)}
    prompts = {1: [(1,), (2,), (3,)], 2: [(1, 1), (1, 2), (1, 3)]}
    numbering = Numbering(graphs.values())
    found = {length: {numbering.last_state(graphs[length], p) for p in prompts[length]} for length in order}
    assert not found[1] & found[2] and len(found[1]) == 3
