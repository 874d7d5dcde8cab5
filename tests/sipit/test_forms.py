"""Forms that blocks and models have in the library: what a block hands on, where the blocks lie, what is no decoder."""

from dataclasses import replace

import pytest
import torch
from hypothesis import find
from hypothesis.errors import NoSuchExample
from transformers import AutoConfig

import sipit
from numerics.networks.shrinking import small_copy
from proofs.errors import InvalidInput, Unsupported
from sipit import strategies
from sipit.diagnosis.conventions import diagnose
from sipit.diagnosis.sites import Site
from sipit.models.network import Network
from sipit.models.structure import find_decoder
from sipit.models.tiny import drawn_module
from sipit.privacy.leak import measure_leak
from sipit.quantization.output import predictions
from tests.sipit.cases import language_model

# What a block returns: the state alone, a list of one, a tuple of one, a tuple of several.
RETURNS = {"llama": None, "openai-gpt": 1, "falcon_h1": 1, "trocr": 1, "gpt_neo": 2}
PROMPT = [5, 9, 3, 60, 17]


def small(name, **fields):
    return drawn_module(small_copy(AutoConfig.for_model(name, **fields)), seed=0)


def small_roberta():
    return small("roberta", is_decoder=True)


@pytest.mark.parametrize("name", RETURNS)
def test_states_go_through_the_rest_of_the_model_in_the_form_that_its_blocks_have(name):
    model = language_model(small(name))
    assert set(model.decoder.chain.returns) == {RETURNS[name]}
    ids = torch.tensor([PROMPT])
    network = Network(model, 1)
    logits = network.next_token_logits(network.run(ids)[0])
    with torch.inference_mode():
        torch.testing.assert_close(logits, model.module(input_ids=ids).logits[0])


def reading_ids(name):
    """A model whose later blocks look at the ids: for rows of a table of their own, or for the experts of a token."""
    module = small(name)
    for path, buffer in module.named_buffers():
        if path.endswith("tid2eid"):  # which is filled by a checkpoint alone
            buffer.copy_((torch.arange(len(buffer))[:, None] + torch.arange(buffer.shape[1])) % 3)
    return language_model(module)


@pytest.mark.parametrize("name", ["gemma3n_text", "gemma4_text", "deepseek_v4"])
def test_blocks_that_look_at_ids_are_given_the_true_ones_or_are_not_asked(name):
    model = reading_ids(name)
    with torch.inference_mode():
        own = model.module(input_ids=torch.tensor([PROMPT])).logits[0]
    early, late = Network(model, 1), Network(model, model.layers)
    for network, alone in ((early, False), (late, True)):
        states = network.run(torch.tensor([PROMPT]))[0]
        torch.testing.assert_close(network.next_token_logits(states, token_ids=PROMPT), own)
        assert network.goes_on_alone == alone
        found = network.next_token_logits(states)
        assert (found is None) != alone
        if found is not None:
            torch.testing.assert_close(found, own)
    torch.testing.assert_close(predictions(model, PROMPT, layer=1), own)


def test_what_a_defence_costs_is_that_of_the_prompt_itself(monkeypatch, tmp_path):
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path))  # where nothing is kept of an earlier run
    asked, genuine = [], Network.next_token_logits

    def next_token_logits(self, states, rows=None, *, token_ids=None):
        asked.append(token_ids)
        return genuine(self, states, rows, token_ids=token_ids)

    monkeypatch.setattr(Network, "next_token_logits", next_token_logits)
    (curve,) = measure_leak(
        reading_ids("gemma4_text"), [PROMPT, PROMPT[::-1]], layers=[1], defences=["bits"], strengths=[4]
    ).curves
    assert curve["kl"]["mean"] > 0
    assert {tuple(ids) for ids in asked} == {(*PROMPT,), (*PROMPT[::-1],)}


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


def test_a_rest_that_does_not_run_alone_gives_no_prior_and_no_error():
    module = small("llama")
    first, second = module.model.layers
    shared = {}

    def sharing(forward):
        def run(*arguments, **named):
            shared["keys"] = forward(*arguments, **named)
            return shared["keys"]

        return run

    def using(forward):
        return lambda *arguments, **named: forward(*arguments, **named) + 0 * shared["keys"]

    first.forward, second.forward = sharing(first.forward), using(second.forward)
    module.model.register_forward_pre_hook(lambda _module, _arguments: shared.clear())
    model = language_model(module)
    states = sipit.capture(model, [PROMPT], layer=1)
    assert Network(model, 1).next_token_logits(states.arrays[0]) is None
    (found,) = sipit.invert(model, states)
    assert found.token_ids == PROMPT


