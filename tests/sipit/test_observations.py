"""Observations: the grammar, and for every family and site what is captured, against plain `transformers`."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sipit
from proofs.errors import InvalidInput, Unsupported
from sipit.observations.observation import FROM_RESIDUAL, OF_BLOCK, OF_NETWORK, SEVERAL_LAYERS, SITES, Observation
from sipit.observations.sites import heads_of
from tests.sipit.cases import ALL_FAMILIES, assert_recovers, random_prompts, tiny

BLOCKS = 4


@given(st.lists(st.sampled_from(SITES), min_size=1, max_size=3), st.lists(st.integers(-1, BLOCKS + 1), max_size=3))
def test_an_observation_is_the_same_from_its_words_and_its_entry_or_is_refused(
    sites: list[str], layers: list[int]
) -> None:
    once = len({*sites}) == len(sites) and len({*layers}) == len(layers)
    alone = len(sites) == 1 or "experts" not in sites
    fewer = len(layers) < 2 or {*sites} <= {*SEVERAL_LAYERS}
    none = not layers or not {*sites} <= {*OF_NETWORK}
    if not (once and alone and fewer and none):
        with pytest.raises(InvalidInput):
            Observation.of(",".join(sites), layers)
        return
    found = Observation.of(",".join(sites), layers)
    assert found == Observation.from_json(found.to_json())
    assert (found.sites, list(found.layers)) == (tuple(sites), layers)
    lows = [1 if site in OF_BLOCK and site != "residual" else 0 for site in sites]
    highs = [BLOCKS - 1 if site in FROM_RESIDUAL else BLOCKS for site in sites]
    if all(max(lows) <= layer <= min(highs) for layer in layers):
        inside = found.within(BLOCKS, "m")
        assert inside.layers == (tuple(layers) or (() if {*sites} <= {*OF_NETWORK} else (BLOCKS // 2,)))
    else:
        with pytest.raises(InvalidInput):
            found.within(BLOCKS, "m")


def test_keys_of_caches_differ_where_observations_do() -> None:
    named = [("residual", 1), ("residual", "final"), ("keys", 1), ("keys", [1, 2]), ("keys,values", 1),
             ("keys-unrotated", 1), ("logits", None), ("logprobs", None)]  # fmt: skip
    keys = [Observation.of(*words).key for words in named] + [Observation.of("logprobs", None, 5).key]
    assert len({*keys}) == len(keys)
    assert keys[0] == "1"  # what was kept for a layer stays kept


@pytest.mark.parametrize(
    "words",
    [
        ("keys,keys", 1), ("key", 1), ("", 1), ("logits", 1), ("mid", [1, 2]), ("keys", "final"), (3, 1),
        ("keys", 1, 5), ("logprobs", None, 0), ("experts,keys", 1),
    ],
)  # fmt: skip
def test_what_is_no_observation_is_refused_with_the_way_out(words: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"Expected .* but got .*"):
        Observation.of(*words)


@pytest.mark.parametrize("layer", [0.5, True, "1", "last", -1, BLOCKS + 1, [[1]], None])
def test_what_is_no_layer_of_a_model_is_refused_with_those_that_are(layer: object) -> None:
    named = Observation.of("residual", layer)
    if layer is None:
        assert named.within(BLOCKS, "m").layers == (BLOCKS // 2,)
        return
    with pytest.raises(InvalidInput, match=f"layer from 0 to {BLOCKS} or 'final' for m"):
        named.within(BLOCKS, "m")


WITHOUT = {"mamba": ("keys", "values")}  # sites that a family does not have


def shown_by_the_library(model, prompt, site, layer):
    """What a plain run of the library has at a site, shape (T, n)."""
    with torch.inference_mode():
        run = model.module(input_ids=torch.tensor([prompt]), use_cache=True, output_hidden_states=True)
    if site in ("keys", "values"):
        return getattr(run.past_key_values.layers[layer], site)[0].transpose(0, 1).flatten(1)
    streams = run.hidden_states[layer][0]
    return streams - streams.mean(dim=1, keepdim=True)


@pytest.mark.parametrize("site", ["keys", "values", "centred"])
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_what_is_captured_is_what_the_library_shows(family, site):
    model = tiny(family)
    (prompt,) = random_prompts(1, longest=12, shortest=12, seed=3)
    if site in WITHOUT.get(family, ()):
        with pytest.raises(Unsupported, match="Expected"):
            sipit.capture(model, [prompt], layer=1, observe=site)
        return
    (captured,) = sipit.capture(model, [prompt], layer=1, observe=site)
    if (family, site) != ("mamba", "centred"):  # whose hidden states are counted otherwise
        torch.testing.assert_close(captured, shown_by_the_library(model, prompt, site, 1), rtol=0, atol=0)
    (one_by_one,) = sipit.capture(model, [prompt], layer=1, observe=site, cached=True)
    padded, _ = sipit.capture(model, [prompt, prompt * 2], layer=1, observe=site, batch=2)
    torch.testing.assert_close(one_by_one, captured, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(padded, captured, rtol=1e-4, atol=1e-4)


IN_SHORT = [("gpt2", "keys", 1), ("llama", "values", 1), ("falcon", "keys,values", [0, 1]), ("mamba", "centred", 1)]


@pytest.mark.parametrize(("family", "site", "layer"), IN_SHORT)
def test_prompts_come_back_from_what_is_observed(family, site, layer, tmp_path):
    model = tiny(family)
    prompts = random_prompts(2, longest=12, seed=5)
    path = tmp_path / "observed.safetensors"
    states = sipit.capture(model, prompts, layer=layer, observe=site)
    sipit.write_states(path, states)
    again = sipit.read_states(path)
    assert (again.observation, again.layer) == (states.observation, layer)
    assert_recovers(model, again, prompts)
    with pytest.raises(InvalidInput, match="leave --observe away"):
        sipit.read_states(path, observe="mid", layer=layer if layer == 1 else None)


@given(st.sampled_from(["llama", "gpt2", "falcon"]), st.integers(1, 6), st.sampled_from(["keys", "values"]))
def test_heads_are_read_in_every_order_of_axes_that_the_model_tells_apart(family, length, site):
    model = tiny(family)
    (prompt,) = random_prompts(1, longest=length, shortest=length, seed=length)
    states = sipit.capture(model, [prompt], layer=1, observe=site)
    heads, size = heads_of(model, site, 1)
    flat = states[0]
    by_token = flat.unflatten(1, (heads, size))
    forms = [flat, by_token, by_token.transpose(0, 1), by_token.transpose(0, 1)[None]]
    for form in forms:
        given = sipit.States([form], observation=Observation.of(site, 1))
        read_twice = (length == heads != 1) or (heads == 1 != length and form.shape[1] == 1)
        if form.ndim == 3 and read_twice:
            with pytest.raises(InvalidInput, match="T x heads x n"):
                given.beside(model)
        else:
            torch.testing.assert_close(given.beside(model)[0], flat, rtol=0, atol=0)
    with pytest.raises(InvalidInput, match=f"Expected {site}"):
        sipit.States([torch.zeros(length, heads, size + 1)], observation=Observation.of(site, 1)).beside(model)


def test_states_whose_layer_nobody_names_are_refused():
    with pytest.raises(InvalidInput, match="layer"):
        sipit.invert(tiny("gpt2"), sipit.States([torch.zeros(3, 64)], observation=Observation.of("keys")))
