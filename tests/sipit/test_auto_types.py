"""`auto`: a model computes as its weights are stored, and as the states of a file were."""

import json

import pytest
import torch
from safetensors.torch import save_file

import sipit
from sipit.cli import run
from sipit.models.stored_type import stored_type
from sipit.models.tiny import tiny_module
from sipit.noise.tolerance import computed_type
from sipit.states.files import States, write_states
from sipit.states.layered import capture_layers, write_layers
from tests.sipit import foreign_files
from tests.sipit.cases import tiny


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_folder_is_loaded_in_the_type_that_it_is_stored_in(tmp_path, name):
    tiny_module("gpt2", seed=0).to(getattr(torch, name)).save_pretrained(tmp_path)
    assert stored_type(str(tmp_path)) == name
    model = sipit.load_model(tmp_path, dtype="auto")
    assert model.dtype == getattr(torch, name)
    said = [line for line in model.assembly if name in line]
    assert bool(said) == (name != "float32")


@pytest.mark.parametrize("inside", [None, "quantization_config", "text_config"])
def test_weights_are_counted_and_what_is_packed_counts_as_float32(tmp_path, inside):
    """Neither how many bytes a number takes nor what was left unpacked decides."""
    weights = {"a": torch.zeros(4 if inside else 40, dtype=torch.float32), "b": torch.zeros(60, dtype=torch.bfloat16)}
    save_file(weights | ({"c": torch.zeros(30, dtype=torch.uint8)} if inside else {}), tmp_path / "model.safetensors")
    config = {inside: {"quantization_config": {"bits": 4}}} if inside == "text_config" else {inside: {"bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config if inside else {}))
    assert stored_type(str(tmp_path)) == ("float32" if inside else "bfloat16")


@pytest.mark.parametrize("inside", [False, True])
def test_a_quantisation_that_is_null_is_none(tmp_path, inside):
    """As the library reads it: the weights are plain ones."""
    tiny_module("gpt2", seed=0).to(torch.bfloat16).save_pretrained(tmp_path)
    config, null = json.loads((tmp_path / "config.json").read_text()), {"quantization_config": None}
    (tmp_path / "config.json").write_text(json.dumps(config | ({"text_config": null} if inside else null)))
    assert stored_type(str(tmp_path)) == "bfloat16"
    assert inside or sipit.load_model(tmp_path, dtype="auto").dtype == torch.bfloat16


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


def test_a_file_of_several_layers_is_asked_for_none(tmp_path):
    write_layers(tmp_path / "s.safetensors", capture_layers(tiny("gpt2", "bfloat16"), [[1, 2, 3]], [1, 2]))
    assert computed_type(tmp_path / "s.safetensors")[0] == "bfloat16"


# What has several places is read at the one that is named; what only a model places, as a whole.
@pytest.mark.parametrize("kind", ["lens", "vllm", "modules", "batch", "stack", "sglang"])
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_type_of_a_file_with_several_places_is_told_without_the_model(tmp_path, kind, name):
    file, write, layer, _ = foreign_files.WRITTEN[kind]
    write(tmp_path / file, tiny("gpt2", name))
    assert computed_type(tmp_path / file, layer=layer)[0] == name


def test_all_values_lie_on_the_grid_that_is_named(tmp_path):
    """An embedding that is stored in bfloat16 lies on that grid, in whatever type the network ran behind it."""
    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    write_states(tmp_path / "s.safetensors", States((rows.bfloat16().float(), rows), 1))
    assert computed_type(tmp_path / "s.safetensors")[0] == "float32"


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32])
def test_ids_of_experts_do_not_say_what_chose_them(tmp_path, dtype, capsys):
    """Small whole numbers lie on the grid of every type; taken for bfloat16 they had the wrong model loaded."""
    path = tmp_path / "experts.safetensors"
    save_file({"0": torch.tensor([[0, 2], [1, 3], [0, 1]]).to(dtype)}, path)
    line = ["invert", "tiny-mixtral", "--states", str(path), "--observe", "experts", "--layer", "1"]
    assert run([*line, "--dtype", "auto"]) == 2
    told = capsys.readouterr().err
    assert "ids of experts do not show it; name it with --dtype" in told and "computes in" not in told


def test_projections_do_not_say_what_was_projected(tmp_path, capsys):
    (tmp_path / "p.txt").write_text("Hello world\n")
    save_file({"0": torch.randn(3, 8)}, tmp_path / "f.safetensors")
    line = ["--states", str(tmp_path / "f.safetensors"), "--prompts", str(tmp_path / "p.txt"), "--layer", "1"]
    assert run(["audit", "tiny-gpt2", *line, "--fingerprint", "8", "--dtype", "auto"]) == 2
    assert "projections of states do not show it; name it with --dtype" in capsys.readouterr().err


def test_the_ids_beside_the_largest_log_probabilities_are_not_looked_at(tmp_path):
    """Those above 256 lie on no half grid, whatever the log-probabilities do."""
    values = torch.tensor([[-0.5, -1.25], [-0.75, -2.5]])
    save_file({"0": torch.cat([torch.tensor([[301.0, 7.0], [511.0, 9.0]]), values], 1)}, tmp_path / "t.safetensors")
    assert computed_type(tmp_path / "t.safetensors", observe="logprobs", top=2)[0] == "bfloat16"


def test_an_inversion_in_the_type_of_a_layer_that_is_named(tmp_path):
    model = tiny("gpt2")
    write_layers(tmp_path / "s.safetensors", capture_layers(model, [[1, 2, 3]], [1, 2]))
    line = ["--states", str(tmp_path / "s.safetensors"), "--layer", "1", "--dtype", "auto"]
    assert run(["invert", "tiny-gpt2", *line]) == 0
