"""What claims about weights pay: steps in fixed point and in Arb, enclosures, distances, and a whole vocabulary."""

import math
from typing import Any

import numpy as np
import pytest

from proofs.arithmetic.fixed_point import integers
from proofs.arithmetic.lanes import Laned, Lanes
from proofs.arithmetic.midpoint import Midpoint
from proofs.door import KINDS
from proofs.enclosures import distances
from proofs.enclosures.continuations import ROWS, Continuations
from proofs.enclosures.distances import separation
from proofs.enclosures.enclosure import Enclosure
from proofs.errors import Unsupported
from proofs.kernel.price import LARGER, MEMORY, TooLarge, afford
from proofs.network.graph import Graph
from proofs.operations import REGISTRY
from proofs.operations.interpreter import live
from proofs.recomputed.price_of_vocabulary import DIRECT, DISTANCE, MEASURED, PAIR, of_pairs
from proofs.recomputed.reach import boxes
from tests.adversary.prompts import GENERATORS, network
from tests.proofs.bills import bill
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import weights_of


def row(length: int, bits: int = 360, sizes: Any = ()) -> dict[str, Any]:
    return {"token_ids": [1] * length, "bits": bits, "enclosures": [{"bytes": size} for size in sizes]}


def paid(graph: Graph, rows: list[Any], **more: Any) -> dict[str, tuple[float, float]]:
    return bill({"graphs": [graph.to_json()], "prompts": rows, **more}, "separation")


# Fixed point.


def test_constants_are_made_for_every_prompt_and_every_segment() -> None:
    def evaluated(size: int, products: int, prompts: int) -> float:
        net = Net()
        x = net.op("take", net.parameter("e", 9, 4), net.tokens(1, 9), axis=0)
        beside = net.op("slice", net.constant(list(range(size)), (size,)), axis=0, start=0, stop=1, step=1)
        x = net.op("add", x, beside)
        for place in range(products):
            x = net.op("matmul", x, net.parameter(f"w{place}", 4, 4))
        return paid(net.graph(x, layer=0), [row(1)] * prompts)["steps in fixed point"][0]

    for products, prompts in ((1, 1), (1, 3), (4, 1), (4, 3)):
        more = evaluated(2_000, products, prompts) - evaluated(1_000, products, prompts)
        assert more == pytest.approx(7 * 1_000 * products * prompts)


def test_products_cost_by_their_bits_and_by_their_squares_where_both_factors_are_computed() -> None:
    net = Net()
    x = net.op("take", net.parameter("e", 9, 64), net.tokens(64, 9), axis=0)
    weights = net.graph(net.op("matmul", x, net.parameter("w", 64, 64)))
    both = net.graph(net.op("matmul", x, net.op("permute", x, order=(0, 2, 1))))
    cost = {(name, bits): paid(graph, [row(64, bits)])["steps in fixed point"][0]
            for name, graph in (("weights", weights), ("both", both)) for bits in (360, 720)}  # fmt: skip
    assert cost["weights", 720] == pytest.approx(2 * cost["weights", 360], rel=0.1)
    assert cost["both", 720] == pytest.approx(4 * cost["both", 360], rel=0.2)
    assert cost["both", 360] > 0.035 * 64**3  # measured
    assert paid(weights, [row(64, 10**5)]) == paid(weights, [row(64, 960)])  # which the kernel refuses


def test_memory_is_that_of_all_that_is_held_at_once() -> None:
    def size(copies: int, depth: int) -> float:
        net = Net()
        x = net.op("take", net.parameter("e", 9, 50), net.tokens(20, 9), axis=0)
        parts = [net.op("negate", x) for _ in range(copies)]
        for _ in range(depth):
            x = net.op("negate", x)
        for part in parts:
            x = net.op("add", x, part)
        return paid(net.graph(x), [row(20)])["steps in fixed point"][1]

    one = 1_000 * (44 + 360 / 7)
    assert size(9, 1) - size(1, 1) == pytest.approx(8 * one)
    assert size(1, 9) == size(1, 2)


def test_a_view_keeps_what_it_is_a_view_of() -> None:
    def size(how: str) -> float:
        net = Net()
        x = net.op("negate", net.op("take", net.parameter("e", 9, 50), net.tokens(20, 9), axis=0))
        y = net.op(how, x, shape=(1, 20, 50)) if how == "reshape" else net.op(how, x)
        for _ in range(3):
            y = net.op("add", y, net.op("negate", y))
        return paid(net.graph(y), [row(20)])["steps in fixed point"][1]

    assert size("reshape") >= size("negate")


