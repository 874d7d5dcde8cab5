"""Runs and states as people hand them in: what is the same is not called a fault, and no layer is taken for another."""

import json

import pytest
import torch
from safetensors.torch import save_file

import sipit
from sipit.privacy.calibration import calibrate
from tests.field.models import llama
from tests.field.places import assert_refused, called, model_folder, plain_states, prompts_file, rewritten
from tests.sipit.cases import rest_slow
from tests.sipit.folders import save

PROMPTS = [[65, 66, 200, 67, 300, 68, 9], [80, 90, 100, 110]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "model"
    return folder, model_folder(folder)


@pytest.fixture(scope="module")
def streams(whole):
    """The residual stream of every prompt at layers 0, 1 and 2, the last before the final norm."""
    model = sipit.load_model(whole[0])
    return [[sipit.capture(model, [ids], layer=layer)[0] for layer in range(3)] for ids in PROMPTS]


def compared(folder, tmp_path, tensors, prompts=PROMPTS):
    file, named, out = tmp_path / "run.safetensors", tmp_path / "p.jsonl", tmp_path / "out.json"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    named.write_text("".join(json.dumps({"token_ids": ids}) + "\n" for ids in prompts))
    said = called("compare", folder, file, "--prompts", named, "-o", out)
    return said, json.loads(out.read_text())["result"]["kind"] if out.exists() else None


def test_prompts_stored_in_several_types_are_held_against_their_own(whole, streams, tmp_path):
    for change in (lambda rows: rows.bfloat16(), lambda rows: rows.bfloat16().float(), lambda rows: rows.half()):
        tensors = {f"{n}.{layer}": change(rows) if n else rows for n, one in enumerate(streams) for layer, rows in
                   enumerate(one)}  # fmt: skip
        assert compared(whole[0], tmp_path, tensors)[1] == "rounding"


@pytest.mark.parametrize("word", ["model.layers", "transformer.h", "blocks", "hidden_states", "p0.hidden_states"])
def test_numbers_of_blocks_are_no_layers(whole, streams, tmp_path, word):
    tensors = {f"{word}.{number}": rows for number, rows in enumerate(streams[0][1:])}
    assert_refused(compared(whole[0], tmp_path, tensors, PROMPTS[:1])[0], f"{word}.0", "prompt0.1")


def test_the_state_behind_the_final_norm_is_no_fault_of_the_last_block(whole, streams, tmp_path):
    folder, module = whole
    tensors = {f"{n}.{layer}": plain_states(module, ids, layer) for n, ids in enumerate(PROMPTS) for layer in range(3)}
    assert_refused(compared(folder, tmp_path, tensors)[0], "layer 2", "hidden_states", "before the norm")
    wrong = {name: rows * (1.5 if name.endswith("2") else 1) for name, rows in tensors.items()}
    assert compared(folder, tmp_path, wrong)[1] == "not_rounding"


def test_states_of_several_layers_in_another_container_are_told(whole, tmp_path):
    file = tmp_path / "run.npz"
    file.write_bytes(b"PK\x05\x06" + bytes(18))
    assert_refused(called("compare", whole[0], file), "run.npz", "safetensors")


@pytest.mark.parametrize("family", [pytest.param("llama", marks=pytest.mark.slow), "gpt2"])
@pytest.mark.parametrize("dtype", rest_slow(torch.bfloat16, of=[torch.float16, torch.bfloat16]))
def test_a_checkpoint_that_was_saved_in_a_half_type_is_the_same_network(tmp_path, family, dtype):
    folder, half = tmp_path / "model", tmp_path / "half"
    model_folder(folder, family)
    model_folder(half, family)
    rewritten(half, lambda weights: {name: one.to(dtype) for name, one in weights.items()})
    status, out, _ = called("compare", folder, half)
    assert (status, out.startswith("rounding: ")) == (0, True), out
    rewritten(half, lambda weights: {name: one * 1.01 if one.ndim == 1 else one for name, one in weights.items()})
    assert called("compare", folder, half)[0] == 1


@pytest.mark.parametrize("change", [1.005, 1.0004, 1 + 1e-5])
def test_weights_that_are_other_ones_are_not_the_same_in_a_coarser_type(tmp_path, change):
    folder, other = tmp_path / "model", tmp_path / "other"
    for place in (folder, other):
        model_folder(place)
    name = "model.layers.1.mlp.down_proj.weight"
    rewritten(other, lambda weights: {**weights, name: weights[name] * change})
    status, out, _ = called("compare", folder, other)
    assert status == 1 and "at layer 2" in out, out


def test_what_is_kept_of_some_layers_is_not_taken_for_others(tmp_path, monkeypatch):
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path))
    model = sipit.load_model(save(llama(num_hidden_layers=3), tmp_path / "model"))
    first, second = (calibrate(model, layers, torch.float32) for layers in ([0, 1, 3], [0, 2, 3]))
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "another"))
    assert calibrate(model, [0, 2, 3], torch.float32).maxima == second.maxima
    assert first.maxima != second.maxima


