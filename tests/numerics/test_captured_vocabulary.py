"""The ids that a module of one's own takes are those of the tables that they index, however these are declared."""

from itertools import permutations

import pytest
import torch
from torch.nn import functional

from numerics.graphs.capture import capture_graph
from proofs import prove_analytic
from proofs.network.graph import Attribute, Graph

PLACES, TOKENS, TYPES, WIDTH = 64, 50, 20, 3


def vocabulary(graph: Graph) -> Attribute:
    (tokens,) = [node for node in graph.nodes if node.operation == "tokens"]
    return tokens.attributes["vocabulary"]


class Tables(torch.nn.Module):
    """Rows of tokens and of places, from tables that are declared in some order."""

    def __init__(self, order: tuple[str, ...]) -> None:
        super().__init__()
        sizes = {"rows": TOKENS, "places": PLACES, "few": 2}
        self.tables = torch.nn.ModuleDict({name: torch.nn.Embedding(sizes[name], WIDTH) for name in order})

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        places, first = torch.arange(input_ids.shape[1]), torch.zeros_like(input_ids)
        return self.tables["rows"](input_ids) + self.tables["places"](places) + self.tables["few"](first)


class Weights(torch.nn.Module):
    """Rows of a parameter, and of a smaller one, that no module is around."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.rows = torch.nn.Parameter(torch.randn(TOKENS, WIDTH))
        self.few = torch.nn.Parameter(torch.randn(TYPES, WIDTH))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        if self.way == "embedding":
            return functional.embedding(input_ids, self.rows)
        if self.way == "flat":
            return self.rows.index_select(0, input_ids.flatten())[None]
        rows = self.rows[input_ids]
        return rows if self.way == "index" else rows + self.few[input_ids]


@pytest.mark.parametrize("order", list(permutations(("rows", "places", "few"))))
def test_tables_may_be_declared_in_any_order(order: tuple[str, ...]) -> None:
    graph = capture_graph(Tables(order), length=2)
    assert vocabulary(graph) == TOKENS
    assert prove_analytic(graph).verdict == "proved"


@pytest.mark.parametrize("way, size", [("embedding", TOKENS), ("flat", TOKENS), ("index", TOKENS), ("two", TYPES)])
def test_a_table_may_be_any_parameter(way: str, size: int) -> None:
    graph = capture_graph(Weights(way), length=2)
    assert vocabulary(graph) == size
    assert all(condition.discharged for condition in prove_analytic(graph).conditions)
