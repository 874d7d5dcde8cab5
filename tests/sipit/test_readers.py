"""Files of states that other programs write: read in their documented layouts, refused where they can mean two things.

The files are made by `tests.sipit.foreign_files`.
"""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import sipit
from proofs.errors import InvalidInput
from sipit.cli import run
from sipit.states.layered import capture_layers, write_layers
from sipit.states.readers.contents import Place
from tests.sipit.cases import tiny
from tests.sipit.foreign_files import IDS, WRITTEN, lens, sglang, streams, vllm


def inverted(capsys, path, layer, model="tiny-llama"):
    options = [] if layer is None else ["--layer", str(layer)]
    status = run(["invert", model, "--states", str(path), *options, "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else None, err


@pytest.mark.parametrize("family", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", WRITTEN)
def test_files_of_other_programs_are_inverted(tmp_path, capsys, kind, family):
    name, write, layer, matches = WRITTEN[kind]
    path = tmp_path / name
    write(path, tiny(family))
    status, record, told = inverted(capsys, path, layer, f"tiny-{family}")
    assert status == 0
    (prompt,) = record["result"]["prompts"]
    assert (prompt["token_ids"], prompt["matches_truth"]) == (IDS, matches)
    source = record["result"]["source"]
    assert source["observation"]["layers"] == [layer]
    assert source["origin"] in told
    assert str(IDS)[1:-1] not in json.dumps(source)


@pytest.mark.parametrize("kind", ["vllm", "lens", "modules", "stack", "batch"])
def test_every_layer_of_a_file_is_the_layer_that_it_says(tmp_path, kind):
    model, path = tiny("gpt2"), tmp_path / WRITTEN[kind][0]
    WRITTEN[kind][1](path, model)
    rows, final = streams(model)
    held = sipit.read_states(path, layer=1, model=model).source.places
    for place in held:
        states = sipit.read_states(path, layer=place.layer, model=model)
        assert states.layer == place.layer
        true = final if place.layer == "final" else rows[place.layer]
        assert torch.allclose(states[0], true, atol=1e-5)
    last = Place("residual", "final" if kind in ("stack", "batch") else model.layers)
    assert last in held
    assert (Place("residual", model.layers) in held) == (last.layer == model.layers)


def test_values_of_llama_cpp_are_values_and_its_keys_are_refused(tmp_path):
    model = tiny("llama")
    path = tmp_path / "s.safetensors"
    (values,) = sipit.capture(model, [IDS], layer=1, observe="values")
    for rows in (values, values.unflatten(1, (2, -1))):
        save_file({"Vcur-1": rows.contiguous(), "Kcur-1": torch.ones(7, 2, 16)}, path)
        (inversion,) = sipit.invert(model, sipit.read_states(path, layer=1, observe="values", model=model))
        assert inversion.token_ids == IDS
    save_file({"Kcur-1": torch.ones(7, 2, 16)}, path)
    with pytest.raises(InvalidInput, match="rotary"):
        sipit.read_states(path, layer=1, observe="keys", model=model)


def test_sets_of_rows_of_vllm_are_named_in_their_order(tmp_path, capsys):
    path, model = tmp_path / "s.safetensors", tiny("llama")
    vllm(path, model, [1, 2])
    assert inverted(capsys, path, "1,2")[1]["result"]["layer"] == 1
    assert inverted(capsys, path, "2,1")[0] == 1  # no prompt's
    assert torch.equal(sipit.read_states(path, layer=(2, 1))[0], streams(model)[0][1])
    status, record, told = inverted(capsys, path, "0,1,2")
    assert (status, record) == (2, None)
    assert "name 2 layers" in told
    vllm(path, model, [2])
    assert inverted(capsys, path, "2")[1]["result"]["layer"] == 2
    assert inverted(capsys, path, "0")[0] == 1


def test_layers_are_named_in_a_list_as_well(tmp_path):
    path, model = tmp_path / "s.safetensors", tiny("llama")
    vllm(path, model, [2])
    assert torch.equal(sipit.read_states(path, layer=[2])[0], streams(model)[0][2])
    with pytest.raises(InvalidInput, match="for each of the 1 sets"):
        sipit.read_states(path, layer=[0, 1], observe="keys")
    write_layers(path, capture_layers(model, [IDS], [1, 2]))
    assert torch.equal(sipit.read_states(path, layer=[2])[0], streams(model)[0][2])
    with pytest.raises(InvalidInput, match=r"but got 1,2; name"):
        sipit.read_states(path, layer=[1, 2])


def test_a_stack_of_prompts_stays_one_though_there_are_as_many_as_layers(tmp_path):
    model, path = tiny("llama"), tmp_path / "s.safetensors"
    prompts = [[5, 6, 7], [8, 9, 10], [11, 12, 13]]
    assert len(prompts) == model.layers + 1
    for layer in (0, 1, 2, "final"):
        states = sipit.capture(model, prompts, layer=layer)
        save_file({"h": torch.stack(list(states))}, path)
        back = sipit.read_states(path, layer=layer, model=model)
        assert len(back) == 3
        assert torch.equal(back[2], states[2])


def test_padding_that_a_mask_names_is_left_out(tmp_path):
    model, path = tiny("llama"), tmp_path / "s.safetensors"
    rows = torch.zeros(2, 4, model.width)
    first, second = sipit.capture(model, [[5, 6], [7, 8, 9, 10]], layer=1)
    rows[0, 2:], rows[1] = first, second
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]])
    save_file({"h": rows, "attention_mask": (ids > 0).long(), "input_ids": ids}, path)
    states = sipit.read_states(path, layer=1, model=model)
    assert torch.equal(states[0], first)
    assert states.source.token_ids == ((5, 6), (7, 8, 9, 10))


