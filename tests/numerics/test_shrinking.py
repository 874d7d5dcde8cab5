"""Small copies: of the same class, small in every part, and with every kind of block."""

import pytest
import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from numerics.networks.shrinking import small_copy
from numerics.networks.text_class import new_text_model
from proofs.errors import Unsupported

# Sizes in parts, in lists, under names of their own, or that have to fit one another.
KINDS = (
    "llama", "jamba", "mamba2", "falcon_h1", "recurrent_gemma", "zamba", "dory", "gemma3n_text", "gemma4_text", "git",
    "phi4_multimodal", "deepseek_v4", "longcat_flash", "reformer", "xlm", "bart", "plbart", "prophetnet", "blt",
    "mllama", "emu3", "qwen3_5_moe_text", "gpt_neo", "rwkv", "xlnet", "cpmant",
)  # fmt: skip
LARGEST = 3_000_000  # parameters; all of them but speech and vision are below a tenth of that


@pytest.mark.parametrize("name", KINDS)
def test_a_small_copy_is_small_and_shows_every_kind_of_block(name):
    config = AutoConfig.for_model(name, **({"is_decoder": True} if name == "reformer" else {}))
    small = small_copy(config)
    whole = config.get_text_config()
    assert type(small) is type(whole)
    assert set(getattr(small, "layer_types", None) or ()) == set(getattr(whole, "layer_types", None) or ())
    with torch.device("meta"):
        model = new_text_model(small)
    assert sum(parameter.numel() for parameter in model.parameters()) < LARGEST
    ids = [getattr(small, f"{role}_token_id", None) for role in ("pad", "bos", "eos")]
    assert all(one is None or 0 <= one < small.vocab_size for given in ids for one in _listed(given))


def _listed(given):
    return given if isinstance(given, list) else [given]


def test_options_are_as_they_were_and_no_size_grows():
    for name in ("llama", "gemma2", "gpt2"):
        config = AutoConfig.for_model(name)
        small = small_copy(config).to_dict()
        for field, value in config.to_dict().items():
            if isinstance(value, int) and not isinstance(value, bool):
                assert small[field] <= value
            elif isinstance(value, bool | str | float):
                assert small[field] == value


def test_a_copy_of_a_small_copy_is_itself():
    for name in ("llama", "jamba", "gemma3n_text"):
        small = small_copy(AutoConfig.for_model(name))
        assert small_copy(small).to_dict() == small.to_dict()


def test_a_copy_has_no_more_blocks_than_the_model():
    small = small_copy(AutoConfig.for_model("qwen2", num_hidden_layers=1))
    assert small.num_hidden_layers == len(small.layer_types) == 1


def test_a_config_of_several_text_models_is_refused():
    with pytest.raises(Unsupported, match="several"):
        small_copy(AutoConfig.for_model("musicgen"))


def test_the_kinds_are_of_the_library():
    assert set(KINDS) <= {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "gemma3n_text", "gemma4_text"}
