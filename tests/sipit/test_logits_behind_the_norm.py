"""What is predicted from the states behind the final norm is what the model predicts, not what its head alone does."""

import pytest
import torch
import transformers

from sipit.models.architecture import language_model_of
from sipit.models.network import Network
from sipit.models.tiny import drawn_module
from tests.sipit.cases import ALL_FAMILIES, rest_slow, tiny

PROMPT = [5, 6, 7, 8, 9]
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
BEHIND = {
    "logits that are divided": lambda: transformers.GraniteConfig(**SIZES, logits_scaling=8.0),
    "logits that are scaled": lambda: transformers.CohereConfig(**SIZES),
    "logits that are capped": lambda: transformers.Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5),
    "a part before the head": lambda: transformers.ModernBertDecoderConfig(**SIZES, cls_token_id=1, sep_token_id=2),
    "a projection to the rows' width": lambda: transformers.OPTConfig(
        vocab_size=64, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=16,
        max_position_embeddings=64,
    ),
}  # fmt: skip


def expect_the_models_own(model):
    ids = torch.tensor([PROMPT])
    network, own = Network(model, "final"), model.module(input_ids=ids).logits[0]
    states = network.run(ids)[0]
    assert network.goes_on_alone
    for found in (network.next_token_logits(states), network.next_token_logits(states, token_ids=PROMPT)):
        torch.testing.assert_close(found[:, : own.shape[1]], own)
    some = network.next_token_logits(states, torch.tensor([1, 3]))
    torch.testing.assert_close(some[:, : own.shape[1]], own[[1, 3]])
    far = network.next_token_logits(states.flip(0) * 3)
    assert not torch.allclose(far[:, : own.shape[1]], own)  # they are of the states that are given
    torch.testing.assert_close(model.module(input_ids=ids).logits[0], own)  # and the model is as it was


@pytest.mark.parametrize("kind", BEHIND)
def test_what_stands_around_the_head_is_part_of_it(kind):
    expect_the_models_own(language_model_of(kind, drawn_module(BEHIND[kind](), seed=0)))


@pytest.mark.parametrize("family", rest_slow("llama", "gpt2", "mamba", of=ALL_FAMILIES))
def test_every_family_predicts_from_its_last_states(family):
    expect_the_models_own(tiny(family))
