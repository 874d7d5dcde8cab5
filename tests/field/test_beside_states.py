"""What stands beside states in a file is what it is taken for, or is refused: ids, masks, and other prompts."""

import json
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import sipit
from proofs.errors import InvalidInput
from tests.field.places import IDS, assert_refused, called, model_folder, plain_states, prompts_file
from tests.sipit.cases import rest_slow, tiny
from tests.sipit.foreign_files import hidden_states


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside") / "model"
    return folder, model_folder(folder)


def inverted(folder, tmp_path, tensors, *options, layer=1):
    file, out = tmp_path / "states.safetensors", tmp_path / "out.json"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    said = called("invert", folder, "--states", file, "--layer", layer, "-o", out, *options)
    return said, json.loads(out.read_text())["result"] if out.exists() else None


@pytest.mark.parametrize(
    "name", ["input_ids", "token_ids", "prompt_token_ids", "tokens", "p0.input_ids", "input_ids_0"]
)
def test_token_ids_are_known_by_their_name(whole, tmp_path, name):
    folder, module = whole
    _, result = inverted(folder, tmp_path, {"p0": plain_states(module), name: torch.tensor(IDS)})
    assert result["prompts"][0]["matches_truth"] is True


NEITHER = {
    "position_ids": torch.arange(3), "token_type_ids": torch.zeros(3, dtype=torch.long), "width": torch.tensor([64]),
    "next_token_ids": torch.tensor([*IDS[1:], 9]), "special_tokens_mask": torch.tensor([1, 0, 0]),
    "padding_mask": torch.tensor([False, False, True]), "slot_ids": torch.arange(3),
}  # fmt: skip


@pytest.mark.parametrize("name", NEITHER)
def test_other_whole_numbers_are_neither_ids_nor_a_mask(whole, tmp_path, name):
    folder, module = whole
    for more in ({}, {"input_ids": torch.tensor(IDS)}):
        said, _ = inverted(folder, tmp_path, {"p0": plain_states(module), **more, name: NEITHER[name]})
        assert_refused(said, repr(name), "keep only the states")


MASKS = {
    "of packed prompts": {"attention_mask": torch.tensor([[1, 1, 2]])},
    "two": {"mask": torch.tensor([[1, 1, 1]]), "attention_mask": torch.tensor([[1, 1, 1]])},
    "of a batch for prompts of their own lengths": {
        "q": torch.ones(2, 64), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])},
}  # fmt: skip


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_that_may_mean_something_else_is_refused(whole, tmp_path, kind):
    folder, module = whole
    said, _ = inverted(folder, tmp_path, {"p": plain_states(module), **MASKS[kind]})
    assert_refused(said, "mask")


@given(data=st.data())
def test_ids_have_their_padding_or_not_prompt_by_prompt(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("ids") / "s.safetensors"
    rows = data.draw(st.lists(st.lists(st.booleans(), min_size=4, max_size=4).filter(any), min_size=1, max_size=3))
    mask, ids = torch.tensor(rows), torch.arange(4 * len(rows)).view(-1, 4)
    true = [line[kept] for line, kept in zip(ids, mask, strict=True)]
    stored = [data.draw(st.sampled_from(both)) for both in zip(ids, true, strict=True)]
    beside = {f"input_ids_{number}": line.clone() for number, line in enumerate(stored)}
    save_file({"h": torch.zeros(len(rows), 4, 8), "attention_mask": mask, **beside}, file)
    states = sipit.read_states(file, layer=1)
    assert states.source.token_ids == tuple(tuple(line.tolist()) for line in true)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 0.5])
@pytest.mark.parametrize("name", ["input_ids", "attention_mask"])
def test_floats_that_are_no_whole_numbers_are_neither_ids_nor_a_mask(tmp_path, name, value):
    file = tmp_path / "s.safetensors"
    save_file({"p0": torch.zeros(3, 8), name: torch.tensor([1.0, value, 1.0])}, file)
    with pytest.raises(InvalidInput, match=name):
        sipit.read_states(file, layer=1)


