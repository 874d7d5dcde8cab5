"""A number format rounds as its definition says, and a module in it computes with what it rounds to."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig

from numerics.formats import FORMATS, packed
from numerics.formats.layers import effective_weight, in_stated_type
from numerics.formats.rounding import add_noise, round_to_bits, round_to_dtype, scaled_to_dtype
from numerics.networks.shrinking import small_copy
from proofs.errors import Unsupported
from sipit.models.copies import copied
from sipit.models.layers import layered_states
from sipit.models.network import Network
from sipit.models.structure import find_decoder
from sipit.models.tiny import drawn_module
from sipit.quantization.formatted import in_format
from sipit.quantization.output import predictions
from tests.sipit.cases import language_model, random_prompts, tiny

HERE = ("bf16-weights", "fp16-weights", "fp8", "int8", "int4", "nf4", "fp4", "llm-int8", "Q8_0", "Q5_0", "Q5_1", "Q4_0",
        "Q4_1")  # fmt: skip
COARSE = {"bf16-weights": 2**-8, "fp16-weights": 2**-11, "fp8": 2**-4, "int8": 2**-6, "llm-int8": 2**-6, "Q8_0": 2**-6}

rows = st.integers(0, 2**32 - 1).map(
    lambda seed: torch.randn(5, 24, generator=torch.Generator().manual_seed(seed)) * 10.0 ** (seed % 7 - 3)
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows, st.integers(2, 16))
def test_rounding_to_bits_is_to_nearest_idempotent_and_within_half_a_step(states, bits):
    rounded = round_to_bits(bits)(states)
    step = states.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((rounded - states).abs() <= 0.5001 * step + 1e-6 * states.abs()).all()
    assert torch.allclose(round_to_bits(bits)(rounded), rounded, rtol=1e-5, atol=0)
    for row in rounded:
        assert len(row.unique()) <= 2**bits - 1


@settings(max_examples=50, deadline=None, derandomize=True)
@given(rows, st.sampled_from([torch.bfloat16, torch.float16]))
def test_rounding_to_a_type_is_within_its_unit(states, dtype):
    error = (round_to_dtype(dtype)(states) - states).abs()
    info = torch.finfo(dtype)
    assert (error <= info.eps / 2 * states.abs() + info.smallest_normal * info.eps).all()


def test_a_zero_row_stays_zero():
    zero = torch.zeros(2, 8)
    for rounding in (round_to_bits(4), scaled_to_dtype(torch.float8_e4m3fn), add_noise(0.5, 0)):
        assert torch.equal(rounding(zero), zero)


def test_noise_has_the_size_asked_for_and_repeats():
    states = torch.ones(200, 300)
    noisy = add_noise(0.1, 3)(states)
    assert torch.equal(noisy, add_noise(0.1, 3)(states))
    assert abs(float(((noisy - states).norm(dim=1) / states.norm(dim=1)).mean()) - 0.1) < 0.005


@pytest.mark.edge
@pytest.mark.parametrize("name", HERE)
def test_each_format_changes_every_matrix_and_little(name):
    module = copy.deepcopy(tiny("llama").module)
    done = FORMATS[name].convert(module, find_decoder(module).blocks)
    assert done.matrices == 14 and not done.left
    assert 0 < done.change < COARSE.get(name, 0.2)


@pytest.mark.edge
@pytest.mark.parametrize("name", ["int8", "int8-dynamic", "int4", "fp8", "nf4", "fp4", "llm-int8"])
def test_what_a_layer_computes_is_its_own_librarys_dequantised_product_and_inputs_are_rounded_where_it_says_so(
    name, monkeypatch
):
    """In the mode of evaluation, in which models run; also behind a first run, with what it then multiplies with."""
    monkeypatch.setattr(packed, "unpack", lambda blocks: 0)
    holder = nn.Sequential(nn.Linear(64, 32, bias=False)).eval()
    x = torch.randn(7, 64, generator=torch.Generator().manual_seed(0))
    FORMATS[name].convert(holder, [holder])
    before = effective_weight(holder[0])
    for _ in range(2):
        computed = holder(x)
        product = x @ effective_weight(holder[0]).T
        off = float((product - computed).norm() / product.norm())
        assert 1e-3 < off < 0.02 if FORMATS[name].subject == "both" else off < 1e-5
    assert torch.equal(effective_weight(holder[0]), before)


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("double", [False, True])
def test_weights_of_four_bits_are_what_is_multiplied_with_whatever_type_was_quantised(double, compute):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(
        64, 32, bias=False, compute_dtype=compute, quant_type="nf4", compress_statistics=double
    )
    layer = layer.to(torch.bfloat16).to("cpu").eval()
    in_stated_type(layer)
    assert layer.weight.quant_state.dtype == torch.bfloat16 and layer.weight.quant_state.nested is double
    assert torch.equal(layer(torch.eye(64)).T, effective_weight(layer))


def test_weights_that_a_kernel_has_rewritten_are_refused(monkeypatch):
    holder = nn.Sequential(nn.Linear(64, 32, bias=False)).eval()
    monkeypatch.setattr(packed, "unpack", lambda blocks: 0)
    FORMATS["nf4"].convert(holder, [holder])
    holder[0].weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(Unsupported, match="rewritten"):
        effective_weight(holder[0])


@pytest.mark.parametrize("name", ["nf4", "fp4"])
def test_the_scales_of_blocks_of_four_bits_are_left(name):
    """So that the largest of each block is what it was."""
    holder = nn.Sequential(nn.Linear(64, 32, bias=False)).eval()
    largest = holder[0].weight.detach().abs().amax(1)
    FORMATS[name].convert(holder, [holder])
    assert torch.equal(effective_weight(holder[0]).abs().amax(1), largest)


@pytest.mark.parametrize("name", ["int8", "int8-dynamic", "int4", "fp8", "nf4", "fp4", "llm-int8"])
def test_layers_are_unpacked_only_where_no_bit_of_any_state_changes(name, monkeypatch):
    states = list[torch.Tensor]()
    for unpack in (packed.unpack, lambda blocks: 0):
        monkeypatch.setattr(packed, "unpack", unpack)
        formatted = in_format(tiny("qwen2"), FORMATS[name])
        states.append(torch.cat([layered_states(formatted.model, ids, [1, 2]) for ids in random_prompts(3, seed=1)], 1))
        weight = formatted.model.decoder.blocks[0].self_attn.q_proj.weight
        unpacked = "unpacked once" in formatted.arithmetic
        assert unpacked == (type(weight) is nn.Parameter)
        assert not (unpacked and (FORMATS[name].subject == "both" or len(states) == 2))
        assert not any(part.training for part in formatted.model.module.modules())
    assert torch.equal(*states)


def on_grid(values, dtype=torch.float8_e5m2):
    return torch.equal(values.to(dtype).to(values.dtype), values)


@pytest.mark.parametrize("family", ["llama", "falcon", "gemma3_text", "mixtral", "mamba", "modernbert-decoder"])
def test_every_result_is_on_the_grid_that_is_emulated_and_so_are_predictions(family):
    """In whatever way the model is called, and of a copy with its own weights."""
    plain = drawn_module(small_copy(AutoConfig.for_model(family)), seed=0)
    formatted = in_format(language_model(plain), FORMATS["fp8-emulated"]).model
    ids, other = [5, 6, 7], copied(formatted)
    before = layered_states(formatted, ids, [0, 1, 2])
    for model in (formatted, other):
        states = layered_states(model, ids, [0, 1, 2])
        assert torch.equal(states, before) and on_grid(states)
        assert on_grid(Network(model, "final").run(torch.tensor([ids])))
        assert on_grid(predictions(model, ids)) and on_grid(predictions(model, ids, layer=1))
    with torch.no_grad():
        for parameter in other.decoder.blocks[0].parameters():
            parameter.zero_()
    assert torch.equal(layered_states(formatted, ids, [0, 1, 2]), before)
    assert not torch.equal(layered_states(other, ids, [0, 1, 2]), before)


def test_results_of_operations_in_place_and_of_several_are_on_the_grid_that_is_emulated():
    class Block(nn.Module):
        def forward(self, x):
            summed = x * 1.0
            summed += 0.1 * x
            summed[0].mul_(0.3)
            added = torch.empty_like(x)
            torch.add(x, summed, out=added)
            return [summed, added, *torch.var_mean(x, dim=1), *torch.split(x * 0.7, 2), x.clone().copy_(x).neg_()]

    block = Block()
    holder = nn.Sequential(block)
    holder.register_parameter("unused", nn.Parameter(torch.zeros(2, 2)))
    FORMATS["fp8-emulated"].convert(holder, [block])
    for run in (holder, block):
        results = run(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
        assert [on_grid(one) for one in results] == [True] * 7


@pytest.mark.parametrize("name", ["Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1"])
def test_a_second_round_trip_through_gguf_finds_the_grid_again(name):
    module = copy.deepcopy(tiny("llama").module)
    blocks = find_decoder(module).blocks
    FORMATS[name].convert(module, blocks)
    again = FORMATS[name].convert(module, blocks)
    assert again.change < 2e-2


def test_a_format_that_cannot_run_says_why():
    module = copy.deepcopy(tiny("llama").module)
    for name in ("tf32", "Q6_K"):
        with pytest.raises(Unsupported, match="Expected"):
            FORMATS[name].convert(module, find_decoder(module).blocks)


def test_linear_layers_of_another_kind_that_a_library_cannot_multiply_with_are_refused_in_its_words():
    module = copy.deepcopy(tiny("falcon").module)
    with pytest.raises(Unsupported, match="torchao"):
        FORMATS["int8"].convert(module, find_decoder(module).blocks)


def test_transposed_layers_are_converted_to_the_same_map():
    plain = tiny("gpt2")
    module = copy.deepcopy(plain.module)
    FORMATS["fp16-weights"].convert(module, [])
    done = FORMATS["int8"].convert(module, find_decoder(module).blocks)
    assert done.matrices == 8 and not done.left
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        before = plain.decoder.body(input_ids=ids, use_cache=False)[0]
        after = find_decoder(module).body(input_ids=ids, use_cache=False)[0]
    assert float((before - after).norm() / before.norm()) < 0.05


def test_matrices_that_a_library_leaves_are_named():
    module = copy.deepcopy(tiny("mixtral").module)
    done = FORMATS["int8"].convert(module, find_decoder(module).blocks)
    assert any("experts" in name for name in done.left) and done.matrices == 8
    assert np.isfinite(done.change)
