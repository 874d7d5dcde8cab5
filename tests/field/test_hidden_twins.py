"""Tokens whose states are equal though their rows are not, and tokens with equal rows whose states are not."""

from dataclasses import replace

import pytest
import torch
import transformers as tf

import sipit
from numerics.networks.shrinking import small_copy
from proofs.errors import Unsupported
from sipit.claims.vocabulary import vocabulary
from sipit.collisions.record import collision_record
from sipit.inversion.outcome import Outcome
from tests.field.models import COMMON, llama
from tests.sipit.cases import EACH_POLICY, language_model, tiny
from tests.sipit.folders import drawn

PROJECTED = {
    "vocab_size": 3000, "hidden_size": 24, "word_embed_proj_dim": 48, "ffn_dim": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 40,
}  # fmt: skip


def projected():
    """An OPT whose projection in front of the first block has a null space, and two tokens that differ there alone."""
    module = drawn(lambda: tf.OPTForCausalLM(tf.OPTConfig(**PROJECTED)))
    inner = module.get_decoder()
    with torch.no_grad():
        null = torch.linalg.svd(inner.project_in.weight.double()).Vh[-1]
        rows = inner.embed_tokens.weight
        rows[2001] = (rows[101].double() + 4 * null).float()
    return language_model(module)


@pytest.mark.parametrize("policy", EACH_POLICY)
@pytest.mark.parametrize("layer", [1, 2])
def test_tokens_that_are_one_behind_a_projection_are_not_told_apart(policy, layer):
    model = projected()
    assert float((model.decoder.tables[0].weight[101] - model.decoder.tables[0].weight[2001]).norm()) > 3
    for token in (101, 2001):
        states = sipit.capture(model, [[5, token, 9]], layer=layer)
        (inversion,) = sipit.invert(model, states, policy=policy)
        assert inversion.outcome is Outcome.AMBIGUOUS
        assert inversion.token_ids[:2] == [5, None]
        assert {101, 2001} <= {*inversion.alternatives[0].token_ids}


@pytest.mark.parametrize(("bias", "units"), [(True, 6), pytest.param(False, 5, marks=pytest.mark.slow)])
def test_a_token_behind_dead_units_is_named_with_all_others_there(bias, units):
    """What a feed-forward network adds is a constant where all of its ReLUs are off: its bias, or a row of zeros."""
    size = {"hidden_act": "relu", "mlp_bias": bias, "intermediate_size": units, "vocab_size": 3000}
    model = language_model(llama(**size))
    everything = torch.arange(3000)[:, None].tolist()
    out = torch.cat(list(sipit.capture(model, everything, layer=1, observe="mlp-out", batch=512)))
    last = model.module.model.layers[0].mlp.down_proj.bias
    dead = (out == (0 if last is None else last)).all(1).nonzero().flatten().tolist()
    assert 1 < len(dead) < 300
    for token in dead[:3]:
        given = sipit.capture(model, [[token]], layer=1, observe="mlp-out")
        for states in (given, replace(given, manifest=None)):
            (inversion,) = sipit.invert(model, states)
            assert inversion.outcome is Outcome.AMBIGUOUS
            assert {*inversion.alternatives[0].token_ids} <= {*dead}
    alive = next(token for token in range(3000) if token not in dead)
    (inversion,) = sipit.invert(model, sipit.capture(model, [[alive, 7]], layer=1, observe="mlp-out"))
    assert inversion.token_ids[0] == alive or inversion.outcome is Outcome.AMBIGUOUS


def hashed():
    """A mixture whose experts are chosen by the token's id, with two equal rows in the embedding."""
    module = drawn(lambda: tf.DeepseekV4ForCausalLM(small_copy(tf.DeepseekV4Config())))
    with torch.no_grad():
        rows = module.get_input_embeddings().weight
        rows[50] = rows[60]
        for name, buffer in module.named_buffers():
            if "tid2eid" in name:
                places = torch.arange(len(buffer))[:, None] + torch.arange(buffer.shape[1])
                buffer.copy_((places % 4).to(buffer.dtype))
    return language_model(module)