@pytest.mark.parametrize("key", ["p", "blocks.0.hook_resid_post"])
@given(data=st.data())
@settings(max_examples=6)
def test_a_mask_is_one_in_any_type(tmp_path_factory, key, data):
    """Programs keep masks, and ids, in floats as well: what a tensor is called says what it is, beside any keys."""
    tmp_path, model = tmp_path_factory.mktemp("mask"), tiny("llama")
    dtype = data.draw(st.sampled_from([torch.bool, torch.int32, torch.int64, torch.float16, torch.float32]))
    front, behind = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    (rows,) = sipit.capture(model, [IDS], layer=1)
    padded = torch.cat([torch.zeros(front, rows.shape[1]), rows, torch.zeros(behind, rows.shape[1])])
    mask = torch.tensor([0] * front + [1] * len(IDS) + [0] * behind)[None]
    ids = torch.tensor([0] * front + IDS + [0] * behind)[None]
    save_file(
        {key: padded[None], "attention_mask": mask.to(dtype), "input_ids": ids.float()}, tmp_path / "s.safetensors"
    )
    states = sipit.read_states(tmp_path / "s.safetensors", layer=1, model=model)
    assert torch.equal(states[0], rows)
    assert states.source.token_ids == (tuple(IDS),)


@pytest.mark.parametrize("key", ["p", "blocks.0.hook_resid_post"])
@pytest.mark.parametrize("mask", [[0.0, 0.0, 0.0], [0, 0, 0], [0.0, 0.5, 1.0], [0.0, 0.0, -3e38], [float("nan"), 1, 1]])
def test_a_mask_that_keeps_nothing_or_weighs_is_refused_by_name(tmp_path, key, mask):
    model = tiny("llama")
    (rows,) = sipit.capture(model, [[5, 6, 7]], layer=1)
    save_file({key: rows[None].contiguous(), "attention_mask": torch.tensor([mask])}, tmp_path / "s.safetensors")
    with pytest.raises(InvalidInput, match="mask"):
        sipit.read_states(tmp_path / "s.safetensors", layer=1, model=model)


def test_ids_in_floats_that_round_them_are_refused(tmp_path):
    (rows,) = sipit.capture(tiny("llama"), [[5, 6, 7]], layer=1)
    save_file({"p": rows, "input_ids": torch.tensor([5, 6, 300]).bfloat16()}, tmp_path / "s.safetensors")
    with pytest.raises(InvalidInput, match="rounded"):
        sipit.read_states(tmp_path / "s.safetensors", layer=1, model=tiny("llama"))


@pytest.mark.parametrize("name", ["attention_mask", "input_ids"])
def test_what_stands_beside_keys_is_no_prompt(tmp_path, name):
    model = tiny("llama")
    (rows,) = sipit.capture(model, [[5, 6, 7]], layer=1, observe="keys")
    save_file({"p": rows, name: torch.ones(1, 3)}, tmp_path / "s.safetensors")
    with pytest.raises(InvalidInput, match=name):
        sipit.read_states(tmp_path / "s.safetensors", layer=1, observe="keys", model=model)


CACHES = {
    "one layer": lambda k, v: {"key": k[0], "value": v[0]},
    "names of a projection": lambda k, v: {"k_proj": k[0], "v_proj": v[0]},
    "layers": lambda k, v: {f"key_cache.{n}": one for n, one in enumerate(k)},
    "layers of both": lambda k, v: {f"past_key_values.0.{n}": one for n, one in (("key", k[0]), ("value", v[0]))},
    "blocks": lambda k, v: {f"layers.{n}.keys": one for n, one in enumerate(k)},
    "numbered keys": lambda k, v: {f"key_{n}": one for n, one in enumerate(k)},
    "numbered letters": lambda k, v: {"k_0": k[0], "v_0": v[0]},
    "numbered values": lambda k, v: {f"p.values.{n}": one for n, one in enumerate(v)},
}


