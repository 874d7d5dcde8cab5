"""What each kind of certificate pays beside its graphs: evaluations, prompts, patterns, pairs and determinants."""

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from proofs.kernel import price
from proofs.kernel.collisions import find_collisions
from proofs.kernel.price import evaluation
from proofs.kernel.result import Rejected
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph, Node, TensorType
from proofs.operations.interpreter import live
from tests.proofs.bills import bill, near
from tests.proofs.bombs import attention, parameters, step, triples
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import gpt2

NINE = TensorType((9,), "real")


# The witness of a class.


@pytest.mark.parametrize(("bits", "passes"), [(128, 6), (64, 6), (0, 6), (192, 9), (256, 12), (None, 6)])
def test_a_stored_witness_is_evaluated_six_times_and_longer_with_more_digits(bits: Any, passes: float) -> None:
    graph, own = parameters(7), parameters(11)
    work, size = evaluation(graph)
    paid = (passes * work + 1.5 * 6 * 7, size + 120 * 6 * 7)
    shown = {"graph": graph.to_json(), "witness": {"bits": bits}}
    assert bill(shown)["evaluations"] == near(*paid)
    assert bill({**shown, "other_lengths": {"3": own.to_json()}})["evaluations"] == near(*paid)
    assert "evaluations" not in bill({**shown, "witness": None})
    for kind in ("separation", "generic-position"):
        assert "evaluations" not in bill(shown, kind)
    work, size = evaluation(own)
    inside = bill({**shown, "witness": {"bits": bits, "graph": own.to_json()}})["evaluations"]
    assert inside == near(passes * work + 1.5 * 6 * 11, size + 120 * 6 * 11)


# Prompts, and the numbers of their states.


def test_prompts_cost_by_their_tokens_and_by_what_two_have_in_common() -> None:
    graphs = {"graphs": [attention(length).to_json() for length in (2, 3)]}
    tokens, squares = 2 * (2 + 3), 4 * (4 + 9)
    assert bill(graphs)["prompts"] == near(0.05 * tokens + 3 * squares, 8 * tokens)
    pairs = {"structural_collisions": [{"pairs": [[[1, 2, 3], [1]], [[4, 4], 5]]}, {"pairs": [[[1]]]}]}
    tokens, squares = tokens + 3 + 1 + 2 + 1, squares + 9 + 1 + 4 + 1
    assert bill({**graphs, **pairs})["prompts"] == near(0.05 * tokens + 3 * squares, 8 * tokens)


def numbering(graphs: dict[int, Graph], prompts: dict[int, int]) -> float:
    """What so many prompts of a length cost on their graphs."""
    return paid_for_numbers(graphs, prompts)[0]


def paid_for_numbers(graphs: dict[int, Graph], prompts: dict[int, int]) -> tuple[float, float]:
    """That, and the places of all numbers and terms."""
    numbered, cost, held = Numbering([graphs[length] for length in prompts]), 0.0, 0.0
    for length, count in prompts.items():
        found, terms = numbered.work(graphs[length])
        assert found > 0
        cost += count * (40 * len(live(graphs[length])) + 4.5 * found + 0.5 * terms)
        held += 8 * (found + terms)
    return cost, held