@pytest.mark.parametrize("rows", [50, 80])
def test_an_unembedding_may_have_other_rows_than_the_embedding(rows):
    module = small("llama")
    module.lm_head = torch.nn.Linear(32, rows)
    model = language_model(module.requires_grad_(False))
    states = sipit.capture(model, [PROMPT], layer=1)
    logits = Network(model, 1).next_token_logits(states.arrays[0])
    assert logits.shape == (len(PROMPT), model.vocabulary_size)
    assert bool(torch.isfinite(logits[:, :50]).all())
    (found,) = sipit.invert(model, states)
    assert found.token_ids == PROMPT


@pytest.mark.parametrize(
    ("name", "tables"),
    [("gpt2", ["wte"]), ("bart", ["embed_tokens"]), ("bigbird_pegasus", ["embed_tokens"]),
     ("roberta", ["embeddings.word_embeddings"]),
     ("gemma3n_text", ["embed_tokens", "embed_tokens_per_layer"])],
)  # fmt: skip
def test_tables_are_those_that_the_ids_index_whatever_their_size(name, tables):
    decoder = find_decoder(small_roberta() if name == "roberta" else small(name))  # with as many positions as tokens
    assert decoder.tables == tuple(decoder.body.get_submodule(path) for path in tables)


def test_position_ids_are_no_mask():
    abilities = find_decoder(small_roberta()).abilities  # which counts positions past padding
    assert abilities.mask is None
    assert "mask" in abilities.refused


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3n_text", "deepseek_v4"])
def test_several_streams_are_one_state(name):
    model = language_model(small(name))
    stream = model.decoder.chain.stream
    assert stream.streams == 4
    assert model.width == 4 * model.width_at("final")
    ids = torch.tensor([PROMPT, PROMPT[::-1]])
    states = Network(model, 1).run(ids)
    assert states.shape == (2, len(PROMPT), model.width)
    torch.testing.assert_close(Network(model, 1).run(ids[1:])[0], states[1])
    assert torch.equal(stream.handed_on(stream.hidden(states)), states)
    for layer in (1, "final"):
        captured = sipit.capture(model, [PROMPT], layer=layer)
        (found,) = sipit.invert(model, captured)
        assert found.token_ids == PROMPT


def test_a_model_that_calls_its_context_otherwise():
    model = language_model(small("mpt"))
    assert model.context == 64
    (found,) = sipit.invert(model, sipit.capture(model, [PROMPT]))
    assert found.token_ids == PROMPT
    with pytest.raises(InvalidInput, match="64"):
        sipit.capture(model, [PROMPT * 13])


@pytest.mark.slow
def test_kept_probes_of_another_width_are_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path))
    model = language_model(small("deepseek_v4"))
    sipit.invert(model, sipit.capture(model, [PROMPT], layer="final"))
    (kept,) = tmp_path.rglob("*-final-*.safetensors")
    kept.rename(kept.with_name(kept.name.replace("-final-", "-1-")))
    (found,) = sipit.invert(model, sipit.capture(model, [PROMPT], layer=1))
    assert found.token_ids == PROMPT


def test_a_width_of_its_own_without_a_final_norm():
    config = small_copy(AutoConfig.for_model("opt"))
    config.word_embed_proj_dim = 16  # as in OPT 350M
    config.do_layer_norm_before = False
    model = language_model(drawn_module(config, seed=0))
    with pytest.raises(Unsupported, match="name layer 2, the last before it"):
        sipit.capture(model, [PROMPT], layer="final")
    with pytest.raises(NoSuchExample):
        find(strategies.layers(model), lambda layer: layer == "final")
    states = sipit.capture(model, [PROMPT], layer=1)
    assert diagnose(model, states.arrays[0], claimed=2).site == Site(1)
    with pytest.raises(InvalidInput, match=r"shape \(T, 32\)"):
        replace(states, arrays=(states[0][:, :16],)).check(model)


def test_a_projection_behind_the_final_norm_is_no_part_of_the_final_state():
    config = small_copy(AutoConfig.for_model("opt"))
    config.word_embed_proj_dim = 16
    model = language_model(drawn_module(config, seed=0))
    for layer, other in ((1, "final"), ("final", 1)):
        states = sipit.capture(model, [PROMPT], layer=layer)
        assert states[0].shape == (len(PROMPT), 32)
        (found,) = sipit.invert(model, states)
        assert found.token_ids == PROMPT
        assert diagnose(model, states.arrays[0], claimed=other).site == Site(layer)
