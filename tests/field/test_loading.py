"""A checkpoint is read as the library reads it, or refused in a sentence that names what is amiss."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from numerics.formats import FORMATS, packed
from sipit.models import load_model
from sipit.models.packed import packed_arithmetic
from tests.field.places import (
    POINTER,
    assert_refused,
    called,
    captured,
    configured,
    model_folder,
    plain_states,
    prompts_file,
    refused,
    rewritten,
)
from tests.sipit.cases import rest_slow


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model"


# In front of every name, or between its words: compiled, distributed, sharded, a trainer's, a student's.
WRAPPED = {
    "_orig_mod.": "_orig_mod.{}", "module.": "module.{}", "both": "module._orig_mod.{}", "trainer": "model.{}",
    "forward": "_forward_module.{}", "student": "student.net.{}", "peft": "base_model.model.{}",
}  # fmt: skip


@pytest.mark.parametrize("kind", WRAPPED)
def test_words_of_wrappers_are_taken_off_the_names(folder, tmp_path, kind):
    module = model_folder(folder)
    rewritten(folder, lambda weights: {WRAPPED[kind].format(name): value for name, value in weights.items()})
    assert torch.equal(captured(folder, tmp_path), plain_states(module))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_words_between_names_and_a_body_stored_alone(folder, tmp_path, family):
    module = model_folder(folder, family)
    body = module.base_model_prefix
    inside = f"{body}._fsdp_wrapped_module.{{}}"
    rewritten(folder, lambda weights: {
        inside.format(name.removeprefix(f"{body}.")): value for name, value in weights.items() if name.startswith(body)
    })  # fmt: skip
    assert torch.equal(captured(folder, tmp_path), plain_states(module))


def test_a_teacher_beside_its_student_is_told(folder, tmp_path):
    model_folder(folder)
    rewritten(folder, lambda weights: {
        f"{who}.{name}": value.clone() for who in ("student", "teacher") for name, value in weights.items()
    })  # fmt: skip
    refused(folder, tmp_path, "student.", "teacher.")


def test_shards_and_what_is_missing_of_them(folder, tmp_path):
    module = model_folder(folder, max_shard_size="200KB")
    shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert torch.equal(captured(folder, tmp_path), plain_states(module))
    (folder / shards[1]).unlink()
    refused(folder, tmp_path, shards[1], "index.json")
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, tmp_path, shards[1], "index is missing", f"{len(shards) - 1} of {len(shards)}")


@pytest.mark.parametrize("named", ["the first", "the second", "neither"])
def test_a_weight_in_two_shards_is_refused_whichever_the_index_names(folder, tmp_path, named):
    model_folder(folder, max_shard_size="200KB")
    one, two = sorted(folder.glob("model-*.safetensors"))[:2]
    (name, tensor), *_ = sorted(load_file(one).items())
    save_file({**load_file(two), name: tensor + 1}, two, metadata={"format": "pt"})
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][name] = (two if named == "the second" else one).name
    if named == "neither":
        index["weight_map"].pop(name)
    path.write_text(json.dumps(index))
    refused(folder, tmp_path, name, one.name, two.name)


# The prefixes of their bodies: model., transformer., gpt_neox.
@pytest.mark.parametrize("family", rest_slow("llama", "gpt2", of=["llama", "gpt2", "gpt-neox"]))
@pytest.mark.parametrize("wrapped", ["", "_orig_mod."])
@pytest.mark.parametrize("which", [0, -1])
def test_two_weights_that_differ_for_one_place_are_refused_and_equal_ones_are_not(
    folder, tmp_path, family, wrapped, which
):
    module = model_folder(folder, family)
    outer = f"{module.base_model_prefix}."
    name = sorted(one for one in load_file(folder / "model.safetensors") if one.startswith(outer))[which]
    other = wrapped + name.removeprefix(outer)
    rewritten(folder, lambda weights: {**weights, other: weights[name].clone()})
    assert torch.equal(captured(folder, tmp_path), plain_states(module))
    for change in (lambda weight: weight + 1, lambda weight: weight.half(), lambda weight: weight[:1]):
        rewritten(folder, lambda weights, change=change: {**weights, other: change(weights[name]).clone()})
        refused(folder, tmp_path, f"{name} ", f"{other} ", "differ")


@pytest.mark.parametrize("shard", [[], {}, [1], None, 3, True, "../x", ""])
def test_an_index_whose_shards_are_no_names_of_files_is_refused(tmp_path, shard):
    folder = tmp_path / "model"
    model_folder(folder, max_shard_size="100KB")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["lm_head.weight"] = shard
    path.write_text(json.dumps(index))
    refused(folder, tmp_path, "an index of shards")


@pytest.mark.parametrize("size", ["200KB", "5GB"])
def test_a_variant_is_read_and_said(folder, tmp_path, size):
    module = model_folder(folder, variant="fp16", max_shard_size=size)
    assert torch.equal(captured(folder, tmp_path), plain_states(module))
    said = called("capture", folder, "--prompts", prompts_file(tmp_path), "-o", tmp_path / "s.safetensors")
    assert "variant fp16" in said[2]


def test_two_variants_are_told(folder, tmp_path):
    for variant in ("fp16", "bf16"):
        model_folder(folder, variant=variant)
    refused(folder, tmp_path, "fp16", "bf16")


# What is changed in a folder, and what the sentence names.
BROKEN = {
    "weights under another name": (lambda f: (f / "model.safetensors").rename(f / "w.safetensors"), ["w.safetensors"]),
    "weights that are a pointer": (lambda f: (f / "model.safetensors").write_text(POINTER), ["LFS", "git lfs pull"]),
    "a configuration that is a pointer": (lambda f: (f / "config.json").write_text(POINTER), ["LFS", "config.json"]),
    "no configuration": (lambda f: (f / "config.json").unlink(), ["config.json"]),
    "half a configuration": (lambda f: (f / "config.json").write_text("{"), ["config.json", "JSON"]),
    "a list": (lambda f: (f / "config.json").write_text("[]"), ["config.json", "object"]),
    "no kind": (lambda f: (f / "config.json").write_text("{}"), ["config.json", "model_type"]),
    "a new kind": (lambda f: configured(f, model_type="llama9"), ["llama9"]),
    "pickles alone": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), ["pytorch_model.bin"]),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), ["no weights"]),
    "more rows than stored": (lambda f: configured(f, vocab_size=520), ["[512, 64]", "[520, 64]"]),
    "wider than stored": (lambda f: configured(f, intermediate_size=160), ["[64, 128]", "[64, 160]"]),
    "deeper than stored": (lambda f: configured(f, num_hidden_layers=3), ["model.layers.2", "missing"]),
    "whole numbers": (lambda f: rewritten(f, lambda w: w | {
        "model.norm.weight": w["model.norm.weight"].to(torch.int8)}), ["model.norm.weight", "I8"]),
    "a scale that nothing applies": (lambda f: rewritten(f, lambda w: w | {
        "model.layers.0.mlp.up_proj.weight_scale": torch.ones(1)}), ["up_proj.weight_scale"]),
    "a bias that nothing adds": (lambda f: rewritten(f, lambda w: w | {
        "model.layers.1.self_attn.q_proj.bias": torch.ones(64)}), ["q_proj.bias"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_amiss_is_named(folder, tmp_path, kind):
    change, parts = BROKEN[kind]
    model_folder(folder)
    change(folder)
    refused(folder, tmp_path, *parts)


def test_blocks_beyond_the_last_are_left_out_and_said(folder, tmp_path):
    module = model_folder(folder)
    configured(folder, num_hidden_layers=1)
    assert torch.equal(captured(folder, tmp_path), plain_states(module))
    said = called("capture", folder, "--prompts", prompts_file(tmp_path), "-o", tmp_path / "s.safetensors")
    assert "model.layers.1" in said[2] and "no place" in said[2]


def _packed(weights, part, kind, scale):
    """The matrices whose names hold this part, in another type, each beside a scale."""
    names = [name for name in weights if part in name and name.endswith("weight")]
    scales = {f"{name}{scale}": torch.full((1,), 0.01) for name in names if scale}
    return weights | {name: (100 * weights[name]).to(kind) for name in names} | scales


# Family, which weights, in what they are stored and what scales them, and what the sentence names.
RAW = {
    "rows": ("gpt2", "c_attn", torch.int8, "", ["c_attn.weight", "I8"]),
    "scaled rows": ("bloom", "dense_4h_to_h", torch.int8, "_scale", ["dense_4h_to_h.weight", "I8"]),
    "eight-bit floats": ("gpt2", "c_proj", torch.float8_e4m3fn, "_scale_inv", ["c_proj.weight_scale_inv"]),
    "experts": ("mixtral", "experts", torch.int8, "", ["experts.0.w1.weight", "I8"]),
    "experts of a quantiser that nobody knows": ("mixtral", "experts", torch.uint8, "", ["experts.0.w1.weight", "U8"]),
}


@pytest.mark.parametrize("kind", RAW)
@pytest.mark.parametrize("named", ["as the module", "without the body", "wrapped"])
def test_numbers_that_nothing_scales_are_refused_however_they_are_named(folder, tmp_path, kind, named):
    family, part, stored, scale, parts = RAW[kind]
    outer = f"{model_folder(folder, family).base_model_prefix}."
    names = {
        "as the module": str,
        "without the body": lambda name: name.removeprefix(outer),
        "wrapped": "module.{}".format,
    }
    if kind.endswith("knows"):
        configured(folder, quantization_config={"quant_method": "of tomorrow"})
    rewritten(folder, lambda weights: {
        names[named](name): value for name, value in _packed(weights, part, stored, scale).items()
    })  # fmt: skip
    refused(folder, tmp_path, *parts)


def test_a_part_of_an_adapter_beside_names_without_the_body_is_refused(folder, tmp_path):
    model_folder(folder, "gpt2")
    rewritten(folder, lambda weights: {
        **{name.removeprefix("transformer."): value for name, value in weights.items()},
        "h.0.attn.c_attn.lora_A.weight": torch.ones(4, 64),
    })  # fmt: skip
    refused(folder, tmp_path, "c_attn.lora_A.weight")


# Family, and what is stored inside a block that is there.
PARTS = {
    "a norm": ("llama", "model.layers.0.self_attn.q_norm.weight", (16,)),
    "a norm without the body's name": ("llama", "layers.1.self_attn.q_norm.weight", (16,)),
    "another norm": ("gpt2", "h.1.ln_3.weight", (64,)),
    "a vector of a block": ("llama", "model.layers.1.scale", (1,)),
    "a bias": ("gpt-neo", "transformer.h.0.attn.attention.bias", (64,)),
    "an expert more": ("mixtral", "model.layers.0.mlp.shared_expert.up_proj.weight", (128, 64)),
}
MADE_ANEW = {
    "a mask": ("gpt2", "h.0.attn.bias", (1, 1, 128, 128)),
    "a number": ("gpt2", "h.0.attn.masked_bias", ()),
    "a mask inside": ("gpt-neo", "transformer.h.0.attn.attention.bias", (1, 1, 128, 128)),
    "a number inside": ("gpt-neo", "transformer.h.0.attn.attention.masked_bias", ()),
    "rotations": ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", (8,)),
    "rotations of a GPT-NeoX": ("gpt-neox", "gpt_neox.layers.0.attention.rotary_emb.inv_freq", (8,)),
    "cosines": ("llama", "model.layers.0.self_attn.rotary_emb.cos_cached", (1, 1, 128, 16)),
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_part_of_a_block_that_has_no_place_is_refused(folder, tmp_path, kind):
    family, name, shape = PARTS[kind]
    model_folder(folder, family)
    rewritten(folder, lambda weights: weights | {name: torch.ones(shape)})
    refused(folder, tmp_path, name)


@pytest.mark.parametrize("kind", MADE_ANEW)
def test_masks_and_tables_that_a_block_makes_for_itself_are_passed_over(folder, tmp_path, kind):
    family, name, shape = MADE_ANEW[kind]
    module = model_folder(folder, family)
    rewritten(folder, lambda weights: weights | {name: torch.ones(shape)})
    assert torch.equal(captured(folder, tmp_path), plain_states(module))


@pytest.mark.parametrize("kind", ["Model", "ForSequenceClassification", "ForConditionalGeneration", "ForCausalLM"])
@pytest.mark.parametrize("named", [True, False])
def test_a_decoder_that_reads_an_encoder_is_refused_whatever_its_class(folder, tmp_path, kind, named):
    sizes = {
        f"{part}_{size}": 2 for part in ("encoder", "decoder") for size in ("layers", "attention_heads", "ffn_dim")
    }
    config = transformers.BartConfig(vocab_size=512, d_model=64, max_position_embeddings=128, **sizes)
    getattr(transformers, f"Bart{kind}")(config).save_pretrained(folder)
    if not named:
        configured(folder, architectures=None)
    if kind == "ForCausalLM":  # which is the decoder alone, and says so
        assert captured(folder, tmp_path).shape == (3, 64)
    else:
        refused(folder, tmp_path, "encoder")


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors", "eetq"])
def test_a_quantiser_that_is_not_installed_is_named(folder, tmp_path, method):
    model_folder(folder)
    configured(folder, quantization_config={"quant_method": method, "bits": 4, "group_size": 32})
    refused(folder, tmp_path, "pip install ")


def packed_folder(folder, tmp_path, **options):
    model_folder(tmp_path / "plain")
    transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "plain", quantization_config=transformers.BitsAndBytesConfig(**options)
    ).save_pretrained(folder)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_weights_of_four_bits_run_packed_and_multiply_in_the_type_that_is_said(folder, tmp_path, compute):
    """Held against the weights that the library itself unpacks, multiplied in float32."""
    packed_folder(folder, tmp_path, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)
    dense = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).dequantize()
    exact, seen = plain_states(dense), captured(folder, tmp_path)
    off = float((seen - exact).norm() / exact.norm())
    assert off < 1e-5 if compute == "float32" else 1e-4 < off < 0.1
    said = load_model(folder).arithmetic
    assert f"Linear4bit multiplies in {compute}" in said and ("off those" in said) == (compute != "float32")


@pytest.mark.parametrize(("name", "rounds"), [("int8", False), ("int8-dynamic", True), ("llm-int8", True)])
def test_layers_of_any_library_that_round_more_than_weights_are_told_by_a_product(name, rounds, monkeypatch):
    monkeypatch.setattr(packed, "unpack", lambda blocks: 0)
    holder = torch.nn.Sequential(torch.nn.Linear(64, 32)).eval().requires_grad_(False)
    FORMATS[name].convert(holder, [holder])
    (said,) = packed_arithmetic(holder, torch.float32)
    assert ("off those of its weights" in said) == rounds


def test_what_needs_the_numbers_of_weights_refuses_packed_ones(folder, tmp_path):
    packed_folder(folder, tmp_path, load_in_4bit=True)
    several = tmp_path / "several.jsonl"
    several.write_text('{"token_ids": [5, 6, 7]}\n{"token_ids": [5, 7]}\n')
    for command in ("certify", "collide", "quantization"):
        assert_refused(called(command, folder, "--prompts", several), "dequantise")


@pytest.mark.slow
def test_weights_of_eight_bits_run_as_the_library_runs_them(folder, tmp_path):
    packed_folder(folder, tmp_path, load_in_8bit=True)
    again = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert torch.equal(captured(folder, tmp_path), plain_states(again))
    said = load_model(folder).arithmetic
    assert "Linear8bitLt rounds inputs to 8 bits, all but columns beyond 6, products" in said


@pytest.mark.parametrize("bits", [4, 8])
def test_plain_weights_that_are_said_to_be_packed_are_refused(folder, tmp_path, bits):
    model_folder(folder)
    configured(folder, quantization_config={"quant_method": "bitsandbytes", f"load_in_{bits}bit": True})
    refused(folder, tmp_path, "bitsandbytes", "F32", "remove quantization_config")


@pytest.mark.parametrize("kind", ["F4", "F6_E2M3", "F8_E8M0", "C64", "F9_NEW"])
@pytest.mark.parametrize("said", [{}, {"quantization_config": None}], ids=["nothing", "null"])
def test_an_element_type_is_named(folder, tmp_path, kind, said):
    model_folder(folder)
    configured(folder, **said)
    path = folder / "model.safetensors"
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8:begin]), content[begin:]
    size = {"F4": 4, "F6_E2M3": 6, "C64": 64}.get(kind, 8)
    header["model.scale"] = {"dtype": kind, "shape": [8], "data_offsets": [len(data), len(data) + size]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data + bytes(size))
    refused(folder, tmp_path, kind, "model.scale")


# What is done to a tokenizer, and what is said of the model where text is wanted.
TOKENIZERS = {
    "newer": (lambda f: _edited(f, '"BPE"', '"BPE9"'), "tokenizer.json that cannot be read"),
    "half": (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer.json that cannot be read"),
    "pointer": (lambda f: (f / "tokenizer.json").write_text(POINTER), "git lfs pull"),
    "none": (lambda f: [path.unlink() for path in f.glob("tokenizer*")], "no tokenizer"),
}


def _edited(folder, old, new):
    path = folder / "tokenizer.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_without_its_tokenizer_a_model_takes_ids_and_says_why(folder, tmp_path, kind):
    change, part = TOKENIZERS[kind]
    module = model_folder(folder)
    change(folder)
    assert torch.equal(captured(folder, tmp_path), plain_states(module))
    assert_refused(called("capture", folder, "--text", "a", "-o", tmp_path / "s.safetensors"), part, "token_ids")


def test_a_tokenizer_of_pieces_names_the_library_that_reads_it(folder, tmp_path, monkeypatch):
    model_folder(folder, tokenizer=False)
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02")
    monkeypatch.setattr("sipit.models.tokenizers.find_spec", lambda name: None)
    assert_refused(called("capture", folder, "--text", "a", "-o", tmp_path / "s.safetensors"), "sentencepiece")