def test_views_of_weights_are_free_but_each_that_is_cut_again_is_held() -> None:
    def evaluated(views: int) -> tuple[float, float]:
        net = Net()
        table = net.parameter("e", 900, 4)
        x = net.op("take", table, net.tokens(1, 900), axis=0)
        for start in range(views):
            part = net.op("slice", table, axis=0, start=start, stop=start + 800, step=1)
            x = net.op("matmul", net.op("matmul", x, net.op("permute", part, order=(1, 0))), part)
        return paid(net.graph(x, layer=0), [row(1)])["steps in fixed point"]

    one, five = evaluated(1), evaluated(5)
    assert five[1] - one[1] >= 0.999 * 12 * 8 * 3_200
    net = Net()
    table = net.parameter("e", 10**6, 400)
    for _ in range(9):
        table = net.op("permute", table, order=(1, 0))
    first = net.op("slice", table, axis=1, start=0, stop=1, step=1)
    x = net.op("take", net.parameter("e", 10**6, 400), net.tokens(1, 10**6), axis=0)
    assert paid(net.graph(net.op("matmul", x, first)), [row(1)])["steps in fixed point"] < (10**4, 10**7)


def test_claims_about_weights_may_hold_more_than_others() -> None:
    """Eight heads of scores of 700 tokens, and of ten times as many."""
    for length, fits in ((700, True), (7_000, False)):
        net = Net()
        x = net.op("take", net.parameter("e", 9, 64), net.tokens(length, 9), axis=0)
        heads = net.op("permute", net.op("reshape", x, shape=(1, length, 8, 8)), order=(0, 2, 1, 3))
        scores = net.op("matmul", heads, net.op("permute", heads, order=(0, 1, 3, 2)))
        mixed = net.op("matmul", net.op("softmax", scores, axis=3), heads)
        x = net.op("reshape", net.op("permute", mixed, order=(0, 2, 1, 3)), shape=(1, length, 64))
        certificate = {"graphs": [net.graph(x).to_json()], "prompts": [row(length)] * 2}
        if fits:
            assert MEMORY < bill(certificate, "separation")["steps in fixed point"][1] <= LARGER["steps in fixed point"]
            assert afford(certificate, "separation", 1.0, KINDS["separation"].price) > 0
        else:
            with pytest.raises(TooLarge):
                afford(certificate, "separation", 1.0, KINDS["separation"].price)


# Arb.


def test_the_two_dearest_steps_are_paid_in_arb_with_the_weights_that_they_read() -> None:
    def steps(widths: list[int], every: int = 1, bits: int = 360, prompts: int = 2) -> tuple[float, float]:
        net = Net()
        x = net.op("take", net.parameter("e", 9, 4), net.tokens(30, 9), axis=0)
        for place, width in enumerate(widths):
            x = net.op("matmul", x, net.parameter(f"up{place}", 4, width))
            x = net.op("matmul", x, net.parameter(f"down{place}", width, 4))
        return paid(net.graph(x, layer=0), [row(30, bits)] * prompts, every=every)["steps in Arb"]

    assert steps([200] * 3)[0] == pytest.approx(steps([200])[0])
    assert steps([200] * 4, every=2)[0] == pytest.approx(2 * steps([200])[0], rel=0.01)
    assert steps([50, 200, 50])[0] == pytest.approx(steps([200])[0], rel=0.01)
    assert steps([200], prompts=9) == steps([200])
    assert steps([200])[0] > 2 * 0.012 * 30 * 1_600
    assert steps([200], bits=720)[0] > 1.1 * steps([200])[0]
    assert steps([200])[1] - steps([100])[1] >= 120 * 800


# Enclosures and distances.


def test_enclosures_are_paid_by_what_stands_in_the_file_and_what_their_numbers_take() -> None:
    graph = attention_net()  # of width 4, for 3 tokens
    assert paid(graph, [row(3)])["enclosures"] == (0, 0)
    one = paid(graph, [row(3, sizes=[100])])["enclosures"]
    three = paid(graph, [row(3, sizes=[100] * 3)] * 5)["enclosures"]
    assert one[0] == pytest.approx(0.3 * 4) and one[1] >= 4 * (24 + 100 * 32 / 30 + 8)
    assert three == pytest.approx((5 * 7 * one[0], 5 * 7 * one[1]))
    assert paid(graph, [row(3, sizes=[9])])["enclosures"][1] < one[1]
    held = paid(graph, [row(3, sizes=[100] * 900)] * 5)
    for part in ("steps in fixed point", "steps in Arb"):
        assert held[part][1] - paid(graph, [row(3)] * 5)[part][1] == pytest.approx(held["enclosures"][1])


def test_every_two_states_are_paid_and_of_very_many_only_as_many_exactly_as_of_a_smaller_set() -> None:
    graph = attention_net()
    cost = {n: paid(graph, [row(3)] * n)["distances"][0] for n in (2, 3, 1_000, 1_500, 20_000)}
    assert cost[3] == pytest.approx(3 * cost[2])
    assert cost[1_000] == pytest.approx(math.comb(1_000, 2) * cost[2])
    more = cost[20_000] - cost[1_500]
    assert 0 < more < (math.comb(20_000, 2) - math.comb(1_500, 2)) * cost[2] / 100
    assert math.comb(1_500, 2) == distances.MOST_EXACT


