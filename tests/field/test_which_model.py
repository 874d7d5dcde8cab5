"""Which model is it? Names that stand for two, adapters beside weights, stray files, and layers counted otherwise."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

import sipit
from sipit.models.tiny import tiny_module
from tests.field.places import assert_refused, called, captured, model_folder, plain_states, refused
from tests.sipit.folders import final_states, lora_folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["tiny-gpt2", "smollm2"])
def test_a_folder_called_like_a_built_in_model_is_told_with_both_ways(here, name):
    model_folder(name)
    assert_refused(called("check", name), f"./{name}", f"builtin:{name}")


def test_both_ways_lead_where_they_say(here):
    module = model_folder("tiny-gpt2", "llama")
    assert torch.equal(captured("./tiny-gpt2", here), plain_states(module))
    assert torch.equal(captured("builtin:tiny-gpt2", here), plain_states(tiny_module("gpt2", seed=0)))


def test_a_folder_called_like_no_family_is_a_folder(here):
    module = model_folder("tiny-mine")
    assert torch.equal(captured("tiny-mine", here), plain_states(module))
    assert_refused(called("check", "tiny-yours"), "tiny-yours")
    assert_refused(called("check", "builtin:mine"), "builtin:mine")


def test_an_adapter_beside_the_weights_is_applied_or_refused(here):
    adapted, _ = lora_folder(here / "lora")
    shutil.copytree(here / "lora" / "base", "both")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(here / "lora" / "adapter" / file, "both")
    found = captured("both", here, layer="final")
    assert torch.allclose(found, final_states(adapted, [97, 98, 99]), atol=1e-5)
    base = final_states(adapted.unload(), [97, 98, 99])
    assert not torch.allclose(found, base, atol=1e-3)
    (here / "both" / "adapter_config.json").unlink()
    refused("both", here, "adapter_model.safetensors", "adapter_config.json")
    (here / "both" / "adapter_model.safetensors").rename(here / "both" / "mine.safetensors")
    refused("both", here, "mine.safetensors", "adapter_config.json")


def test_an_adapter_alone_names_what_is_missing(here):
    _, adapter = lora_folder(here / "lora", base=None)
    refused(adapter, here, "base_model_name_or_path")
    (here / "lora" / "adapter" / "adapter_config.json").unlink()
    refused(adapter, here, "adapter_config.json")


def test_states_written_into_the_folder_of_the_model_leave_its_digest(here):
    model_folder("model")
    before = sipit.load_model("model").digest
    status, _, _ = called("capture", "model", "--text", "abc", "--layer", 1, "-o", "model/states.safetensors")
    assert (status, sipit.load_model("model").digest) == (0, before)
    assert called("invert", "model", "--states", "model/states.safetensors")[0] == 0


@pytest.mark.parametrize(("family", "named", "true"), [("mamba", 1, 2), ("gpt2", 2, 1), ("llama", 1, "final")])
def test_states_of_another_layer_are_told_with_that_layer(here, family, named, true):
    module = tiny_module(family, seed=0)
    # the library's second entry, whatever it is
    rows = final_states(module, [97, 98, 99]) if true == "final" else plain_states(module, layer=1)
    save_file({"p": rows.contiguous()}, "p.safetensors")
    options = ["--states", "p.safetensors", "--layer"]
    status, out, _ = called("invert", f"tiny-{family}", *options, named, "--json")
    (prompt,) = json.loads(out)["result"]["prompts"]
    assert (status, prompt["outcome"]) == (1, "not_found")
    assert f"fit layer {true}, not {named}" in prompt["alternatives"][0]["reason"]
    assert called("invert", f"tiny-{family}", *options, true)[0] == 0


def test_states_of_no_layer_get_no_hint(here):
    save_file({"p": torch.randn(3, 64, generator=torch.Generator().manual_seed(0))}, "p.safetensors")
    status, out, _ = called("invert", "tiny-gpt2", "--states", "p.safetensors", "--layer", 1, "--json")
    reasons = [entry["reason"] for entry in json.loads(out)["result"]["prompts"][0]["alternatives"]]
    assert status == 1 and not any("fit layer" in reason for reason in reasons)
