"""Checkpoints of classes without a language-model head: the same states, inverted like any other, with no prior."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import sipit
from proofs.errors import InvalidInput, Unsupported
from proofs.verdict import Verdict
from sipit.claims.certify import certify
from sipit.claims.check import check_model
from sipit.claims.verify import verify_record
from sipit.cli import run
from sipit.models.architecture import Architecture
from sipit.models.network import Network
from sipit.models.tiny import tiny_config, tiny_module
from tests.sipit.cases import ALL_FAMILIES, KINDS, assert_recovers, checked, random_prompts
from tests.sipit.folders import HEADLESS, drawn, final_states, has_class, headless, save

PROMPT = [5, 6, 7, 300, 9]


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        pytest.param(family, kind, marks=() if kind == "model" or family in KINDS else pytest.mark.slow)
        for family in ALL_FAMILIES
        for kind in HEADLESS
        if has_class(family, kind)
    ],
)
def test_the_states_are_those_of_the_class_that_was_saved(tmp_path, family, kind):
    module = headless(family, kind, tmp_path)
    model = sipit.load_model(str(tmp_path))
    torch.testing.assert_close(sipit.capture(model, [PROMPT], layer="final")[0], final_states(module, PROMPT))
    assert model.head is None
    assert "no language-model head" in model.arithmetic
    assert not any(parameter.is_meta for parameter in model.module.parameters())


@settings(max_examples=5, deadline=None)
@given(
    family=st.sampled_from(["llama", "gpt2", "bloom", "mixtral", "qwen2"]),
    kind=st.sampled_from(sorted(HEADLESS)),
    heads=st.sampled_from([1, 2, 4]),
    layers=st.integers(1, 3),
    vocabulary=st.integers(300, 400),
    seed=st.integers(0, 9),
)
def test_the_states_do_not_depend_on_the_head_that_was_saved(
    tmp_path_factory, family, kind, heads, layers, vocabulary, seed
):
    folder = tmp_path_factory.mktemp("model")
    config = Architecture(family, 16 * heads, layers, heads, vocabulary).config()
    module = headless(family, kind, folder, config=config, seed=seed)
    model = sipit.load_model(str(folder))
    ids = [token % vocabulary for token in PROMPT]
    torch.testing.assert_close(sipit.capture(model, [ids], layer="final")[0], final_states(module, ids))
    assert (model.layers, model.vocabulary_size, model.head) == (layers, vocabulary, None)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("llama", "model"),
        ("gpt2", "sequence"),
        pytest.param("opt", "model", marks=pytest.mark.slow),
        pytest.param("qwen3", "question", marks=pytest.mark.slow),
    ],
)
def test_prompts_come_back_and_no_prior_is_asked_for(tmp_path, empty_cache, monkeypatch, family, kind):
    def never(*_arguments):
        raise AssertionError("a head that is not there was used")

    monkeypatch.setattr(Network, "_logits", never)
    headless(family, kind, tmp_path)
    model = sipit.load_model(str(tmp_path))
    prompts = random_prompts(3, longest=8)
    assert_recovers(model, sipit.capture(model, prompts, layer=1), prompts)


def test_the_record_of_an_inversion_says_that_there_is_no_prior(tmp_path, capsys):
    headless("llama", "sequence", tmp_path)
    assert run(["invert", str(tmp_path), "--text", "abc", "--policy", "nearest", "--json"]) == 0
    printed = capsys.readouterr()
    assert "drafts have no prior" in json.loads(printed.out)["provenance"]["arithmetic"]
    assert "drafts have no prior" in printed.err


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_language_model_keeps_its_head(tmp_path, family):
    save(tiny_module(family, seed=0), tmp_path)
    model = sipit.load_model(str(tmp_path))
    assert model.head is not None
    assert model.assembly == ()


def test_a_head_that_is_not_stored_is_no_head_whatever_the_class_is_called(tmp_path):
    """The library would draw it at random."""
    save(tiny_module("llama", seed=0), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    model = sipit.load_model(str(tmp_path))
    assert model.head is None
    assert torch.equal(
        sipit.capture(model, [PROMPT], layer=2)[0], sipit.capture(sipit.load_model("tiny-llama"), [PROMPT], layer=2)[0]
    )


def test_a_tied_head_is_one_where_the_class_writes_text(tmp_path):
    """Tied rows are stored in any case; whether they are a head is what the class says."""
    module = headless("gemma3", "model", tmp_path / "bare")
    assert sipit.load_model(str(tmp_path / "bare")).head is None
    whole = AutoModelForCausalLM.from_config(module.config)
    whole.model.load_state_dict(module.state_dict())
    save(whole, tmp_path / "whole")
    assert sipit.load_model(str(tmp_path / "whole")).head is not None


@pytest.mark.parametrize("kind", HEADLESS)
def test_a_body_that_is_not_whole_is_refused(tmp_path, kind):
    headless("gpt2", kind, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if name.endswith("h.1.mlp.c_fc.weight"))
    del tensors[name]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput, match=r"h\.1\.mlp\.c_fc\.weight"):
        sipit.load_model(str(tmp_path))


@pytest.mark.parametrize("kind", ["model", "sequence", "token", "question"])
def test_an_encoder_is_refused_with_or_without_a_head(tmp_path, kind):
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        "bert", vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    save(drawn(lambda: HEADLESS[kind].from_config(config)), tmp_path)
    with pytest.raises(Unsupported, match="causal"):
        sipit.load_model(str(tmp_path))


def test_a_name_among_the_architectures_runs_nothing(tmp_path):
    headless("llama", "model", tmp_path)
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"architectures": ["LlamaModel", 3, "os", "__doc__", "x.y"]})
    )
    assert sipit.load_model(str(tmp_path)).head is None
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["GPT2Model"]}))
    assert sipit.load_model(str(tmp_path)).layers == 2


@pytest.mark.parametrize("kind", ["model", pytest.param("sequence", marks=pytest.mark.slow)])
def test_checked_certified_and_verified_like_the_language_model(tmp_path, monkeypatch, kind):
    """The graph, and what is proved about it, is that of the network with the head."""
    headless("gpt2", kind, tmp_path / "model")
    name = str(tmp_path / "model")
    ours, theirs = check_model(name), checked("tiny-gpt2")
    assert (ours.verdict, ours.result["regularity"]) == (theirs.verdict, theirs.result["regularity"])
    assert "no language-model head" in ours.provenance["arithmetic"]
    model = sipit.load_model(name)
    record = certify(model, [[1, 2], [3, 4]], layer=1)
    assert record.verdict is Verdict.SEPARATED
    (tmp_path / "record.json").write_text(record.dumps())
    assert verify_record(tmp_path / "record.json").verdict is Verdict.ACCEPTED
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "another"))
    assert verify_record(tmp_path / "record.json", model=name).verdict is Verdict.ACCEPTED


def test_the_final_layer_is_never_the_logits(tmp_path):
    """Classes whose own `get_decoder` hands out the whole model have a body all the same."""
    from transformers import Llama4TextConfig

    config = Llama4TextConfig(
        **{
            name: value
            for name, value in tiny_config("llama").to_dict().items()
            if name
            in {
                "vocab_size",
                "hidden_size",
                "num_hidden_layers",
                "num_attention_heads",
                "num_key_value_heads",
                "intermediate_size",
            }
        },
        intermediate_size_mlp=128,
        num_local_experts=2,
        head_dim=16,
    )
    save(drawn(lambda: AutoModelForCausalLM.from_config(config)), tmp_path)
    model = sipit.load_model(str(tmp_path))
    assert sipit.capture(model, [PROMPT], layer="final")[0].shape == (len(PROMPT), model.width)