def test_no_more_pairs_are_done_exactly_than_were_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [Enclosure(64, integers([place % 3], (1, 1)), (9,)) for place in range(12)]  # all may meet
    monkeypatch.setattr(distances, "MOST_EXACT", 66)
    assert len(separation(states).unresolved) == 66
    monkeypatch.setattr(distances, "MOST_EXACT", 65)
    with pytest.raises(Unsupported, match="apart"):
        separation(states)


# A vocabulary.


def asked(graph: Graph, tokens: int, **more: Any) -> dict[str, Any]:
    return {"graphs": [graph.to_json()], "tokens": tokens, **more}


def test_a_graph_that_stands_twice_is_paid_once_and_another_beside_it_too() -> None:
    graph, other = attention_net(), attention_net(activation="gelu")
    once = bill(asked(graph, 500), "vocabulary-margin")
    inside = bill(asked(graph, 500, closest={"graphs": [graph.to_json()]}), "vocabulary-margin")
    both = bill(asked(graph, 500, closest={"graphs": [other.to_json()]}), "vocabulary-margin")
    alone = bill(asked(other, 500), "vocabulary-margin")
    for part in ("vocabulary", "sample in Arb"):
        assert inside[part] == once[part]
        assert both[part][0] == pytest.approx(once[part][0] + alone[part][0])
    closest = {"graphs": [graph.to_json()], "prompts": [row(3)] * 4}
    assert bill(asked(graph, 500, closest=closest), "vocabulary-margin")["steps in fixed point"] == paid(
        graph, [row(3)] * 4)["steps in fixed point"]  # fmt: skip


def test_states_and_pairs_of_tokens_are_paid_and_what_they_share_once_for_a_batch() -> None:
    graph = attention_net()
    one, two, four = (bill(asked(graph, count), "vocabulary-margin")["vocabulary"] for count in (10**4, 10**5, 10**6))
    assert one[0] < two[0] < four[0] and two[0] - one[0] < 9 * 10**4 * 128
    assert four[1] - one[1] >= 2 * 8 * (10**6 - 10**4) * 4  # midpoints of all states are held


@pytest.mark.parametrize(("tokens", "direct"), [(2, 1), (10, 45), (300, 44850), (1024, 131072), (1025, 196608)])
def test_all_pairs_of_tokens_are_sieved_and_so_many_measured(tokens: int, direct: int) -> None:
    """Of few tokens all pairs; else 65,536 for 512 tokens, beyond which the search gives up."""
    for width in (1, 700):
        alone, each = of_pairs(tokens, 0), (of_pairs(tokens, width) - of_pairs(tokens, 0)) / width
        assert alone == pytest.approx(tokens**2 * PAIR + direct * MEASURED)
        assert each == pytest.approx(tokens**2 * DISTANCE + direct * DIRECT)
        assert bill(asked(attention_net(), tokens), "vocabulary-margin")["distances"][0] == of_pairs(tokens, 4)


def later(length: int, causal: bool = True) -> Graph:
    """Attention in which a position sees those before it, or all, and the norm of a wide step after it."""
    net = Net()
    x = net.op("take", net.parameter("e", 50, 8), net.tokens(length, 50), axis=0)
    scores = net.op("matmul", x, net.op("permute", x, order=(0, 2, 1)))
    if causal:
        mask = [0 if j <= i else float("-inf") for i in range(length) for j in range(length)]
        scores = net.op("add", scores, net.constant(mask, (1, length, length)))
    x = net.op("add", x, net.op("matmul", net.op("softmax", scores, axis=2), x))
    wide = net.op("silu", net.op("matmul", x, net.parameter("up", 8, 300)))
    return net.graph(net.op("add", x, net.op("matmul", wide, net.parameter("down", 300, 8))))


def test_what_a_causal_prefix_shares_is_paid_once_and_what_sees_the_last_token_for_each() -> None:
    tokens = 10**4
    cost = {(length, causal): bill(asked(later(length, causal), tokens), "vocabulary-margin")["vocabulary"][0]
            for length in (2, 40) for causal in (True, False)}  # fmt: skip
    assert cost[40, True] < 3 * cost[2, True]
    assert cost[40, False] > 5 * cost[2, False]


def test_states_of_a_function_that_is_left_to_arb_are_dearer() -> None:
    costs = [bill(asked(attention_net(activation=one), 10**5), "vocabulary-margin")["vocabulary"][0]
             for one in ("tanh_gelu", "gelu")]  # fmt: skip
    assert costs[1] - costs[0] > 3 * 10**5 * 4


