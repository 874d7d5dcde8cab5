"""A GGUF file is read densely, as the library reads it, or refused where that would be another network."""

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from proofs.errors import Unsupported
from sipit.claims.check import config_alone
from sipit.models.gguf_whole import check_taken_whole
from tests.field.places import called, captured, model_folder, plain_states, refused


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model"


NAMES = {
    "embed_tokens": "token_embd", "norm": "output_norm", "input_layernorm": "attn_norm", "lm_head": "output",
    "post_attention_layernorm": "ffn_norm", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v",
    "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip


def write_gguf(path, module, *, architecture="llama", left_out="nothing", base=10000.0, wide=16, said=(), beside=()):
    """A tiny Llama as llama.cpp keeps it, in float32; `said` are entries of metadata, `beside` names of tensors."""
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in {"context_length": 128, "embedding_length": 64, "block_count": 2, "feed_forward_length": 128,
                        "head_count": 4, "head_count_kv": 2, "layer_norm_rms_eps": module.config.rms_norm_eps,
                        "rope_freq_base": base, "vocab_size": 512, "rope_dimension_count": wide}.items():  # fmt: skip
        if value is not None:
            getattr(writer, f"add_{name}")(value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{token}" for token in range(512)])
    writer.add_token_merges([])
    for name, value in module.state_dict().items():
        *where, kind, _ = name.split(".")
        array = value.numpy()
        if kind in ("q_proj", "k_proj"):  # rotary pairs lie side by side there
            heads = 4 if kind == "q_proj" else 2
            array = array.reshape(heads, 2, -1, 64).swapaxes(1, 2).reshape(array.shape)
        block = f"blk.{where[2]}." if "layers" in where else ""
        if left_out not in name:
            writer.add_tensor(f"{block}{NAMES[kind]}.weight", np.ascontiguousarray(array))
    for name, value in dict(said).items():
        (writer.add_string if isinstance(value, str) else writer.add_float32)(f"{architecture}.{name}", value)
    for name in beside:
        writer.add_tensor(name, np.full(8, 2.0, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_is_read_densely_and_named_so(folder, tmp_path):
    module = model_folder(tmp_path / "plain")
    folder.mkdir()
    write_gguf(folder / "m.gguf", module)
    for name in (folder, folder / "m.gguf"):
        assert torch.equal(captured(name, tmp_path), plain_states(module))
    said = called("invert", folder / "m.gguf", "--states", tmp_path / "states.safetensors")
    assert said[0] == 0 and "m.gguf dequantised" in said[2]
    (tmp_path / "p.jsonl").write_text('{"token_ids": [1, 2, 3]}\n')
    said = called("compare", folder / "m.gguf", f"{folder / 'm.gguf'}@batch=1", "--prompts", tmp_path / "p.jsonl")
    assert said[0] == 0, said
    shutil.copy(tmp_path / "plain" / "config.json", folder)
    assert not config_alone(str(folder))


def test_gguf_files_that_cannot_be_read_are_named(folder, tmp_path):
    module = model_folder(tmp_path / "plain")
    folder.mkdir()
    write_gguf(folder / "a.gguf", module, left_out="layers.1.mlp")
    refused(folder, tmp_path, "model.layers.1.mlp", "missing")
    shutil.copy(folder / "a.gguf", folder / "b.gguf")
    refused(folder, tmp_path, "2", "a.gguf")
    write_gguf(folder / "c.gguf", module, architecture="nothing")
    whole = Path(folder / "a.gguf").read_bytes()
    for name, content in {"d": whole[: len(whole) // 2], "e": b"GGUF", "f": b"something else"}.items():
        (folder / f"{name}.gguf").write_bytes(content)
        refused(folder / f"{name}.gguf", tmp_path, f"{name}.gguf")
    refused(folder / "c.gguf", tmp_path, "nothing")


UNREAD = {
    "factors": ({"beside": ["rope_freqs.weight"]}, "rope_freqs.weight"),
    "long": ({"beside": ["rope_factors_long.weight", "rope_factors_short.weight"]}, "rope_factors_"),
    "linear": ({"said": {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}}, "rope.scaling"),
    "factor alone": ({"said": {"rope.scaling.factor": 4.0}}, "rope.scaling.factor = 4.0"),
    "older": ({"said": {"rope.scale_linear": 4.0}}, "rope.scale_linear"),
    "a word of tomorrow": ({"said": {"rope.scaling.more": 1.0}}, "rope.scaling.more"),
    "a rotation of tomorrow": ({"said": {"rope.turned": 1.0}}, "llama.rope.turned"),
    "another base of windows": ({"said": {"rope.freq_base_swa": 5000.0}}, "llama.rope.freq_base_swa = 5000"),
    "a cap": ({"said": {"attn_logit_softcapping": 20.0}}, "llama.attn_logit_softcapping = 20.0"),
    "a bias": ({"beside": ["blk.1.attn_q.bias"]}, "blk.1.attn_q.bias"),
    "a norm": ({"beside": ["blk.0.attn_q_norm.weight"]}, "blk.0.attn_q_norm.weight"),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_what_the_library_passes_over_in_a_gguf_file_is_refused(folder, tmp_path, kind):
    given, part = UNREAD[kind]
    folder.mkdir()
    write_gguf(folder / "m.gguf", model_folder(tmp_path / "plain"), **given)
    refused(folder / "m.gguf", tmp_path, part, "m.gguf", "safetensors")


def test_metadata_that_scales_nothing_is_read(folder, tmp_path):
    module = model_folder(tmp_path / "plain")
    folder.mkdir()
    said = {
        "rope.freq_base_swa": 10000.0,
        "rope.scaling.type": "none",
        "rope.scaling.factor": 1.0,
        "rope.scaling.original_context_length": 64.0,
    }
    write_gguf(folder / "m.gguf", module, said=said)
    assert torch.equal(captured(folder, tmp_path), plain_states(module))


def test_rotations_are_held_against_the_file(folder, tmp_path):
    module = model_folder(tmp_path / "plain")
    folder.mkdir()
    for wide, part in ((16, "freq_base = 5000"), (None, "freq_base = 5000"), (8, "dimension_count = 8")):
        write_gguf(folder / "m.gguf", module, base=5000.0, wide=wide)
        with pytest.raises(Unsupported, match=part):  # as of Starcoder2, whose base the library drops
            check_taken_whole(folder / "m.gguf", gguf.GGUFReader(folder / "m.gguf"), module)
