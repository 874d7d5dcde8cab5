"""Adapters of `peft`: applied, merged, named, and refused in one sentence where that cannot be."""

import copy
import shutil
from pathlib import Path

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

import sipit
from proofs.errors import InvalidInput
from proofs.verdict import Verdict
from sipit.claims.certify import certify
from sipit.claims.check import check_model
from sipit.claims.verify import verify_record
from sipit.cli import run
from sipit.models.tiny import tiny_config, tiny_module
from tests.sipit.cases import EACH_KIND, assert_recovers, inverted, random_prompts, rest_slow, tiny
from tests.sipit.folders import (
    PROMPT,
    adapted,
    assert_same_network,
    drawn,
    final_states,
    headless,
    lora_folder,
    rewrite,
    save,
    save_adapter,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft.*")  # what it says to those who train

_ATTENTION = ["q_proj", "v_proj"]
_LORA = {"task_type": "CAUSAL_LM", "r": 4, "target_modules": _ATTENTION}

KINDS = {
    "lora": peft.LoraConfig(**_LORA),
    "rslora": peft.LoraConfig(**_LORA, use_rslora=True),
    "dora": peft.LoraConfig(**_LORA, use_dora=True),
    "pissa": peft.LoraConfig(**_LORA, init_lora_weights="pissa"),
    "no task": peft.LoraConfig(r=4, target_modules=_ATTENTION),
    "every linear": peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"),
    "by pattern": peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=r".*layers\.1\..*(k|o)_proj"),
    "ranks": peft.LoraConfig(**_LORA, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 32}),
    "one layer": peft.LoraConfig(**_LORA, layers_to_transform=[1]),
    "biases": peft.LoraConfig(**_LORA, bias="all"),
    "bias of its own": peft.LoraConfig(**_LORA, lora_bias=True),
    "norms saved": peft.LoraConfig(**_LORA, modules_to_save=["norm", "input_layernorm"]),
    "rows saved": peft.LoraConfig(**_LORA, modules_to_save=["embed_tokens"]),
    "rows and head saved": peft.LoraConfig(**_LORA, modules_to_save=["embed_tokens", "lm_head"]),
    "rows adapted": peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=[*_ATTENTION, "embed_tokens"]),
    "head adapted": peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=[*_ATTENTION, "lm_head"]),
    "tokens": peft.LoraConfig(**_LORA, trainable_token_indices=[5, 7]),
    "ia3": peft.IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "up_proj"], feedforward_modules=["up_proj"]),
    "loha": peft.LoHaConfig(task_type="CAUSAL_LM", r=4, target_modules=_ATTENTION),
    "lokr": peft.LoKrConfig(task_type="CAUSAL_LM", r=4, target_modules=_ATTENTION),
    "oft": peft.OFTConfig(task_type="CAUSAL_LM", r=4, oft_block_size=0, target_modules=_ATTENTION),
    "boft": peft.BOFTConfig(task_type="CAUSAL_LM", boft_block_size=4, target_modules=_ATTENTION),
    "vera": peft.VeraConfig(task_type="CAUSAL_LM", r=4, target_modules=_ATTENTION),
    "norms tuned": peft.LNTuningConfig(task_type="CAUSAL_LM", target_modules=["input_layernorm"]),
}  # fmt: skip
# Llama has no biases, and does not tie its head to its embedding.
FAMILIES_OF = {"biases": "qwen2", "bias of its own": "qwen2"}
TIED = ["rows saved", "rows adapted", "head adapted", "tokens"]
CASES = [*((kind, FAMILIES_OF.get(kind, "llama")) for kind in KINDS), *((kind, "gemma3") for kind in TIED)]


def folder_of(kind, family, folder):
    """A base and an adapter of a kind: the `peft` model and the name of the adapter folder."""
    module = tiny_module(family, seed=0)
    save(module, folder / "base", tokenizer=family)
    model = adapted(module, copy.deepcopy(KINDS[kind]))
    return model, save_adapter(model, folder / "adapter", "../base")


