"""Captures are those of a plain run, or are refused: what the library was asked for is not always what it did."""

import pytest
import torch
import transformers as tf

import sipit
from proofs.errors import InvalidInput, Unsupported
from sipit.diagnosis.conventions import diagnose
from sipit.diagnosis.findings import Cause
from sipit.states.files import States
from sipit.states.layered import capture_layers
from tests.field.models import COMMON, drawn_ids, plain
from tests.sipit.folders import drawn, save

LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 8,
    "long_factor": [1.0 + i for i in range(8)],
}
ENCODED = {
    "vocab_size": 512, "d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 128,
    "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "max_position_embeddings": 128,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "is_decoder": True,
    "is_encoder_decoder": False,
}  # fmt: skip


def longrope(original):
    config = tf.Phi3Config(
        **COMMON | {"max_position_embeddings": 256, "original_max_position_embeddings": original, "pad_token_id": 0},
        rope_parameters=LONG | {"original_max_position_embeddings": original},
    )
    return drawn(lambda: tf.Phi3ForCausalLM(config))


def dynamic():
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    config = tf.LlamaConfig(**COMMON | {"max_position_embeddings": 24}, rope_parameters=rope)
    return drawn(lambda: tf.LlamaForCausalLM(config))


MAKERS = {
    "roberta": lambda: drawn(lambda: tf.RobertaForCausalLM(
        tf.RobertaConfig(**COMMON | {"pad_token_id": 1, "is_decoder": True}))),
    "mbart": lambda: drawn(lambda: tf.MBartForCausalLM(tf.MBartConfig(**ENCODED))),
    "marian": lambda: drawn(lambda: tf.MarianForCausalLM(tf.MarianConfig(**ENCODED))),
    "trocr of one block": lambda: drawn(lambda: tf.TrOCRForCausalLM(tf.TrOCRConfig(
        vocab_size=512, d_model=64, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=128,
        max_position_embeddings=128, pad_token_id=1))),
    "rwkv": lambda: drawn(lambda: tf.RwkvForCausalLM(tf.RwkvConfig(
        vocab_size=512, hidden_size=64, num_hidden_layers=4, context_length=128, rescale_every=2,
        attention_hidden_size=64))),
    "longrope": lambda: longrope(16),
    "dynamic": dynamic,
}  # fmt: skip
LENGTHS = (5, 12, 16, 17, 26)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in {"marian", "dynamic"} else name for name in MAKERS]
)
def test_captures_are_those_of_plain_runs_and_are_inverted(name, tmp_path):
    folder = save(MAKERS[name](), tmp_path)
    model = sipit.load_model(folder)
    prompts = [drawn_ids(length, seed=length) for length in LENGTHS]
    expected = [plain(folder, ids)[-1] for ids in prompts]
    for how in ({}, {"batch": 5}, {"batch": 5, "padding": "left"}, {"cached": True}):
        try:
            captured = sipit.capture(model, prompts, layer="final", **how)
        except Unsupported as refused:
            assert how == {"cached": True}, refused
            continue
        for one, other in zip(captured, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    if name == "trocr of one block":
        foreign = States(tuple(expected), "final")
    else:
        first = 0 if name == "rwkv" else 1  # which lists no input of the first block
        foreign = States(tuple(plain(folder, ids)[first] for ids in prompts), 1)
    found = sipit.invert(model, foreign)
    assert [one.token_ids for one in found] == prompts


def test_token_by_token_is_as_in_one_run_wherever_it_is_read(tmp_path):
    folder = save(MAKERS["mbart"](), tmp_path)
    ids = drawn_ids(9, seed=1)
    expected = plain(folder, ids)
    model = sipit.load_model(folder)
    for layer in (0, 1):  # at 0 a run would end before the block by which a body counts what it remembers
        torch.testing.assert_close(sipit.capture(model, [ids], layer=layer, cached=True)[0], expected[layer])
    (both,) = capture_layers(model, [ids], [0, 1], cached=True).stacks
    torch.testing.assert_close(both, torch.stack(expected[:2]))
    for site in ("normed", "values", "attention-out", "mlp-out"):
        layer = 0 if site in ("normed", "values") else 1
        one, other = (sipit.capture(model, [ids], layer=layer, observe=site, cached=how)[0] for how in (False, True))
        torch.testing.assert_close(one, other)


def test_a_prompt_that_no_part_of_which_runs_alone_is_told(tmp_path):
    model = sipit.load_model(save(longrope(16), tmp_path))
    assert model.lengths.lengths == (16,)
    with pytest.raises(Unsupported, match="beyond 16 the states of every position depend on how long"):
        sipit.capture(model, [drawn_ids(17, seed=1)], cached=True)
    short = sipit.capture(model, [drawn_ids(16, seed=1)], cached=True)
    torch.testing.assert_close(short[0], sipit.capture(model, [drawn_ids(16, seed=1)])[0], rtol=1e-4, atol=1e-4)


def test_a_longer_prompt_before_changes_nothing(tmp_path):
    folder = save(dynamic(), tmp_path)
    model = sipit.load_model(folder)
    ids = drawn_ids(26, seed=3)
    captured = sipit.capture(model, [drawn_ids(40, seed=2), ids], layer=1)
    torch.testing.assert_close(captured[1], plain(folder, ids)[1], rtol=1e-4, atol=1e-4)


def test_no_number_format_is_blamed_for_a_length(tmp_path):
    folder = save(longrope(16), tmp_path)
    ids = drawn_ids(20, seed=4)
    found = diagnose(sipit.load_model(folder), plain(folder, ids)[1], claimed=1)
    assert found.cause is Cause.PLAIN
    assert list(found.token_ids) == ids


def test_a_decoder_of_speech_ends_where_its_table_does(tmp_path):
    sizes = {
        "vocab_size": 512, "d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 128,
        "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "max_target_positions": 40,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    }  # fmt: skip
    folder = save(drawn(lambda: tf.WhisperForCausalLM(tf.WhisperConfig(**sizes))), tmp_path)
    model = sipit.load_model(folder)
    ids = drawn_ids(40, seed=5)
    torch.testing.assert_close(sipit.capture(model, [ids], layer=1)[0], plain(folder, ids)[1])
    with pytest.raises(InvalidInput, match="at most 40 tokens"):
        sipit.capture(model, [[*ids, 7]], layer=1)
