"""States files: back without loss, foreign ones by layer, damaged ones refused before anything is allocated."""

import json
import pickle
import zipfile
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

import sipit
from proofs.errors import InvalidInput
from proofs.network.tensor_file import read_header
from sipit.cli import run
from sipit.observations.observation import Observation
from sipit.privacy.fingerprint import fingerprinted
from sipit.states.files import States, read_states, write_states
from sipit.states.manifest import STATES_SCHEMA, Manifest
from tests.sipit.cases import assert_recovers, random_prompts, tiny
from tests.sipit.foreign_files import sglang, vllm

MANIFEST = Manifest("toy", "0" * 64, 3, "before", "float32", False, {"torch": "2"})
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
BYTES = save({"000000": torch.arange(12.0).reshape(3, 4)}, {"sipit": json.dumps(asdict(MANIFEST))})


@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    dtype=st.sampled_from(DTYPES),
    layer=st.sampled_from([0, 3, "final"]),
    kept=st.booleans(),
)
def test_states_come_back_equal(tmp_path, lengths, dtype, layer, kept):
    generator = torch.Generator().manual_seed(sum(lengths))
    arrays = tuple(torch.randn(length, 4, generator=generator).to(dtype) for length in lengths)
    states = States(arrays, layer, replace(MANIFEST, layer=layer) if kept else None)
    path = tmp_path / "s.safetensors"
    write_states(path, states)
    back = read_states(path, layer=None if kept else layer)
    assert (back.layer, back.manifest, len(back)) == (layer, states.manifest, len(arrays))
    assert all(a.dtype is b.dtype and torch.equal(a, b) for a, b in zip(back, arrays, strict=True))


def test_one_tensor_may_be_the_states_of_several_prompts(tmp_path):
    rows, path = torch.arange(12.0).reshape(3, 4), tmp_path / "s.safetensors"
    write_states(path, States((rows, rows, rows[:2]), 1))
    assert [back.tolist() for back in read_states(path, layer=1)] == [rows.tolist(), rows.tolist(), rows[:2].tolist()]


def test_keys_are_zero_padded_and_stay_in_order(tmp_path):
    arrays = tuple(torch.full((1, 2), float(n)) for n in range(120))
    path = tmp_path / "s.safetensors"
    write_states(path, States(arrays, 1))
    assert sorted(load_file(path))[:2] == ["000000", "000001"]
    assert [float(array[0, 0]) for array in read_states(path, layer=1)] == list(range(120))


def test_the_manifest_says_where_and_never_what(tmp_path):
    model, text = tiny("llama"), "a secret prompt"
    path = tmp_path / "s.safetensors"
    write_states(path, sipit.capture(model, [text], layer=1))
    manifest = json.loads(read_header(path).metadata["sipit"])
    assert set(manifest) == {
        "schema", "model", "digest", "layer", "norm", "dtype", "bos", "versions", "observation", "layers",
        "fingerprint",
    }  # fmt: skip
    assert (manifest["schema"], manifest["digest"], manifest["layer"]) == (STATES_SCHEMA, model.digest, 1)
    assert manifest["observation"] == {"sites": ["residual"], "layers": [1], "top": None}
    assert (manifest["norm"], manifest["dtype"], manifest["bos"]) == ("before", "float32", True)
    assert b"secret" not in path.read_bytes()
    assert str(list(b"secret")).strip("[]").encode() not in path.read_bytes()
    write_states(path, sipit.capture(model, [text], layer="final"))
    assert read_states(path).manifest.norm == "after"


# Files of other tools.