def test_a_comparison_that_differs_from_token_to_token_is_paid_for_each() -> None:
    net = Net()
    x = net.op("take", net.parameter("e", 50, 8), net.tokens(4, 50), axis=0)
    larger = net.op("greater", x, net.constant(0))
    found = boxes(net.graph(net.op("select", larger, x, net.constant(0))))
    assert found is not None and found[larger] == found[x] == (1, 1, 8)


def computed_boxes(graph: Graph, tokens: list[int]) -> dict[int, tuple[int, ...]]:
    """What varies in an evaluation with weights that are drawn."""
    opened = Continuations.of(graph, weights_of(graph), [0] * (graph.length - 1))
    lanes, last = Lanes(Midpoint()), graph.length - 1
    values: dict[int, Any] = {}
    for index in live(opened.graph):
        node = opened.graph.nodes[index]
        if node.operation == "constant":
            constant = opened.graph.constant(node)
            assert constant is not None
            values[index] = lanes.constant(constant)
        elif node.operation == "parameter":
            name = str(node.attributes["name"])
            values[index] = opened.weights.get(name)
            for table in opened.tables:
                if name == ROWS.format(table):
                    base = opened.tables[table][[0] * last + tokens[:1]].astype(np.float64)[None]
                    varies = np.zeros(base.shape, dtype=np.bool_)
                    varies[:, last] = True
                    box = (slice(0, 1), slice(last, last + 1), slice(0, base.shape[2]))
                    lanes_of = opened.tables[table][tokens].astype(np.float64)[:, None, None]
                    values[index] = Laned(base, lanes_of, varies, box)
        else:
            operation = REGISTRY[node.operation]
            values[index] = operation.evaluate(lanes, [values[i] for i in node.arguments], node.attributes)
    return {index: tuple(side.stop - side.start for side in value.box)
            for index, value in values.items() if isinstance(value, Laned)}  # fmt: skip


@pytest.mark.parametrize("generator", [*sorted(GENERATORS), "attention", "causal", "all"])
def test_no_more_varies_than_is_paid(generator: str) -> None:
    """In as many networks as can be evaluated so; whatever is left out is paid whole."""
    own = {"attention": [attention_net()], "causal": [later(5)], "all": [later(5, causal=False)]}
    graphs = own.get(generator) or [graph for seed in range(6) for graph in network(generator, seed).values()]
    for graph in graphs:
        if graph.length < 2:
            continue
        found = boxes(graph)
        if found is None:
            assert generator not in own
            continue
        try:
            true = computed_boxes(graph, [0, 1])
        except (Unsupported, ArithmeticError):
            continue
        for index, box in true.items():
            assert len(found[index]) == len(box) and all(a <= b for a, b in zip(box, found[index], strict=True))


def test_a_graph_of_which_no_box_is_known_is_paid_whole() -> None:
    net = Net()
    x = net.op("take", net.parameter("e", 9, 4), net.tokens(2, 9), axis=0)
    ranked = net.op("top_indices", net.parameter("w", 6), axis=0, count=4)
    y = net.op("take", net.parameter("w", 6), ranked, axis=0)
    graph = net.graph(net.op("add", x, y))
    assert boxes(graph) is None
    assert boxes(attention_net()) is not None
    data = graph.to_json()
    forged = {**data, "types": [[[*shape[:-1], 1], kind] for shape, kind in data["types"]]}
    assert boxes(Graph.from_json(forged)) is None
    assert bill({"graphs": [data], "tokens": 10**5}, "vocabulary-margin")["vocabulary"][0] > 10**5 * 0.02 * 8


def test_leaves_that_are_read_whole_are_paid_and_those_of_which_rows_are_taken_are_not() -> None:
    def evaluated(size: int, make: Any) -> float:
        net = Net()
        x = net.op("take", net.parameter("e", size, 1), net.tokens(1, size), axis=0)
        y = make(net, net.parameter("e", size, 1))
        body = {"graphs": [net.graph(net.op("add", x, y), layer=0).to_json()], "prompts": [{"token_ids": [1]}]}
        return bill(body, "separation")["steps in fixed point"][0]

    def scattered(net: Net, weights: int) -> int:
        places = net.constant([0], (1, 1), "integer")
        return net.op("slice", net.op("scatter", weights, places, net.constant(1, (1, 1)), axis=0),
                      axis=0, start=0, stop=1, step=1)  # fmt: skip

    rows = lambda net, weights: net.op("slice", weights, axis=0, start=0, stop=1, step=1)  # noqa: E731
    total = lambda net, weights: net.op("sum", weights, axes=(0,), keep=True)  # noqa: E731
    for make, each in ((rows, 0), (total, 0.2), (scattered, 0.05)):
        more = evaluated(2_000, make) - evaluated(1_000, make)
        assert more >= 1_000 * each and (each or not more)
