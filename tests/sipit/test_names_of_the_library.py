"""What is looked up in the library by a name that it may change is there in the installed release.

Where such a name is gone, what it was asked for would be passed over: parts that stay wide, names that were changed.
"""

import pytest
import transformers
from torch import nn

from numerics.networks.casting import is_packed
from sipit.models.tiny import tiny_module

pytestmark = pytest.mark.edge


@pytest.mark.parametrize(
    "name",
    ["_init_weights", "_keep_in_fp32_modules", "_keep_in_fp32_modules_strict", "set_attn_implementation",
     "set_experts_implementation"],
)  # fmt: skip
def test_every_class_of_models_has_it(name):
    assert hasattr(transformers.PreTrainedModel, name)


def test_a_module_that_was_loaded_remembers_which_names_were_changed(tmp_path):
    tiny_module("llama", seed=0).save_pretrained(tmp_path)
    module = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert module._weight_conversions == []
    assert isinstance(module.config._attn_implementation, str)


@pytest.mark.parametrize("dequantize", [False, True])
def test_a_quantiser_that_keeps_weights_packed_is_named_by_the_module(tmp_path, dequantize):
    """Weights are none the wiser where a method packs into buffers."""
    tiny_module("llama", seed=0).save_pretrained(tmp_path)
    options = transformers.BitsAndBytesConfig(load_in_8bit=True)
    module = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=options)
    if dequantize:
        module = module.dequantize()
    for part in module.modules():  # what the weights themselves tell is put aside
        for name, value in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(value.detach().float(), requires_grad=False))
    assert is_packed(module) != dequantize