# The network.


@pytest.mark.parametrize(("kind", "family"), CASES)
def test_the_states_are_those_of_the_adapted_model_and_of_the_merged_one(tmp_path, kind, family):
    model, name = folder_of(kind, family, tmp_path)
    ours = sipit.load_model(name)
    assert_same_network(ours, model.get_base_model(), differs_from=tiny(family))
    logits = model(input_ids=torch.tensor([PROMPT])).logits[0]
    torch.testing.assert_close(ours.head(sipit.capture(ours, [PROMPT], layer="final")[0]), logits, rtol=1e-3, atol=1e-3)
    if family != "gemma3":  # whose head is tied: the library itself would then merge into both what is for one
        merged = peft.PeftModel.from_pretrained(
            tiny_module(family, seed=0), name, torch_device="cpu"
        ).merge_and_unload()
        assert_same_network(ours, merged)


TARGETS = {"gpt2": ["c_attn", "c_proj"], "gpt-neo": ["q_proj", "c_fc"], "opt": ["q_proj", "fc1"], "phi3": ["qkv_proj"],
           "gpt-neox": ["query_key_value"], "bloom": ["query_key_value"], "falcon": ["query_key_value"],
           "mamba": ["in_proj", "x_proj"]}  # fmt: skip


@pytest.mark.edge
@pytest.mark.parametrize("family", EACH_KIND)
def test_every_family_takes_an_adapter(tmp_path, family):
    model, name = lora_folder(tmp_path, family, target_modules=TARGETS.get(family, _ATTENTION))
    assert_same_network(sipit.load_model(name), model.get_base_model(), differs_from=tiny(family))


@settings(max_examples=6, deadline=None)
@given(
    rank=st.integers(1, 9),
    alpha=st.integers(1, 40),
    targets=st.sets(st.sampled_from(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]), min_size=1),
    flags=st.fixed_dictionaries({"use_rslora": st.booleans(), "use_dora": st.booleans()}),
    seed=st.integers(0, 99),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_merging_is_exact_up_to_rounding(tmp_path_factory, rank, alpha, targets, flags, seed, dtype):
    folder = tmp_path_factory.mktemp("adapter")
    module = tiny_module("qwen3", seed=seed)
    save(module, folder / "base")
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, target_modules=sorted(targets), **flags)
    model = adapted(module, config, seed=seed)
    ours = sipit.load_model(save_adapter(model, folder / "adapter", folder / "base"), dtype=dtype)
    theirs = final_states(model.to(ours.dtype).get_base_model(), PROMPT)
    states = sipit.capture(ours, [PROMPT], layer="final")[0]
    assert float((states - theirs).norm() / theirs.norm()) < (1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_states_of_the_adapted_model_are_inverted(tmp_path, empty_cache, dtype):
    """As `peft` runs it, unmerged, from weights in that type: the usual way in which states are captured."""
    _, name = lora_folder(tmp_path, r=8)
    kind = getattr(torch, dtype)
    base = tiny_module("llama", seed=0).to(kind)
    theirs = peft.PeftModel.from_pretrained(base, name, torch_device="cpu").eval()
    model = sipit.load_model(name, dtype=dtype)
    prompts = random_prompts(3, longest=10)
    arrays = []
    with torch.inference_mode():
        for prompt in prompts:
            output = theirs(input_ids=torch.tensor([prompt]), output_hidden_states=True)
            arrays.append(output.hidden_states[1][0])
    states = sipit.States(tuple(arrays), 1)
    found = inverted(model, states, truth=prompts)
    assert [inversion.token_ids for inversion in found] == prompts


def test_the_arithmetic_says_what_was_merged_where(tmp_path, capsys):
    _, name = lora_folder(tmp_path)
    model = sipit.load_model(name, dtype="bfloat16")
    assert "the adapter (LORA) merged in float32 into" in model.arithmetic
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}
    assert run(["capture", name, "--text", "ab", "-o", str(tmp_path / "s.safetensors")]) == 0
    assert "the adapter (LORA) merged" in capsys.readouterr().err


