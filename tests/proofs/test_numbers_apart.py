"""What is not worked out stays apart: long constants, whole numbers, and axes of two entries."""

from collections.abc import Callable

import pytest

from proofs.kernel.value_numbering.arithmetic import LONGEST
from proofs.network.graph import Graph
from tests.proofs.numbering import VOCABULARY, WIDTH, equal, rows

LONG = 2 ** (LONGEST + 60)


def with_constant(operation: str, entries: Callable[[int], list[int]]) -> Callable[[int], Graph]:
    """A row and constants that depend on the length, one after the other."""

    def network(length: int) -> Graph:
        net, x = rows(length)
        last = net.op("slice", x, axis=1, start=length - 1, stop=length, step=1)
        for entry in entries(length):
            last = net.op(operation, last, net.constant(entry, (1, 1, WIDTH)))
        return net.graph()

    return network


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply"])
def test_long_constants_are_told_apart(operation: str) -> None:
    assert equal(with_constant(operation, lambda _: [LONG, 3]), (1,), (1, 1))
    assert not equal(with_constant(operation, lambda n: [LONG + n, 3]), (1,), (1, 1))
    assert not equal(with_constant(operation, lambda n: [3, LONG + n]), (1,), (1, 1))
    assert not equal(with_constant(operation, lambda n: [3, LONG + n, 5]), (1,), (1, 1))


@pytest.mark.parametrize("operation", ["add", "multiply", "maximum"])
def test_so_are_what_is_made_of_long_constants_alone(operation: str) -> None:
    def network(alike: bool) -> Callable[[int], Graph]:
        def made(length: int) -> Graph:
            net, x = rows(length)
            last = net.op("slice", x, axis=1, start=length - 1, stop=length, step=1)
            one = net.constant(LONG if alike else LONG + length, (1, 1, WIDTH))
            other = net.op(operation, one, net.constant(LONG + 7, (1, 1, WIDTH)))
            return net.graph(net.op("add", last, other))

        return made

    assert equal(network(alike=True), (1,), (1, 1))
    if operation != "maximum":
        assert not equal(network(alike=False), (1,), (1, 1))


@pytest.mark.parametrize(("entry", "expected"), [(0, True), (1, False), (-1, False)])
def test_nothing_times_a_whole_number_is_nothing(entry: int, expected: bool) -> None:
    """Of one token, the token times 0; of two, a constant."""

    def network(length: int) -> Graph:
        net, x = rows(length)
        last = net.op("slice", x, axis=1, start=length - 1, stop=length, step=1)
        tokens = net.op("slice", net.tokens(length, VOCABULARY), axis=1, start=length - 1, stop=length, step=1)
        nothing = net.op("multiply", tokens, net.constant(0, (1, 1), "integer"))
        whole = nothing if length == 1 else net.constant(entry, (1, 1), "integer")
        number = net.op("reshape", net.op("as_real", whole), shape=(1, 1, 1))
        return net.graph(net.op("add", last, number))

    assert equal(network, (1,), (1, 1)) is expected


def test_matrices_of_each_place_are_each_their_own() -> None:
    """Every place has a matrix of its own, and the places are an axis of two matrices."""

    def network(length: int) -> Graph:
        net, x = rows(length)
        places = net.op("reshape", x, shape=(length, 1, WIDTH))
        turned = net.op("matmul", places, net.parameter("matrices", length, WIDTH, WIDTH))
        return net.graph(net.op("reshape", turned, shape=(1, length, WIDTH)))

    assert equal(network, (1, 2), (2, 2))
    assert equal(network, (1, 3, 2), (2, 1, 2))
    assert not equal(network, (1, 2), (2, 1))
    assert not equal(network, (1, 2), (1, 3))
