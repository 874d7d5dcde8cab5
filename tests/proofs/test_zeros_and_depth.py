"""What vanishes with some parameters, and when a last block is the identity: by x + 0 = x and 0 y = 0 alone."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from proofs.kernel.depth import last_block_lifts
from proofs.kernel.zeros import silence, vanishing
from proofs.network.graph import Graph
from tests.proofs.building import Net
from tests.proofs.decoders import network

D, OUT = 2, "block.1.out"


def rows(net: Net) -> int:
    return net.op("take", net.parameter("e", 9, D), net.tokens(1, 9), axis=0)


def number(net: Net) -> int:
    return net.op("tanh", net.parameter("w", D))


def no_number(net: Net) -> int:
    """The logarithm of what may be negative."""
    return net.op("log", net.parameter("w", D))


def masked(net: Net) -> int:
    return net.constant([0, float("-inf")], (D,))


@pytest.mark.parametrize("operation", ["multiply", "matmul"])
@pytest.mark.parametrize(("other", "vanishes"), [(number, True), (no_number, False), (masked, False)])
def test_zero_times_what_is_no_number_is_not_zero(operation: str, other: Callable[[Net], int], vanishes: bool) -> None:
    for first in (True, False):
        net = Net()
        silent, factor = net.parameter("silent", D), other(net)
        if operation == "matmul":
            silent, factor = net.op("reshape", silent, shape=(1, D)), net.op("reshape", factor, shape=(D, 1))
        pair = (silent, factor) if first or operation == "matmul" else (factor, silent)
        product = net.op(operation, *pair)
        assert (product in vanishing(net.graph(product), ["silent"])) is vanishes


@pytest.mark.parametrize(
    ("operation", "attributes"),
    [("negate", {}), ("reshape", {"shape": (D, 1)}), ("sum", {"axes": (0,), "keep": False}), ("exp", {}), ("cos", {}),
     ("slice", {"axis": 0, "start": 0, "stop": 1, "step": 1}), ("expand", {"shape": (3, D)})],
)  # fmt: skip
def test_what_is_read_of_zeros_alone_is_zero_if_the_operation_keeps_zero(operation: str, attributes: Any) -> None:
    net = Net()
    found = net.op(operation, net.parameter("silent", D), **attributes)
    assert (found in vanishing(net.graph(found), ["silent"])) is (operation not in ("exp", "cos"))


@pytest.mark.parametrize("operation", ["add", "subtract", "concatenate"])
def test_a_sum_vanishes_with_all_its_parts(operation: str) -> None:
    attributes = {"axis": 0} if operation == "concatenate" else {}
    for names, vanishes in ((["a"], False), (["b"], False), (["a", "b"], True)):
        net = Net()
        found = net.op(operation, net.parameter("a", D), net.parameter("b", D), **attributes)
        assert (found in vanishing(net.graph(found), names)) is vanishes


def test_what_vanishes_is_written_as_zero_and_parameters_stay() -> None:
    net = Net()
    x = rows(net)
    product = net.op("multiply", net.op("reshape", net.parameter(OUT, D), shape=(1, D)), net.op("tanh", x))
    graph = net.graph(net.op("add", x, product))
    left = silence(graph, [OUT])
    assert dict(left.parameters()) == dict(graph.parameters())
    for index in vanishing(graph, [OUT]):
        node = left.nodes[index]
        if node.operation != "parameter":
            value = left.constant(node)
            assert value is not None
            assert (value.shape, value.values) == (graph.nodes[index].type.shape, (Fraction(0),))
    assert sum(node.operation == "constant" for node in left.nodes) == 2


def block(*, bias: int = 0, bend: str = "", turned: bool = False) -> Graph:
    """x + tanh(x) out: with a bias of the block some nodes before it, a bend behind it, or turned into columns."""
    net = Net()
    first = net.op("negate", net.parameter("block.1.bias", D)) if bias else -1
    x = rows(net)
    if bias:
        x = net.op("add", x, first)
    for _ in range(bias):
        x = net.op("negate", x)
    y = net.op("add", x, net.op("multiply", net.op("tanh", x), net.parameter(OUT, D)))
    if bend:
        y = net.op(bend, y)
    return net.graph(net.op("reshape", y, shape=(1, D, 1)) if turned else y)


def test_a_block_lifts_where_nothing_of_it_is_left() -> None:
    assert last_block_lifts(block(), [OUT])
    assert last_block_lifts(block(turned=True), [OUT])
    assert not any(last_block_lifts(block(bias=depth), [OUT]) for depth in range(1, 4))
    assert not any(last_block_lifts(block(bend=bend), [OUT]) for bend in ("absolute", "negate", "tanh"))


def test_a_block_that_does_not_take_what_a_block_may_hand_on_lifts_nothing() -> None:
    """x + log(x) out, which is defined here because x is an exponential: of a second block it is not."""

    def of(inner: str) -> Graph:
        net = Net()
        x = net.op("exp", rows(net))
        return net.graph(net.op("add", x, net.op("multiply", net.op(inner, x), net.parameter(OUT, D))))

    assert last_block_lifts(of("tanh"), [OUT])
    assert not last_block_lifts(of("log"), [OUT])
    assert not last_block_lifts(of("rsqrt"), [OUT])


def test_names_of_no_block_or_of_several_lift_nothing() -> None:
    assert not last_block_lifts(block(), [])
    assert not last_block_lifts(block(), ["block.7.out"])
    assert not last_block_lifts(block(), ["e"])
    assert not last_block_lifts(network(2, depth=2), ["block.0.out", "block.0.down", "block.1.out", "block.1.down"])
    net = Net()
    x = rows(net)
    plain = net.graph(net.op("add", x, net.op("multiply", net.op("tanh", x), net.parameter("out", D))))
    assert not last_block_lifts(plain, ["out"])  # a name without a number names no block