@pytest.mark.parametrize("make", [attention, triples, attention_net], ids=["attention", "triples", "a block"])
def test_equal_states_are_paid_for_every_prompt_that_is_numbered(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = {length: make(length=length) for length in (2, 3)}
    numbered: set[tuple[int, ...]] = set()
    last = Numbering.last_state
    monkeypatch.setattr(Numbering, "last_state", lambda self, g, p: numbered.add(tuple(p)) or last(self, g, p))
    find_collisions(graphs)
    done = Counter(map(len, numbered))
    certificate = {"graph": graphs[3].to_json(), "other_lengths": {"2": graphs[2].to_json()}}
    paid = bill({**certificate, "structural_collisions": []})["equal states"][0]
    at_least, each = numbering(graphs, dict(done)), numbering(graphs, {2: 1, 3: 1})
    assert at_least <= paid <= at_least + each  # one prompt more of a length where no order was looked at
    assert "equal states" not in bill(certificate)
    assert "equal states" not in bill({**certificate, "structural_collisions": None})
    assert "equal states" not in bill({**certificate, "structural_collisions": []}, "witness")


CLASSES = [
    [[1], [2], "differ: point 0"], [[1], [2], "differ: point 0"], [[1], [9], "differ: point 0"],
    [[1], [3, 3], "differ: point 1"],
    [[4, 4], [5, 5], "collide: equal states"], [[5, 5], [6, 6], "undecided"], [[1, 1]], "none", "abc",
    [[7, 7], [8, 8], 1, 2],
]  # fmt: skip


def test_patterns_cost_by_the_prompts_of_each_point_and_of_each_that_is_numbered() -> None:
    graphs = {length: attention(length) for length in (1, 2)}
    certificate = {"graphs": {str(n): graph.to_json() for n, graph in graphs.items()}, "classes": CLASSES}
    found = bill(certificate, "generic-position")
    work = {length: evaluation(graph)[0] for length, graph in graphs.items()}
    drawn = 1.5 * 4 * 9  # outcomes that are named, and the entries of the one table
    assert found["evaluations"][0] == pytest.approx(4 * work[1] + 1 * work[2] + 2 * drawn)
    held = sum(evaluation(graph)[1] for graph in graphs.values())
    assert found["evaluations"][1] == pytest.approx(held + 2 * 120 * 4 * 9)
    assert found["equal states"] == near(*paid_for_numbers(graphs, {2: 3}))
    family = {"structural_collisions": [{"pairs": [[[7, 8], [8, 7]], [[7, 8], [9, 9]], "none"]}, "none"]}
    more = bill({**certificate, **family}, "generic-position")
    assert more["equal states"] == near(*paid_for_numbers(graphs, {2: 6}))
    assert "evaluations" not in bill({**certificate, "classes": CLASSES[4:]}, "generic-position")


def test_of_silenced_networks_what_is_evaluated_is_paid() -> None:
    net = Net()
    x = net.op("take", net.parameter("e", 9, 1), net.tokens(1, 9), axis=0)
    hidden = net.op("relu", net.op("matmul", x, net.parameter("up", 1, 50)))
    graph = net.graph(net.op("add", x, net.op("matmul", hidden, net.parameter("down", 50, 1))))
    certificate = {"graphs": {"1": graph.to_json()}, "classes": [[[1], [2], "differ: point 0"]]}
    whole = bill({**certificate, "claim": {"zeroed": []}}, "generic-position")["evaluations"][0]
    left = bill({**certificate, "claim": {"zeroed": ["down"]}}, "generic-position")["evaluations"][0]
    assert whole > left + 200
    for zeroed in (["no such"], "down", {"down": 1}, 1):
        claim = {"claim": {"zeroed": zeroed}}
        assert bill({**certificate, **claim}, "generic-position")["evaluations"][0] == whole
    claim = {"claim": {"zeroed": ["down"]}}  # of another kind, whose networks are evaluated as they are
    assert bill({**certificate, **claim}, "separation")["evaluations"][0] == whole


def test_a_network_that_cannot_be_silenced_is_paid_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = attention(1).to_json()
    certificate = {"graphs": {"1": graph}, "classes": [[[1], [2], "differ: point 0"]]}
    whole = bill(certificate, "generic-position")["evaluations"]
    for fault in (Rejected(), AssertionError(), KeyError(), TypeError(), ValueError()):

        def refuse(*_: Any, fault: Exception = fault) -> Any:
            raise fault

        with monkeypatch.context() as patched:
            patched.setattr(price, "regularity_of", refuse)
            silenced = bill({**certificate, "claim": {"zeroed": ["e"]}}, "generic-position")
        assert silenced["evaluations"] == whole


# The published witness.


@pytest.mark.parametrize("vocabulary", [1, 2, 5])
@pytest.mark.parametrize("context", [1, 2])
def test_the_published_witness_costs_by_the_pairs_and_by_the_points_of_their_patterns(
    vocabulary: int, context: int
) -> None:
    words = sum(vocabulary**length for length in range(1, context + 1))
    claim = {"claim": {"vocabulary": vocabulary}}
    for make, alike in ((gpt2, True), (lambda n: attention(n), False)):
        graphs = [make(length) for length in range(1, context + 1)]
        found = bill({**claim, "graphs": [graph.to_json() for graph in graphs]}, "witness")
        assert found["pairs of prompts"] == near(20 * words**2, 0)
        settled = len({shape(pair) for pair in pairs_of(vocabulary, context)}) if alike else words**2
        cost = size = 0.0
        for graph in graphs:
            entries = sum(type_.size for _, type_ in graph.parameters())
            work, held = evaluation(graph)
            cost += settled / 2 / context * work + 1.5 * entries
            size += held + 120 * entries
        assert found["evaluations"] == near(cost, size)
    assert "pairs of prompts" not in bill({**claim, "graphs": [attention(1).to_json()]}, "generic-position")


def pairs_of(vocabulary: int, context: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    words: list[tuple[int, ...]] = [()]
    for _ in range(context):
        words += [(*word, letter) for word in words for letter in range(vocabulary)]
    longer = sorted({word for word in words if word})
    return [(first, second) for first in longer for second in longer]


def shape(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A pair of prompts up to relabelling."""
    names: dict[int, int] = {}
    first, second = (tuple(names.setdefault(token, len(names)) for token in prompt) for prompt in pair)
    return first, second


def test_words_without_end_are_counted_to_two_hundred_tokens() -> None:
    graphs = [Graph((Node("parameter", (), {"name": "p"}, NINE, "", ""),), (), 0, 1).to_json()] * 300
    found = bill({"claim": {"vocabulary": 1}, "graphs": graphs}, "witness")
    assert found["pairs of prompts"] == near(20 * 200**2, 0)


# Training steps.


def trained(width: int, vocabulary: int) -> Graph:
    net = Net()
    x = net.op("take", net.parameter("e", vocabulary, width), net.tokens(1, vocabulary), axis=0)
    logits = net.op("matmul", x, net.parameter("u", width, vocabulary))
    return net.graph(net.op("reshape", logits, shape=(1, vocabulary)))


RULES = {"gd": (1, 1), "weight-decay": (1, 1), "clip-norm": (3, 1), "clip-value": (3, 1), "sign": (1, 1),
         "heavy-ball": (3, 2), "adam": (4, 3), "adamw": (4, 3), "of nobody": (1, 1)}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("width", "vocabulary"), [(1, 2), (2, 5)])
def test_a_training_step_costs_by_its_columns_and_its_determinants(
    rule: str, samples: int, width: int, vocabulary: int
) -> None:
    graph = trained(width, vocabulary)
    entries = 2 * width * vocabulary
    work, held = evaluation(graph)
    sample = {"target": [str(Fraction(1, vocabulary))] * vocabulary}
    certificate = {"graph": graph.to_json(), "rule": rule, "rate": "1/10", "samples": [sample] * samples}
    found = bill(certificate, "training-step")
    columns = (1 + entries * samples) * work + 4 * (1 + samples) * entries**2
    assert found["second derivatives"] == near(2 * columns, 2 * held)
    assert found["symbols"] == near(4.5 * 2.75**vocabulary, 0)
    determinants, states = RULES[rule]
    rows = entries * states
    assert found["determinants"] == near(determinants * 0.12 * entries**3 + 4 * rows**2, 240 * rows**2)
    long = {**certificate, "rate": f"1/{'3' * 398}"}  # twice two hundred characters
    cost = determinants * 0.12 * entries**3 * 4 + 4 * rows**2
    assert bill(long, "training-step")["determinants"] == near(cost, 240 * rows**2)
    assert "symbols" not in bill(certificate, "witness")


def test_the_longest_number_of_a_step_is_the_one_that_counts() -> None:
    plain = {**step(), "rate": "1/10"}
    cheap = bill(plain, "training-step")["determinants"][0]
    for samples in ([{"target": "3" * 400}], [{"target": "1"}, {"target": "3" * 400}], [{"target": "3" * 400}, {}]):
        assert bill({**plain, "samples": samples}, "training-step")["determinants"][0] > cheap


def test_a_step_without_logits_and_one_of_very_many_are_paid() -> None:
    scalar = Graph((Node("parameter", (), {"name": "p"}, TensorType((), "real"), "", ""),), (), 0, 1)
    assert bill({"graph": scalar.to_json()}, "training-step")["symbols"] == near(4.5 * 2.75, 0)
    many = Graph((Node("parameter", (), {"name": "p"}, TensorType((2, 3, 300), "real"), "", ""),), (), 0, 1)
    assert bill({"graph": many.to_json()}, "training-step")["symbols"] == near(4.5 * 2.75**200, 0)


# Claims about weights.


def test_prompts_are_paid_in_fixed_point_each_and_equal_ones_by_their_numbers() -> None:
    graphs = [attention(length) for length in (1, 2)]
    prompts = [[1], [1, 2], [1, 3], [1, 3]]
    body = {"graphs": [graph.to_json() for graph in graphs], "prompts": [{"token_ids": ids} for ids in prompts]}
    for kind in ("separation", "vocabulary-margin"):
        plain = bill(body, kind)
        assert (
            bill({**body, "prompts": body["prompts"] * 2}, kind)["steps in fixed point"][0]
            == 2 * plain["steps in fixed point"][0]
        )
        assert "equal states" not in plain and "vocabulary" not in plain
        assert (
            bill({**body, "identical": [{"first": 2, "second": 3}]}, kind) == plain
        )  # one prompt: nothing is numbered
        assert bill({**body, "identical": [{"first": 1, "second": 2}]}, kind)["equal states"][0] > 0
        inside = bill({"graphs": body["graphs"], "closest": body}, kind)
        assert inside["steps in fixed point"][0] >= plain["steps in fixed point"][0]


def test_weights_that_are_turned_are_no_evaluation_and_what_no_token_enters_is_made_for_every_segment() -> None:
    def evaluated(products: int, turned: bool = False, constant: bool = False) -> float:
        made = Net()
        x = made.op("take", made.parameter("e", 9, 4), made.tokens(1, 9), axis=0)
        if constant:
            x = made.op("add", x, made.op("exp", made.parameter("b", 4)))
        for place in range(products):
            weights = made.parameter(f"w{place}", 4, 4)
            x = made.op("matmul", x, made.op("permute", weights, order=(1, 0)) if turned else weights)
        body = {"graphs": [made.graph(x, layer=0).to_json()], "prompts": [{"token_ids": [1]}]}
        return bill(body, "separation")["steps in fixed point"][0]

    assert evaluated(1) == pytest.approx(evaluated(1, turned=True), abs=0.2)  # one row more is looked at
    once, often = (evaluated(products, constant=True) - evaluated(products) for products in (1, 9))
    own = 40 + 0.5 * 4  # of the sum
    assert often - own == pytest.approx(9 * (once - own))
