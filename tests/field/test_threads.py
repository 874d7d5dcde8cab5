"""Further threads: checkpoints as trainers, caches and other libraries leave them, each with what has to come back."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.field.places import (
    called,
    captured,
    configured,
    model_folder,
    plain_states,
    prompts_file,
    refused,
    rewritten,
)
from tests.sipit.folders import lora_folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model"


def as_the_library(folder, tmp_path):
    """Captures what a plain run of the library gives, and hands on what was said on standard error."""
    module = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert torch.equal(captured(folder, tmp_path), plain_states(module))
    file = tmp_path / "s.safetensors"
    return called("capture", folder, "--prompts", prompts_file(tmp_path), "--layer", 1, "-o", file)[2]


def old_buffers(name, *, blocks=2):
    return {f"{name.format(block)}": torch.rand(8) for block in range(blocks)}


# transformers#35255, and masks in the checkpoints of GPT-2 and GPT-NeoX
@pytest.mark.parametrize(("family", "names"), [
    ("llama", ["model.layers.{}.self_attn.rotary_emb.inv_freq"]),
    ("gpt2", ["transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"]),
    ("gpt-neox", ["gpt_neox.layers.{}.attention.rotary_emb.inv_freq", "gpt_neox.layers.{}.attention.masked_bias"]),
])  # fmt: skip
def test_buffers_of_older_releases_change_nothing(folder, tmp_path, family, names):
    model_folder(folder, family)
    rewritten(
        folder, lambda weights: weights | {key: value for name in names for key, value in old_buffers(name).items()}
    )
    as_the_library(folder, tmp_path)


# transformers#20082, DeepSpeed#7900
@pytest.mark.parametrize("which", ["mlp", ""])
def test_weights_that_a_sharded_run_did_not_gather_are_told(folder, tmp_path, which):
    model_folder(folder)
    rewritten(folder, lambda weights: {
        name: torch.empty(0) if which in name else value for name, value in weights.items()
    })  # fmt: skip
    refused(folder, tmp_path, "mlp" if which else "everything", "no numbers", "zero_to_fp32.py")


@pytest.mark.parametrize("gone", [False, True])
def test_adapters_that_a_sharded_run_did_not_gather_are_told(tmp_path, gone):
    _, adapter = lora_folder(tmp_path / "lora")
    file = f"{adapter}/adapter_model.safetensors"
    save_file({} if gone else {name: torch.empty(0) for name in load_file(file)}, file)
    refused(adapter, tmp_path, "adapter_model.safetensors", "no numbers", "zero_to_fp32.py")


# LMFlow#104, autotrain-advanced#166
def test_a_checkpoint_of_a_run_and_the_folder_above_it(tmp_path):
    run = tmp_path / "run"
    module = model_folder(run / "checkpoint-500")
    for name in ("optimizer.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
        (run / "checkpoint-500" / name).write_bytes(b"\x80\x02")
    assert torch.equal(captured(run / "checkpoint-500", tmp_path), plain_states(module))
    refused(run, tmp_path, "models in folders of it", "checkpoint-500")
    (run / "checkpoint-500" / "config.json").unlink()
    refused(run / "checkpoint-500", tmp_path, "config.json", "copy it from")


# the layout of the hub's cache, copied with and without what its links lead to
def test_a_cache_of_the_hub(tmp_path):
    model_folder(tmp_path / "plain")
    cache, snapshot = tmp_path / "models--me--mine", tmp_path / "models--me--mine" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for path in (tmp_path / "plain").iterdir():
        shutil.copy(path, cache / "blobs" / f"0{path.name[:3]}{path.stat().st_size}")
        (snapshot / path.name).symlink_to(cache / "blobs" / f"0{path.name[:3]}{path.stat().st_size}")
    as_the_library(f"{snapshot}/", tmp_path)
    refused(cache, tmp_path, "models in folders of it", "snapshots/0a1b")
    (snapshot / "model.safetensors").resolve().unlink()
    refused(snapshot, tmp_path, "model.safetensors", "a link to a file that is not there")


# llama3#54
def test_weights_in_the_form_of_their_author(tmp_path):
    folder = tmp_path / "Llama"
    folder.mkdir()
    (folder / "params.json").write_text("{}")
    (folder / "consolidated.00.pth").write_bytes(b"PK")
    refused(folder, tmp_path, "consolidated.00.pth", "pickle")
    model_folder(folder)
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    as_the_library(folder, tmp_path)


# mlx-community's folders: a packed table, scales and biases, and a field that transformers does not know
def test_weights_that_mlx_packed_are_named(folder, tmp_path):
    model_folder(folder)
    configured(folder, quantization={"group_size": 32, "bits": 4})

    def packed(weights):
        for name in [name for name, value in weights.items() if value.ndim == 2]:
            rows, width = weights[name].shape
            weights[name] = torch.zeros(rows, width // 8, dtype=torch.uint32)
            for part in ("scales", "biases"):
                weights[f"{name.removesuffix('weight')}{part}"] = torch.ones(rows, width // 32)
        return weights

    rewritten(folder, packed)
    refused(folder, tmp_path, "U32", "dequantise")


def eight_bits(weights):
    """Blocks of eight-bit floats with a scale each, as checkpoints of DeepSeek and Qwen3 have them."""
    for name in [name for name in weights if "proj" in name]:
        scale = weights[name].abs().max() / 448
        weights[name] = (weights[name] / scale).to(torch.float8_e4m3fn)
        weights[f"{name}_scale_inv"] = scale.reshape(1, 1)
    return weights


def test_eight_bit_floats_run_as_the_library_runs_them_and_are_named(folder, tmp_path):
    model_folder(folder)
    rewritten(folder, eight_bits)
    refused(folder, tmp_path, "weight_scale_inv")  # nothing says what the scales are for
    method = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
    configured(folder, quantization_config=method)
    assert "unpacked from F8_E4M3" in as_the_library(folder, tmp_path)


@pytest.mark.parametrize("method", ["fp8", "mxfp4"])
def test_plain_weights_under_a_quantisation_that_the_library_drops_are_named(folder, tmp_path, method):
    module = model_folder(folder)
    configured(folder, quantization_config={"quant_method": method})
    assert f"its weights are plain, though config.json names {method}" in as_the_library(folder, tmp_path)
    assert torch.equal(captured(folder, tmp_path), plain_states(module))


# FastChat#2893 and others: a quantiser's library, or its hardware, is missing
@pytest.mark.parametrize(("method", "says"), [("hqq", "HQQ"), ("quark", "Quark"), ("fbgemm_fp8", "GPU")])
def test_what_an_installation_lacks_is_no_fault_of_the_model(folder, tmp_path, method, says):
    model_folder(folder)
    configured(folder, quantization_config={"quant_method": method})
    refused(folder, tmp_path, "this installation lacks", says)


# torchtitan#919: the head is the embedding, and stored once, twice or nowhere
@pytest.mark.parametrize(("tied", "gone"), [
    (True, "lm_head.weight"), (True, "model.embed_tokens.weight"), (True, None), (False, "lm_head.weight"),
])  # fmt: skip
def test_heads_that_are_tied(folder, tmp_path, tied, gone):
    model_folder(folder)
    rewritten(folder, lambda weights: {name: value for name, value in weights.items() if name != gone})
    configured(folder, tie_word_embeddings=tied)
    assert ("no language-model head" in as_the_library(folder, tmp_path)) == (not tied)


def indexed(folder, change):
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


def test_indices_of_shards_that_say_other_things(folder, tmp_path):
    model_folder(folder, max_shard_size="200KB")
    first = sorted(path.name for path in folder.glob("model-*"))[0]
    indexed(folder, lambda index: index["metadata"].update(total_size=1))
    indexed(folder, lambda index: index["weight_map"].update({"model.norm.weight": first, "extra": first}))
    as_the_library(folder, tmp_path)
    indexed(folder, lambda index: index.pop("metadata"))
    refused(folder, tmp_path, "metadata", "index.json")


def old_rope(folder, scaling):
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    fields.pop("rope_parameters")
    path.write_text(json.dumps(fields | {"rope_theta": 5e3, "rope_scaling": scaling}))


# fields of configurations as they were spelt, and of runs that others want
@pytest.mark.parametrize("fields", [
    {"torch_dtype": "bfloat16", "architectures": None}, {"architectures": ["MyLlama"], "torchscript": True},
    {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}, "use_cache": False}, {"attention_dropout": 0.5},
], ids=str)  # fmt: skip
def test_configurations_with_other_fields(folder, tmp_path, fields):
    model_folder(folder)
    configured(folder, **fields)
    (folder / "generation_config.json").write_text('{"top_p": 5, "num_beams": -3}')
    as_the_library(folder, tmp_path)


@pytest.mark.parametrize("scaling", [
    {"type": "linear", "factor": 2.0}, {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
], ids=str)  # fmt: skip
def test_rotations_spelt_as_they_were(folder, tmp_path, scaling):
    model_folder(folder)
    old_rope(folder, scaling)
    as_the_library(folder, tmp_path)
    configured(folder, rope_scaling=scaling | {"type": "su2"})
    refused(folder, tmp_path, "by the name 'su2'")


# HuatuoGPT#26
def test_code_of_its_own_is_never_run(folder, tmp_path):
    model_folder(folder)
    configured(folder, model_type="huatuo", auto_map={"AutoConfig": "configuration_x.X"})
    (folder / "configuration_x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    refused(folder, tmp_path, "code of its own")
    assert not (tmp_path / "ran").exists()


# tokenizers that cut or pad on their own, and texts that a tokenizer normalises (transformers#5738)
@pytest.mark.parametrize("field", ["truncation", "padding", "model_max_length"])
def test_a_tokenizer_that_cuts_or_pads_does_neither(folder, tmp_path, field):
    model_folder(folder)
    odd = {
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 20}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "a"},
        "model_max_length": 2,
    }[field]  # fmt: skip
    path = folder / ("tokenizer_config.json" if field == "model_max_length" else "tokenizer.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: odd}))
    file = tmp_path / "s.safetensors"
    assert called("capture", folder, "--text", "abcdefgh", "--layer", 1, "-o", file)[0] == 0
    assert load_file(file)["000000"].shape == (9, 64)


def test_a_text_that_a_tokenizer_normalises_is_told(folder):
    model_folder(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": {"type": "NFC"}}))
    status, out, _ = called("invert", folder, "--text", "cafe\u0301", "--layer", 1, "--json")
    (found,) = json.loads(out)["result"]["prompts"]
    assert (status, found["matches_truth"], found["text"]) == (0, True, "<bos>caf\u00e9")