@pytest.mark.parametrize("kind", CACHES)
def test_layers_and_values_of_a_cache_are_no_further_prompts(whole, tmp_path, kind):
    folder, module = whole
    with torch.inference_mode():
        cache = module(torch.tensor([IDS]), use_cache=True).past_key_values.layers
    tensors = CACHES[kind]([one.keys for one in cache], [one.values for one in cache])
    for written in (tensors, {name: one[0].transpose(0, 1).flatten(1) for name, one in tensors.items()}):
        assert_refused(inverted(folder, tmp_path, written, "--observe", "keys", layer=0)[0], *list(tensors)[:1])


@pytest.mark.parametrize("names", [("hidden_states.7", "hidden_states.15"), ("m.hidden_state_0", "m.hidden_state_1")])
def test_entries_of_hidden_states_are_no_prompts(tmp_path, names):
    save_file({name: torch.ones(3, 64) * at for at, name in enumerate(names, 1)}, tmp_path / "s.safetensors")
    with pytest.raises(InvalidInput, match="2 layers of one prompt"):
        sipit.read_states(tmp_path / "s.safetensors", layer=1, model=tiny("llama"))


@pytest.mark.parametrize("name", ["states.{}", "prompt_{}", "{}", "p{}.rows", "v1.prompt{}", "k2.{}.rows"])
def test_prompts_by_number_are_prompts(tmp_path, name):
    save_file({name.format(at): torch.ones(3, 64) * at for at in (1, 2)}, tmp_path / "s.safetensors")
    assert len(sipit.read_states(tmp_path / "s.safetensors", layer=1, model=tiny("llama"))) == 2


@pytest.mark.parametrize("length", [2, 7, 17, 33])
def test_one_prompt_beside_its_ids_is_no_row_of_vllm(tmp_path, length):
    """Only a model with so many layers, and whole blocks of a cached prefix, leave room for the other reading."""
    model, ids, file = tiny("llama"), list(range(9, 9 + length)), tmp_path / "s.safetensors"
    (rows,) = sipit.capture(model, [ids], layer=1)
    save_file({"hidden_states": rows[None].contiguous(), "token_ids": torch.tensor(ids)}, file)
    states = sipit.read_states(file, layer=1, model=model)
    assert torch.equal(states[0], rows)
    assert states.source.token_ids == (tuple(ids),)
    if length % 16 == 1:
        with pytest.raises(InvalidInput, match=rf"one prompt of {length} tokens, or the last row"):
            sipit.read_states(file, layer=1)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_keys_of_a_hook_are_read_whether_the_model_turns_them_or_not(tmp_path, family):
    model, site = tiny(family), "keys" if family == "gpt2" else "keys-unrotated"
    (rows,) = sipit.capture(model, [IDS], layer=1, observe=site)
    save_file({"blocks.1.attn.hook_k": rows.view(1, len(rows), -1, 16).contiguous()}, tmp_path / "s.safetensors")
    (found,) = sipit.invert(model, sipit.read_states(tmp_path / "s.safetensors", observe=site, model=model))
    assert found.token_ids == IDS


SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 3))  # prompts, and the rows of each


@given(first=SHAPES, second=SHAPES)
def test_places_that_are_read_together_are_of_the_same_rows(tmp_path_factory, first, second):
    file = tmp_path_factory.mktemp("joined") / "s.safetensors"
    save_file(
        {"blocks.0.attn.hook_rot_k": torch.zeros(*first, 2, 4), "blocks.0.hook_resid_pre": torch.ones(*second, 8)}, file
    )
    read = partial(sipit.read_states, file, observe="keys,residual", layer=0)
    if first == second:
        assert [array.shape for array in read()] == [(first[1], 16)] * first[0]
    else:
        with pytest.raises(InvalidInput, match="same tokens at every place"):
            read()


def test_token_ids_are_those_of_the_place_that_is_read(tmp_path):
    """llama.cpp drops rows of its last block that no answer needs."""
    file = tmp_path / "s.safetensors"
    save_file({"l_out-0": torch.zeros(3, 4), "l_out-1": torch.ones(1, 4), "input_ids": torch.tensor(IDS)}, file)
    assert sipit.read_states(file, layer=1).source.token_ids == (tuple(IDS),)
    with pytest.raises(InvalidInput, match=r"each row, \[1\], but .* has \[3\]"):
        sipit.read_states(file, layer=2)


