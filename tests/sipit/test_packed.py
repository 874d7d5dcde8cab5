"""Weights that a library keeps packed are neither cast nor rounded, however the model that has them is made up."""

import copy

import pytest
import torch
import transformers
from torch import nn

import sipit
from numerics.dtypes import name_of
from numerics.formats import FORMATS
from numerics.formats.layers import effective_weight, is_packed_layer
from numerics.formats.quantizers import tf32, unchanged
from numerics.networks.casting import cast, cast_copy, holds_packed, is_packed
from proofs.errors import Unsupported
from sipit.models.copies import copied, in_dtype
from sipit.models.network import Network
from sipit.models.packed import packed_arithmetic
from sipit.models.stored_class import Whole
from sipit.models.structure import find_decoder
from sipit.models.text_model import text_model
from sipit.privacy.rounded_weights import rounded_to
from sipit.privacy.weights import common_format
from sipit.quantization.formatted import in_format
from tests.sipit.cases import tiny

CONVERT = [
    name
    for name, one in FORMATS.items()
    if one.library in ("torch", "gguf") and one.convert not in (unchanged, tf32)  # others take seconds to import
]

PROMPT = [5, 6, 7, 300, 9]


class Packed(nn.Parameter):
    """A library's own class of weights."""


def as_integers(part):
    part.weight = nn.Parameter(torch.zeros(8, dtype=torch.uint8), requires_grad=False)


def as_eight_bit_floats(part):
    part.weight = nn.Parameter(part.weight.to(torch.float8_e4m3fn), requires_grad=False)


def as_another_class(part):
    part.weight = Packed(part.weight.detach(), requires_grad=False)


def as_a_part_that_says_so(part):
    part.hf_quantizer = object()


WAYS = [as_integers, as_eight_bit_floats, as_another_class, as_a_part_that_says_so]


@pytest.mark.parametrize("pack", WAYS)
@pytest.mark.parametrize("path", ["layers.1.mlp.up_proj", "embed_tokens", "norm"])
def test_one_packed_weight_is_enough_to_refuse_every_type_and_format(pack, path):
    module = copy.deepcopy(tiny("llama").module)
    blocks = find_decoder(module).blocks
    assert not is_packed(module)
    pack(module.model.get_submodule(path))
    before = {name: (value.dtype, value.clone()) for name, value in module.state_dict().items()}
    for change in (cast, cast_copy):
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            with pytest.raises(Unsupported, match="packed"):
                change(module, dtype)
    for name in CONVERT:
        with pytest.raises(Unsupported, match="packed"):
            FORMATS[name].convert(module, blocks)
    for name, value in module.state_dict().items():
        assert value.dtype == before[name][0] and torch.equal(value, before[name][1])


def test_a_linear_layer_without_a_weight_holds_none_that_is_packed():
    """As compressed-tensors leaves it, whose numbers have names of their own."""
    layer = nn.Linear(8, 8)
    layer.weight_packed = nn.Parameter(layer.weight.detach().to(torch.int32), requires_grad=False)
    del layer.weight
    assert not is_packed_layer(layer) and is_packed(layer)
    assert packed_arithmetic(nn.Sequential(layer), torch.float32) == []


@pytest.mark.parametrize("pack", WAYS[:3])
def test_a_weight_that_is_packed_is_so_alone_and_in_its_layer(pack):
    layer = nn.Linear(8, 1, bias=False)
    assert not holds_packed(layer.weight) and not is_packed_layer(layer)
    pack(layer)
    assert holds_packed(layer.weight) and is_packed_layer(layer) and is_packed(layer)


@pytest.mark.parametrize("pack", WAYS[:2])
def test_bare_numbers_are_not_taken_for_what_a_layer_multiplies_with(pack):
    """Their scales lie elsewhere, be it in another parameter of the layer."""
    layer = nn.Linear(8, 1, bias=False)
    pack(layer)
    with pytest.raises(Unsupported, match="bare numbers in"):
        effective_weight(layer)
    (said,) = packed_arithmetic(nn.Sequential(layer), torch.float32)
    assert said == "Linear, with weights that are not known"


def test_bare_numbers_are_equal_or_have_no_type_in_common():
    """Bytes of packed halves that are 1 apart are no steps of bfloat16."""

    def packed(number):
        model = copied(tiny("llama", "bfloat16"))
        weight = torch.full((8,), number, dtype=torch.uint8)
        model.module.model.norm.weight = nn.Parameter(weight, requires_grad=False)
        return model

    assert common_format(packed(200), packed(200)) is not None
    assert common_format(packed(200), packed(201)) is None and rounded_to(packed(200), packed(201)) is None


@pytest.mark.edge
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["LlamaForCausalLM", "LlamaModel"])
def test_a_packed_checkpoint_is_refused_with_a_head_or_without(tmp_path, kind, bits):
    """Without a head its body is put into the class for its configuration, and stays packed there."""
    module, options = tiny("llama").module, transformers.BitsAndBytesConfig(**{f"load_in_{bits}bit": True})
    (module if kind == "LlamaForCausalLM" else module.model).save_pretrained(tmp_path / "plain")
    packed = getattr(transformers, kind).from_pretrained(tmp_path / "plain", quantization_config=options)
    packed.save_pretrained(tmp_path / "packed")
    model = sipit.load_model(str(tmp_path / "packed"))
    assert "its weights stay packed as bitsandbytes does it" in model.assembly
    with pytest.raises(Unsupported, match="packed"):
        in_dtype(model, torch.float64)
    for name in ("Q4_0", "bf16-weights", "nf4"):
        with pytest.raises(Unsupported, match="packed"):
            in_format(model, FORMATS[name])


@pytest.mark.edge
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_packed_model_is_said_to_compute_in_what_it_runs_in(tmp_path, bits, stored):
    """The library casts none of it."""
    tiny("llama").module.save_pretrained(tmp_path / "plain")
    options = transformers.BitsAndBytesConfig(**{f"load_in_{bits}bit": True})
    packed = transformers.LlamaForCausalLM.from_pretrained(
        tmp_path / "plain", dtype=stored, quantization_config=options
    )
    packed.save_pretrained(tmp_path / "packed")
    said = set[str]()
    for asked in ("float64", "float32", "bfloat16"):
        model = sipit.load_model(str(tmp_path / "packed"), dtype=asked)
        assert Network(model, 1).run(torch.tensor([PROMPT])).dtype == stored == model.dtype
        states = sipit.capture(model, [PROMPT], layer=1)
        assert states.manifest.dtype == name_of(stored)
        told = f"computes in {name_of(stored)}, as what is not packed of it is stored"
        assert (told in model.arithmetic) == (asked != name_of(stored))
        said.add(model.arithmetic.replace(f"; {told}", ""))
    assert len(said) == 1, "what layers compute does not depend on what is asked for"


def test_a_decoder_that_is_put_into_another_class_says_what_was_said_of_it():
    """Some methods pack into buffers of whole numbers, which are no sign of it."""
    body = copy.deepcopy(tiny("llama").module.model)
    body.hf_quantizer = object()
    alone, _ = text_model(Whole(body, has_head=False, digest=""))
    assert alone is not body and is_packed(alone)