def test_foreign_files_need_a_layer_and_are_read_in_natural_order(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({f"prompt{n}": torch.full((2, 3), float(n)) for n in (10, 9, 2, 1)}, path)
    with pytest.raises(InvalidInput, match="give --layer"):
        read_states(path)
    states = read_states(path, layer=2)
    assert [float(array[0, 0]) for array in states] == [1, 2, 9, 10]
    assert (states.layer, states.manifest) == (2, None)


def test_one_stacked_tensor_is_as_many_prompts(tmp_path):
    path = tmp_path / "stacked.safetensors"
    stacked = torch.randn(3, 2, 4)
    save_file({"states": stacked}, path, {"format": "pt"})
    assert torch.equal(torch.stack(read_states(path, layer="final").arrays), stacked)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_foreign_states_are_inverted_with_model_and_layer_named(tmp_path, dtype):
    model = tiny("gpt2")
    prompts = random_prompts(2, shortest=4, longest=4, seed=31)
    path = tmp_path / "foreign.safetensors"
    arrays = sipit.capture(model, prompts, layer=1).arrays
    save_file({"h": torch.stack(arrays).to(dtype)}, path)
    states = read_states(path, layer=1)
    if dtype in (torch.float64, torch.float32):
        assert_recovers(model, states, prompts)
    else:
        assert states.dtype is dtype


def test_a_layer_that_contradicts_the_manifest_is_refused(tmp_path):
    path = tmp_path / "s.safetensors"
    write_states(path, sipit.capture(tiny("gpt2"), [[1]], layer=1))
    assert read_states(path, layer=1).layer == 1
    with pytest.raises(InvalidInput, match="leave --layer away"):
        read_states(path, layer=2)


@pytest.mark.parametrize(("layers", "layer"), [(1, 1), ([1, 2], (1, 2)), ([1, 2], (2, 1)), ([1, 2], (1,)), ([1, 2], 1)])
@pytest.mark.parametrize("named", ["residual", " residual", Observation()])
def test_naming_what_is_observed_by_default_changes_nothing(tmp_path, layers, layer, named):
    path, model = tmp_path / "s.safetensors", tiny("llama")
    if layers == 1:
        write_states(path, sipit.capture(model, [[1, 2]], layer=1))
    else:
        vllm(path, model, layers)
    plain, asked = read_states(path, layer=layer), read_states(path, layer=layer, observe=named)
    assert (plain.observation, torch.equal(plain[0], asked[0])) == (asked.observation, True)


def test_all_layers_of_a_file_may_be_named_and_no_others(tmp_path):
    path, model = tmp_path / "s.safetensors", tiny("llama")
    write_states(path, sipit.capture(model, [[1, 2]], layer=[0, 1], observe="keys"))
    assert read_states(path, layer=[0, 1]).layer == read_states(path, layer=[0, 1], observe="keys").layer == [0, 1]
    write_states(path, sipit.capture(model, [[1, 2]], layer=1))
    with pytest.raises(InvalidInput, match=r"Expected layer 1, .* got layer 1,2"):
        read_states(path, layer=[1, 2])


# Damage.


@settings(max_examples=60)
@given(data=st.data())
def test_any_changed_bytes_are_refused_or_read(tmp_path, data):
    content = bytearray(BYTES)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.safetensors"
    path.write_bytes(bytes(content))
    try:
        states = read_states(path)
    except InvalidInput as refusal:
        assert str(path) in str(refusal)
    else:
        assert len(states) >= 1
        assert all(array.ndim == 2 and array.is_floating_point() for array in states)


@given(st.integers(0, len(BYTES) - 1))
def test_a_truncated_file_is_refused(tmp_path, length):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(BYTES[:length])
    with pytest.raises(InvalidInput):
        read_states(path)


def test_a_huge_claim_is_refused_without_allocating(tmp_path):
    header = {"0": {"dtype": "F32", "shape": [2**30, 2**10], "data_offsets": [0, 2**42]}}
    text = json.dumps(header).encode()
    path = tmp_path / "huge.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))
    with pytest.raises(InvalidInput, match="truncated or damaged"):
        read_states(path, layer=1)


def test_pickles_and_archives_are_refused_and_never_run(tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    (tmp_path / "a.safetensors").write_bytes(pickle.dumps(Evil()))
    with zipfile.ZipFile(tmp_path / "b.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    torch.save({"a": torch.ones(2, 2)}, tmp_path / "c.safetensors")
    for name in "abc":
        with pytest.raises(InvalidInput, match="pickle"):
            read_states(tmp_path / f"{name}.safetensors", layer=1)
    assert not ran.exists()


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"a": torch.ones(2, 3, dtype=torch.int64)},
        {"a": torch.ones(3)},
        {"a": torch.ones(0, 3)},
        {"a": torch.ones(2, 0)},
        {"a": torch.ones(2, 2, 2), "b": torch.ones(2, 2, 2)},
        {"a": torch.ones(1, 1, 2, 2)},
    ],
    ids=["none", "integers", "vector", "no positions", "no width", "two stacks", "four axes"],
)
def test_tensors_that_are_no_states_are_refused(tmp_path, tensors):
    path = tmp_path / "other.safetensors"
    save_file(tensors, path)
    with pytest.raises(InvalidInput):
        read_states(path, layer=1)


@pytest.mark.parametrize(
    "manifest",
    [
        "not json",
        "[]",
        "[" * 10**5,
        json.dumps({**asdict(MANIFEST), "schema": "sipit-states/0"}),
        json.dumps({**asdict(MANIFEST), "layer": "last"}),
        json.dumps({**asdict(MANIFEST), "layer": True}),
        json.dumps({**asdict(MANIFEST), "dtype": "int8"}),
        json.dumps({**asdict(MANIFEST), "digest": None}),
        json.dumps({**asdict(MANIFEST), "extra": 1}),
        json.dumps({name: value for name, value in asdict(MANIFEST).items() if name != "model"}),
    ],
    ids=lambda text: text[:60],
)
def test_a_manifest_that_is_none_of_ours_is_refused(tmp_path, manifest):
    path = tmp_path / "s.safetensors"
    save_file({"a": torch.ones(2, 2)}, path, {"sipit": manifest})
    with pytest.raises(InvalidInput, match="manifest"):
        read_states(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dtype": "int8"}, "'dtype'"),
        ({"digest": None}, "'digest'"),
        ({"layers": [1, "2"]}, "'layers'"),
        ({"fingerprint": [1]}, "'fingerprint'"),
        ({"layer": True}, "'layer'"),
        ({"versions": None}, "'versions'"),
        ({"versions": {"transformers": 5.24}}, "'versions'"),
        ({"observation": {"sites": ["nowhere"]}}, "'observation'"),
        ({"extra": 1}, "'extra'"),
        ({"schema": "sipit-states/0"}, "schema sipit-states/1, but .* has another"),
    ],
)
def test_the_field_of_a_manifest_that_is_damaged_is_named(tmp_path, change, named):
    path = tmp_path / "s.safetensors"
    save_file({"a": torch.ones(2, 2)}, path, {"sipit": json.dumps(asdict(MANIFEST) | change)})
    with pytest.raises(InvalidInput, match=named):
        read_states(path)