def test_rows_of_a_cache_are_counted_by_token(whole, tmp_path):
    folder, module = whole
    with torch.inference_mode():
        keys = module(torch.tensor([IDS]), use_cache=True).past_key_values.layers[0].keys
    for stored in (keys, keys[0], keys[0].transpose(0, 1)):
        (status, _, err), result = inverted(folder, tmp_path, {"p": stored}, "--observe", "keys", layer=0)
        assert status == 0 and "3 rows of 1 prompt," in err
        assert result["source"]["rows"] == [3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_ids_in_a_type_that_rounds_them_are_refused(tmp_path, dtype):
    folder = tmp_path / "model"
    rows = torch.zeros(3000, 64)
    module = model_folder(folder)
    module.resize_token_embeddings(len(rows))
    module.save_pretrained(folder)
    with torch.inference_mode():
        top = module(torch.tensor([IDS])).logits[0].log_softmax(-1).topk(4)
    kept = torch.cat([top.indices, top.values], dim=1)
    options = ("--observe", "logprobs", "--top", 4)
    file = tmp_path / "states.safetensors"
    save_file({"p": kept.to(dtype)}, file)
    assert_refused(called("invert", folder, "--states", file, *options), "rounds them", "float32")


def test_steps_of_one_prompt_are_not_said_to_belong_to_none(whole, tmp_path):
    folder, module = whole
    rows = plain_states(module)
    for tensors in ({"p": rows[:, None]}, {"step0": rows[:2], "step1": rows[2:]}):
        _, result = inverted(folder, tmp_path, tensors)
        assert result["prompts"][0]["outcome"] == "recovered"
        assert "stands behind others" in result["prompts"][-1]["explanation"]


HELD_AGAINST = {
    "invert": lambda file, prompts: ["--states", file],
    "audit": lambda file, prompts: ["--states", file, "--prompts", prompts],
    "certify": lambda file, prompts: ["--states", file, "--prompts", prompts, "--noise", "1e-3", "--no-noise"],
    "leak": lambda file, prompts: ["--released", file, "--prompts", prompts],
}


@pytest.mark.parametrize("command", rest_slow("invert", "audit", "certify", of=HELD_AGAINST))
def test_a_place_of_the_file_is_held_against_the_layer_that_is_named(whole, tmp_path, command):
    """The output of block 0 is layer 1, whatever whoever named it counted."""
    folder, module = whole
    file = tmp_path / "s.safetensors"
    prompts = prompts_file(tmp_path)
    rows = plain_states(module)
    if command == "leak":  # which tells prompts by others
        other = IDS[::-1]
        prompts.write_text(prompts.read_text() + json.dumps({"token_ids": other}) + "\n")
        rows = torch.stack([rows, plain_states(module, other)])
    elif command == "certify":
        prompts.write_text(prompts.read_text() + '{"token_ids": [5, 6]}\n')
    save_file({"model.layers.0.output.0": rows.contiguous()}, file)
    given = [command, folder, *HELD_AGAINST[command](file, prompts)]
    named = "--layers" if command == "leak" else "--layer"
    assert_refused(called(*given, named, 2), "residual at layer 2", "residual at layer 1")
    assert called(*given, named, 1)[0] != 2
    assert called(*given)[0] != 2  # the file says where


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_audit_in_the_type_of_states_that_only_a_model_places(whole, tmp_path, dtype):
    folder, _ = whole
    model = sipit.load_model(folder, dtype=dtype)
    hidden = hidden_states(model, IDS)  # (layers, 1, T, d)
    save_file({"h": hidden.contiguous()}, tmp_path / "s.safetensors")
    line = ["--states", tmp_path / "s.safetensors", "--prompts", prompts_file(tmp_path), "--layer", 1]
    status, _, err = called("audit", folder, *line, "--dtype", "auto")
    assert status == 0 and f"computed in {dtype}" in err
