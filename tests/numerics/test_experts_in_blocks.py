"""Blocks of GGUF run along what a matrix takes in, in whatever layout it is held; where that is unknown it is left."""

import pytest
import torch
import transformers
from gguf import GGMLQuantizationType, quants
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.llama4.modeling_llama4 import Llama4TextExperts
from transformers.models.mixtral.modeling_mixtral import MixtralExperts
from transformers.pytorch_utils import Conv1D

from numerics.formats import FORMATS

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_local_experts": 2}


class OfItsOwn(Conv1D):
    """A layer that is derived from the library's, and may compute something else."""


class Experts(nn.Module):
    """Matrices of experts, of which the class says how they lie (or, None, does not), with a shift each."""

    def __init__(self, taken_in, handed_on, turned, seed):
        super().__init__()
        drawn = torch.Generator().manual_seed(seed)
        shape = (2, taken_in, handed_on) if turned else (2, handed_on, taken_in)
        self.matrices = nn.Parameter(torch.randn(shape, generator=drawn), requires_grad=False)
        self.shifts = nn.Parameter(torch.randn(2, 32, generator=drawn), requires_grad=False)
        if turned is not None:
            self.is_transposed = turned


def along(weight, axis, name):
    """What files of the format hold of matrices whose rows stand along an axis."""
    rows, code = weight.transpose(axis, -1).contiguous().numpy(), GGMLQuantizationType[name]
    return torch.from_numpy(quants.dequantize(quants.quantize(rows, code), code)).transpose(axis, -1)


def in_format(part, name):
    holder = nn.Sequential(part, nn.Linear(32, 32))
    return FORMATS[name].convert(holder, [holder])


@given(
    taken_in=st.sampled_from([32, 64]),
    handed_on=st.sampled_from([32, 48, 64]),
    turned=st.sampled_from([True, False, None]),
    name=st.sampled_from(["Q8_0", "Q4_0", "Q5_1"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_blocks_run_along_what_experts_take_in_where_that_is_said(taken_in, handed_on, turned, name, seed):
    part = Experts(taken_in, handed_on, turned, seed)
    before, shifts = part.matrices.clone(), part.shifts.clone()
    done = in_format(part, name)
    left = [one.split(".")[-1] for one in done.left]
    if turned is None:
        assert torch.equal(part.matrices, before) and left == ["matrices"]
    else:
        assert torch.equal(part.matrices, along(before, -2 if turned else -1, name)) and left == ["shifts"]
        assert torch.equal(part.shifts, shifts)


@pytest.mark.edge
@pytest.mark.parametrize(
    ("kind", "axis"),
    [(GptOssExperts, -2), (MixtralExperts, -1), (Llama4TextExperts, None)],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
def test_experts_of_the_library(kind, axis):
    config = {
        GptOssExperts: transformers.GptOssConfig,
        MixtralExperts: transformers.MixtralConfig,
        Llama4TextExperts: transformers.Llama4TextConfig,
    }[kind](**SIZES)
    part, drawn = kind(config).requires_grad_(False), torch.Generator().manual_seed(1)
    for parameter in part.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=drawn))
    before = {name: value.clone() for name, value in part.named_parameters()}
    done = in_format(part, "Q4_0")
    for name in ("gate_up_proj", "down_proj"):
        assert (f"0.0.{name}" in done.left) == (axis is None)
        expected = before[name] if axis is None else along(before[name], axis, "Q4_0")
        assert torch.equal(getattr(part, name), expected)


@pytest.mark.parametrize("kind", [Conv1D, OfItsOwn])
def test_a_layer_is_known_by_its_class_and_not_by_its_name(kind):
    """What is derived from the transposed layer stays what it is; its blocks run along what it takes in too."""
    part = kind(64, 32).requires_grad_(False)
    before = part.weight.clone()
    holder = nn.Sequential(part)
    FORMATS["Q4_0"].convert(holder, [holder])
    assert type(holder[0]) is (nn.Linear if kind is Conv1D else OfItsOwn)
    found = holder[0].weight.T if kind is Conv1D else holder[0].weight
    assert torch.equal(found, along(before, -2, "Q4_0"))


def test_another_class_of_the_name_is_no_transposed_layer():
    named = type("Conv1D", (nn.Linear,), {})(32, 64)
    before = named.weight.detach().clone()
    holder = nn.Sequential(named).requires_grad_(False)
    FORMATS["Q4_0"].convert(holder, [holder])
    assert holder[0] is named and torch.equal(named.weight, along(before, -1, "Q4_0"))