# The base.


def test_the_base_is_found_by_every_way_of_naming_it(tmp_path, monkeypatch):
    model, name = lora_folder(tmp_path)
    digests = set()
    for given_path in ("../base", str(tmp_path / "base"), "base"):
        monkeypatch.chdir(tmp_path)
        rewrite(name, base_model_name_or_path=given_path)
        loaded = sipit.load_model(name)
        assert_same_network(loaded, model.get_base_model())
        digests.add(loaded.digest)
    assert len(digests) == 1


@pytest.mark.parametrize("named", ["itself", None, "nobody/nothing", "/nowhere"])
def test_weights_beside_an_adapter_are_its_base(tmp_path, capsys, named):
    """Whatever base the configuration names: one folder is one model, and the adapter is never passed over."""
    model, name = lora_folder(tmp_path)
    apart = sipit.load_model(name).digest
    for file in Path(name).iterdir():
        if file.name.startswith("adapter"):
            shutil.copy(file, tmp_path / "base")
    folder = tmp_path / "base"
    rewrite(folder, base_model_name_or_path=str(folder) if named == "itself" else named)
    loaded = sipit.load_model(str(folder))
    assert_same_network(loaded, model.get_base_model())
    assert "merged in float32 into the weights beside it" in loaded.arithmetic
    assert loaded.digest == apart


def test_the_same_with_a_name_that_is_two_folders(tmp_path, monkeypatch):
    _, name = lora_folder(tmp_path)
    shutil.copytree(tmp_path / "base", tmp_path / "adapter" / "base")
    monkeypatch.chdir(tmp_path)
    rewrite(name, base_model_name_or_path="base")
    with pytest.raises(InvalidInput, match="is both"):
        sipit.load_model(name)


def test_an_adapter_with_a_configuration_of_its_base_but_no_weights_is_no_base(tmp_path):
    model, name = lora_folder(tmp_path)
    shutil.copy(tmp_path / "base" / "config.json", name)
    assert_same_network(sipit.load_model(name), model.get_base_model())


@pytest.mark.parametrize("rows", [520, 300])
@pytest.mark.parametrize("family", rest_slow("gemma3", of=["llama", "gemma3"]))
@pytest.mark.parametrize("saved", [None, ["embed_tokens"], ["embed_tokens", "lm_head"]])
def test_an_embedding_of_another_length_comes_with_the_adapter(tmp_path, rows, family, saved):
    """A chat model has tokens that its base has not; `peft` saves the rows of both tables where that is so."""
    module = tiny_module(family, seed=0)
    save(module, tmp_path / "base")
    longer = type(module).from_pretrained(tmp_path / "base").eval()
    longer.resize_token_embeddings(rows, mean_resizing=False)
    model = adapted(longer, peft.LoraConfig(**_LORA, modules_to_save=saved))
    name = save_adapter(model, tmp_path / "adapter", "../base")
    rewrite(name, base_model_name_or_path="../base")
    loaded = sipit.load_model(name)
    assert loaded.vocabulary_size == rows
    ids = [token % rows for token in PROMPT]
    states = sipit.capture(loaded, [ids], layer="final")[0]
    torch.testing.assert_close(states, final_states(model.get_base_model(), ids), rtol=1e-4, atol=1e-4)


def test_a_head_that_no_longer_fits_is_no_head(tmp_path):
    """The new rows of an untied head that the adapter does not bring would be drawn at random."""
    test_an_embedding_of_another_length_comes_with_the_adapter(tmp_path, 520, "llama", None)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(path).items() if "lm_head" not in name}
    save_file(tensors, path)
    loaded = sipit.load_model(str(tmp_path / "adapter"))
    assert (loaded.vocabulary_size, loaded.head) == (520, None)