# What can mean two things, or nothing.


def bad(path, tensors):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def refused(capsys, path, layer, *words, model="tiny-llama"):
    status, record, told = inverted(capsys, path, layer, model)
    assert (status, record) == (2, None), told
    assert told.count("\n") == 1
    assert all(word in told for word in words), told


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_vllm_file_without_its_ids_is_refused_with_both_readings(tmp_path, capsys, layers):
    rows = streams(tiny("llama"))[0].transpose(0, 1)
    bad(tmp_path / "s.safetensors", {"hidden_states": rows[:, :layers]})
    both = (f"7 prompts of {layers} tokens", f"{layers} layers of 7 tokens")
    refused(capsys, tmp_path / "s.safetensors", 1, *both)


def test_rows_of_a_cached_prefix_are_missed(tmp_path, capsys):
    rows = streams(tiny("llama"))[0].transpose(0, 1)
    bad(tmp_path / "s.safetensors", {"hidden_states": rows, "token_ids": torch.arange(23)})
    refused(capsys, tmp_path / "s.safetensors", 1, "16 rows of a cached prefix are missing", "--prefix")


REFUSED = {
    "ids of half the rows": lambda m, rows: {"hidden_states": rows.transpose(0, 1), "token_ids": torch.arange(3)},
    "ids beyond the vocabulary": lambda m, rows: {
        "hidden_states": rows.transpose(0, 1), "token_ids": torch.arange(7) + 600},
    "negative ids": lambda m, rows: {"hidden_states": rows.transpose(0, 1), "token_ids": torch.arange(7) - 9},
    "another width": lambda m, rows: {"hidden_states": rows.transpose(0, 1)[..., :40], "token_ids": torch.arange(7)},
    "not finite": lambda m, rows: {"h": rows[1].clone().index_fill_(0, torch.tensor(2), torch.nan)},
    "layers or prompts": lambda m, rows: {f"layer_{n}": rows[n] for n in range(3)},
    "layers of another order": lambda m, rows: {"h": rows.flip(0)[:, None].repeat(1, 3, 1, 1)},
    "no such hook": lambda m, rows: {"blocks.1.hook_resid_post": rows[2]},
    "two for one place": lambda m, rows: {"blocks.0.hook_resid_post": rows[1], "blocks.1.hook_resid_pre": 0 + rows[1]},
    "flags": lambda m, rows: {"h": rows[1], "flags": torch.ones(3, dtype=torch.long)},
    "a mask of another shape": lambda m, rows: {"h": rows[1][None], "mask": torch.ones(1, 3, dtype=torch.long)},
    "two ids for a row": lambda m, rows: {"h": rows[1], "input_ids": torch.zeros(2, 7, dtype=torch.long)},
    "a cache, not states": lambda m, rows: {"kv_cache": torch.ones(2, 7, 64)},
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_means_nothing_or_several_things_is_refused_in_a_sentence(tmp_path, capsys, kind):
    model = tiny("llama")
    bad(tmp_path / "s.safetensors", REFUSED[kind](model, streams(model)[0]))
    refused(capsys, tmp_path / "s.safetensors", 1)


def test_a_place_that_a_file_has_not_is_refused_with_those_it_has(tmp_path, capsys):
    lens(tmp_path / "s.safetensors", tiny("llama"))
    refused(capsys, tmp_path / "s.safetensors", None, "residual at layer 0, residual at layer 1")
    sglang(tmp_path / "s.json", tiny("llama"))
    refused(capsys, tmp_path / "s.json", 1, "residual at layer final")
    assert inverted(capsys, tmp_path / "s.json", None)[0] == 0  # one place needs no name


def test_centred_streams_are_not_taken_for_whole_ones(tmp_path, capsys):
    lens(tmp_path / "s.safetensors", tiny("llama"), centred=True)
    refused(capsys, tmp_path / "s.safetensors", 1, "centred at layer 1")


def kept(path, write):
    with path.open("wb") as stream:
        write(stream)


@pytest.mark.parametrize("name", ["s.pt", "s.npz", "s.safetensors", "s.npy", "s.pkl"])
def test_pickles_are_refused_with_how_to_save_and_never_run(tmp_path, capsys, name):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    for write in (
        lambda path: path.write_bytes(pickle.dumps({"blocks.0.hook_resid_post": Evil()}, protocol=2)),
        lambda path: torch.save({"blocks.0.hook_resid_post": torch.ones(3, 64)}, path),
        lambda path: kept(path, lambda stream: np.save(stream, np.array([Evil()], dtype=object), allow_pickle=True)),
        lambda path: kept(path, lambda stream: np.savez(stream, a=np.array([Evil()], dtype=object))),
    ):
        write(tmp_path / name)
        refused(capsys, tmp_path / name, 1, "pickle", "save")
    assert not ran.exists()


def in_bytes(kind, folder):
    path = folder / WRITTEN[kind][0]
    WRITTEN[kind][1](path, tiny("llama"))
    return path


@settings(max_examples=25)
@given(data=st.data(), kind=st.sampled_from(["npy", "npz", "gguf", "sglang", "vllm"]))
def test_damaged_files_are_refused_or_read(tmp_path, data, kind):
    path = in_bytes(kind, tmp_path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, min(200, len(content) - 1)))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        states = sipit.read_states(path, layer=1 if kind != "sglang" else "final", model=tiny("llama"))
    except InvalidInput as refusal:
        assert str(path) in str(refusal) or "vocabulary" in str(refusal)
    else:
        assert all(rows.ndim == 2 and rows.is_floating_point() for rows in states)