# What cannot be states of a model.


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("position", [0, 2])
def test_values_that_are_not_finite_are_named_by_position_and_shape(value, position):
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3], [4, 5, 6]], layer=1)
    array = states[1].clone()
    array[position, 7] = value
    with pytest.raises(InvalidInput, match=rf"tensor 1 of shape \(3, 64\) .* position {position}"):
        sipit.invert(model, replace(states, arrays=(states[0], array)))


@pytest.mark.parametrize("shape", [(3, 63), (3, 65), (0, 64), (64,), (1, 3, 64)], ids=str)
def test_a_wrong_shape_is_named(shape):
    model = tiny("gpt2")
    with pytest.raises(InvalidInput, match=r"tensor 0 has shape \(" + str(shape[0])):
        sipit.invert(model, States((torch.ones(shape),), 1))


@pytest.mark.parametrize("layer", [-1, 3, 99, "last"])
def test_a_layer_out_of_range_is_named(layer):
    model = tiny("gpt2")
    with pytest.raises(InvalidInput, match="layer from 0 to 2"):
        sipit.invert(model, States((torch.ones(2, 64),), layer))


def test_more_positions_than_the_context_are_refused():
    model = tiny("gpt2")
    with pytest.raises(InvalidInput, match="at most 128 positions"):
        sipit.invert(model, States((torch.ones(129, 64),), 1))


@pytest.mark.parametrize(
    "options", [{"budget": 0}, {"budget": -1}, {"budget": float("nan")}, {"tolerance": 0}, {"tolerance": 1},
                {"tolerance": float("nan")}, {"policy": "best"}], ids=str)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    model = tiny("gpt2")
    states = sipit.capture(model, [[1]], layer=1)
    with pytest.raises(InvalidInput, match="Expected"):
        sipit.invert(model, states, **options)


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    states = States((torch.ones(1, 2),), 1)
    for path in (tmp_path / "none" / "s.safetensors", tmp_path / "s.pt"):
        with pytest.raises(InvalidInput):
            write_states(path, states)
    assert not list(tmp_path.iterdir())


def test_no_states_at_all_are_refused():
    with pytest.raises(InvalidInput):
        sipit.invert(tiny("gpt2"), States((), 1))


def test_the_record_of_a_run_beside_the_states_of_a_folder_is_none_of_them(tmp_path, capsys):
    write_states(tmp_path / "s.safetensors", sipit.capture(tiny("gpt2"), [[77, 78, 79]], layer=1))
    for output in ("r.json", "t.json"):
        assert run(["invert", "tiny-gpt2", "--states", str(tmp_path), "-o", str(tmp_path / output)]) == 0
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"token_ids": [77, 78, 79]}\n')
    capsys.readouterr()
    line = ["--states", str(tmp_path), "--prompts", str(prompts), "--json"]
    assert run(["audit", "tiny-gpt2", *line]) == 0
    read = [one["file"] for one in json.loads(capsys.readouterr().out)["result"]["files"]]
    assert read == [str(tmp_path / "s.safetensors"), str(prompts)]


def test_answers_of_sglang_in_a_folder_are_read(tmp_path):
    sglang(tmp_path / "a.json", tiny("gpt2"))
    text = (tmp_path / "a.json").read_text().replace('"?"', json.dumps("?" * 2**20))  # in front of what tells them
    (tmp_path / "b.json").write_text(text)
    (tmp_path / "c.json").write_text('{"schema": "mine", "quoted": "\\"meta_info\\""}')
    assert [len(rows) for rows in read_states(tmp_path, layer="final")] == [7, 7]
    (tmp_path / "d.json").write_text('{"meta_info": {')
    with pytest.raises(InvalidInput, match=r"d\.json"):
        read_states(tmp_path, layer="final")


def test_fingerprints_and_states_of_one_folder_are_told_apart(tmp_path):
    states = sipit.capture(tiny("llama"), [[1, 2, 3]], layer=1)
    for number, kept in enumerate((fingerprinted(states, 8, 3), fingerprinted(states, 8, 3))):
        write_states(tmp_path / f"{number}.safetensors", kept)
    assert len(read_states(tmp_path)) == 2
    for other in (fingerprinted(states, 8, 4), states):
        write_states(tmp_path / "2.safetensors", other)
        with pytest.raises(InvalidInput, match=r"2\.safetensors differs"):
            read_states(tmp_path)
