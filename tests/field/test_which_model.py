"""Which model is it? Names that stand for two, adapters beside weights, stray files, and layers counted otherwise."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

import sipit
from proofs.errors import InvalidInput, SipitError
from sipit.claims.check import config_alone
from sipit.cli.commands import demo
from sipit.installation import examination, machine
from sipit.models.names import chosen
from sipit.models.tiny import tiny_module
from sipit.privacy.power import _other_seed
from tests.field.places import assert_refused, called, captured, model_folder, plain_states, refused
from tests.sipit.folders import final_states, lora_folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("what", ["weights", "config", "nothing"])
@pytest.mark.parametrize("name", ["tiny-gpt2", "smollm2"])
def test_a_folder_called_like_a_built_in_model_is_told_with_both_ways(here, name, what):
    if what == "nothing":
        (here / name).mkdir()
    else:
        module = model_folder(name) if what == "weights" else tiny_module("gpt2", seed=0)
        module.config.save_pretrained(name)
    commands = [("check",), ("capture", "--text", "a", "-o", "a.safetensors"), ("invert", "--text", "a")]
    drawn = [("prove", "generic-position", "--context", 1, "--model"), ("prove", "training-step", "--model"),
             ("train", "--model")]  # fmt: skip
    for command, *options in commands:
        assert_refused(called(command, name, *options), f"./{name}", f"builtin:{name}")
    for words in drawn:
        assert_refused(called(*words, name), f"./{name}", f"builtin:{name}")


def test_what_is_drawn_afresh_is_no_stored_model(here):
    """A folder that is called like a family which there is not is a stored model: it has no seed."""
    model_folder("tiny-mine")
    for words in (("train",), ("prove", "training-step"), ("prove", "generic-position", "--context", 1)):
        assert_refused(called(*words, "--model", "tiny-mine"), "tiny-<family>")
    with pytest.raises(SipitError, match="no seed"):
        _other_seed(SimpleNamespace(model=SimpleNamespace(name="tiny-mine", dtype=torch.float32)))


def test_what_nobody_named_is_the_built_in_model(here):
    """Folders of these names do not stop a command whose user named none; the record says which model it was."""
    for name in ("tiny-gpt2", "tiny-llama", "smollm2"):
        (here / name).mkdir()
    status, out, err = called("prove", "generic-position", "--model", "builtin:tiny-gpt2", "--context", 1, "--json")
    record = json.loads(out)
    assert (status, record["result"]["architecture"], record["provenance"]["model"]) == (0, *["tiny-gpt2"] * 2), err
    assert chosen("tiny-llama") == "builtin:tiny-llama" and chosen("tiny-opt") == "tiny-opt"
    for quick, named in ((False, {"builtin:smollm2"}), (True, {"builtin:smollm2", "builtin:tiny-llama"})):
        parts = demo._parts(Path("page.html"), 15, seed=0, quick=quick)
        assert {part[1] for part in parts if part[0] != "prove"} == named


def test_doctor_demo_and_train_ask_for_the_built_in_model(here, monkeypatch):
    asked = []

    def stop(_found, name, **_):
        asked.append(name)
        raise InvalidInput("Expected this far, but no farther; stop.")

    monkeypatch.setattr(examination, "import_errors", lambda modules: dict.fromkeys(modules))
    monkeypatch.setattr(machine, "check_machine", stop)
    monkeypatch.setattr(demo, "load", lambda name, **_: stop(None, name))
    monkeypatch.setattr("sipit.training.record.training_record", lambda model, settings, *_, **__: stop(None, settings))
    for name in ("tiny-llama", "tiny-gpt2", "smollm2"):
        (here / name).mkdir()
    assert [called(command)[0] for command in ("doctor", "demo", "train")] == [2, 2, 2]
    *names, settings = asked
    assert (names, settings.model) == (["builtin:tiny-llama", "builtin:smollm2"], "tiny-gpt2")


def test_files_called_like_no_family_are_files(here):
    (here / "tiny-mine.json").write_text(json.dumps(tiny_module("gpt2", seed=0).config.to_dict()))
    assert config_alone("tiny-mine.json")
    (here / "tiny-mine.gguf").write_bytes(b"GGUF")
    assert_refused(called("check", "tiny-mine.gguf"), "loads from tiny-mine.gguf")


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