def test_an_array_larger_than_its_file_is_refused_unread(tmp_path, capsys):
    path = tmp_path / "s.npy"
    np.save(path, np.ones((7, 64), np.float32))
    path.write_bytes(path.read_bytes().replace(b"(7, 64)", b"(9999999, 64)".ljust(7))[: path.stat().st_size])
    refused(capsys, path, 1)


def test_a_folder_of_vllm_files_is_a_prompt_each(tmp_path, capsys):
    model = tiny("llama")
    for number in (10, 9):
        vllm(tmp_path / f"request-{number}.safetensors", model)
    status, record, _ = inverted(capsys, tmp_path, 2)
    assert status == 0
    assert [prompt["matches_truth"] for prompt in record["result"]["prompts"]] == [True, True]
    assert record["result"]["source"]["rows"] == [7, 7]


def test_a_page_is_made_of_a_foreign_file(tmp_path, capsys):
    vllm(tmp_path / "s.safetensors", tiny("llama"))
    page = tmp_path / "page.html"
    command = ["invert", "tiny-llama", "--states", str(tmp_path / "s.safetensors"), "--layer", "1"]
    assert run([*command, "-o", str(page)]) == 0
    assert "hidden states of vLLM" in page.read_text()


def test_a_foreign_file_is_diagnosed(tmp_path, capsys):
    lens(tmp_path / "s.safetensors", tiny("llama"))
    status = run(
        ["invert", "tiny-llama", "--states", str(tmp_path / "s.safetensors"), "--layer", "1", "--diagnose", "--json"]
    )
    result = json.loads(capsys.readouterr().out)["result"]
    assert status == 0
    assert result["source"]["origin"] == "hooks of TransformerLens"
    assert result["diagnosis"][0]["cause"] == "plain"


