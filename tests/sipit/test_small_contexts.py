"""A model whose table of positions is shorter than the prompts that programs try it with is loaded, or refused so."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import sipit
from proofs.errors import Unsupported
from sipit.diagnosis.statistics import calibration
from sipit.models.trial import LEAST
from sipit.privacy.scores import held_out_prompts
from sipit.prompts.calibration import calibration_prompts
from sipit.quantization.crowds import crowd_of
from tests.sipit.cases import inverted


def of_context(context, folder):
    """A random GPT-2 of one block with so many places, loaded from a folder."""
    torch.manual_seed(context)
    config = GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=context, bos_token_id=None,
                        eos_token_id=None)  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return sipit.load_model(str(folder))


@pytest.mark.parametrize("context", range(1, 16))
def test_a_model_of_any_context_is_loaded_and_inverted_or_refused_in_one_sentence(tmp_path, context):
    if context < LEAST:
        with pytest.raises(Unsupported, match="Expected a decoder-only model"):
            of_context(context, tmp_path)
        return
    model = of_context(context, tmp_path)
    assert model.context == model.limit == context
    assert model.abilities.memory is not None and model.abilities.positions is not None
    prompts = [list(range(3, 3 + length)) for length in {1, LEAST, context}]
    states = sipit.capture(model, prompts, layer=1)
    assert [inversion.token_ids for inversion in inverted(model, states, prompts)] == prompts
    for made in (calibration_prompts(model), held_out_prompts(model, 40), calibration(model)):
        assert made and max(map(len, made)) <= context
    assert max(map(len, crowd_of(model, [1], 30).corpus.prompts.windows)) <= context


@pytest.mark.parametrize("context", [1, 2, 3, 7])
def test_a_context_that_is_no_limit_is_no_hindrance_either(tmp_path, context):
    """Rotary models run beyond it; what is learned of a second token needs prompts of two."""
    torch.manual_seed(context)
    config = LlamaConfig(vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=2, max_position_embeddings=context)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    model = sipit.load_model(str(tmp_path))
    prompts = [[3], [3, 4, 5, 6]]
    assert [one.token_ids for one in inverted(model, sipit.capture(model, prompts, layer=1), prompts)] == prompts
