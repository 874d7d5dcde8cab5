"""Prompts come back from their states, whoever captured them: every family, every way of running the model."""

import pytest
import torch

import sipit
from sipit.inversion.outcome import Outcome
from sipit.models.tiny import BOS, FAMILIES
from sipit.prompts.builtin_text import section_prompts
from sipit.states.files import States
from tests.sipit.cases import (
    ALL_FAMILIES,
    EACH_KIND,
    EACH_POLICY,
    KINDS,
    PAPER_SIX,
    assert_recovers,
    inverted,
    random_prompts,
    rest_slow,
    tiny,
)

# Of every way of running the model, one layer is a test of the oldest and the newest versions as well.
LAYERS = ("middle", pytest.param("last", marks=pytest.mark.edge))
EVERYWHERE = [
    pytest.param(
        family,
        layer,
        marks=[
            *([pytest.mark.edge] if layer == "last" else []),
            *([] if family in (KINDS if layer == "last" else {"gpt2", "mamba"}) else [pytest.mark.slow]),
        ],
    )
    for family in ALL_FAMILIES
    for layer in ("last", "middle", "final")
]


def depth(model, name):
    return {"middle": model.layers // 2, "last": model.layers, "final": "final"}[name]


def prefilled(model, ids, cut, layer):
    """States of a prefill of `cut` tokens and then one token at a time over the library's own cache.

    Written with the hooks of the library alone, as another program would.
    """
    from transformers.cache_utils import DynamicCache

    _, name = model.abilities.memory
    memory = DynamicCache(config=model.module.config.get_text_config())
    seen = []
    hook = model.decoder.blocks[layer - 1].register_forward_hook(
        lambda _m, _i, output: seen.append((output[0] if isinstance(output, tuple) else output)[0].clone())
    )
    pieces = [ids[:cut], *([token] for token in ids[cut:])]
    try:
        with torch.inference_mode():
            for piece in pieces:
                model.module(input_ids=torch.tensor([piece]), use_cache=True, **{name: memory})
    finally:
        hook.remove()
    return torch.cat(seen)


@pytest.mark.parametrize(("family", "layer"), EVERYWHERE)
def test_one_ordinary_forward(family, layer):
    model = tiny(family)
    prompts = random_prompts(3, longest=24, seed=1)
    states = sipit.capture(model, prompts, layer=depth(model, layer))
    assert_recovers(model, states, prompts)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("family", EACH_KIND)
def test_token_by_token_with_a_cache(family, layer):
    model = tiny(family)
    prompts = random_prompts(3, longest=20, seed=2)
    states = sipit.capture(model, prompts, layer=depth(model, layer), cached=True)
    assert_recovers(model, states, prompts)


@pytest.mark.edge
@pytest.mark.parametrize("family", EACH_KIND)
def test_a_prefill_cut_at_any_place(family):
    model = tiny(family)
    (ids,) = random_prompts(1, shortest=18, longest=18, seed=3)
    layer = model.layers
    arrays = [prefilled(model, ids, cut, layer) for cut in (1, 7, 16, 17, 18)]
    states = States(arrays=tuple(arrays), layer=layer)
    assert_recovers(model, states, [ids] * len(arrays))


@pytest.mark.edge
@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("family", rest_slow("mamba", of=ALL_FAMILIES))
def test_rows_of_a_padded_batch(family, padding):
    model = tiny(family)
    prompts = random_prompts(5, longest=20, seed=4)
    for batch in (2, 5):
        states = sipit.capture(model, prompts, layer=model.layers, batch=batch, padding=padding)
        assert_recovers(model, states, prompts)


@pytest.mark.parametrize("policy", EACH_POLICY)
@pytest.mark.parametrize("family", rest_slow("gemma3", "mamba", of=["gpt2", "gemma3", "bloom", "mamba"]))
def test_every_policy(family, policy):
    model = tiny(family)
    prompts = random_prompts(2, longest=6, seed=5)
    for layer in (model.layers // 2, model.layers):
        assert_recovers(model, sipit.capture(model, prompts, layer=layer), prompts, policy=policy)


@pytest.mark.parametrize("family", rest_slow("gpt2", "gemma3", of=PAPER_SIX))
def test_text_and_not_only_ids(family):
    model = tiny(family)
    text = "Pride & prejudice, ch. 1 — „ändern“"
    states = sipit.capture(model, [text], layer=1)
    (inversion,) = inverted(model, states)
    assert inversion.outcome is Outcome.RECOVERED
    begins = "<bos>" if FAMILIES[family].bos else ""
    assert inversion.text == begins + text
    assert len(inversion.token_ids) == len(text.encode()) + (1 if begins else 0)


EDGES = [
    [97], [97, 97], [97, 97, 97], [BOS], [BOS, 97], [BOS, BOS, BOS], [0], [511], [0, 511] * 4, [97, 98] * 20,
]  # fmt: skip


@pytest.mark.parametrize("family", rest_slow("gpt2", "bloom", of=["gpt2", "llama", "bloom"]))
def test_edges(family):
    """One token, repeated tokens, with and without a first BOS, the ends of the vocabulary."""
    model = tiny(family)
    assert_recovers(model, sipit.capture(model, EDGES, layer=model.layers), EDGES)


def test_a_run_of_a_is_told_from_a_longer_run():
    model = tiny("gpt2")
    prompts = [[97] * length for length in (1, 2, 3)]
    states = sipit.capture(model, prompts, layer=1)
    found = inverted(model, states, policy="exhaustive")
    assert [inversion.text for inversion in found] == ["a", "aa", "aaa"]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_prompt_as_long_as_the_context(family):
    model = tiny(family)
    prompts = random_prompts(1, shortest=model.context, longest=model.context, seed=6)
    assert_recovers(model, sipit.capture(model, prompts, layer=1), prompts)


@pytest.mark.parametrize("special_tokens", [True, False])
def test_a_bos_counts_as_a_token_and_can_be_left_out(special_tokens):
    model = tiny("llama")
    states = sipit.capture(model, ["cat"], layer=1, special_tokens=special_tokens)
    assert states.manifest.bos is special_tokens
    (inversion,) = inverted(model, states)
    assert inversion.token_ids == ([BOS] if special_tokens else []) + list(b"cat")


@pytest.mark.slow
def test_prompts_beyond_a_sliding_window():
    for family in ("mistral", "gemma3", "gpt-neo"):
        model = tiny(family)
        prompts = random_prompts(1, shortest=60, longest=60, seed=7)
        states = sipit.capture(model, prompts, layer=model.layers, cached=True)
        assert_recovers(model, states, prompts)


def test_natural_text_of_the_corpus():
    model = tiny("qwen2")
    prompts = section_prompts(model, count=2, length=48)
    assert_recovers(model, sipit.capture(model, prompts, layer=2, cached=True), prompts)


@pytest.mark.parametrize("layer", [0, 1])
def test_shallow_layers(layer):
    for family in ("gpt2", "gemma3", "opt"):
        model = tiny(family)
        prompts = random_prompts(2, longest=10, seed=8)
        assert_recovers(model, sipit.capture(model, prompts, layer=layer), prompts)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["draft", "exhaustive"])
@pytest.mark.parametrize("layer", ["middle", "last"])
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_fifty_random_prompts(family, layer, policy):
    model = tiny(family)
    prompts = random_prompts(50, longest=32, seed=9)
    states = sipit.capture(model, prompts, layer=depth(model, layer), cached=True)
    assert_recovers(model, states, prompts, policy=policy)