# Keys and values.


def cached(model, ids=IDS):
    """Keys and values of every layer as `transformers` caches them, each (1, H, T, D)."""
    with torch.inference_mode():
        layers = model.module(torch.tensor([ids]), use_cache=True).past_key_values.layers
    return [(layer.keys, layer.values) for layer in layers]


def connector(folder, model, *, split=False):
    """The folder of vLLM's example connector: (2, T, H D) a layer, or with the heads apart (T, 2, H, D)."""
    for layer, (keys, values) in enumerate(cached(model)):
        both = torch.stack([keys[0].transpose(0, 1), values[0].transpose(0, 1)])
        table = both.transpose(0, 1) if split else both.flatten(2)
        save_file({"kv_cache": table.contiguous()}, folder / f"model.layers.{layer}.self_attn.attn.safetensors")


def observed(capsys, path, observe, layer):
    status = run(["invert", "tiny-llama", "--states", str(path), "--observe", observe, "--layer", layer, "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else None, err


@pytest.mark.parametrize(("split", "observe", "layer"), [(False, "keys,values", "0,1"), (True, "values", "1")])
def test_a_cache_of_vllm_is_inverted(tmp_path, capsys, split, observe, layer):
    connector(tmp_path, tiny("llama"), split=split)
    status, record, told = observed(capsys, tmp_path, observe, layer)
    assert status == 0
    assert record["result"]["prompts"][0]["token_ids"] == IDS
    assert "a key-value cache of vLLM" in told


def test_hooks_of_heads_are_keys_and_values(tmp_path, capsys):
    keys, values = cached(tiny("llama"))[1]
    hooks = {"hook_rot_k": keys, "hook_v": values}
    bad(tmp_path / "s.safetensors", {f"blocks.1.attn.{name}": part.transpose(1, 2) for name, part in hooks.items()})
    status, record, _ = observed(capsys, tmp_path / "s.safetensors", "keys,values", "1")
    assert (status, record["result"]["prompts"][0]["token_ids"]) == (0, IDS)


def test_a_centred_stream_is_inverted_as_what_it_is(tmp_path, capsys):
    lens(tmp_path / "s.safetensors", tiny("llama"), centred=True)
    status, record, _ = observed(capsys, tmp_path / "s.safetensors", "centred", "1")
    assert (status, record["result"]["prompts"][0]["token_ids"]) == (0, IDS)


@pytest.mark.parametrize("path", ["model.layers.1.mlp.output", "model.model.layers[1].self_attn.output[0]"])
def test_paths_to_halves_of_a_block_are_looked_up(tmp_path, capsys, path):
    half = "mlp-out" if "mlp" in path else "attention-out"
    bad(tmp_path / "s.safetensors", {path: sipit.capture(tiny("llama"), [IDS], layer=2, observe=half)[0]})
    status, record, _ = observed(capsys, tmp_path / "s.safetensors", half, "2")
    assert (status, record["result"]["prompts"][0]["token_ids"]) == (0, IDS)
    assert inverted(capsys, tmp_path / "s.safetensors", 2)[0] == 2  # it is not the stream


CACHES = {
    "two tokens": lambda keys, values: torch.stack([keys, values])[:, :2].transpose(1, 2),
    "three halves": lambda keys, values: torch.stack([keys, values, keys]).flatten(2),
    "other heads": lambda keys, values: torch.stack([keys[:, :1], values[:, :1]]).flatten(2),
}


@pytest.mark.parametrize("kind", CACHES)
def test_caches_that_cannot_be_the_models_are_refused(tmp_path, capsys, kind):
    keys, values = (part[0].transpose(0, 1) for part in cached(tiny("llama"))[0])
    path = tmp_path / "model.layers.0.self_attn.attn.safetensors"
    bad(path, {"kv_cache": CACHES[kind](keys, values)})
    status, record, told = observed(capsys, path, "keys", "0")
    assert (status, record, told.count("\n")) == (2, None, 1), told


def test_caches_of_two_prompts_in_a_folder_are_refused(tmp_path, capsys):
    connector(tmp_path, tiny("llama"))
    path = tmp_path / "model.layers.1.self_attn.attn.safetensors"
    bad(path, {"kv_cache": torch.ones(2, 3, 32)})
    status, record, told = observed(capsys, tmp_path, "keys", "0")
    assert (status, record, told.count("\n")) == (2, None, 1), told


OUTSIDE = {
    "llama": {"model.norm.output": "final", "model.norm.input": 2, "model.embed_tokens.output.0": 0, "hook_embed": 0},
    "gpt2": {"transformer.ln_f": "final", "transformer.ln_f.input": 2, "transformer.drop.output": 0},
    "gemma3": {"hook_embed": 0, "model.norm": "final"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "name", "layer"), [(f, *one) for f, names in OUTSIDE.items() for one in names.items()]
)
def test_modules_beside_the_blocks_are_read_where_they_have_one_meaning(family, name, layer, tmp_path):
    model, ids = tiny(family), [5, 9, 200, 31]
    save_file({name: sipit.capture(model, [ids], layer=layer)[0]}, tmp_path / "states.safetensors")
    states = sipit.read_states(tmp_path / "states.safetensors", model=model)
    assert states.layer == layer
    assert sipit.invert(model, states)[0].token_ids == ids


@pytest.mark.parametrize("name", ["transformer.wte.output", "hook_embed", "hook_pos_embed", "ln_final.hook_normalized"])
def test_names_with_two_readings_are_refused_with_both_unless_a_layer_is_named(name, tmp_path):
    model = tiny("gpt2")
    save_file({name: sipit.capture(model, [[5, 9, 200]], layer=0)[0]}, tmp_path / "states.safetensors")
    with pytest.raises(InvalidInput, match=r"can be .* or .*; give --layer"):
        sipit.read_states(tmp_path / "states.safetensors", model=model)
    assert sipit.read_states(tmp_path / "states.safetensors", model=model, layer=0).layer == 0


@pytest.mark.parametrize("other", ["layers.0.mixer", "mtp.layers.0.attn"])
def test_two_caches_of_one_layer_are_refused(tmp_path, other):
    """One of them would be taken for the other without a word."""
    for name in ("layers.0.attn", "layers.1.attn"):
        save_file({"kv_cache": torch.randn(2, 5, 2, 4)}, tmp_path / f"{name}.safetensors")
    assert sipit.read_states(tmp_path, observe="keys", layer=0).arrays[0].shape == (5, 8)
    save_file({"kv_cache": torch.randn(2, 5, 2, 4)}, tmp_path / f"{other}.safetensors")
    with pytest.raises(InvalidInput, match="one file for each layer"):
        sipit.read_states(tmp_path, observe="keys", layer=0)
