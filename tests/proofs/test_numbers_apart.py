"""What is not worked out stays apart: long constants, whole numbers, axes of two entries, mixtures of other weights."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product

import pytest

from proofs.kernel.value_numbering.arithmetic import LONGEST
from proofs.kernel.value_numbering.mixtures import mixture
from proofs.kernel.value_numbering.table import Table
from proofs.network.graph import Graph
from tests.proofs.numbering import VOCABULARY, WIDTH, equal, last_row, rows

LONG = 2 ** (LONGEST + 60)


def with_constant(operation: str, entries: Callable[[int], list[int]]) -> Callable[[int], Graph]:
    """A row and constants that depend on the length, one after the other."""

    def network(length: int) -> Graph:
        net, x = rows(length)
        last = last_row(net, x, length)
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


def test_a_sum_is_told_apart_where_a_multiple_of_it_is_too_long() -> None:
    """(x + n) times a long constant, of which n times the constant is not worked out."""

    def network(summand: Callable[[int], int]) -> Callable[[int], Graph]:
        def made(length: int) -> Graph:
            net, x = rows(length)
            last = net.op("add", last_row(net, x, length), net.constant(summand(length), (1, 1, WIDTH)))
            return net.graph(net.op("multiply", last, net.constant(LONG, (1, 1, WIDTH))))

        return made

    assert equal(network(lambda _: 2), (1,), (1, 1))
    assert not equal(network(lambda n: n), (1,), (1, 1))


@pytest.mark.parametrize("operation", ["add", "multiply", "maximum"])
def test_so_is_what_is_made_of_long_constants_alone(operation: str) -> None:
    def network(alike: bool) -> Callable[[int], Graph]:
        def made(length: int) -> Graph:
            net, x = rows(length)
            last = last_row(net, x, length)
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
        last = last_row(net, x, length)
        tokens = last_row(net, net.tokens(length, VOCABULARY), length)
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


class Mixtures:
    """Mixtures of two rows by the weights of one softmax, whose scores are one score and shifts of it."""

    def __init__(self) -> None:
        self.table = Table()
        self.score, self.row, *self.rows = (self.table.fresh() for _ in range(4))

    def weight(self, shift: Sequence[int], row: int | None = None) -> int:
        by = self.table.constant("real", (len(shift),), tuple(map(Fraction, shift)))
        return self.table.weigh(self.table.shift(self.score, by), self.row if row is None else row)

    def of(self, *shifts: Sequence[Sequence[int]]) -> int | None:
        """`shifts` of every row: those of its occurrences."""
        terms = [(self.weight(shift), row) for row, each in zip(self.rows, shifts, strict=True) for shift in each]
        return mixture(self.table, [weight for weight, _ in terms], [row for _, row in terms])


@pytest.mark.parametrize("second", list(product(range(4), repeat=2)), ids=str)
def test_steps_are_equal_in_every_entry(second: tuple[int, int]) -> None:
    """Of scores that are 0, m and n apart, one row is as far behind the other both times where n = 2 m."""
    for first in product(range(3), repeat=2):
        made = Mixtures()
        found = made.of([(0, 0)], [first]) == made.of([first], [second])
        assert found is (second == tuple(2 * entry for entry in first)), first


def test_counts_and_steps_enter_together() -> None:
    made = Mixtures()
    once = made.of([(0,)], [(1,)])
    assert made.of([(0,)] * 2, [(1,)] * 2) == once == made.of([(3,)], [(4,)])
    assert made.of([(0,)] * 3 + [(1,)], [(0,)] + [(1,)] * 3) != once
    assert made.of([(0,), (1,)], [(3,), (4,)]) == made.of([(0,)], [(3,)])
    assert made.of([(0,), (2,)], [(4,), (6,)]) == made.of([(0,)], [(4,)])
    assert made.of([(0,)], [(3,)]) != made.of([(0,)], [(4,)])


@pytest.mark.parametrize("last", [(2, 3), (2, 5), (3, 5), (3, 7)], ids=str)
def test_what_is_a_multiple_in_the_first_entry_alone_is_none(last: tuple[int, int]) -> None:
    made = Mixtures()
    multiple = (last[0], 2 * last[0])
    found = made.of([(0, 0)], [(1, 2), last])
    assert found not in (made.of([(0, 0)], [(1, 2), multiple]), made.of([(1, 2), last], [(0, 0)]))
    assert found == made.of([(0, 0)] * 2, [(1, 2), last] * 2)


def test_mixtures_of_one_number_have_one_value() -> None:
    """Of rows of which one is scored 0 and the other twice, entry by entry, for any two shifts."""
    made, seen = Mixtures(), dict[int | None, list[int]]()
    for first, second in product(product(range(3), range(5)), repeat=2):
        behind = [3**one + 3**two for one, two in zip(first, second, strict=True)]
        assert seen.setdefault(made.of([(0, 0)], [first, second]), behind) == behind, (first, second)


@pytest.mark.parametrize("before", range(4))
def test_the_first_numbers_of_a_table_are_like_any_other(before: int) -> None:
    table = Table()
    for _ in range(before):
        table.fresh()
    one = table.constant("real", (1,), (Fraction(1),))
    score, row, *rows = (table.fresh() for _ in range(4))
    plain, shifted = table.weigh(score, row), table.weigh(table.shift(score, one), row)
    assert mixture(table, [plain, shifted], rows) != mixture(table, [plain, plain], rows)


def test_weights_of_anything_else_make_no_mixture() -> None:
    made = Mixtures()
    plain, other = made.table.fresh(), made.table.fresh()
    known, elsewhere = made.weight((0,)), made.weight((1,), row=other)
    assert mixture(made.table, [known, made.weight((1,))], made.rows) is not None
    for weights in ([known, plain], [plain, known], [plain, plain], [known, elsewhere], [elsewhere, known]):
        assert mixture(made.table, weights, made.rows) is None
        assert mixture(made.table, weights, [made.rows[0]] * 2) == made.rows[0]
