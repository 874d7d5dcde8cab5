"""Models that also see or hear: their text decoder alone, with the states that it has inside the whole model."""

import json

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import sipit
from proofs.errors import InvalidInput, Unsupported
from proofs.verdict import Verdict
from sipit.claims.certify import certify
from sipit.claims.check import check_model
from sipit.claims.verify import verify_record
from sipit.models.network import Network
from tests.sipit.cases import assert_recovers, random_prompts
from tests.sipit.folders import MULTIMODAL, adapted, drawn, final_states, multimodal, save, save_adapter

PROMPT = [300, 301, 17, 302, 11]


def slow(kind):
    return pytest.param(kind, marks=pytest.mark.slow)


def block_states(module, ids):
    """The states of the blocks that run, by a plain forward of the whole model on text."""
    with torch.inference_mode():
        return module(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states


@pytest.mark.parametrize("kind", MULTIMODAL)
def test_the_states_are_those_of_the_whole_model_on_text(tmp_path, kind):
    whole = multimodal(kind)
    save(whole, tmp_path)
    model = sipit.load_model(str(tmp_path))
    *inner, last = block_states(whole, PROMPT)
    for layer, theirs in [*enumerate(inner), ("final", last)]:
        torch.testing.assert_close(sipit.capture(model, [PROMPT], layer=layer)[0], theirs[0])
    assert "the text decoder of" in model.arithmetic
    assert model.vocabulary_size >= 512
    seen = {name for name, _ in model.module.named_parameters() if "vision" in name or "visual" in name}
    assert not seen


@pytest.mark.parametrize("kind", MULTIMODAL)
def test_the_prior_is_that_of_the_whole_model(tmp_path, kind):
    whole = multimodal(kind)
    save(whole, tmp_path)
    model = sipit.load_model(str(tmp_path))
    logits = Network(model, 1).next_token_logits(sipit.capture(model, [PROMPT], layer=1)[0])
    with torch.inference_mode():
        theirs = whole(input_ids=torch.tensor([PROMPT])).logits[0]
    # Mllama's embedding has rows for pictures that its head leaves out.
    torch.testing.assert_close(logits[:, : theirs.shape[1]], theirs, rtol=1e-4, atol=1e-4)


@settings(max_examples=6, deadline=None)
@given(kind=st.sampled_from(sorted(MULTIMODAL)), prompt=st.lists(st.integers(10, 511), min_size=1, max_size=9))
def test_any_prompt_of_text(tmp_path_factory, kind, prompt):
    folder = tmp_path_factory.mktemp("model")
    whole = multimodal(kind)
    save(whole, folder)
    states = sipit.capture(sipit.load_model(str(folder)), [prompt], layer="final")[0]
    torch.testing.assert_close(states, final_states(whole, prompt))


@pytest.mark.parametrize("kind", ["llava", *map(slow, ["qwen2-vl", "gemma3"]), "mllama"])
def test_prompts_come_back(tmp_path, empty_cache, kind):
    save(multimodal(kind), tmp_path)
    model = sipit.load_model(str(tmp_path))
    prompts = random_prompts(2, longest=8)
    assert_recovers(model, sipit.capture(model, prompts, layer=1), prompts)


@pytest.mark.parametrize("kind", [*map(slow, ["llava", "mllama", "qwen2-vl"])])
def test_checked_certified_and_verified(tmp_path, monkeypatch, kind):
    """What is proved is about the decoder that runs: as many blocks, and weights that its files hold elsewhere."""
    save(multimodal(kind), tmp_path / "model")
    name = str(tmp_path / "model")
    model = sipit.load_model(name)
    record = check_model(name)
    assert record.result["layer"] == model.layers
    assert record.result["regularity"] == "analytic"
    certified = certify(model, [[11, 12], [13, 14]], layer=1)
    assert certified.verdict is Verdict.SEPARATED
    (tmp_path / "record.json").write_text(certified.dumps())
    assert verify_record(tmp_path / "record.json").verdict is Verdict.ACCEPTED
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "another"))
    assert verify_record(tmp_path / "record.json", model=name).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("kind", ["llava", *map(slow, ["qwen2-vl", "gemma3"])])
def test_a_configuration_alone_is_enough_to_check(tmp_path, kind):
    path = tmp_path / "config.json"
    whole = multimodal(kind)
    path.write_text(json.dumps(whole.config.to_dict()))
    assert check_model(str(path)).result["regularity"] == "analytic"


@pytest.mark.parametrize("kind", ["llava", "qwen2-vl"])
def test_a_body_of_a_multimodal_model_without_its_head(tmp_path, kind):
    whole = multimodal(kind)
    save(whole.model, tmp_path)
    model = sipit.load_model(str(tmp_path))
    torch.testing.assert_close(sipit.capture(model, [PROMPT], layer="final")[0], final_states(whole, PROMPT))
    assert model.head is None


@pytest.mark.parametrize("kind", ["llava", "qwen2-vl", "gemma3"])
def test_an_adapter_of_a_multimodal_model(tmp_path, kind):
    whole = multimodal(kind)
    save(whole, tmp_path / "base")
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=r".*language_model.*\.(q|v)_proj")
    theirs = adapted(whole, config)
    model = sipit.load_model(save_adapter(theirs, tmp_path / "adapter", "../base"))
    states = sipit.capture(model, [PROMPT], layer="final")[0]
    torch.testing.assert_close(states, final_states(theirs.get_base_model(), PROMPT), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(states, final_states(whole, PROMPT), rtol=1e-2, atol=1e-2)
    assert len(model.assembly) == 2


def test_a_decoder_that_is_not_whole_is_refused(tmp_path):
    save(multimodal("llava"), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[next(name for name in tensors if name.endswith("layers.1.mlp.up_proj.weight") and "vision" not in name)]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput, match=r"layers\.1\.mlp\.up_proj\.weight"):
        sipit.load_model(str(tmp_path))


def blip_2():
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = {"model_type": "opt", "vocab_size": 512, "ffn_dim": 64, "word_embed_proj_dim": 32} | small
    sees, asks = small | {"image_size": 16, "patch_size": 8}, small | {"encoder_hidden_size": 32}
    return Blip2ForConditionalGeneration(Blip2Config(text_config=text, vision_config=sees, qformer_config=asks))


def test_one_that_needs_a_picture_is_refused(tmp_path):
    save(drawn(blip_2), tmp_path)
    with pytest.raises(Unsupported, match="runs on text alone"):
        sipit.load_model(str(tmp_path))


def test_one_whose_decoder_does_something_else_inside_is_refused(tmp_path, monkeypatch):
    from transformers.models.llava.modeling_llava import LlavaModel

    save(multimodal("llava"), tmp_path)
    plain = LlavaModel.forward

    def scaled(self, input_ids=None, inputs_embeds=None, **named):
        return plain(self, inputs_embeds=1.5 * self.get_input_embeddings()(input_ids), **named)

    monkeypatch.setattr(LlavaModel, "forward", scaled)
    with pytest.raises(Unsupported, match="same states alone as inside it"):
        sipit.load_model(str(tmp_path))
