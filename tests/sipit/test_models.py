"""Models are found by structure, named by a digest, and refused by name and with every reason."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

import sipit
from proofs.errors import InvalidInput, MissingResource, Unsupported
from sipit.models import loading
from sipit.models.loading import embedded_once
from sipit.models.structure import find_decoder
from sipit.models.tiny import BOS, FAMILIES, tiny_module
from tests.sipit.cases import ALL_FAMILIES, EACH_KIND, altered, assert_recovers, language_model, tiny

# In the file format of these two, tensors have other names or cuts than in memory; the digest is of what is stored.
RENAMED = {"gpt-neox", "mixtral"}


def saved(family, folder, *, tokenizer=True):
    model = tiny(family)
    model.module.save_pretrained(folder)
    if tokenizer:
        model.tokenizer.save_pretrained(folder)
    return str(folder)


# Families.


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_the_parts_of_every_family_are_found(family):
    model = tiny(family)
    assert (model.layers, model.width, model.vocabulary_size) == (2, 64, 512)
    assert model.dtype is torch.float32
    assert model.tokenizer is not None
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert not model.module.training


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_every_parameter_is_drawn_from_a_density(family):
    """Gains are not one, biases and the padding row are not zero, and no two entries of a tensor agree."""
    for name, parameter in tiny(family).module.named_parameters():
        flat = parameter.flatten()
        assert not bool((flat == 0).any()), name
        assert not bool((flat == 1).any()), name
        assert len(flat) == 1 or float(flat.std()) > 0.01, name


def test_the_embedded_model_is_loaded_once_where_that_is_asked_for(monkeypatch):
    """And in every type once; outside, every call gives a model of its own, which its caller may change."""

    def read(dtype):
        return loading._Loaded(tiny_module("llama", seed=0), None, "digest")

    monkeypatch.setattr(loading, "_smollm2", read)
    with embedded_once():
        first, again = sipit.load_model("smollm2"), sipit.load_model("smollm2", seed=3, device=torch.device("cpu"))
        half = sipit.load_model("smollm2", dtype="bfloat16")
        assert again is first and half.dtype is torch.bfloat16
        assert sipit.load_model("builtin:smollm2").name != first.name
        assert sipit.load_model("tiny-gpt2") is not sipit.load_model("tiny-gpt2")
    assert sipit.load_model("smollm2") is not first


def test_a_seed_is_a_model():
    one, same, other = (sipit.load_model("tiny-llama", seed=seed) for seed in (0, 0, 1))
    assert one.digest == same.digest != other.digest
    for a, b in zip(one.module.parameters(), same.module.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_the_tokenizer_is_by_bytes(family):
    tokenizer = tiny(family).tokenizer
    text = "".join(map(chr, range(32, 256))) + "\n„…“ 漢字 <bos?"
    first = [BOS] if FAMILIES[family].bos else []
    assert tokenizer(text).input_ids == first + list(text.encode())
    assert tokenizer(text, add_special_tokens=False).input_ids == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text


@pytest.mark.edge
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_states_are_those_of_the_library(family):
    """Block l is `hidden_states[l]`, and after the final norm the last of them; at 0 what enters the first block."""
    model, ids = tiny(family), [5, 6, 7, 300]
    with torch.inference_mode():
        output = model.decoder.body(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True)
    states = {layer: sipit.capture(model, [ids], layer=layer)[0] for layer in (0, 1, 2, "final")}
    assert torch.equal(states["final"], output.last_hidden_state[0])
    hidden = output.hidden_states
    assert torch.equal(states["final"], hidden[-1][0])
    before = [layer for layer in (0, 1, 2) if any(torch.equal(states[layer], entry[0]) for entry in hidden)]
    assert before[:2] == [0, 1] if family != "mamba" else 1 in before
    assert not torch.equal(states[2], states["final"])


# Digests.


@pytest.mark.edge
@pytest.mark.parametrize("family", EACH_KIND)
def test_a_saved_model_is_the_same_model(tmp_path, family):
    name = saved(family, tmp_path / "saved")
    model, back = tiny(family), sipit.load_model(name)
    assert (back.digest == model.digest) is (family not in RENAMED)
    assert back.digest == sipit.load_model(name, dtype="bfloat16").digest
    prompts = [[1, 2, 300]]
    assert torch.equal(sipit.capture(back, prompts, layer=2)[0], sipit.capture(model, prompts, layer=2)[0])
    assert back.tokenizer("cat").input_ids == model.tokenizer("cat").input_ids


def test_shards_do_not_change_the_digest(tmp_path):
    model = tiny("llama")
    model.module.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert sipit.load_model(str(tmp_path)).digest == model.digest


@pytest.mark.parametrize("part", range(0, 20, 3))
def test_any_bit_of_a_weight_changes_the_digest(part):
    def flip(module):
        parameters = [parameter for _, parameter in sorted(module.named_parameters())]
        parameter = parameters[part % len(parameters)]
        bits = parameter.data.flatten().view(torch.int32)
        bits[part % len(bits)] ^= 1

    assert altered("llama", flip).digest != altered("llama", lambda module: None).digest == tiny("llama").digest


def test_a_bit_of_a_stored_weight_changes_the_digest(tmp_path):
    name = saved("gpt2", tmp_path / "saved")
    before = sipit.load_model(name).digest
    path = tmp_path / "saved" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert sipit.load_model(name).digest != before


def test_who_wrote_a_config_does_not_change_the_digest(tmp_path):
    name = saved("gpt2", tmp_path / "saved")
    path = tmp_path / "saved" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "transformers_version": "4.0.0", "_name_or_path": "elsewhere"}))
    assert sipit.load_model(name).digest == tiny("gpt2").digest
    path.write_text(json.dumps({**config, "layer_norm_epsilon": 1e-3}))
    assert sipit.load_model(name).digest != tiny("gpt2").digest


# Directories.


def test_a_folder_without_a_tokenizer_is_worked_with_by_ids(tmp_path, empty_cache):
    """For some families the library makes up an empty tokenizer then; it must not be taken for one."""
    for family in ("gpt2", "gemma3"):
        model = sipit.load_model(saved(family, tmp_path / family, tokenizer=False))
        assert model.tokenizer is None
        with pytest.raises(InvalidInput, match="no tokenizer"):
            sipit.capture(model, ["text"], layer=1)
        prompts = [[97, 98, 99]]
        (inversion,) = assert_recovers(model, sipit.capture(model, prompts, layer=1), prompts)
        assert inversion.text == "[97][98][99]"


def test_a_vocabulary_of_one(tmp_path, empty_cache):
    config = AutoConfig.for_model(
        "gpt2", vocab_size=1, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_config(config, dtype=torch.float32).requires_grad_(False).eval()
    model = language_model(module)
    states = sipit.capture(model, [[0, 0, 0]], layer=2)
    for policy in ("nearest", "exhaustive"):
        (inversion,) = sipit.invert(model, states, policy=policy)
        assert inversion.token_ids == [0, 0, 0]
        assert inversion.smallest_margin is None
        assert {token.rivals_tested for token in inversion.tokens} == {0}


def test_dtype_is_that_of_the_computation(tmp_path):
    name = saved("llama", tmp_path / "saved")
    for dtype in ("float64", "float32", "bfloat16", "float16"):
        model = sipit.load_model(name, dtype=dtype)
        assert model.dtype is getattr(torch, dtype) is sipit.capture(model, [[1]], layer=1)[0].dtype
        assert dtype in model.arithmetic


@pytest.mark.edge
def test_a_device_map_splits_the_model(tmp_path):
    name = saved("llama", tmp_path / "saved")
    model = sipit.load_model(name, device_map="cpu")
    prompts = [[1, 2, 3]]
    assert_recovers(model, sipit.capture(model, prompts, layer=2), prompts, policy="nearest")


def test_a_block_on_disk_changes_no_state_and_no_answer(tmp_path):
    """Blocks that accelerate keeps on disk are loaded as they run; prompts are inverted together all the same."""
    name = saved("llama", tmp_path / "saved")
    parts = ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head")
    split = sipit.load_model(name, device_map=dict.fromkeys(parts, "cpu") | {"model.layers.1": "disk"})
    assert {parameter.device.type for parameter in split.decoder.blocks[1].parameters()} == {"meta"}
    prompts = [[1, 2, 3], [4, 5], [300, 7, 300, 9]]
    states = sipit.capture(split, prompts, layer=2)
    for array, whole in zip(states, sipit.capture(sipit.load_model(name), prompts, layer=2), strict=True):
        assert torch.equal(array, whole)
    assert_recovers(split, states, prompts)


# Refusals.


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tiny-lama", "did you mean tiny-llama"),
        ("smollm", "did you mean smollm2"),
        ("tiny-", "tiny-"),
        ("nobody/nothing", "choose from"),
        ("./nowhere", "choose from"),
        ("/nowhere/at/all", "choose from"),
        ("", "choose from"),
        ("a/b/c", "choose from"),
    ],
)
def test_an_unknown_model_gets_a_suggestion_or_the_list(name, hint):
    with pytest.raises(InvalidInput, match=hint):
        sipit.load_model(name)


@pytest.mark.parametrize("dtype", ["int8", "float8", "", torch.int8])
def test_an_unknown_dtype_is_refused_with_the_list(dtype):
    with pytest.raises(InvalidInput, match="float64, float32, bfloat16, float16"):
        sipit.load_model("tiny-gpt2", dtype=dtype)


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(InvalidInput, match="use cpu"):
        sipit.load_model("tiny-gpt2", device=device)


def test_a_missing_embedded_model_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("sipit.models.smollm2.PACKAGE", "llm_that_is_not_installed")
    with pytest.raises(MissingResource, match="run: sipit download smollm2"):
        sipit.load_model("smollm2")


def write_bert(folder):
    from transformers import BertLMHeadModel

    config = AutoConfig.for_model(
        "bert", vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertLMHeadModel(config).save_pretrained(folder)


def write_t5(folder):
    config = AutoConfig.for_model("t5", vocab_size=64, d_model=16, d_ff=32, num_layers=2, num_heads=2, d_kv=8)
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)


def write_custom_code(folder):
    saved("gpt2", folder, tokenizer=False)
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), "model_type": "ours", "auto_map": {
        "AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}  # fmt: skip
    path.write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def write_pickle(folder):
    saved("gpt2", folder, tokenizer=False)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def write_config_only(folder):
    saved("gpt2", folder, tokenizer=False)
    (folder / "model.safetensors").unlink()


def write_no_config(folder):
    saved("gpt2", folder, tokenizer=False)
    (folder / "config.json").unlink()


def write_broken_config(folder):
    saved("gpt2", folder, tokenizer=False)
    (folder / "config.json").write_text("{")


def write_truncated(folder):
    saved("gpt2", folder, tokenizer=False)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def write_missing_tensor(folder):
    saved("gpt2", folder, tokenizer=False)
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.1.mlp.c_fc.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def write_wrong_shape(folder):
    saved("gpt2", folder, tokenizer=False)
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.1.mlp.c_fc.weight"] = torch.ones(3, 3)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


BAD_FOLDERS = {
    "encoder": (write_bert, "causal"),
    "encoder and decoder": (write_t5, "causal"),
    "custom code": (write_custom_code, "code of its own"),
    "pickle": (write_pickle, "pickle"),
    "config only": (write_config_only, "safetensors"),
    "no config": (write_no_config, "Expected"),
    "broken config": (write_broken_config, "Expected"),
    "truncated weights": (write_truncated, "header"),
    "missing tensor": (write_missing_tensor, "h.1.mlp.c_fc.weight"),
    "wrong shape": (write_wrong_shape, "Expected"),
}


@pytest.mark.parametrize("kind", sorted(BAD_FOLDERS))
def test_a_folder_that_is_no_decoder_is_refused_with_its_reason(tmp_path, kind):
    write, reason = BAD_FOLDERS[kind]
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder)
    with pytest.raises((InvalidInput, Unsupported), match=reason) as refusal:
        sipit.load_model(str(folder))
    assert "\n" not in str(refusal.value)
    assert not (folder / "ran").exists()
    shutil.rmtree(folder)


def test_all_reasons_are_given_at_once():
    module = tiny_module("gpt2", seed=0)
    module.transformer.wte = torch.nn.Linear(2, 2)
    module.transformer.h = torch.nn.Sequential()
    with pytest.raises(Unsupported, match=r"table of rows; it has 0 lists of 2 blocks"):
        find_decoder(module)


def test_a_model_that_sees_later_tokens_is_refused():
    from transformers import BertLMHeadModel

    config = AutoConfig.for_model(
        "bert", vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    with pytest.raises(Unsupported, match="not causal"):
        find_decoder(BertLMHeadModel(config).eval())