def audited(folder, tmp_path, states, prompts):
    out = tmp_path / "audit.json"
    called("audit", folder, "--states", states, "--prompts", prompts, "--layer", 1, "-o", out)
    return [one["answer"] for one in json.loads(out.read_text())["result"]["prompts"]]


def test_prompts_of_a_folder_are_in_the_order_of_its_states(whole, tmp_path):
    folder, module = whole
    places = {kind: tmp_path / kind for kind in ("states", "prompts")}
    for place in places.values():
        place.mkdir()
    for number in range(1, 12):
        ids = [number, 2 * number, 3]
        save_file({"s": plain_states(module, ids).contiguous()}, places["states"] / f"s{number}.safetensors")
        prompts_file(places["prompts"], ids).rename(places["prompts"] / f"p{number}.jsonl")
    assert audited(folder, tmp_path, *places.values()) == ["consistent"] * 11


def test_every_tensor_is_audited_in_the_type_that_it_is_stored_in(whole, tmp_path):
    folder, module = whole
    file, prompts = tmp_path / "s.safetensors", tmp_path / "p.jsonl"
    rows = plain_states(module)
    prompts.write_text('{"token_ids": [97, 98, 99]}\n' * 3)
    save_file({"a": rows, "b": rows.half(), "c": rows.bfloat16()}, file)
    assert audited(folder, tmp_path, file, prompts) == ["consistent"] * 3
    save_file({"a": rows.bfloat16(), "b": rows.half(), "c": rows * 1.0001}, file)
    assert audited(folder, tmp_path, file, prompts) == ["consistent", "consistent", "inconsistent"]


def test_a_rate_that_is_nearly_none_lets_no_fault_pass(whole, streams, tmp_path):
    wrong = sipit.states.layered.LayeredStates((1, 2), (torch.stack([rows * 1.01 for rows in streams[0][1:]]),))
    model = sipit.load_model(whole[0])
    for rate in (1e-9, 1e-17, 1e-300):
        assert sipit.compare_runs(model, wrong, PROMPTS[:1], rate=rate).kind.value == "not_rounding"
        (answer,) = sipit.audit_states(model, sipit.States((streams[0][1],), 1), PROMPTS[:1], rate=rate).answers
        assert answer.answer == "undecided" and "calibration runs" in answer.reason


@pytest.mark.parametrize(("settings", "said"), [("threads=100000", "threads"), ("batch=\u00b2", "batch")])
def test_settings_that_nothing_can_run_under_are_refused(whole, settings, said):
    assert_refused(called("compare", whole[0], f"{whole[0]}@{settings}"), said)


@pytest.mark.parametrize("size", [0, -1, 3, 65])
def test_a_fingerprint_of_a_size_that_there_is_not_is_refused(whole, streams, tmp_path, size):
    file, prompts = tmp_path / "s.safetensors", prompts_file(tmp_path, PROMPTS[0])
    save_file({"p": streams[0][1]}, file)
    said = called("audit", whole[0], "--states", file, "--prompts", prompts, "--layer", 1, "--fingerprint", size)
    assert_refused(said, "4 to 64", str(size))
