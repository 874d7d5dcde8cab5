"""Decomposing call by call gives the graph that torch's own pass over the whole program gives."""

from unittest.mock import patch

import pytest
import torch

from numerics.graphs import capture
from numerics.graphs.capture import capture_graph
from numerics.graphs.decomposition import core_operators, decompose
from proofs.network.graph import Graph
from sipit.models.tiny import FAMILIES, tiny_config


def by_torch(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    return program.run_decompositions(core_operators())


def captured(source: object, attention: str, how: object) -> Graph:
    with patch.object(capture, "decompose", how):
        return capture_graph(source, None, attention, length=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "attention"),
    [("gpt2", "eager")]
    + [pytest.param(f, a, marks=pytest.mark.slow) for f in sorted(FAMILIES) for a in ("eager", "sdpa")],
)
def test_the_graph_is_the_one_of_torchs_own_pass(family: str, attention: str):
    if attention == "sdpa" and family in {"bloom", "gpt-neo", "mamba"}:
        pytest.skip("the library has no such attention for it")
    ours, theirs = (captured(tiny_config(family), attention, how) for how in (decompose, by_torch))
    assert ours.to_json() == theirs.to_json()


class Odd(torch.nn.Module):
    """Several results, one of them unread; a constant made on the way; the same call on tensors of other strides."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(7, 6)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        _, second, third = x.split(2, dim=-1)
        turned = (second + third).transpose(1, 2)
        both = torch.stack([turned.transpose(1, 2), torch.where(second > 0, third, 0.0)])
        return torch.einsum("bij,kij->ij", both[0], both[1]).unsqueeze(0) + torch.arange(2)


class Writing(Odd):
    """Writes into a tensor, which is torch's to take apart."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = super().forward(ids) * 1
        x[:, 0] = 0
        return x.add_(1)


@pytest.mark.parametrize("module", [Odd, Writing])
def test_odd_programs_as_well(module: type[torch.nn.Module]):
    network = module().eval()
    ours, theirs = (captured(network, "eager", how) for how in (decompose, by_torch))
    assert ours.to_json() == theirs.to_json()


def test_a_program_that_names_too_few_users_is_decomposed_as_well():
    """An exported program of torch 2.13 may leave out who uses a call that gives back what it was given."""

    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            same = x.to(torch.float32)
            return same * same.square()

    program = torch.export.export(Twice(), (torch.ones(3),), strict=False)
    (cast,) = [node for node in program.graph.nodes if node.op == "call_function" and "to" in str(node.target)]
    for user in list(cast.users)[1:]:
        del cast.users[user]
    decompose(program).graph.lint()
    assert cast not in program.graph.nodes
