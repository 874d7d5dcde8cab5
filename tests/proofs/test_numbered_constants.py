"""What value numbering makes of constants: worked out where they are short, told apart where they are not."""

from fractions import Fraction
from itertools import product

import pytest

from proofs.arithmetic.ball import Balls
from proofs.errors import InvalidInput
from proofs.kernel.value_numbering.arithmetic import EXACT
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from proofs.operations import VANISHING
from proofs.operations.interpreter import evaluate
from proofs.structure.entrywise import ENTRYWISE, WHOLE
from tests.proofs.building import Net
from tests.proofs.numbering import WIDTH, equal, rows


@pytest.mark.parametrize("operation", sorted(EXACT))
def test_what_is_worked_out_of_constants_is_what_the_operation_gives(operation: str) -> None:
    truths = {"both": "boolean", "either": "boolean", "opposite": "boolean", "as_integer": "boolean"}
    kind = truths.get(operation, "integer" if operation == "as_real" else "real")
    entries = (True, False) if kind == "boolean" else (-2, 0, 3)
    count = 1 if operation in ("negate", "opposite", "as_real", "as_integer") else 2
    for row in product(entries, repeat=count):
        net = Net()
        graph = net.graph(net.op(operation, *(net.constant(entry, (1,), kind) for entry in row)))
        with Balls(64) as balls:
            assert float(evaluate(graph, {}, balls).item()) == float(EXACT[operation](*row))


ATTRIBUTES = {
    "softplus": {"beta": Fraction(1)}, "leaky_relu": {"slope": Fraction(1, 4)}, "elu": {"scale": Fraction(2)},
}  # fmt: skip


@pytest.mark.parametrize("operation", sorted(ENTRYWISE - WHOLE - {"clamp", "power", "negate", "select"}))
def test_what_vanishes_at_zero_is_known_to(operation: str) -> None:
    """Of one argument; what depends on attributes, and what is worked out of any constant, is not looked at here."""
    net = Net()
    try:
        graph = net.graph(net.op(operation, net.constant(0, (1,)), **ATTRIBUTES.get(operation, {})))
        with Balls(64) as balls:
            zero = bool(evaluate(graph, {}, balls).item() == 0)
    except (InvalidInput, IndexError, ValueError, ZeroDivisionError):  # two arguments, or nothing at 0
        zero = False
    assert zero == (operation in VANISHING)


@pytest.mark.parametrize("operation", ["cos", "exp", "log", "rsqrt", "sigmoid", "softplus", *sorted(VANISHING)])
@pytest.mark.parametrize("at", [0, 1])
def test_nothing_else_vanishes(operation: str, at: int) -> None:
    """A row, and it with the operation of a constant added."""

    def network(length: int) -> Graph:
        net, x = rows(length)
        other = net.op(operation, net.constant(at, (1, 1, WIDTH)), **ATTRIBUTES.get(operation, {}))
        return net.graph(x if length > 1 else net.op("add", x, other))

    assert equal(network, (1,), (1, 1)) == (operation in VANISHING and at == 0)


@pytest.mark.parametrize("operation", ["add", "subtract"])
def test_a_sum_of_constants_that_is_too_long_to_be_worked_out_is_no_mask(operation: str) -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        long = [net.constant(Fraction(1, prime**2000)) for prime in (3, 5)]
        return net.graph(net.op("add", x, net.op(operation, *long)))

    assert not equal(network, (1,), (2,))
    assert equal(network, (1, 2), (3, 2))


def test_constants_that_are_too_long_to_be_worked_out_are_told_apart() -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        return net.graph(net.op("add", x, net.constant(Fraction(1, (2 + length) ** 2000))))

    assert not equal(network, (1,), (1, 1))


@pytest.mark.parametrize("operation", ["add", "swapped", "subtract"])
def test_zeros_of_more_entries_repeat_what_they_are_added_to(operation: str) -> None:
    def network(length: int) -> Graph:
        net, x = rows(length)
        narrow, zeros = net.op("sum", x, axes=(2,), keep=True), net.constant(0, (1, 1, 1 + length))
        wide = net.op("add", zeros, narrow) if operation == "swapped" else net.op(operation, narrow, zeros)
        return net.graph(net.op("sum", wide, axes=(2,), keep=True))

    assert not equal(network, (1,), (1, 1))  # twice a number, and three times the same


@pytest.mark.parametrize("operation", ["add", "swapped", "subtract"])
def test_zeros_of_more_axes_give_them_to_what_they_are_added_to(operation: str) -> None:
    def network(widened: bool) -> Graph:
        """The larger of two entries; or, where zeros were added, the larger of one, along another axis."""
        net, _ = rows(1)
        row, zeros = net.parameter("row", WIDTH), net.constant(0, (1, 1, WIDTH))
        wide = net.op("add", zeros, row) if operation == "swapped" else net.op(operation, row, zeros)
        top = net.op("top_values", wide if widened else row, axis=0, count=1)
        return net.graph(net.op("expand", top, shape=(1, 2, WIDTH)))

    one, other = network(False), network(True)
    assert not Numbering([one, other]).equal(one, (1,), other, (1,))


@pytest.mark.parametrize(("operation", "masks"), [("add", True), ("subtract", False)])
@pytest.mark.parametrize("left", [None, 2, float("-inf")])
def test_minus_infinity_masks_what_it_is_added_to_and_nothing_that_it_is_taken_from(
    operation: str, masks: bool, left: float | None
) -> None:
    """x + (-inf) is -inf, for an unknown x, a number and -inf; x - (-inf) is no score, and nothing follows from it."""

    def network(length: int) -> Graph:
        net, x = rows(length)
        scores = net.op("permute", net.op("sum", x, axes=(2,), keep=True), order=(0, 2, 1))
        first = [place == 0 for place in range(length)]
        mask = net.constant([float("-inf") if hidden else 0 for hidden in first], (1, 1, length))
        if left is None:
            scores = net.op(operation, scores, mask)
        else:
            number = net.constant([left if hidden else 2 for hidden in first], (1, 1, length))
            scores = net.op("add", scores, net.op(operation, number, mask))
        return net.graph(net.op("matmul", net.op("softmax", scores, axis=2), x))

    assert equal(network, (1, 2, 3), (4, 2, 3)) is masks


@pytest.mark.parametrize("several", [True, False])
def test_constants_that_nobody_knows_are_each_their_own(several: bool) -> None:
    def unknown() -> int:
        return net.op("constant", shape=(1, 1, WIDTH), kind="real", value=None)

    net, x = rows(2)
    first = unknown()
    places = net.op("concatenate", first, unknown() if several else first, axis=1)
    total = net.op("sum", net.op("tanh", net.op("add", x, places)), axes=(1,), keep=True)
    graph = net.graph(net.op("expand", total, shape=(1, 2, WIDTH)))
    assert Numbering([graph]).equal(graph, (1, 2), graph, (2, 1)) is not several


def test_a_multiple_of_a_sum_that_is_too_long_to_be_worked_out_keeps_its_factor() -> None:
    def network(factor: Fraction) -> Graph:
        net, x = rows(2)
        return net.graph(net.op("multiply", net.op("add", x, net.constant(1)), net.constant(factor)))

    one, again, other = (network(Fraction(1, base**2000)) for base in (3, 3, 5))
    numbering = Numbering([one, again, other])
    assert numbering.equal(one, (1, 2), again, (3, 2))
    assert not numbering.equal(one, (1, 2), other, (1, 2))
    assert not numbering.equal(one, (1, 2), one, (1, 3))
