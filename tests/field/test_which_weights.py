"""The library takes the weights of a folder that the digest is of, each from one place, or the folder is refused."""

import re
import shutil
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.core_model_loading import Chunk, WeightConverter, WeightRenaming

from proofs.errors import InvalidInput
from proofs.network.tensor_file import read_header
from sipit.models.leftovers import check_one_origin
from tests.field.places import captured, configured, model_folder, plain_states, refused, rewritten


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model"


@pytest.mark.parametrize("size", ["intermediate_size", "vocab_size", "head_dim", "num_hidden_layers"])
def test_a_size_that_nothing_stored_has_is_refused_before_room_is_taken_for_it(folder, tmp_path, monkeypatch, size):
    model_folder(folder, tokenizer=False)
    blocks = size == "num_hidden_layers"
    configured(folder, **{size: 1_000 if blocks else 10_000_000})
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", None)  # which takes the room
    refused(folder, tmp_path, "describes what is stored", "1000 blocks" if blocks else "room for")


def test_large_tables_of_a_small_model_are_no_weights(folder, tmp_path):
    config = transformers.GPTNeoConfig(
        vocab_size=64, hidden_size=8, num_layers=2, num_heads=2, attention_types=[[["global"], 2]], intermediate_size=8
    )
    transformers.GPTNeoForCausalLM(config).save_pretrained(folder)  # with masks of 2,048 x 2,048
    assert captured(folder, tmp_path, ids=[1, 2]).shape == (2, 8)


@pytest.mark.parametrize(
    "named", ["old.safetensors", "model.safetensors", "adapter_model.bin", "x.safetensors.index.json", ["a"], 3]
)
def test_a_configuration_that_names_another_file_of_weights_is_refused(folder, tmp_path, named):
    """The digest would be that of the file which was not read."""
    model_folder(folder, tokenizer=False)
    save_file({name: value + 1 for name, value in load_file(folder / "model.safetensors").items()},
              folder / "old.safetensors", metadata={"format": "pt"})  # fmt: skip
    configured(folder, transformers_weights=named)
    refused(folder, tmp_path, "transformers_weights", str(named), "call the file that is meant")


def test_shards_of_a_distributed_run_beside_the_weights_are_refused(folder, tmp_path):
    """The library takes them first; the digest would be that of the weights beside them."""
    model_folder(folder, tokenizer=False)
    shard = "shard-00001-model-00001-of-00001.safetensors"
    shutil.copy(folder / "model.safetensors", folder / shard)
    refused(folder, tmp_path, shard, "distributed run")


def test_a_weight_under_an_older_name_too_is_refused_unless_it_is_equal(folder, tmp_path):
    module = model_folder(folder, "mixtral", tokenizer=False)
    name, other = (f"model.layers.0.{block}.gate.weight" for block in ("block_sparse_moe", "mlp"))
    rewritten(folder, lambda weights: {**weights, other: weights[name].clone()})
    assert torch.equal(captured(folder, tmp_path), plain_states(module))
    rewritten(folder, lambda weights: {**weights, other: torch.full_like(weights[name], 7.0)})
    refused(folder, tmp_path, name, other, "one weight for each place", "differ")


@pytest.mark.parametrize("also", ["mlp.gate.weight", "model.mlp.up.weight", "mlp.w_in.weight", "model.old.w_in.weight"])
@pytest.mark.parametrize("first", [True, False])
def test_a_weight_is_not_stored_whole_and_in_parts_or_under_two_names(tmp_path, also, first):
    """A form that the library takes apart, and what else would fill one of the places that it fills."""
    both = {"model.mlp.gate.weight": torch.zeros(2, 3), "model.mlp.up.weight": torch.zeros(2, 3)}
    module = SimpleNamespace(base_model_prefix="model", state_dict=lambda: both, _weight_conversions=[
        WeightRenaming("old.", "mlp."),
        WeightConverter("mlp.w_in.weight", ["mlp.gate.weight", "mlp.up.weight"], [Chunk(dim=0)]),
    ])  # fmt: skip
    stored = []
    for at, name in enumerate(["model.mlp.w_in.weight", also]):
        file = tmp_path / f"{at}.safetensors"
        save_file({name: torch.full((4 if "w_in" in name else 2, 3), float(at))}, file)
        stored.append((file, read_header(file).tensors[0]))
    check_one_origin(module, stored[:1])
    with pytest.raises(InvalidInput, match=re.escape(also)):
        check_one_origin(module, stored if first else stored[::-1])


@pytest.mark.parametrize("wrapped", ["", "_orig_mod."])
def test_a_weight_under_two_names_is_refused_where_a_quantiser_that_was_dropped_has_loaded_it(
    folder, tmp_path, wrapped
):
    """The library then forgets which names it changed."""
    module = model_folder(folder, "mixtral", tokenizer=False)
    configured(folder, quantization_config={"quant_method": "fp8"})
    rewritten(folder, lambda weights: {wrapped + name: value for name, value in weights.items()})
    assert torch.equal(captured(folder, tmp_path), plain_states(module))
    name, other = (f"{wrapped}model.layers.0.{block}.gate.weight" for block in ("block_sparse_moe", "mlp"))
    rewritten(folder, lambda weights: {**weights, other: torch.full_like(weights[name], 7.0)})
    refused(folder, tmp_path, name, other, "one weight for each place", "differ")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("part", ["q_proj.bias", "q_proj.lora_A.default.weight", "q_norm.weight"])
def test_a_part_of_a_packed_block_that_has_no_place_is_refused(folder, tmp_path, bits, part):
    """What the quantiser stores beside its weights has a place."""
    plain = tmp_path / "plain"
    model_folder(plain, tokenizer=False)
    options = transformers.BitsAndBytesConfig(**{f"load_in_{bits}bit": True})
    transformers.AutoModelForCausalLM.from_pretrained(plain, quantization_config=options).save_pretrained(folder)
    assert captured(folder, tmp_path).shape == (3, 64)
    name = f"model.layers.0.self_attn.{part}"
    rewritten(folder, lambda weights: weights | {name: torch.full((64,), 5.0)})
    refused(folder, tmp_path, name, "no place")
