"""What one more of everything adds to a price, in microseconds and bytes; and that no more is done than was paid.

The figures were measured on one processor. They stand here once more because a price that is too low says nothing
false, and so no other test would see it: only a check would take longer than it was allowed to.
"""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.kernel import price
from proofs.kernel.price import TooLarge, afford, evaluation
from proofs.network.graph import Graph, Node, TensorType
from proofs.operations import REGISTRY
from proofs.operations.interpreter import live
from proofs.recomputed.price import ALGEBRA
from tests.adversary.prompts import GENERATORS, network
from tests.proofs.bills import bill, near
from tests.proofs.bombs import attention, scattered
from tests.proofs.building import Net

NINE = TensorType((9,), "real")


# The limit.


def test_the_limits_are_those_of_the_reference() -> None:
    """About ten seconds and half a gigabyte; an hour and twelve gigabytes for claims about weights; of algebra two."""
    assert (price.USUAL, price.MEMORY, ALGEBRA) == (10e6, 500e6, 2e6)
    assert price.DEARER == {"regularity": 13e6, "separation": 4000e6, "vocabulary-margin": 4000e6}
    assert set(price.LARGER.values()) == {12e9}


COSTS = st.floats(0, 3e7)


@given(st.lists(st.tuples(COSTS, st.floats(0, 2e9)), max_size=4), st.sampled_from([0.25, 1.0, 3.0]),
       st.sampled_from(["regularity", "witness"]))  # fmt: skip
def test_what_is_within_the_limit_is_paid_and_the_rest_is_left(
    rows: list[tuple[float, float]], limit: float, kind: str
) -> None:
    usual = {"regularity": 13e6, "witness": 10e6}[kind] * limit
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(price, "parts", lambda certificate, kind, more: (("part", *row) for row in rows))
        if sum(cost for cost, _ in rows) > usual or any(size > 500e6 * limit for _, size in rows):
            with pytest.raises(TooLarge, match=r"^its part take"):
                afford({}, kind, limit)
        else:
            left = usual - sum(cost for cost, _ in rows)
            assert afford({}, kind, limit) == pytest.approx(left, abs=1e-3)


@pytest.mark.parametrize("part", ["nodes", "equal states", *price.LARGER])
def test_what_is_computed_with_weights_at_hand_may_hold_more_and_nothing_else_may(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1e9, 1.1e9, 24e9, 24.1e9):
        monkeypatch.setattr(price, "parts", lambda certificate, kind, more, size=size: [(part, 0.0, size)])
        if size <= (24e9 if part in price.LARGER else 1e9):
            assert afford({}, "separation", 2.0) == 8000e6
        else:
            with pytest.raises(TooLarge):
                afford({}, "separation", 2.0)


def test_the_parts_that_may_hold_more_are_those_of_claims_about_weights() -> None:
    graph = attention(2)
    prompts = [{"token_ids": [1, 2], "bits": 64, "enclosures": []}] * 2
    certificate = {"graphs": [graph.to_json()], "prompts": prompts, "tokens": 9}
    assert set(price.LARGER) < set(bill(certificate, "vocabulary-margin"))
    assert not set(price.LARGER) & set(bill(certificate, "generic-position"))


@pytest.mark.parametrize("limit", [0.25, 1.0, 3.0])
@pytest.mark.parametrize(("cost", "size"), [(10e6, 0.0), (0.0, 500e6), (10e6, 500e6)])
def test_the_limit_itself_is_within_and_nothing_more(
    cost: float, size: float, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for more, held in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)):
        part = ("part", cost * limit + more, size * limit + held)
        monkeypatch.setattr(price, "parts", lambda certificate, kind, more, part=part: [part])
        if part[1] <= 10e6 * limit and part[2] <= 500e6 * limit:
            assert afford({}, "witness", limit) == 10e6 * limit - part[1]
        else:
            with pytest.raises(TooLarge):
                afford({}, "witness", limit)


# Rows of graphs.

PLACES = {  # where graphs stand, and what a row costs there: one that is derived, or only read
    "graph": (lambda data: {"graph": data}, 120),
    "witness": (lambda data: {"witness": {"graph": data}}, 120),
    "closest": (lambda data: {"closest": {"graphs": [data]}}, 120),
    "graphs": (lambda data: {"graphs": [data]}, 120),
    "graphs by length": (lambda data: {"graphs": {"1": data}}, 120),
    "other lengths": (lambda data: {"other_lengths": {"1": data}}, 80),
}  # fmt: skip
BLOCKS = st.lists(st.tuples(st.integers(1, 5), st.lists(st.integers(0, 4), min_size=1, max_size=3)), max_size=3)


