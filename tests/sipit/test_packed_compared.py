"""`compare` of models that a quantiser keeps packed: by the weights that are stored, whatever layers multiply in."""

import copy
from dataclasses import replace

import pytest
import torch
import transformers
from torch import nn

import sipit
from numerics.formats import FORMATS
from numerics.networks.casting import is_packed
from proofs.verdict import Verdict
from sipit.models.copies import copied
from sipit.noise.tolerance import derive_tolerance
from sipit.privacy.comparison import compare_runs
from sipit.privacy.rounded_weights import rounded_to
from sipit.privacy.scores import Claim
from sipit.privacy.weights import dense_weights, unpack
from sipit.quantization.formatted import in_format
from tests.sipit.cases import tiny

PROMPTS = [[5, 6, 7, 300, 9]]
F32, F16, B16 = torch.float32, torch.float16, torch.bfloat16


def plain_and_packed(folder, stored=F32, **options):
    """A model that is stored in a type, and what bitsandbytes makes of it."""
    copy.deepcopy(tiny("llama").module).to(stored).save_pretrained(folder / "plain")
    packed = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "plain", quantization_config=transformers.BitsAndBytesConfig(**options), dtype=stored
    )
    packed.save_pretrained(folder / "packed")
    return sipit.load_model(folder / "plain"), sipit.load_model(folder / "packed")


@pytest.mark.edge
@pytest.mark.parametrize("stored", [F32, F16, B16])
@pytest.mark.parametrize("multiplied", [F32, B16])
def test_rounding_to_the_type_of_products_is_no_other_format(tmp_path, stored, multiplied):
    plain, packed = plain_and_packed(
        tmp_path, stored, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=multiplied
    )
    assert rounded_to(plain, packed).formats == {"nf4": 14}
    coarsest = B16 if multiplied == B16 else stored
    assert packed.coarsest == coarsest and plain.coarsest == plain.dtype
    for pair in ((plain, packed), (packed, plain)):
        found = compare_runs(*pair, PROMPTS)
        assert found.kind is Verdict.ROUNDING, found.reason
        assert found.formats == {"nf4": 14} and found.replay["done"] and found.reference.dtype == F32
        assert found.unit == torch.finfo(coarsest).eps


@pytest.mark.edge
@pytest.mark.parametrize("multiplied", [F32, B16])
@pytest.mark.parametrize("beside", ["plain", "packed"])
def test_an_epsilon_in_a_packed_checkpoint_is_seen_in_float64(tmp_path, multiplied, beside):
    plain, packed = plain_and_packed(tmp_path, load_in_4bit=True, bnb_4bit_compute_dtype=multiplied)
    altered = copied(packed)
    altered.module.model.layers[1].post_attention_layernorm.variance_epsilon *= 1.1
    found = compare_runs(plain if beside == "plain" else packed, altered, PROMPTS)
    assert found.replay["done"] and found.kind is Verdict.NOT_ROUNDING and found.first.layer == 2
    assert is_packed(packed.module) and is_packed(altered.module), "only copies are unpacked"


@pytest.mark.edge
def test_a_packed_model_gets_coarser_weights_as_they_are(tmp_path):
    """Written into its whole numbers they would be cut off."""
    _, packed = plain_and_packed(tmp_path, load_in_8bit=True)
    dense = copied(packed)
    unpack(dense.module, F32)
    coarse = in_format(replace(dense), FORMATS["nf4"]).model
    found, wanted = rounded_to(packed, coarse), dense_weights(coarse)
    assert found.formats == {"nf4": 14}
    assert all(torch.equal(weight, wanted[name]) for name, weight in dense_weights(found.model).items())


@pytest.mark.edge
@pytest.mark.parametrize("multiplied", [F32, B16])
def test_what_a_state_may_be_off_is_of_the_type_of_products(tmp_path, multiplied):
    _, packed = plain_and_packed(tmp_path, load_in_4bit=True, bnb_4bit_compute_dtype=multiplied)
    states = sipit.capture(packed, PROMPTS, layer=1)
    unit = torch.finfo(multiplied).eps
    assert derive_tolerance(packed, states).value >= unit
    assert Claim(packed, 1, F32).unit == unit
    (inversion,) = sipit.invert(packed, states)
    assert inversion.token_ids == PROMPTS[0]


class _Quantiser:
    def remove_quantization_config(self, module):
        module.hf_quantizer = None


@pytest.mark.parametrize("buffer", [None, torch.zeros(4), torch.zeros(4, dtype=torch.int32)])
@pytest.mark.parametrize("parameter", [None, torch.zeros(4, dtype=torch.uint8)])
def test_a_module_stays_packed_while_anything_in_it_is(buffer, parameter):
    """A part that is no linear layer is not unpacked, be it that it keeps its numbers in buffers."""
    module = nn.Sequential(nn.Linear(8, 8), nn.Module())
    module.hf_quantizer = _Quantiser()
    if buffer is not None:
        module[1].register_buffer("numbers", buffer)
    if parameter is not None:
        module[1].numbers_too = nn.Parameter(parameter, requires_grad=False)
    unpack(module, F32)
    assert is_packed(module) == (parameter is not None or (buffer is not None and buffer.dtype == torch.int32))
