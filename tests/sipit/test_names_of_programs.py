"""What a name of another program is taken for: the one tensor that it can be in this model, or none."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import RobertaConfig

import sipit
from proofs.errors import InvalidInput
from sipit.models.hooks import hooked
from sipit.models.tiny import drawn_module
from sipit.observations.sites import heads_of, without_mean
from sipit.states.readers.contents import Place
from sipit.states.readers.named import module_place
from tests.sipit.cases import altered, language_model, tiny

IDS = [7, 300, 21, 5, 90]


@cache
def roberta():
    """A small decoder, some modules of which are called `output`."""
    config = RobertaConfig(
        vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, is_decoder=True,
    )  # fmt: skip
    return language_model(drawn_module(config, seed=0), name="toy-roberta")


def seen(model, module, side):
    """The rows that a module takes or returns for the ids."""
    kept = []

    def look(_module, arguments, named, output):
        given = output if side == "output" else (*arguments, *named.values())
        tensors = given if isinstance(given, tuple) else (given,)
        kept.extend(one[0].clone() for one in tensors if isinstance(one, torch.Tensor))

    with hooked(lambda: [module.register_forward_hook(look, with_kwargs=True)]), torch.inference_mode():
        model.decoder.body(input_ids=torch.tensor([IDS]))
    return kept[0]


@settings(max_examples=8)
@given(data=st.data(), family=st.sampled_from(["roberta", "gemma3"]), side=st.sampled_from(["input", "output"]))
def test_a_path_leads_to_no_other_place_than_that_of_what_its_module_takes_or_returns(data, family, side):
    model = roberta() if family == "roberta" else tiny(family)
    names = sorted(name for name, module in model.module.named_modules() if name and not hasattr(module, "__len__"))
    name = data.draw(st.sampled_from(names))
    place = module_place(model, f"{name}.{side}")
    if place is not None:
        (rows,) = sipit.capture(model, [IDS], layer=place.layer, observe=place.site)
        assert torch.equal(seen(model, model.module.get_submodule(name), side), rows)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("layer.0", Place("residual", 1)),
        ("layer.0.output", Place("residual", 1)),
        ("layer.0.output.0", Place("residual", 1)),
        ("layer.1.input", Place("residual", 1)),
        ("layer.0.output.LayerNorm", Place("residual", 1)),
        ("layer.0.output.dense", None),
        ("layer.0.output.dense.output", None),
        ("layer.0.attention.output", None),
        ("layer.0.output.1", None),
        ("layer.0.output.nothing", None),
    ],
)
def test_a_module_called_output_is_one(path, place):
    assert module_place(roberta(), f"roberta.encoder.{path}") == place


def test_a_module_that_several_blocks_share_leads_to_none_of_them():
    def share(module):
        module.model.layers[1].mlp = module.model.layers[0].mlp

    shared = altered("llama", share)
    assert module_place(shared, "model.layers.1.mlp") is module_place(shared, "model.layers.0.mlp") is None
    assert module_place(shared, "model.layers.0.self_attn") == Place("attention-out", 1)
    for path in ("model.output", "model.output.0", "model.output.last_hidden_state"):
        assert module_place(shared, path) == Place("residual", "final")


def read(path, tensors, model, **asked):
    save_file({name: rows.contiguous() for name, rows in tensors.items()}, path)
    return sipit.read_states(path, model=model, **asked)


def of(family, site, layer):
    return sipit.capture(tiny(family), [IDS], layer=layer, observe=site)[0]


def less_mean(rows):
    return rows - rows.mean(-1, keepdim=True)


MODULES = {
    "llama": {"attn_out": "self_attn", "ffn_out": "mlp", "Vcur": "self_attn.v_proj", "attn_norm": "input_layernorm"},
    "gemma3": {"attn_out": "self_attn", "ffn_out": "mlp", "Vcur": "self_attn.v_proj", "attn_norm": "input_layernorm"},
    "olmo2": {"attn_out": "self_attn", "ffn_out": "mlp", "Vcur": "self_attn.v_proj"},
    "qwen2": {"attn_out": "self_attn", "ffn_out": "mlp", "Vcur": "self_attn.v_proj", "attn_norm": "input_layernorm"},
    "gpt-neox": {"attn_norm": "post_attention_layernorm", "ffn_out": "mlp"},
}  # what llama.cpp calls so, before a bias is added where that is another tensor
SITES = {"attn_out": ("attention-out", 1), "ffn_out": ("mlp-out", 1), "Vcur": ("values", 0), "attn_norm": ("normed", 0)}
UNCLEAR = {
    ("gemma3", "attn_out"), ("gemma3", "ffn_out"), ("olmo2", "attn_out"), ("olmo2", "ffn_out"), ("qwen2", "Vcur"),
    ("gpt-neox", "attn_norm"),
}  # fmt: skip


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, names in MODULES.items() for name in names])
def test_a_tensor_of_llama_cpp_is_read_as_what_the_model_has_there_or_refused_with_both_readings(
    family, name, tmp_path
):
    model, (site, layer) = tiny(family), SITES[name]
    module = model.decoder.blocks[0].get_submodule(MODULES[family][name])
    rows = seen(model, module, "output")
    rows = rows - module.bias if (family, name) == ("qwen2", "Vcur") else rows
    given = tmp_path / "s.safetensors"
    if (family, name) in UNCLEAR:
        with pytest.raises(InvalidInput, match=rf"one meaning of '{name}-0'.* or "):
            read(given, {f"{name}-0": rows}, model, observe=site, layer=layer)
        own = of(family, site, layer)  # what is saved under a name that says nothing is what it is said to be
        assert torch.equal(read(given, {"states": own}, model, observe=site, layer=layer)[0], own)
    else:
        states = read(given, {f"{name}-0": rows}, model, observe=site, layer=layer)
        torch.testing.assert_close(states[0], of(family, site, layer), rtol=1e-6, atol=1e-6)
    with pytest.raises(InvalidInput, match="a model"):
        read(given, {f"{name}-0": rows}, None, observe=site, layer=layer)


@pytest.mark.parametrize("name", ["hook_resid_mid", "hook_attn_out", "hook_mlp_out"])
def test_halves_that_transformer_lens_may_have_centred_are_refused_with_both_readings(name, tmp_path):
    model, path = tiny("gpt2"), tmp_path / "s.safetensors"
    site = {"hook_resid_mid": "mid", "hook_attn_out": "attention-out", "hook_mlp_out": "mlp-out"}[name]
    rows = of("gpt2", site, 1)
    key, asked = f"blocks.0.{name}", {"observe": site, "layer": 1}
    assert torch.equal(read(path, {key: rows}, model, **asked)[0], rows)
    for stored in (less_mean(rows), less_mean(rows).half(), less_mean(rows.bfloat16()), less_mean(rows).half().float()):
        with pytest.raises(InvalidInput, match=r"one meaning .* less the mean"):
            read(path, {key: stored}, model, **asked)
        both = {key: stored, "blocks.0.hook_resid_post": rows}  # what is not read need not be clear
        assert torch.equal(read(path, both, model, layer=1)[0], rows)


@pytest.mark.parametrize(
    ("family", "clear"), [("llama", True), ("gemma3", True), ("gpt2", False), ("qwen2", False), ("gpt-neo", False)]
)
def test_hooks_of_values_are_values_where_no_bias_can_have_been_folded_away(family, clear, tmp_path):
    model, rows = tiny(family), of(family, "values", 0)
    hook = {"blocks.0.attn.hook_v": rows.unflatten(1, heads_of(model, "values", 0))[None]}
    if clear:
        assert torch.equal(read(tmp_path / "s.safetensors", hook, model, observe="values", layer=0)[0], rows)
    else:
        with pytest.raises(InvalidInput, match=r"one meaning .* without its bias"):
            read(tmp_path / "s.safetensors", hook, model, observe="values", layer=0)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_a_centred_stream_is_read_as_one_in_whatever_type_it_is_stored(stored, tmp_path):
    model, path = tiny("gpt2"), tmp_path / "s.safetensors"
    rows = of("gpt2", "residual", 1)
    for centred in (less_mean(rows).to(stored), less_mean(rows.to(stored)), less_mean(rows).to(stored).float()):
        states = read(path, {"blocks.0.hook_resid_post": centred}, model, observe="centred", layer=1)
        assert torch.equal(states[0], centred)
        with pytest.raises(InvalidInput, match="holds centred at layer 1"):
            read(path, {"blocks.0.hook_resid_post": centred}, model, layer=1)
    whole = rows.to(stored)
    assert torch.equal(read(path, {"blocks.0.hook_resid_post": whole}, model, layer=1)[0], whole)


@given(
    depth=st.integers(1, 64), width=st.sampled_from([64, 768, 2048]), count=st.integers(2, 64),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_a_sum_without_mean_is_without_mean_however_often_it_was_rounded(depth, width, count, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(count, width, generator=generator) for _ in range(depth + 1)]
    centred = sum((less_mean(rows).to(dtype) for rows in drawn[1:]), less_mean(drawn[0]).to(dtype))
    assert without_mean(centred) and without_mean(centred.float())
    assert not without_mean(sum(drawn).to(dtype)) or (dtype is torch.bfloat16 and count < 4)


@settings(max_examples=20)
@given(dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]), seed=st.integers(0, 2**31))
def test_single_rows_are_read_as_they_are_named_or_refused_with_both_readings(dtype, seed, tmp_path_factory):
    """One in twenty single rows in bfloat16 has next to no mean by chance."""
    path = tmp_path_factory.mktemp("row") / "s.safetensors"
    rows = torch.randn(1, 64, generator=torch.Generator().manual_seed(seed))
    for whole in (rows.to(dtype), (rows - 0.97 * rows.mean()).to(dtype), less_mean(rows).to(dtype)):
        try:
            assert torch.equal(read(path, {"blocks.0.hook_resid_post": whole}, None, layer=1)[0], whole)
        except InvalidInput as error:
            assert without_mean(whole)
            assert "holds centred" in str(error) if dtype is torch.float32 else "one meaning" in str(error)


def test_ids_and_a_mask_are_held_against_the_place_that_is_read(tmp_path):
    """llama.cpp keeps at its last block, and behind it, the rows alone that it goes on with."""
    model, path, ids = tiny("llama"), tmp_path / "s.safetensors", torch.tensor(IDS)
    first, second = of("llama", "residual", 1), of("llama", "residual", 2)
    for places in ({"l_out-0": first, "l_out-1": second[:3]}, {"l_out-0": first[:3], "l_out-1": second}):
        for layer, name in ((1, "l_out-0"), (2, "l_out-1")):
            if len(places[name]) == len(IDS):
                states = read(path, places | {"input_ids": ids}, model, layer=layer)
                assert states.source.token_ids == (tuple(IDS),)
                states = read(path, places | {"attention_mask": torch.tensor([0, 1, 1, 1, 1])}, model, layer=layer)
                assert torch.equal(states[0], places[name][1:])
            else:
                with pytest.raises(InvalidInput, match="one token id for each row"):
                    read(path, places | {"input_ids": ids}, model, layer=layer)
                with pytest.raises(InvalidInput, match="a mask for prompts"):
                    read(path, places | {"attention_mask": torch.ones(5).long()}, model, layer=layer)
