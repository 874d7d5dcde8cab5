"""Adapters that cannot be applied: each refused in one sentence, and never passed over."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import sipit
from proofs.errors import InvalidInput, MissingResource, SipitError, Unsupported
from sipit.cli import run
from sipit.models.tiny import tiny_module
from tests.sipit.folders import assert_same_network, lora_folder, rewrite, save

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft.*")  # what it says to those who train


def without(*files):
    return lambda folder: [(folder / file).unlink() for file in files]


def with_fields(**fields):
    return lambda folder: rewrite(folder, **fields)


def with_text(file, text):
    return lambda folder: (folder / file).write_text(text)


def change_tensors(change):
    def write(folder):
        path = folder / "adapter_model.safetensors"
        save_file(change(load_file(path)), path)

    return write


def pickled(folder):
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def truncated(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def named_by_itself(folder):
    rewrite(folder, base_model_name_or_path=str(folder))


BAD = {
    "base missing": (with_fields(base_model_name_or_path="../nowhere"), "base_model_name_or_path"),
    "base elsewhere": (with_fields(base_model_name_or_path="/nowhere/at/all"), "base_model_name_or_path"),
    "base on a hub": (with_fields(base_model_name_or_path="nobody/nothing"), "nor a reachable hub id"),
    "base not named": (with_fields(base_model_name_or_path=None), "base_model_name_or_path"),
    "base a number": (with_fields(base_model_name_or_path=7), "base_model_name_or_path"),
    "base itself": (named_by_itself, "is an adapter too"),
    "base at a revision": (with_fields(base_model_name_or_path="nobody/nothing", revision="abc"), "revision"),
    "rank too small": (with_fields(r=2), "where the base takes"),
    "rank too large": (with_fields(r=10**9), "where the base takes"),
    "rank of nothing": (with_fields(r=0), "positive"),
    "rank in words": (with_fields(r="four"), "does not"),
    "rank by pattern": (with_fields(rank_pattern={"q_proj": 10**8}), "where the base takes"),
    "targets that are not there": (with_fields(target_modules=["nothing"]), "does not"),
    "targets left out": (with_fields(target_modules=["q_proj"]), "has no place"),
    "targets without tensors": (with_fields(target_modules=["q_proj", "v_proj", "k_proj"]), "it has no"),
    "not a number": (with_fields(lora_alpha=float("nan")), "cannot"),
    "unknown kind": (with_fields(peft_type="MAGIC"), "MAGIC"),
    "no kind": (with_fields(peft_type=None), "peft_type"),
    "a newer field": (with_fields(use_what_comes_next=True), "use_what_comes_next"),
    "prompt tuning": (with_fields(peft_type="PROMPT_TUNING"), "tokens of its own"),
    "prefix tuning": (with_fields(peft_type="PREFIX_TUNING"), "tokens of its own"),
    "invoked": (with_fields(alora_invocation_tokens=[1]), "tokens that invoke it"),
    "repeated blocks": (with_fields(layer_replication=[[0, 2], [0, 2]]), "repeats blocks"),
    "another library": (with_fields(megatron_config={"a": 1}, megatron_core="antigravity"), "another library"),
    "no weights": (without("adapter_model.safetensors"), "adapter_model.safetensors"),
    "pickled": (pickled, "pickle"),
    "truncated": (truncated, "truncated"),
    "not JSON": (with_text("adapter_config.json", "{"), "JSON object"),
    "a list": (with_text("adapter_config.json", "[]"), "JSON object"),
    "deep": (with_text("adapter_config.json", "[" * 100_000), "JSON object"),
    "one tensor less": (change_tensors(lambda tensors: dict(list(tensors.items())[1:])), "it has no"),
    "one tensor more": (change_tensors(lambda tensors: tensors | {"base_model.model.a.b": torch.ones(2)}), "place"),
    "another width": (change_tensors(lambda tensors: {name: torch.ones(4, 7) for name in tensors}), "the base takes"),
    "no numbers": (change_tensors(lambda tensors: {name: one * torch.nan for name, one in tensors.items()}), "cannot"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_adapter_is_refused_in_one_sentence(tmp_path, capsys, kind):
    _, name = lora_folder(tmp_path)
    change, reason = BAD[kind]
    change(Path(name))
    capsys.readouterr()  # what the libraries say while they save
    began = time.monotonic()
    for command in (["check", name], ["invert", name, "--text", "a"]):
        assert run(command) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert reason in line
        assert line.count("Expected") == 1
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("kind", BAD)
def test_weights_beside_a_bad_adapter_are_never_taken_without_it(tmp_path, kind):
    _, name = lora_folder(tmp_path)
    BAD[kind][0](Path(name))
    shutil.copytree(tmp_path / "base", name, dirs_exist_ok=True)
    if kind.startswith("base"):
        assert "merged" in sipit.load_model(name).arithmetic
    else:
        with pytest.raises(SipitError, match=BAD[kind][1]):
            sipit.load_model(name)


def test_a_configuration_alone_is_not_checked_where_an_adapter_is_described(tmp_path, capsys):
    _, name = lora_folder(tmp_path)
    shutil.copy(tmp_path / "base" / "config.json", name)
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    assert run(["check", name]) == 2
    assert "adapter_model.safetensors" in capsys.readouterr().err


def test_an_adapter_that_cannot_be_merged_is_refused(tmp_path):
    """A bias that the base has not: the states could be had, the weights of one network could not."""
    _, name = lora_folder(tmp_path, lora_bias=True)
    with pytest.raises(Unsupported, match="can be merged into its base, but"):
        sipit.load_model(name)


def test_a_base_with_an_adapter_of_its_own_is_refused(tmp_path):
    _, name = lora_folder(tmp_path)
    for file in Path(name).iterdir():
        shutil.copy(file, tmp_path / "base")
    with pytest.raises(InvalidInput, match="is an adapter too"):
        sipit.load_model(name)


def test_the_wrong_base_is_refused(tmp_path):
    _, name = lora_folder(tmp_path)
    shutil.rmtree(tmp_path / "base")
    save(tiny_module("gpt2", seed=0), tmp_path / "base")
    with pytest.raises(InvalidInput, match="name the base that it was trained on"):
        sipit.load_model(name)


def test_without_the_library_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    _, name = lora_folder(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingResource, match=r"pip install 'sipit\[adapters\]'"):
        sipit.load_model(name)


def test_split_over_devices_is_refused(tmp_path):
    _, name = lora_folder(tmp_path)
    with pytest.raises(Unsupported, match="device_map"):
        sipit.load_model(name, device_map="cpu")


def test_nothing_that_an_adapter_names_is_imported(tmp_path, monkeypatch):
    """`auto_mapping` names a library and a class; `runtime_config` and `megatron_core` name others."""
    model, name = lora_folder(tmp_path)
    (tmp_path / "code_of_a_stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    mapping = {"base_model_class": "Anything", "parent_library": "code_of_a_stranger"}
    rewrite(name, auto_mapping=mapping, megatron_core="code_of_a_stranger", task_type=None)
    assert_same_network(sipit.load_model(name), model.get_base_model())
    rewrite(name, runtime_config={"ephemeral_gpu_offload": True})
    assert_same_network(sipit.load_model(name), model.get_base_model())
    assert not (tmp_path / "ran").exists()
    assert json.loads((Path(name) / "adapter_config.json").read_text())["auto_mapping"] == mapping
