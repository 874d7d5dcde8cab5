"""Prompts that are equal under given weights: the same rows of every table, read as rows of tables and no other way."""

from typing import Any

import numpy as np
import pytest

from proofs import certify_separation
from proofs.kernel.equal_pairs import ROWS, SAME, EqualPairs, _tables
from proofs.network.graph import Graph
from proofs.operations.interpreter import live
from tests.proofs.building import Net
from tests.proofs.decoders import PROMPTS, network, weights_of
from tests.proofs.mutating import assert_rejected, changed, signed

WIDTH, VOCABULARY = 2, 5


def read(how: str) -> Graph:
    """The last of two tokens: its row, and what else is read of it."""
    net = Net()
    tokens = net.tokens(2, VOCABULARY)
    table = net.parameter("table", VOCABULARY, WIDTH)
    x = net.op("take", table, tokens, axis=0)
    if how == "as a number":
        x = net.op("add", x, net.op("reshape", net.op("as_real", tokens), shape=(1, 2, 1)))
    if how == "from what is made of a table":
        made = net.op("multiply", table, net.constant(list(range(2 * VOCABULARY)), (VOCABULARY, WIDTH)))
        x = net.op("add", x, net.op("take", made, tokens, axis=0))
    if how == "as columns":
        columns = net.op("take", net.parameter("square", VOCABULARY, VOCABULARY), tokens, axis=1)
        x = net.op("add", x, net.op("sum", net.op("permute", columns, order=(1, 2, 0)), axes=(2,), keep=True))
    if how == "as a place that is written":
        places, values = net.op("reshape", tokens, shape=(2, 1)), net.constant([1, 2], (2, 1))
        written = net.op("scatter", net.parameter("column", VOCABULARY, 1), places, values, axis=0)
        x = net.op("add", x, net.op("slice", written, axis=0, start=1, stop=2, step=1))
    if how == "as they stand, as a place that is written":
        written = net.op("scatter", net.parameter("pairs", VOCABULARY, 2), tokens, net.constant([1, 2], (1, 2)), axis=0)
        x = net.op("add", x, net.op("slice", written, axis=0, start=1, stop=2, step=1))
    if how == "from a second table":
        x = net.op("add", x, net.op("take", net.parameter("second", VOCABULARY, WIDTH), tokens, axis=0))
    return net.graph(x)


HOW = ["as rows", "from a second table", "as a number", "from what is made of a table", "as columns",
       "as a place that is written", "as they stand, as a place that is written"]  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_tokens_are_one_symbol_where_only_their_rows_are_read(how: str) -> None:
    graph = read(how)
    weights = weights_of(graph)
    for values in weights.values():
        values[3] = values[1]  # (of the square the rows, which are not what is read of it)
    found = EqualPairs({2: graph}, weights, [(0, 1), (0, 3), (0, 1)])
    assert found.family(0, 2) == SAME
    assert (found.family(0, 1) == ROWS) is (how in HOW[:2])
    assert (found.symbols[0] == found.symbols[1]) is (how in HOW[:2])
    weights["table"][3, 0] += 1
    assert EqualPairs({2: graph}, weights, [(0, 1), (0, 3)]).family(0, 1) is None


def test_rows_that_differ_in_one_of_several_tables_differ() -> None:
    graph = read("from a second table")
    weights = weights_of(graph)
    weights["table"][3] = weights["table"][1]
    assert EqualPairs({2: graph}, weights, [(0, 1), (0, 3)]).family(0, 1) is None


def test_a_zero_of_either_sign_is_one_number() -> None:
    graph = read("as rows")
    weights = weights_of(graph)
    weights["table"][1], weights["table"][3] = np.array([0.0, 1.0]), np.array([-0.0, 1.0])
    assert EqualPairs({2: graph}, weights, [(0, 1), (0, 3)]).family(0, 1) == ROWS


@pytest.fixture(scope="module")
def listed() -> Any:
    """The prompts 0 and 4 are one, and 1 and 5; 2 is greater than all others."""
    graph = network(3)
    weights = weights_of(graph)
    prompts = [*PROMPTS[:4], *PROMPTS[:2]]
    return certify_separation(graph, weights, prompts).to_json(), weights


@pytest.mark.parametrize(
    ("first", "second", "family"),
    [(2, 5, SAME), (2, 3, SAME), (2, 3, ROWS), (2, 5, ROWS), (0, 1, SAME), (1, 2, ROWS), (0, 5, "equal states"),
     (2, 5, None), (0, 0, SAME), (4, 0, SAME), (-1, 1, SAME), (-2, 0, SAME), (0, -2, SAME), (-6, 4, SAME),
     (0, 6, SAME), (0, 10**9, SAME)],
)  # fmt: skip
def test_a_pair_that_is_not_shown_to_be_equal_is_rejected(listed: Any, first: int, second: int, family: Any) -> None:
    certificate, weights = listed
    assert [(pair["first"], pair["second"]) for pair in certificate["identical"]] == [(0, 4), (1, 5)]
    forged = [{"first": first, "second": second, "family": family}]
    reason = "not shown to be equal" if 0 <= first < second < 6 else "none of two prompts"
    for claimed in (forged, sorted([*certificate["identical"], *forged], key=lambda pair: pair["first"])):
        assert_rejected(changed(certificate, "identical", to=claimed), reason, weights)


def test_a_truth_value_is_no_number_of_a_prompt() -> None:
    graph = network(3)
    weights = weights_of(graph)
    certificate = certify_separation(graph, weights, [PROMPTS[0], PROMPTS[0], PROMPTS[1]]).to_json()
    for name, value in (("first", False), ("second", True)):
        forged = [{**certificate["identical"][0], name: value}]
        assert_rejected(signed(certificate, identical=forged), "none of two prompts", weights)


def test_a_graph_is_looked_through_once_however_many_tokens_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of two megabytes holds a hundred thousand tokens, and as many nodes."""
    looked: list[Graph] = []
    monkeypatch.setattr("proofs.enclosures.segments.live", lambda graph: looked.append(graph) or live(graph))
    for how in HOW:
        graph = read(how)
        looked.clear()
        EqualPairs({2: graph}, weights_of(graph), [(token, 0) for token in range(VOCABULARY)])
        assert looked == [graph]


def test_a_row_is_kept_once_for_each_table_however_often_it_is_taken() -> None:
    net = Net()
    tokens, table = net.tokens(2, VOCABULARY), net.parameter("table", VOCABULARY, WIDTH)
    x = net.op("take", table, tokens, axis=0)
    for _ in range(3):
        x = net.op("add", x, net.op("take", table, tokens, axis=0))
    graphs = {
        2: net.graph(net.op("add", x, net.op("take", net.parameter("second", VOCABULARY, WIDTH), tokens, axis=0)))
    }
    found = _tables({**graphs, 3: graphs[2]}, weights_of(graphs[2]))
    assert found is not None and len(found) == 2