@pytest.mark.slow
def test_equal_rows_are_no_class_where_another_table_tells_the_tokens_apart():
    model = hashed()
    assert model.decoder.other_tables and not tiny("llama").decoder.other_tables
    first, second = sipit.capture(model, [[50], [60]], layer=model.layers)
    assert float((first - second).norm()) > 0.01 * float(first.norm())
    assert model.members(50) == [50]
    (inversion,) = sipit.invert(model, sipit.capture(model, [[5, 60, 7]], layer=model.layers))
    assert (inversion.outcome, inversion.token_ids) == (Outcome.RECOVERED, [5, 60, 7])


@pytest.mark.slow
def test_no_listed_pair_is_said_to_collide_over_the_reals_that_lies_apart(tmp_path):
    model, prompts = hashed(), tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"token_ids": {ids}}}\n' for ids in ([50], [60], [5, 50, 7], [5, 60, 7])))
    record = collision_record(model, str(prompts), layers=[model.layers])
    (layer,) = record.result["layers"]
    assert layer["known_to_collide"]["pairs"] == 0 and record.result["collisions"] == []


def test_rows_enter_as_they_are_or_as_the_body_makes_them():
    for family in ("gpt2", "llama", "gemma3"):  # with positions, plain, and scaled
        model = tiny(family)
        assert torch.equal(model.entering_rows, model.decoder.tables[0].weight)
    assert projected().entering_rows.shape == (3000, 24)
    assert not torch.equal(tiny("bloom").entering_rows, tiny("bloom").decoder.tables[0].weight)  # a norm


def test_a_body_that_pads_its_prompts_is_refused():
    module = llama()
    inner = module.model.layers[0].forward

    def longer(hidden, *arguments, **named):
        return torch.cat([inner(hidden, *arguments, **named), hidden[:, -1:]], dim=1)

    model = language_model(module)
    module.model.layers[0].forward = longer
    with pytest.raises(Unsupported, match="a state for each of 3 tokens, but the model hands on 4"):
        sipit.capture(model, [[5, 6, 7]], layer=1)


def test_a_body_that_a_short_prompt_changes_for_good_is_refused():
    """BigBird gives up its sparse attention at the first short prompt, and computes other states from then on."""
    size = {name: COMMON[name] for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                                            "num_attention_heads")}  # fmt: skip
    sparse = {"attention_type": "block_sparse", "block_size": 4, "num_random_blocks": 1, "is_decoder": True}
    config = tf.BigBirdConfig(**size, **sparse, max_position_embeddings=128)
    with pytest.raises(Unsupported, match="attention_type of its body, 'block_sparse'"):
        language_model(drawn(lambda: tf.BigBirdForCausalLM(config)))
    config.attention_type = "original_full"
    assert language_model(drawn(lambda: tf.BigBirdForCausalLM(config))).layers == 2


def test_a_token_that_the_body_compares_is_no_twin_of_those_that_share_its_row():
    """Padding of RoBERTa is counted at no place, whatever its row."""
    config = tf.RobertaConfig(**COMMON | {"is_decoder": True, "pad_token_id": 1, "max_position_embeddings": 64})
    module = drawn(lambda: tf.RobertaForCausalLM(config))
    with torch.no_grad():
        rows = module.get_input_embeddings().weight
        rows[7] = rows[9] = rows[1]
    model = language_model(module)
    assert model.shared_classes == [[7, 9]]
    assert vocabulary(model)["groups"] == [[7, 9]]
    for prompt in ([5, 1, 3], [5, 7, 3], [5, 9, 3]):
        (inversion,) = sipit.invert(model, sipit.capture(model, [prompt], layer=2))
        named = {*inversion.alternatives[0].token_ids} if inversion.alternatives else {*inversion.token_ids}
        assert (inversion.outcome is Outcome.RECOVERED) is (1 in prompt)
        assert named == ({*prompt} if 1 in prompt else {7, 9})