@pytest.mark.parametrize("place", PLACES)
@given(single=st.lists(st.integers(0, 9), max_size=4), blocks=BLOCKS)
def test_rows_cost_by_their_number_their_arguments_and_the_characters_of_blocks(
    place: str, single: list[int], blocks: list[tuple[int, list[int]]]
) -> None:
    wrapped, row = PLACES[place]
    plain: list[Any] = [["add", [0] * count, 0, 0, 0] for count in single]
    repeated: list[Any] = [{"times": n, "rows": [["add", [0] * k, 0, 0, 0] for k in each]} for n, each in blocks]
    rows = len(single) + sum(n * len(each) for n, each in blocks)
    arguments = sum(single) + sum(n * sum(each) for n, each in blocks)
    characters = sum(len(str(entry["rows"])) * entry["times"] for entry in repeated)
    certificate = wrapped({"nodes": [*plain, *repeated]})
    size = 1000 * rows + 8 * arguments + 2 * characters
    assert bill(certificate)["nodes"] == near(row * rows + row / 5 * arguments + characters / 20, size)
    silenced = {**certificate, "claim": {"zeroed": ["e"]}}
    assert bill(silenced)["nodes"][0] == bill(certificate)["nodes"][0]
    for claim, each in (({"zeroed": ["e"]}, row + 300), ({"zeroed": []}, row), ({}, row), (None, row)):
        cost = bill({**certificate, "claim": claim}, "generic-position")["nodes"][0]
        assert cost == pytest.approx(each * rows + each / 5 * arguments + characters / 20)


def test_every_graph_is_counted_and_one_that_is_none_hides_no_other() -> None:
    graph = kept(7).to_json()
    once, other = bill({"graph": graph}), bill({"graph": power(9).to_json()})
    for first, second in ((graph, power(9).to_json()), (power(9).to_json(), graph)):
        assert bill({"graphs": [first, second]})["powers"][0] == once["powers"][0] + other["powers"][0]
    for both in (
        {"graphs": [graph, graph]},
        {"graph": graph, "witness": {"graph": graph}},
        {"graphs": [{}, graph, graph]},
    ):
        counted = bill(both)
        for what in ("nodes", "constants and masks", "powers"):
            assert counted[what] == near(2 * once[what][0], 2 * once[what][1])


# Constants and masks.


def kept(size: int) -> Graph:
    """A constant, added to a parameter, and a power."""
    net = Net()
    constant, free = net.constant(1, (size,)), net.parameter("p", size)
    return net.graph(net.op("power", net.op("add", constant, free), exponent=5))


def written(make: Any) -> Graph:
    net = Net()
    make(net)
    return net.graph()


MINUS = float("-inf")


def masked(net: Net, *shape: int) -> int:
    """A mask on a parameter."""
    return net.op("add", net.parameter("p", *shape), net.constant(MINUS, shape))


