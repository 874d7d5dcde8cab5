"""Which pairs of prompts are looked at, and what a pair is called: both written out."""

import pytest

from proofs.kernel.collisions import colliding_pairs, family_of, looked_at, proportional, reordered
from proofs.network.graph import Graph
from tests.proofs.numbering import rows

RUNS = {((1,) * m, (1,) * k) for m in (1, 2, 3, 4) for k in range(m + 1, 5)}
FIRST = {((1, 2), (3, 2)), ((1, 2, 3), (4, 2, 3)), ((1, 2, 3, 4), (5, 2, 3, 4))}
ORDERS = {((1, 2, 3), (2, 1, 3)), ((1, 2, 3, 4), (2, 1, 3, 4))}
LONGER = {((1, 2), (1, 2, 1, 2)), ((1, 2), (1, 1, 2, 2))}


def constant(length: int) -> Graph:
    """A network that every prompt leaves alike."""
    net, x = rows(length)
    return net.graph(net.op("multiply", x, net.constant(0)))


def plain(length: int) -> Graph:
    net, x = rows(length)
    return net.graph(x)


def mean(length: int) -> Graph:
    """The last token beside the mean of all."""
    net, x = rows(length)
    return net.graph(net.op("add", x, net.op("mean", net.op("tanh", x), axes=(1,), keep=True)))


def test_the_pairs_are_these() -> None:
    lengths = (1, 2, 3, 4)
    assert looked_at(lengths) == {prompt for pair in RUNS | FIRST | ORDERS | LONGER for prompt in pair}
    found = colliding_pairs({n: constant(n) for n in lengths})
    assert {*found} == RUNS | FIRST  # where the first token is not seen, another order says no more
    short = {((1, 1), (1, 1, 1)), ((1, 2), (1, 3)), ((1, 2), (3, 2)), ((1, 2, 3), (4, 2, 3))}
    assert {*colliding_pairs({n: constant(n) for n in (2, 3)})} == short
    assert {*colliding_pairs({n: plain(n) for n in lengths})} == RUNS | FIRST
    assert {*colliding_pairs({n: mean(n) for n in lengths})} == RUNS | ORDERS | LONGER


def test_a_prefix_in_another_order_needs_three_tokens_and_a_double_two() -> None:
    assert [*reordered(1)] == []
    assert [*reordered(2)] == [((1, 2), (1, 2, 1, 2)), ((1, 2), (1, 1, 2, 2))]
    assert next(reordered(3)) == ((1, 2, 3), (2, 1, 3))


@pytest.mark.parametrize(
    ("first", "second", "family"),
    [
        ((1,), (1, 1), "repeated tokens"), ((1, 2), (1, 2, 1, 2), "powers of one word"),
        ((1, 2, 3), (2, 1, 3), "permuted prefixes"), ((1, 2), (1, 1, 2, 2), "proportional multisets"),
        ((1, 2), (3, 2), "window reach"), ((1, 2), (1, 2, 2), "window reach"), ((1, 1, 2), (1, 2), "window reach"),
        ((1, 2), (1, 3), "equal states"), ((2, 1), (1, 2), "equal states"), ((1,), (2,), "equal states"),
    ],
)  # fmt: skip
def test_a_family_is_the_same_in_both_orders(first: tuple[int, ...], second: tuple[int, ...], family: str) -> None:
    assert family_of(first, second) == family_of(second, first) == family
    alike = family in {"permuted prefixes", "proportional multisets", "repeated tokens", "powers of one word"}
    assert proportional(first, second) is proportional(second, first) is alike
