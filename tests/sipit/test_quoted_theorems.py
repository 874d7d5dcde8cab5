"""What `train` quotes of a theorem is listed with what the theorem asks of the network, and whether it has it."""

import pytest
import torch

from sipit.claims.hypotheses import quoted_theorem
from tests.sipit.cases import tiny


def held(family: str, optimizer: str, **options: float) -> dict[str, bool]:
    quoted = quoted_theorem(tiny(family), optimizer, **options)
    return {entry["hypothesis"]: entry["holds"] for entry in quoted["hypotheses"] if entry["checked"]}


@pytest.mark.parametrize(
    ("optimizer", "family", "holds"), [("sgd", "gpt2", True), ("adamw", "gpt2", False), ("adamw", "llama", True)]
)
def test_how_logits_are_read_out_is_looked_at(optimizer: str, family: str, holds: bool) -> None:
    """GPT-2 ties its table: the page of the theorem said that this is not looked at, and a run with it quoted it."""
    found = held(family, optimizer, decay=0.5 if holds else 1.0)
    (read_out,) = (text for text in found if text.startswith("the logits are"))
    assert found[read_out] is holds
    assert ("cross-entropy" in read_out) is (optimizer == "sgd")
    if optimizer == "adamw":
        assert found["rate times decay is below 1"] is holds
        assert found["values stay real for every sign of every root, and no logarithm is taken"] is True


def test_behind_equal_rows_a_tied_table_has_the_second_derivatives_of_one_that_is_not() -> None:
    """E = 1 x^T, all else 0: the gradient is 0, and det(I - eta H) is the product of the page at every rate."""
    torch.manual_seed(0)
    tokens, width = 3, 4
    row = torch.randn(width, dtype=torch.float64)
    targets = torch.eye(tokens, dtype=torch.float64)[[0, 2]]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        table, gain, shift = flat[: -2 * width].view(tokens, width), flat[-2 * width : -width], flat[-width:]
        state = torch.nn.functional.layer_norm(table[[1, 2]], (width,)) * gain + shift
        return -(targets * (state @ table.T).log_softmax(-1)).sum() / 2

    point = torch.cat([row.repeat(tokens), torch.zeros(2 * width, dtype=torch.float64)]).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(point), point)
    assert float(gradient.abs().max()) < 1e-12
    hessian = torch.autograd.functional.hessian(loss, point.detach())
    weights = 1 / tokens - targets.mean(0)
    normal = torch.nn.functional.layer_norm(row, (width,))
    for rate in (0.23, float(1 / weights.norm()), 3.2):
        expected = (1 - rate**2 * weights.square().sum() * (1 + normal.square())).prod()
        found = torch.linalg.det(torch.eye(len(point), dtype=torch.float64) - rate * hessian)
        assert float(found) == pytest.approx(float(expected), rel=1e-9)
        assert abs(float(found)) > 1e-3
