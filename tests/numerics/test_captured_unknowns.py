"""What is not known of is equal to nothing but itself: two calls, or two tables, are one where torch has one."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from numerics.graphs import builder
from numerics.graphs.capture import capture_graph
from proofs.kernel.collisions import find_collisions
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph

Step = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
WIDTH = 3


class Stepped(torch.nn.Module):
    """A step of embedding rows, with two tables that look alike."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.rows = torch.nn.Embedding(8, WIDTH)
        self.register_buffer("ones", torch.ones(WIDTH, WIDTH))
        self.register_buffer("twos", 2 * torch.ones(WIDTH, WIDTH))
        self.register_buffer("ones_too", torch.ones(WIDTH, WIDTH))
        self.step = step

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.step(self, self.rows(input_ids))


def collides(step: Step) -> bool:
    """Whether prompts that differ in their last token are shown to have one state."""
    graphs: dict[int, Graph] = {length: capture_graph(Stepped(step), length=length) for length in (2, 3)}
    found = any([[1, 2], [1, 3]] in family["pairs"] for family in find_collisions(graphs))
    return found or Numbering(graphs.values()).equal(graphs[2], (1, 2), graphs[2], (1, 3))


# two calls on the same tensors, whose results differ
TWO: dict[str, Step] = {
    "sort along another axis": lambda m, x: torch.sort(x, dim=1)[0] - torch.sort(x, dim=2)[0],
    "round to other decimals": lambda m, x: torch.round(x, decimals=1) - torch.round(x, decimals=2),
    "softplus with another threshold": lambda m, x: (
        functional.softplus(x, threshold=1.0) - functional.softplus(x, threshold=2.0)
    ),
    "dropout drawn again": lambda m, x: functional.dropout(x, 0.5, True) - functional.dropout(x, 0.5, True),
    "drawn again": lambda m, x: torch.rand(WIDTH) - torch.rand(WIDTH) + 0 * x,
}


@pytest.mark.parametrize("step", TWO.values(), ids=list(TWO))
def test_two_calls_without_a_rule_are_two(step: Step) -> None:
    assert not collides(step)


def test_one_call_without_a_rule_is_one() -> None:
    def twice(m: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        once = torch.round(x, decimals=1)
        return once - once

    graph = capture_graph(Stepped(twice), length=2)
    assert [node.operation for node in graph.nodes].count("aten.round") == 1


def product(m: torch.nn.Module, x: torch.Tensor, name: str) -> torch.Tensor:
    return x @ m.get_buffer(name)


@pytest.mark.parametrize("other, same", [("ones", True), ("ones_too", True), ("twos", False)])
@pytest.mark.parametrize("largest", [2**24, WIDTH])
def test_tables_too_large_to_be_kept_are_one_where_their_entries_are(
    monkeypatch: pytest.MonkeyPatch, largest: int, other: str, same: bool
) -> None:
    """Both are read on one line, which is all that a table's name says."""
    monkeypatch.setattr(builder, "LARGEST_CONSTANT", largest)
    graph = capture_graph(Stepped(lambda m, x: product(m, x, "ones") - product(m, x, other)), length=2)
    assert Numbering([graph]).equal(graph, (1, 2), graph, (1, 3)) is same
    unwritten = [node for node in graph.nodes if node.operation == "constant" and graph.constant(node) is None]
    assert len(unwritten) == (0 if largest > WIDTH else 1 if same else 2)


def test_tables_too_large_to_be_kept_are_not_compared_between_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "LARGEST_CONSTANT", WIDTH)
    first, second = (capture_graph(Stepped(lambda m, x: product(m, x, "ones")), length=n) for n in (1, 2))
    numbering = Numbering([first, second])
    assert numbering.equal(second, (1, 2), second, (3, 2))
    assert not numbering.equal(first, (2,), second, (1, 2))
