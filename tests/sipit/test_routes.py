"""Expert ids: what a router chose is captured, read and checked, and every prompt that routes alike is listed."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

import sipit
from proofs.errors import InvalidInput, Unsupported
from sipit.inversion.inverter import open_inverter
from sipit.inversion.outcome import Outcome
from sipit.inversion.routes import RouteInverter
from sipit.models.hooks import hooked
from sipit.models.tiny import drawn_module
from sipit.observations.routers import find_router
from tests.sipit.cases import language_model, random_prompts, tiny

SHAPE = {
    "vocab_size": 96, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 64,
    "moe_intermediate_size": 16, "intermediate_size": 32, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
ROUTED = {
    "qwen3_moe": {"num_key_value_heads": 2, "head_dim": 8, "num_experts": 8, "num_experts_per_tok": 2},
    "deepseek_v3": {
        "num_key_value_heads": 4, "n_routed_experts": 8, "num_experts_per_tok": 3, "n_group": 4, "topk_group": 2,
        "first_k_dense_replace": 0, "kv_lora_rank": 8, "q_lora_rank": 12, "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8, "v_head_dim": 8,
    },
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 8, "num_experts_per_tok": 2},
}  # fmt: skip


@cache
def routed(kind, layers=2):
    """A small model that routes; with many layers a token is told by its experts."""
    config = AutoConfig.for_model(kind, **SHAPE, **ROUTED[kind], num_hidden_layers=layers)
    return language_model(drawn_module(config, seed=0), name=f"routed-{kind}-{layers}")


@pytest.mark.parametrize("kind", ROUTED)
def test_ids_are_what_the_experts_of_the_library_are_called_with(kind):
    model = routed(kind)
    (prompt,) = random_prompts(1, longest=7, shortest=7, seed=1, vocabulary=96)
    called = []

    def look(_module, given):
        called.append(given[1].sort(dim=1).values)

    experts = [block.mlp.experts for block in model.decoder.blocks]
    with hooked(lambda: [part.register_forward_pre_hook(look) for part in experts]), torch.inference_mode():
        model.module(input_ids=torch.tensor([prompt]))
    (ids,) = sipit.capture(model, [prompt], layer=[0, 1], observe="experts")
    assert torch.equal(ids, torch.cat(called, dim=1).float())
    (one_by_one,) = sipit.capture(model, [prompt], layer=[0, 1], observe="experts", cached=True)
    assert torch.equal(ids, one_by_one)


def left(inversion, position):
    """The tokens that are possible at a position."""
    listed = [one.token_ids for one in inversion.alternatives if one.position == position]
    return listed[0] if listed else [inversion.token_ids[position]]


@pytest.mark.parametrize(
    "kind",
    ["mixtral", pytest.param("qwen3_moe", marks=pytest.mark.slow), pytest.param("deepseek_v3", marks=pytest.mark.slow)],
)
def test_the_truth_is_among_those_that_route_alike(kind, tmp_path):
    model = routed(kind)
    prompts = random_prompts(2, longest=2, shortest=2, seed=2, vocabulary=96)
    states = sipit.capture(model, prompts, layer=[0, 1], observe="experts")
    path = tmp_path / "routes.safetensors"
    sipit.write_states(path, states)
    for prompt, inversion in zip(prompts, sipit.invert(model, sipit.read_states(path)), strict=True):
        assert inversion.outcome in (Outcome.RECOVERED, Outcome.AMBIGUOUS)
        for position, token in enumerate(prompt):
            assert token in left(inversion, position)
            assert inversion.token_ids[position] in (token, None)
        assert all(one.token_ids for one in inversion.alternatives)


@pytest.mark.slow
def test_a_prompt_comes_back_where_layers_say_enough():
    model = routed("deepseek_v3", 3)
    prompts = random_prompts(2, longest=4, shortest=4, seed=2, vocabulary=96)
    states = sipit.capture(model, prompts, layer=[0, 1, 2], observe="experts")
    for prompt, inversion in zip(prompts, sipit.invert(model, states), strict=True):
        assert (inversion.outcome, inversion.token_ids) == (Outcome.RECOVERED, prompt)
        assert not inversion.likeliest


def test_whoever_routes_as_near_a_tie_as_rounding_stays_possible():
    model = routed.__wrapped__("mixtral")  # one that nobody shares
    (prompt,) = random_prompts(1, longest=2, shortest=2, seed=3, vocabulary=96)
    states = sipit.capture(model, [prompt], layer=1, observe="experts")
    scores = sipit.capture(model, [prompt], layer=1, observe="router-scores")[0]
    ids = states[0].long()
    gate = model.decoder.blocks[1].mlp.gate.weight
    chosen = int(scores[-1].argsort(descending=True)[1])
    other = int(scores[-1].argsort(descending=True)[2])
    with torch.no_grad():
        gate[other] = gate[chosen] * (1 + 1e-7)  # now rounding says which of the two it is
    model = replace(model)
    flipped = torch.where(ids == chosen, other, ids)
    flipped[:-1] = sipit.capture(model, [prompt], layer=1, observe="experts")[0][:-1].long()
    given_ids = sipit.States([flipped.sort(dim=1).values], layer=1, observation="experts")
    (inversion,) = sipit.invert(model, given_ids, tolerance=1e-5)
    assert all(token in left(inversion, position) for position, token in enumerate(prompt))


@settings(max_examples=20)
@given(st.data())
def test_what_are_no_ids_of_experts_is_refused(data):
    model = routed("mixtral")
    router = find_router(model, 1)
    good = torch.tensor([data.draw(st.permutations(range(router.experts)))[: router.chosen] for _ in range(3)])
    again = sipit.States([good[:, None]], layer=1, observation="experts").beside(model)  # T x layers x k
    assert torch.equal(again[0], good.sort(dim=1).values.float())
    wrong = data.draw(st.sampled_from(["beyond", "twice", "half", "wide"]))
    bad = good.float().clone()
    if wrong == "beyond":
        bad[1, 0] = router.experts
    elif wrong == "twice":
        bad[2, 0] = bad[2, 1]
    elif wrong == "half":
        bad[0, 0] += 0.5
    else:
        bad = torch.cat([bad, bad], dim=1)
    with pytest.raises(InvalidInput, match=r"Expected .*ids of .*experts"):
        sipit.invert(model, sipit.States([bad], layer=1, observation="experts"))


def test_a_model_that_chooses_none_is_refused():
    with pytest.raises(Unsupported, match="router that chooses experts in block 2 of tiny-llama"):
        sipit.capture(tiny("llama"), [[1, 2]], layer=1, observe="experts")


def test_what_is_interrupted_says_that_nothing_is_kept(monkeypatch):
    model = routed("qwen3_moe")
    states = sipit.capture(model, [[1, 2]], layer=[0, 1], observe="experts")
    inverter = open_inverter(model, states, policy="draft", tolerance="auto", budget=60.0)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(RouteInverter, "_invert", stopped)
    with pytest.raises(KeyboardInterrupt, match="nothing is kept"):
        inverter.invert_all(states)
    with pytest.raises(InvalidInput, match="policy"):
        open_inverter(model, states, policy="best", tolerance=None, budget=60.0)