@pytest.mark.parametrize("kind", ["model", "sequence", "token", "question"])
@pytest.mark.parametrize("task", [True, False])
def test_an_adapter_of_a_class_without_a_head(tmp_path, kind, task):
    tasks = {"model": "FEATURE_EXTRACTION", "sequence": "SEQ_CLS", "token": "TOKEN_CLS", "question": "QUESTION_ANS"}
    module = headless("gpt2", kind, tmp_path / "base")
    config = peft.LoraConfig(task_type=tasks[kind] if task else None, r=4, target_modules=["c_attn"])
    model = adapted(module, config)
    loaded = sipit.load_model(save_adapter(model, tmp_path / "adapter", "../base"))
    assert_same_network(loaded, model.get_base_model())
    assert loaded.head is None


@pytest.mark.parametrize("labels", [1, 2, 7])
def test_a_classifier_adapter_on_a_language_model(tmp_path, labels):
    """A reward model: the base writes text, the adapter brings the head for its labels."""
    config = tiny_config("llama")
    config.num_labels = labels
    classifier = drawn(lambda: AutoModelForSequenceClassification.from_config(config))
    base = tiny_module("llama", seed=0)
    base.model.load_state_dict(classifier.model.state_dict())
    save(base, tmp_path / "base")
    model = adapted(classifier, peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=_ATTENTION))
    loaded = sipit.load_model(save_adapter(model, tmp_path / "adapter", "../base"))
    assert_same_network(loaded, model.get_base_model())
    assert loaded.head is None


# The digest.


def test_the_digest_is_of_the_base_the_adapter_and_what_is_asked_of_it(tmp_path):
    _, name = lora_folder(tmp_path)
    before = sipit.load_model(name).digest
    assert before != sipit.load_model(str(tmp_path / "base")).digest
    rewrite(name, peft_version="0.0", auto_mapping=None, inference_mode=False)
    assert sipit.load_model(name).digest == before
    rewrite(name, target_modules=["v_proj", "q_proj"])
    assert sipit.load_model(name).digest == before
    rewrite(name, lora_alpha=9)
    assert sipit.load_model(name).digest != before
    rewrite(name, lora_alpha=8)
    assert sipit.load_model(name).digest == before
    for path in (tmp_path / "adapter" / "adapter_model.safetensors", tmp_path / "base" / "model.safetensors"):
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(bytes(content))
        assert sipit.load_model(name).digest != before
        content[-3] ^= 1
        path.write_bytes(bytes(content))


# What is proved.


@pytest.mark.slow
def test_rows_that_only_the_adapter_makes_equal_are_found(tmp_path):
    _, name = lora_folder(tmp_path, modules_to_save=["embed_tokens"])
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    rows = tensors["base_model.model.model.embed_tokens.weight"]
    rows[7] = rows[5]
    save_file(tensors, path)
    record = check_model(name)
    assert record.result["duplicate_embeddings"]["groups"] == [[5, 7]]
    assert "merged" in record.provenance["arithmetic"]


@pytest.mark.slow
def test_a_certificate_is_of_the_merged_weights_alone(tmp_path, monkeypatch):
    _, name = lora_folder(tmp_path)
    certified = certify(sipit.load_model(name), [[1, 2], [3, 4]], layer=1)
    assert certified.verdict is Verdict.SEPARATED
    (tmp_path / "record.json").write_text(certified.dumps())
    assert verify_record(tmp_path / "record.json").verdict is Verdict.ACCEPTED
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "another"))
    assert verify_record(tmp_path / "record.json", model=name).verdict is Verdict.ACCEPTED
    assert verify_record(tmp_path / "record.json", model=str(tmp_path / "base")).verdict is Verdict.REJECTED


def test_round_trip(tmp_path, empty_cache):
    _, name = lora_folder(tmp_path, "gemma3")
    model = sipit.load_model(name)
    prompts = random_prompts(2, longest=8)
    assert_recovers(model, sipit.capture(model, prompts, layer=1), prompts)
