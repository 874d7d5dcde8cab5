"""Forms that blocks and models have in the library: what a block hands on, where the blocks lie, what is no decoder."""

import pytest
import torch
from transformers import AutoConfig

from numerics.shrinking import small_copy
from proofs.errors import Unsupported
from sipit.models.structure import find_decoder
from sipit.models.tiny import drawn_module
from sipit.network import Network
from tests.sipit.cases import language_model

# What a block returns: the state alone, a list of one, a tuple of one, a tuple of several.
RETURNS = {"llama": None, "openai-gpt": 1, "falcon_h1": 1, "trocr": 1, "gpt_neo": 2}
PROMPT = [5, 9, 3, 60, 17]


def small(name, **fields):
    return drawn_module(small_copy(AutoConfig.for_model(name, **fields)), seed=0)


@pytest.mark.parametrize("name", RETURNS)
def test_states_go_through_the_rest_of_the_model_in_the_form_that_its_blocks_have(name):
    model = language_model(small(name))
    assert set(model.decoder.chain.returns) == {RETURNS[name]}
    ids = torch.tensor([PROMPT])
    network = Network(model, 1)
    logits = network.next_token_logits(network.run(ids)[0])
    with torch.inference_mode():
        torch.testing.assert_close(logits, model.module(input_ids=ids).logits[0])


@pytest.mark.parametrize(
    ("name", "blocks"), [("git", "git.encoder.layer"), ("longcat_flash", "model.layers"),
                         ("modernbert-decoder", "model.layers"), ("phi4_multimodal", "model.layers")]
)  # fmt: skip
def test_the_blocks_are_the_list_that_a_text_goes_through(name, blocks):
    module = small(name)
    assert find_decoder(module).blocks == tuple(module.get_submodule(blocks))


def test_blocks_that_a_text_passes_by_are_none():
    module = small("mllama")
    layers = module.model.layers
    assert find_decoder(module).blocks == tuple(layers[at] for at in (0, 1, 2, 4))  # the other looks at a picture


@pytest.mark.parametrize(
    ("name", "reason"),
    [("dory", "called once each in order"), ("cpmant", "one state per token"), ("xlm", "4 lists of 2 blocks")],
)
def test_what_is_no_chain_of_blocks_is_refused_with_the_reason(name, reason):
    with pytest.raises(Unsupported, match=reason):
        find_decoder(small(name))


def test_a_model_that_needs_more_than_ids_is_refused_in_one_sentence():
    text = {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    with pytest.raises(Unsupported, match="does not run on token ids alone") as refusal:
        find_decoder(small("gemma4_assistant", text_config=text))
    assert "\n" not in str(refusal.value)
