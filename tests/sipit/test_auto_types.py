"""`auto`: a model computes as its weights are stored, and as the states of a file were."""

import pytest
import torch

import sipit
from sipit.models.stored_type import stored_type
from sipit.models.tiny import tiny_module
from sipit.noise.tolerance import computed_type
from sipit.states.files import States, write_states
from tests.sipit.cases import tiny


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_folder_is_loaded_in_the_type_that_it_is_stored_in(tmp_path, name):
    tiny_module("gpt2", seed=0).to(getattr(torch, name)).save_pretrained(tmp_path)
    assert stored_type(str(tmp_path)) == name
    model = sipit.load_model(tmp_path, dtype="auto")
    assert model.dtype == getattr(torch, name)
    said = [line for line in model.assembly if name in line]
    assert bool(said) == (name != "float32")


def test_what_is_built_in_or_not_there_counts_as_float32(tmp_path):
    assert stored_type("tiny-gpt2") == stored_type(str(tmp_path)) == "float32"


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_states_say_what_they_were_computed_in_with_and_without_a_manifest(tmp_path, name):
    states = sipit.capture(tiny("gpt2", name), [[1, 2, 3]], layer=1)
    write_states(tmp_path / "told.safetensors", states)
    assert computed_type(tmp_path / "told.safetensors")[0] == name
    bare = States(tuple(array.float() for array in states), 1)
    write_states(tmp_path / "bare.safetensors", bare)
    assert computed_type(tmp_path / "bare.safetensors")[0] == name
