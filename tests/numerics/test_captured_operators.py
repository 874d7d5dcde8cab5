"""What an operator of torch is captured as computes what torch does with these very arguments, or is unknown.

Every argument that changes what an operator does is given here a value that is not its default.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from numerics.graphs import half_constants, lowering
from numerics.graphs.capture import capture_graph
from numerics.graphs.float64 import evaluate_float64
from numerics.graphs.operators.whole_numbers import BELOW
from proofs.kernel.value_numbering.number import Numbering
from proofs.operations import REGISTRY
from proofs.theorems.generic_position import examine

LENGTH, VOCABULARY, WIDTH = 4, 12, 6
Step = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # of rows, ids, parameters


class Stepped(torch.nn.Module):
    def __init__(self, step: Step) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.square = torch.nn.Parameter(torch.randn(WIDTH, WIDTH))
        self.table = torch.nn.Parameter(torch.randn(3, 7, WIDTH))
        self.step = step

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.step(self.embedding(input_ids), input_ids, self.square, self.table)


def written(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros_like(x, dtype=dtype).copy_(3 * x)


# a space between name and argument: what changes the operator
MEANT: dict[str, Step] = {
    "add alpha": lambda x, i, w, t: torch.add(x, x * x, alpha=3),
    "sub alpha": lambda x, i, w, t: torch.sub(x, x * x, alpha=3),
    "rsub alpha": lambda x, i, w, t: torch.rsub(x, x * x, alpha=2),
    "addmm alpha, beta": lambda x, i, w, t: torch.addmm(w[0], x[0], w, beta=0.5, alpha=2)[None],
    "addmm beta 0": lambda x, i, w, t: torch.addmm(w[0], x[0], w, beta=0)[None],
    "addcmul value": lambda x, i, w, t: torch.addcmul(x, x, w[0], value=0.5),
    "sum of all": lambda x, i, w, t: x * x.sum(dim=[]),
    "mean of several axes": lambda x, i, w, t: x * x.mean((-1, -2), keepdim=True),
    "var": lambda x, i, w, t: x * x.var(-1, keepdim=True),
    "var unbiased": lambda x, i, w, t: x * x.var(-1, unbiased=False, keepdim=True),
    "var correction": lambda x, i, w, t: x * x.var((1, 2), correction=3, keepdim=True),
    "var_mean": lambda x, i, w, t: sum(torch.var_mean(x, -1, correction=0, keepdim=True), start=x),
    "cumsum axis": lambda x, i, w, t: x.cumsum(-2),
    "hardtanh one limit": lambda x, i, w, t: functional.hardtanh(4 * x, -2.0),
    "hardtanh limits": lambda x, i, w, t: functional.hardtanh(4 * x, -2.0, 0.5),
    "clamp swapped": lambda x, i, w, t: x.clamp(0.5, -0.5),
    "clamp at minus infinity": lambda x, i, w, t: x.clamp(-float("inf"), 0.3),
    "softplus beta": lambda x, i, w, t: functional.softplus(x, beta=2),
    "elu alpha": lambda x, i, w, t: functional.elu(x, 0.5),
    "leaky_relu slope": lambda x, i, w, t: functional.leaky_relu(x, 0.3),
    "gelu approximate": lambda x, i, w, t: functional.gelu(x, approximate="tanh"),
    "floor_divide": lambda x, i, w, t: x * ((i - 6) // 4)[..., None],
    "remainder below 0": lambda x, i, w, t: x * ((i - 6) % 4)[..., None],
    "topk axis": lambda x, i, w, t: x[:, :2] * x.topk(2, 1)[0],
    "max axis": lambda x, i, w, t: x * x.max(1, keepdim=True)[0],
    "tril diagonal": lambda x, i, w, t: (x.transpose(1, 2) @ x).tril(1) @ w,
    "triu diagonal": lambda x, i, w, t: (x.transpose(1, 2) @ x).triu(-1) @ w,
    "roll shifts": lambda x, i, w, t: x.roll((-1, 2), (1, 2)),
    "flip axes": lambda x, i, w, t: x.flip((1, -1)),
    "pad value, below 0": lambda x, i, w, t: functional.pad(x, (1, -2, 2, 0), value=0.5),
    "index below 0": lambda x, i, w, t: x[:, [-1, 0]] + t[torch.tensor([1]), torch.tensor([-2])],
    "index by ids": lambda x, i, w, t: x + t[torch.tensor([[1]]), i % 7],
    "index by the largest": lambda x, i, w, t: x + t[torch.arange(2)[:, None], x[0, :2].topk(2)[1]][0, 0],
    "scatter value": lambda x, i, w, t: x.scatter(2, (i % 3)[..., None], 0.5),
    "convolution groups, dilation": lambda x, i, w, t: functional.conv1d(
        x.transpose(1, 2), torch.stack([w[:, :3], 2 * w[:, 3:]], -1), w[0], padding=2, dilation=2, groups=2
    )[..., :LENGTH].transpose(1, 2),
    "attention causal, rectangular": lambda x, i, w, t: functional.scaled_dot_product_attention(
        x[:, :2] @ w, x, x, is_causal=True
    ),
    "attention scale": lambda x, i, w, t: functional.scaled_dot_product_attention(x @ w, x, x, scale=0.3),
    "layer_norm axes, epsilon": lambda x, i, w, t: functional.layer_norm(x, x.shape[1:], eps=0.1),
    "rms_norm axes, epsilon": lambda x, i, w, t: functional.rms_norm(x, x.shape[1:], eps=0.1),
    "copy of whole numbers": lambda x, i, w, t: x * torch.zeros_like(x).copy_(i[..., None].expand_as(x)),
    "to int16 and back": lambda x, i, w, t: x * (i > 3).to(torch.int8).to(torch.int16).to(torch.int64)[..., None],
    "to uint64 of truth values": lambda x, i, w, t: x * (i > 3).to(torch.uint8).to(torch.uint64).double()[..., None],
    "and true": lambda x, i, w, t: x * ((i > 3) & True)[..., None],
    "or false": lambda x, i, w, t: x * ((i > 3) | False)[..., None],
    "a view written to": lambda x, i, w, t: (y := x.clone(), y.chunk(2, -1)[0].mul_(3))[0],
}  # fmt: skip
UNKNOWN: dict[str, Step] = {
    "round decimals": lambda x, i, w, t: torch.round(x, decimals=2),
    "softplus threshold": lambda x, i, w, t: functional.softplus(x, threshold=0),
    "clamp at infinity": lambda x, i, w, t: x + (x * 0).clamp(min=float("inf")),
    "sum of whole parts": lambda x, i, w, t: x * (3 * x).sum(-1, keepdim=True, dtype=torch.long),
    "cumsum of whole parts": lambda x, i, w, t: x * (3 * x).cumsum(1, dtype=torch.long),
    "copy to whole numbers": lambda x, i, w, t: x + written(x, torch.long),
    "index below 0 by ids": lambda x, i, w, t: x + t[torch.tensor([[1]]), (i % 7) - 3],
    "to uint8": lambda x, i, w, t: x * (i * 100).to(torch.uint8)[..., None],
    "to int16": lambda x, i, w, t: x * (i * 10000).to(torch.int16)[..., None],
    "sum in uint8": lambda x, i, w, t: x * ((i > 3).to(torch.uint8) * 200 * 2)[..., None],
    "to uint32": lambda x, i, w, t: x * (i - 5).to(torch.uint32).to(torch.int64)[..., None],
    "to uint64": lambda x, i, w, t: x * (i - 5).to(torch.uint64).double()[..., None],
    "copy to uint32": lambda x, i, w, t: x * torch.zeros_like(i, dtype=torch.uint32).copy_(i - 5).double()[..., None],
    "from int32 to uint64": lambda x, i, w, t: x * (i.int() - 5).to(torch.uint64).double()[..., None],
    "remainder of a wrapped number": lambda x, i, w, t: x * ((i > 3).to(torch.uint8) % 256)[..., None],
    "compared with a wrapped number": lambda x, i, w, t: x * ((i > 3).to(torch.uint8) == 257)[..., None],
    "compared with a wrapped tensor": lambda x, i, w, t: x * ((i > 3).to(torch.uint8) == i.sum() + 256)[..., None],
    "filled with a wrapped tensor": lambda x, i, w, t: (
        x * (i > 3).to(torch.uint8).masked_fill(i > 5, i.sum() + 256)[..., None]
    ),
    "and of whole numbers": lambda x, i, w, t: x * (i & 5)[..., None],
    "view of bits": lambda x, i, w, t: x + x.view(torch.int64) % 5,
    "product with a complex number": lambda x, i, w, t: torch.view_as_real(
        torch.view_as_complex(x.reshape(1, -1, 3, 2)) * (2 + 1j)
    ).flatten(2),
    "layer_norm with a bias alone": lambda x, i, w, t: functional.layer_norm(x, (WIDTH,), None, w[0]),
    "native_layer_norm with a bias alone": lambda x, i, w, t: torch.native_layer_norm(x, (WIDTH,), None, w[0], 0.1)[0],
    "floor of a quotient": lambda x, i, w, t: torch.div(x, 0.25, rounding_mode="floor"),
    "floor of a quotient under a mask": lambda x, i, w, t: torch.div(
        x + torch.zeros(WIDTH, dtype=x.dtype).masked_fill(torch.arange(WIDTH) > 3, -float("inf")), 0.25,
        rounding_mode="floor",
    ),
    "repeat 0 times": lambda x, i, w, t: x + x.repeat(1, 0, 1).sum(),
    "randint": lambda x, i, w, t: x + torch.randint(0, 9, (WIDTH,)),
    "randperm": lambda x, i, w, t: x[..., torch.randperm(WIDTH)],
    "rand": lambda x, i, w, t: x + torch.rand(WIDTH),
}  # fmt: skip


def captured(step: Step, length: int = LENGTH) -> tuple[Stepped, Any]:
    torch.manual_seed(0)
    module = Stepped(step).double().eval().requires_grad_(False)
    return module, capture_graph(module, length=length)


@pytest.mark.parametrize("step", MEANT.values(), ids=list(MEANT))
def test_an_operator_means_what_torch_computes(step: Step) -> None:
    module, graph = captured(step)
    assert {node.operation for node in graph.nodes} <= set(REGISTRY)
    for prompt in ([7, 2, 11, 0], [3, 3, 9, 1]):
        ours = evaluate_float64(graph, module.state_dict(), prompt)
        torch.testing.assert_close(ours, module(torch.tensor([prompt])), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("step", UNKNOWN.values(), ids=list(UNKNOWN))
def test_an_operator_that_has_no_meaning_here_is_unknown(step: Step) -> None:
    _, graph = captured(step)
    assert any(node.operation.startswith("aten.") for node in graph.nodes)


@pytest.mark.parametrize("dtype, narrow", [(torch.int32, True), (torch.int64, False)])
def test_what_32_bits_hold_of_64_is_idealised_and_said(dtype: torch.dtype, narrow: bool) -> None:
    _, graph = captured(lambda x, i, w, t: x * i.to(dtype).to(torch.int64)[..., None])
    assert {node.operation for node in graph.nodes} <= set(REGISTRY)
    assert (BELOW in graph.idealisations) is narrow


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, AssertionError])
@pytest.mark.parametrize("place", ["rule_of", "fold", "wraps"])
def test_an_operator_that_a_rule_stumbles_over_is_unknown(
    monkeypatch: pytest.MonkeyPatch, place: str, error: type[Exception]
) -> None:
    def stumble(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(lowering, place, stumble)
    _, graph = captured(lambda x, i, w, t: x * 2 + x)
    assert place == "fold" or any(node.operation.startswith("aten.") for node in graph.nodes)


def test_a_rounded_constant_that_torch_does_not_compute_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*arguments: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(half_constants, "undetermined", stumble)
    _, graph = captured(lambda x, i, w, t: x + (torch.arange(WIDTH) / 3).to(torch.bfloat16))
    assert any(node.operation.startswith("aten.") for node in graph.nodes)


def test_a_lack_of_memory_is_no_unknown_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*arguments: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(lowering, "fold", short)
    with pytest.raises(MemoryError):
        captured(lambda x, i, w, t: x * 2)


def test_a_variance_is_divided_and_not_multiplied_by_a_rounded_number() -> None:
    """What is 0 for every parameter: five variances less the sum of squares of six deviations."""

    def nothing(x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        squares = ((x - x.mean(-1, keepdim=True)) ** 2).sum(-1, keepdim=True)
        return (WIDTH - 1) * x.var(-1, keepdim=True) - squares

    found = examine({length: captured(nothing, length)[1] for length in (1, 2)}, context=2)
    assert found.claim["certified"] == 0
    assert examine({n: captured(lambda x, *o: x, n)[1] for n in (1, 2)}, context=2).claim["certified"] > 0


def test_what_is_drawn_is_not_one_value_for_all_prompts() -> None:
    graphs = [captured(step, 2)[1] for step in (lambda x, *o: x[:, -1:], lambda x, *o: x[:, -1:] + torch.rand(WIDTH))]
    assert [Numbering([graph]).equal(graph, (1, 2), graph, (3, 2)) for graph in graphs] == [True, False]