ENTRIES: dict[str, tuple[Any, int, int]] = {  # what is written out, and of how many masked entries it is only read
    "a parameter": (lambda net: net.op("exp", net.parameter("p", 7)), 0, 0),
    "a constant": (lambda net: net.constant(1, (7,)), 7, 0),
    "what is made of a constant": (lambda net: net.op("exp", net.constant(1, (7,))), 14, 0),
    "what is made of several": (lambda net: net.op("add", net.constant(1, (7,)), net.constant(2, (7,))), 21, 0),
    "what is made of what is made": (lambda net: net.op("exp", net.op("exp", net.constant(1, (7,)))), 21, 0),
    "a constant beside a parameter": (lambda net: net.op("add", net.constant(1, (7,)), net.parameter("p", 7)), 7, 0),
    "a parameter beside a constant": (lambda net: net.op("add", net.parameter("p", 7), net.constant(1, (7,))), 7, 0),
    "a constant that is not known": (
        lambda net: net.op("exp", net.op("constant", shape=(7,), kind="real", value=None)), 0, 0),
    "partial sums": (lambda net: net.op("cumulative_sum", net.parameter("p", 7), axis=0), 7, 0),
    "a mask": (lambda net: masked(net, 7), 14, 0),
    "a mask of some entries": (
        lambda net: net.op("add", net.parameter("p", 2), net.constant([0, MINUS], (2,))), 4, 0),
    "no mask": (lambda net: net.op("add", net.parameter("p", 2), net.constant([0, float("inf")], (2,))), 2, 0),
    "a mask that is read": (lambda net: net.op("softmax", masked(net, 7), axis=0), 14, 7),
    "a mask that is read beside more": (
        lambda net: net.op("matmul", masked(net, 2, 3), net.parameter("q", 3, 5)), 12, 15),
    "more beside a mask that is read": (
        lambda net: net.op("matmul", net.parameter("q", 5, 2), masked(net, 2, 3)), 12, 10),
    "a mask that is read twice": (lambda net: net.op("tanh", net.op("softmax", masked(net, 7), axis=0)), 14, 7),
    "a mask from which is taken": (lambda net: net.op("subtract", masked(net, 7), net.parameter("q", 7)), 21, 0),
    "the larger of a mask": (lambda net: net.op("maximum", net.parameter("q", 7), masked(net, 7)), 21, 0),
    "a mask that is moved": (lambda net: net.op("permute", masked(net, 2, 3), order=(1, 0)), 18, 0),
    "a mask that is moved twice": (
        lambda net: net.op("reshape", net.op("expand", masked(net, 1, 7), shape=(2, 7)), shape=(14,)), 42, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_that_are_written_out_cost_a_microsecond_and_two_places_each(name: str) -> None:
    make, entries, read = ENTRIES[name]
    graph = written(make)
    assert bill({"graph": graph.to_json()})["constants and masks"] == near(entries + 0.003 * read, 16 * entries)
    beside = bill({"graphs": [graph.to_json(), kept(5).to_json()]})["constants and masks"]
    assert beside == near(entries + 5 + 0.003 * read, 16 * (entries + 5))


def power(exponent: Any) -> Graph:
    node = Node("power", (0,), {"exponent": exponent}, NINE, "", "")
    return Graph((Node("parameter", (), {"name": "p"}, NINE, "", ""), node, node), (), 2, 1)


@pytest.mark.parametrize(
    ("exponent", "digits"),
    [(0, 0), (1, 1), (2, 2), (5, 3), (10**6 - 1, 20), (10**6, 0), (-1, 0), (True, 0), ("5", 0), (Fraction(5), 0)],
)
def test_a_power_costs_by_the_digits_of_its_exponent(exponent: Any, digits: int) -> None:
    """One that no operation takes costs nothing: the kernel refuses it."""
    assert bill({"graph": power(exponent).to_json()})["powers"] == near(2 * 70 * digits, 0)
    assert evaluation(power(exponent))[0] == pytest.approx(80 + 9 * digits + 0.05 * 9)


# Evaluations.

BALL_COSTS: dict[str, tuple[Any, float, int]] = {  # of one node and its leaves, each 40 besides; and the balls it makes
    "moved": (lambda net: net.op("permute", net.parameter("p", 3, 5), order=(1, 0)), 0.05 * (15 + 30), 15),
    "added": (lambda net: net.op("add", net.parameter("p", 3, 5), net.parameter("q", 3, 5)), 1.5 + 0.5 * 15, 45),
    "clamped": (lambda net: net.op("clamp", net.parameter("p", 3, 5), lower=0, upper=1), 0.05 * 15 + 0.5 * 15, 30),
    "negated": (lambda net: net.op("negate", net.parameter("p", 3, 5)), 0.05 * 15 + 0.5 * 15, 30),
    "raised": (lambda net: net.op("power", net.parameter("p", 3, 5), exponent=9), 0.05 * 15 + 0.5 * 2 * 15 * 4, 30),
    "multiplied": (lambda net: net.op("matmul", net.parameter("p", 3, 5), net.parameter("q", 5, 7)),
                   0.05 * (15 + 35) + 0.06 * 21 * 5 + 0.5 * (21 + 15 + 35), 71),
    "a function": (lambda net: net.op("tanh", net.parameter("p", 3, 5)), 0.05 * 15 + 3 * 30, 30),
    "an error function": (lambda net: net.op("erf", net.parameter("p", 3, 5)), 0.05 * 15 + 6 * 30, 30),
    "a gate": (lambda net: net.op("gelu", net.parameter("p", 3, 5)), 0.05 * 15 + 6 * 30, 30),
    "a sum": (lambda net: net.op("sum", net.parameter("p", 3, 5), axes=(1,), keep=True), 0.05 * 15 + 3 * 18, 18),
    "an unknown one": (lambda net: net.op("nobody knows", net.parameter("p", 3, 5)), 0.05 * 15 + 3 * 30, 30),
}  # fmt: skip


@pytest.mark.parametrize("name", BALL_COSTS)
def test_an_evaluation_costs_by_what_its_operations_do(name: str) -> None:
    make, cost, balls = BALL_COSTS[name]
    graph = written(make)
    moves = sum(node.type.size for node in graph.nodes if node.operation == "permute")
    assert evaluation(graph) == near(cost + 40 * len(graph.nodes), 120 * balls + 8 * moves)


def test_a_scatter_costs_for_every_place_of_what_is_written() -> None:
    def make(net: Net) -> int:
        places = net.op("reshape", net.tokens(2, 9), shape=(2,))
        return net.op("scatter", net.parameter("p", 5), places, net.parameter("q", 2), axis=0)

    leaves_and_places = 0.05 * (2 + (2 + 2) + 5 + 2)
    assert evaluation(written(make))[0] == pytest.approx(40 * 5 + leaves_and_places + 0.05 * 5 * 2)


def test_a_scatter_costs_for_every_place_that_it_may_fill() -> None:
    graph = scattered(6)
    tokens_table_taken_expanded = 0.05 * (9 + 1 + (1 + 9 + 1) + (6 + 1) + 1 + (6 + 1))
    cost = tokens_table_taken_expanded + 0.05 * 6 * 6 + 3 * (6 + 1)
    assert evaluation(graph)[0] == pytest.approx(cost + 40 * len(graph.nodes))


def test_nothing_is_paid_for_what_the_output_does_not_depend_on() -> None:
    net = Net()
    net.op("exp", net.parameter("wide", 10**6))
    alone = net.graph(net.op("tanh", net.parameter("p", 3)))
    assert evaluation(alone) == evaluation(written(lambda net: net.op("tanh", net.parameter("p", 3))))


@pytest.mark.parametrize("operation", sorted(REGISTRY))
def test_every_operation_costs_at_least_a_hundredth_of_a_microsecond_for_an_entry(operation: str) -> None:
    for size in (1, 10, 1000):
        node = Node(operation, (0, 0, 0), {"exponent": 2}, TensorType((size,), "real"), "", "")
        graph = Graph((Node("parameter", (), {"name": "p"}, NINE, "", ""), node), (), 1, 1)
        assert evaluation(graph)[0] >= 80 + 0.01 * size


@pytest.mark.parametrize("operation", sorted(REGISTRY))
def test_a_node_without_its_arguments_has_a_price(operation: str) -> None:
    """The kernel says what is wrong with it."""
    graph = Graph((Node(operation, (), {}, NINE, "", ""),), (), 0, 1)
    assert evaluation(graph)[0] >= 40


@pytest.mark.parametrize("length", [2, 3, 5])
@pytest.mark.parametrize("layers", [1, 2])
def test_longer_deeper_and_wider_networks_cost_more(length: int, layers: int) -> None:
    here = attention(length, layers)
    for more in (attention(length + 1, layers), attention(length, layers + 1)):
        assert all(a < b for a, b in zip(evaluation(here), evaluation(more), strict=True))
    for size in (1, 2, 40):
        small, large = (wider(size + extra) for extra in (0, 1))
        assert all(a < b for a, b in zip(evaluation(small), evaluation(large), strict=True))


def wider(width: int) -> Graph:
    net = Net()
    x = net.op("take", net.parameter("e", 9, width), net.tokens(2, 9), axis=0)
    return net.graph(net.op("softmax", net.op("matmul", x, net.parameter("w", width, width)), axis=2))


# No more is done than was paid.


@pytest.mark.parametrize("generator", sorted(GENERATORS))
def test_the_entries_that_are_made_were_paid(generator: str) -> None:
    """Every entry of a result costs something, and a ball that is made holds at least a place."""
    for seed in range(3):
        for graph in network(generator, seed).values():
            work, held = evaluation(graph)
            entries = sum(graph.nodes[index].type.size for index in live(graph))
            assert work >= 40 * len(live(graph)) + 0.05 * entries
            assert held >= 8 * entries
