"""Networks that are no plain stacks of blocks are not captured as if they were: loops, states the other way around."""

from dataclasses import replace
from typing import Any

import pytest
from transformers import AutoConfig

from numerics.graphs.as_its_class import departs
from numerics.graphs.capture import capture_graph
from numerics.graphs.small_graphs import sees_later_tokens
from numerics.networks.shrinking import small_copy
from proofs import Graph, Unsupported


def small(name: str, **fields: Any) -> Any:
    return small_copy(AutoConfig.for_model(name, **fields))


def test_a_block_that_runs_more_than_once_has_no_one_state() -> None:
    with pytest.raises(Unsupported, match="it runs block 2 6 times"):
        capture_graph(small("hrm_text"))


def test_states_whose_first_axis_is_that_of_the_tokens_are_refused() -> None:
    with pytest.raises(Unsupported, match=r"shape \(1, 7, width\), but got \(7, 1, 32\)"):
        capture_graph(small("xlnet", attn_type="uni"), length=7)


@pytest.mark.parametrize("mixed", [True, False])
def test_later_tokens_are_looked_for_in_every_state(mixed: bool) -> None:
    """The experts of a Doge are chosen by the logits of several tokens, of which the first state sees not the last."""
    assert sees_later_tokens(capture_graph(small("doge", is_moe=mixed), length=7)) is mixed


def test_the_windows_of_a_small_copy_are_narrow_where_the_class_makes_them_of_another_number() -> None:
    assert small("modernbert-decoder").sliding_window == 8


def changed(graph: Graph, number: int, operation: str) -> Graph:
    nodes = list(graph.nodes)
    nodes[number] = replace(nodes[number], operation=operation)
    return replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_a_graph_of_another_network_departs_from_the_class(name: str) -> None:
    config = small(name)
    graph = capture_graph(config, length=5)
    assert departs(graph, config, "eager") is None
    others = {"tanh": "sigmoid", "sigmoid": "tanh", "exp": "cos", "cos": "sin", "rsqrt": "sqrt"}
    places = [i for i, node in enumerate(graph.nodes) if node.operation in others]
    for number in places[:: max(1, len(places) // 6)]:
        found = departs(changed(graph, number, others[graph.nodes[number].operation]), config, "eager")
        assert found is not None, graph.nodes[number]
        assert found[0] > found[1]
