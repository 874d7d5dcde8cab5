"""Observations: the grammar, and for every family and site what is captured, against plain `transformers`."""

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig

import sipit
from proofs.errors import InvalidInput, Unsupported
from sipit.cli import run
from sipit.inversion.outcome import Outcome
from sipit.inversion.partial import invert_partial
from sipit.inversion.policies.sketched import is_wide
from sipit.models.hooks import hooked
from sipit.models.tiny import drawn_module
from sipit.observations.halves import halves_of
from sipit.observations.network import observed_network
from sipit.observations.observation import KINDS, Observation, Where
from sipit.observations.sites import heads_of
from sipit.observations.top import leading, packed, unpacked
from sipit.states.files import States
from tests.sipit.cases import (
    ALL_FAMILIES,
    EACH_KIND,
    altered,
    assert_recovers,
    language_model,
    random_prompts,
    rest_slow,
    tiny,
)

BLOCKS = 4
SITES = tuple(KINDS)
OF_BLOCK, FROM_RESIDUAL, OF_NETWORK = ([site for site in SITES if KINDS[site].where is where] for where in Where)
SEVERAL_LAYERS = [site for site in SITES if KINDS[site].several]
DISCRETE = [site for site in SITES if KINDS[site].discrete]


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


# Sites that a family does not have: no cache of keys, halves side by side, no norm in front, no rotary positions.
UNTURNED = ("gpt2", "gpt-neo", "opt", "bloom")
WITHOUT = {
    "keys": ("mamba",),
    "values": ("mamba",),
    "keys-unrotated": ("mamba", *UNTURNED),
    "mid": ("mamba", "gpt-neox", "falcon"),
    "attention-out": ("mamba",),
    "mlp-out": ("mamba",),
    "normed": ("olmo2",),
    "latent": ALL_FAMILIES,
    "router-scores": [family for family in ALL_FAMILIES if family != "mixtral"],
}
CAPTURED = [site for site in SITES if site not in DISCRETE]


def layer_of(site):
    return None if site in OF_NETWORK else 1


def plain_run(model, prompt):
    with torch.inference_mode():
        return model.module(input_ids=torch.tensor([prompt]), use_cache=True, output_hidden_states=True)


def shown_by_the_library(model, prompt, site, layer):
    """What a plain run of the library has at a site, shape (T, n); None where it takes hooks to see it."""
    run = plain_run(model, prompt)
    if site in ("keys", "values"):
        return getattr(run.past_key_values.layers[layer], site)[0].transpose(0, 1).flatten(1)
    if site in OF_NETWORK:
        return run.logits[0] if site == "logits" else run.logits[0].log_softmax(1)
    if site not in ("residual", "centred") or model.name == "tiny-mamba":  # whose hidden states are counted otherwise
        return None
    streams = run.hidden_states[layer][0]
    return streams - streams.mean(dim=1, keepdim=True) if site == "centred" else streams


@pytest.mark.parametrize("site", CAPTURED)
@pytest.mark.parametrize("family", EACH_KIND)
def test_what_is_captured_is_what_the_library_shows_however_it_is_run(family, site):
    model, layer = tiny(family), layer_of(site)
    (prompt,) = random_prompts(1, longest=12, shortest=12, seed=3)
    if family in WITHOUT.get(site, ()):
        with pytest.raises(Unsupported, match=r"Expected .*; observe"):
            sipit.capture(model, [prompt], layer=layer, observe=site)
        return
    (captured,) = sipit.capture(model, [prompt], layer=layer, observe=site)
    shown = shown_by_the_library(model, prompt, site, layer)
    if shown is not None:
        torch.testing.assert_close(captured, shown, rtol=0, atol=0)
    (one_by_one,) = sipit.capture(model, [prompt], layer=layer, observe=site, cached=True)
    padded, _ = sipit.capture(model, [prompt, prompt * 2], layer=layer, observe=site, batch=2)
    torch.testing.assert_close(one_by_one, captured, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(padded, captured, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", rest_slow("gpt2", "gemma3", of=[one for one in ALL_FAMILIES if one != "mamba"]))
def test_halves_of_a_block_add_up_to_it(family):
    model = tiny(family)
    prompts = random_prompts(2, longest=12, seed=4)
    for layer in (1, 2):
        seen = {
            site: sipit.capture(model, prompts, layer=layer, observe=site)
            for site in ("attention-out", "mlp-out", *(("mid",) if family not in WITHOUT["mid"] else ()))
        }
        entered, left = (sipit.capture(model, prompts, layer=at) for at in (layer - 1, layer))
        for number in range(len(prompts)):
            halves = (entered[number] + seen["attention-out"][number], seen["mlp-out"][number])
            torch.testing.assert_close(sum(halves), left[number])
            if "mid" in seen:
                torch.testing.assert_close(seen["mid"][number], halves[0], rtol=0, atol=0)


@pytest.mark.parametrize("family", ["llama", "falcon"])  # one half behind the other, and side by side
def test_halves_are_found_though_the_row_of_padding_is_zero(family):
    model = altered(family, lambda module: module.get_input_embeddings().weight[0].zero_())
    assert set(halves_of(model, 1)) == set(halves_of(tiny(family), 1)) != set()


# By name, in a family whose names are known: what hooks on the library's modules show.
MODULES = {
    "attention-out": lambda blocks: (blocks[1].self_attn, False),
    "mid": lambda blocks: (blocks[1].post_attention_layernorm, True),
    "mlp-out": lambda blocks: (blocks[1].mlp, False),
    "normed": lambda blocks: (blocks[1].input_layernorm, False),
    "keys-unrotated": lambda blocks: (blocks[1].self_attn.k_proj, False),
}


@pytest.mark.parametrize("site", MODULES)
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "stablelm"])
def test_what_is_found_by_running_is_what_hooks_on_named_modules_show(family, site):
    model = tiny(family)
    (prompt,) = random_prompts(1, longest=9, shortest=9, seed=6)
    module, entering = MODULES[site](model.module.model.layers)
    shown = []

    def look(_module, given, output=None):
        tensors = given if entering else output
        shown.append((tensors[0] if isinstance(tensors, tuple) else tensors)[0].clone())

    put_on = module.register_forward_pre_hook if entering else module.register_forward_hook
    with hooked(lambda: [put_on(look)]):
        plain_run(model, prompt)
    layer = 1 if site in FROM_RESIDUAL else 2
    (captured,) = sipit.capture(model, [prompt], layer=layer, observe=site)
    torch.testing.assert_close(captured, shown[0].reshape(captured.shape), rtol=1e-6, atol=1e-6)


@cache
def latent_model():
    """A small DeepSeek, whose attention caches a latent."""
    config = AutoConfig.for_model(
        "deepseek_v3", vocab_size=512, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, intermediate_size=64, moe_intermediate_size=32, n_routed_experts=4,
        num_experts_per_tok=2, n_group=1, topk_group=1, first_k_dense_replace=1, kv_lora_rank=16, q_lora_rank=24,
        qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=16, max_position_embeddings=128,
        bos_token_id=256, eos_token_id=256, pad_token_id=256,
    )  # fmt: skip
    return language_model(drawn_module(config, seed=0), name="toy-deepseek")


def test_a_latent_is_what_the_module_behind_it_takes_and_brings_the_prompt_back():
    model = latent_model()
    (prompt,) = random_prompts(1, longest=9, shortest=9, seed=7)
    shown = []
    norm = model.module.model.layers[1].self_attn.kv_a_layernorm
    with hooked(lambda: [norm.register_forward_hook(lambda _m, _a, output: shown.append(output[0].clone()))]):
        plain_run(model, prompt)
    states = sipit.capture(model, [prompt], layer=1, observe="latent")
    torch.testing.assert_close(states[0], shown[0], rtol=0, atol=0)
    with_key = torch.cat([states[0], torch.ones(len(prompt), 8)], dim=1)  # as vLLM caches them
    given = sipit.States([with_key], observation="latent", layer=1)
    assert_recovers(model, given.beside(model), [prompt])


IN_SHORT = [
    ("gpt2", "keys", 1), ("llama", "values", 1), ("falcon", "keys,values", [0, 1]), ("mamba", "centred", 1),
    ("gemma3", "attention-out", 2), ("olmo2", "mid", 1), ("gpt-neox", "mlp-out", 2), ("qwen3", "keys-unrotated", 1),
    ("phi3", "normed", 0), ("bloom", "logits", None),
]  # fmt: skip
EVERYWHERE = [
    pytest.param(family, site, layer, marks=pytest.mark.slow)
    for site in CAPTURED
    for family in ALL_FAMILIES
    for layer in ([None] if site in OF_NETWORK else [0, 1] if site in FROM_RESIDUAL else [1, 2])
    if family not in WITHOUT.get(site, ()) and (family, site, layer) not in IN_SHORT
]


@pytest.mark.parametrize(("family", "site", "layer"), [*IN_SHORT, *EVERYWHERE])
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
        sipit.read_states(path, observe="mid" if site != "mid" else "normed")


@given(st.sampled_from(["llama", "gpt2", "falcon"]), st.integers(1, 6), st.sampled_from(["keys", "values"]))
def test_heads_are_read_in_every_order_of_axes_that_the_model_tells_apart(family, length, site):
    model = tiny(family)
    (prompt,) = random_prompts(1, longest=length, shortest=length, seed=length)
    states = sipit.capture(model, [prompt], layer=1, observe=site)
    heads, size = heads_of(model, site, 1)
    flat = states[0]
    by_token = flat.unflatten(1, (heads, size))
    orders = [by_token, by_token.transpose(0, 1)]
    forms = [flat, *orders, *(order[None] for order in orders)]
    for form in forms:
        given = sipit.States([form], observation=Observation.of(site, 1))
        read_twice = (length == heads != 1) or (heads == 1 != length and form.ndim == 3 and form.shape[1] == 1)
        if form.ndim > 2 and read_twice:
            with pytest.raises(InvalidInput, match="T x heads x n"):
                given.beside(model)
        else:
            torch.testing.assert_close(given.beside(model)[0], flat, rtol=0, atol=0)
    with pytest.raises(InvalidInput, match=f"Expected {site}"):
        sipit.States([torch.zeros(length, heads, size + 1)], observation=Observation.of(site, 1)).beside(model)


def test_states_whose_layer_nobody_names_are_refused():
    with pytest.raises(InvalidInput, match="layer"):
        sipit.invert(tiny("gpt2"), sipit.States([torch.zeros(3, 64)], observation=Observation.of("keys")))


@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 2**31))
def test_so_many_are_kept_as_it_is_said_or_it_is_refused(vocabulary, count, seed):
    rows = torch.randn(2, vocabulary, generator=torch.Generator().manual_seed(seed)).log_softmax(1)
    if count <= vocabulary:
        kept = packed(rows, count)
        assert kept.shape == (2, 2 * count)
        assert torch.equal(unpacked(kept, vocabulary, count, 0), leading(rows, count))
        return
    for given_rows in (lambda: packed(rows, count), lambda: unpacked(packed(rows, vocabulary), vocabulary, count, 0)):
        with pytest.raises(InvalidInput, match=f"at most {vocabulary} for logprobs"):
            given_rows()


def test_a_top_that_is_named_is_meant(tmp_path, capsys):
    """Also beside an observation, and beside several layers; nothing is written where it cannot be."""
    model, out = tiny("llama"), tmp_path / "s.safetensors"
    every = Observation(("logprobs",))
    assert sipit.capture(model, [[1, 2]], observe=every, top=3).observation.top == 3
    for top in (513, 2**70):
        with pytest.raises(InvalidInput, match="at most 512 for logprobs"):
            sipit.capture(model, [[1, 2]], observe="logprobs", top=top)
    command = ["capture", "tiny-llama", "--text", "a b", "-o", str(out)]
    assert run([*command, "--observe", "logprobs", "--top", "99999"]) == 2
    assert run([*command, "--layer", "all", "--top", "2"]) == 2
    assert run(["invert", "tiny-llama", "--text", "a b", "--observe", "logprobs", "--top", "513"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 3 and all(line.startswith("sipit: Expected") for line in said) and not out.exists()
    assert run([*command, "--observe", "logprobs", "--top", "512"]) == 0
    assert run(["invert", "tiny-llama", "--states", str(out)]) == 0


@pytest.mark.parametrize("top", rest_slow(1, of=[1, 20]))
def test_prompts_come_back_from_the_largest_log_probabilities(top, tmp_path):
    model = tiny("llama")
    prompts = random_prompts(2, longest=6, seed=8)
    states = sipit.capture(model, prompts, observe="logprobs", top=top)
    for array, prompt in zip(states, prompts, strict=True):
        largest = plain_run(model, prompt).logits[0].log_softmax(1).topk(top, dim=1)
        torch.testing.assert_close(array, torch.cat([largest.indices.float(), largest.values], dim=1), rtol=0, atol=0)
    path = tmp_path / "top.safetensors"
    sipit.write_states(path, states)
    inversions = assert_recovers(model, sipit.read_states(path).beside(model), prompts)
    everything = model.vocabulary_size - 1
    assert all(token.rivals_tested == everything for one in inversions for token in one.tokens) == (top == 1)


@given(st.integers(1, 12), st.integers(0, 99))
def test_what_the_largest_say_moves_no_farther_than_all_do(count, seed):
    generator = torch.Generator().manual_seed(seed)
    rows, others = torch.randn(2, 4, 12, generator=generator, dtype=torch.float64).log_softmax(-1)
    kept, moved = leading(rows, count), leading(others, count)
    assert bool(((kept - moved).abs().amax(1) <= (rows - others).abs().amax(1) + 1e-12).all())
    torch.testing.assert_close(unpacked(packed(rows, count), 12, count, 0), kept, rtol=0, atol=0)
    if count > 1:
        with pytest.raises(InvalidInput, match="each once"):
            unpacked(packed(rows, count)[:, [0, 0, *range(2, 2 * count)]], 12, count, 0)


def test_wide_observations_are_drafted_from_a_sketch_of_them(monkeypatch):
    model = tiny("qwen2")
    prompts = random_prompts(2, longest=10, seed=9)
    monkeypatch.setattr("sipit.inversion.policies.sketched.WIDE", 0)
    states = sipit.capture(model, prompts, observe="logits")
    assert is_wide(observed_network(model, states.observation))
    inversions = assert_recovers(model, states, prompts)
    tested = sum(one.candidates_tested for one in inversions) / sum(map(len, prompts))
    assert tested < model.vocabulary_size / 2  # without a sketch nothing would be known of the order


@pytest.mark.parametrize(
    ("family", "site", "layer", "told"),
    [
        ("llama", "residual", 0, False), ("llama", "values", 0, False), ("llama", "keys-unrotated", 0, False),
        ("llama", "keys", 0, True), ("llama", "residual", 1, True), ("gpt2", "residual", 0, True),
        ("gpt2", "values", 0, True), ("bloom", "keys", 0, False), ("mamba", "residual", 1, True),
    ],
)  # fmt: skip
def test_rows_that_do_not_show_where_their_tokens_stand_are_said_to(family, site, layer, told):
    model = tiny(family)
    prompt = [7, 300, 21, 5, 90, 44]
    (rows,) = sipit.capture(model, [prompt], layer=layer, observe=site)
    for part, ids in ((rows, prompt), (rows[2:], prompt[2:]), (rows.flip(0), prompt[::-1])):
        (found,) = sipit.invert(model, States((part,), layer=layer, observation=Observation((site,), (layer,))))
        if told and part is not rows:
            assert found.outcome is not Outcome.RECOVERED
        else:
            assert (found.outcome, found.token_ids) == (Outcome.RECOVERED, ids)
            assert ("do not show where" in found.explanation) is not told


@pytest.mark.parametrize(
    ("family", "site", "said"),
    [
        ("llama", "residual", "Neither their positions nor given"), ("llama", "values", "Neither their positions nor"),
        ("gpt2", "residual", "which tokens stand in front"), ("llama", "keys", "which tokens stand in front"),
    ],
)  # fmt: skip
def test_what_a_part_does_not_bear_out_is_said(family, site, said):
    """A prefix that is not the true one, which no row shows."""
    model = tiny(family)
    (rows,) = sipit.capture(model, [[7, 300, 21, 5]], layer=0, observe=site)
    part = {"layer": 0, "observe": site, "positions": [2, 3], "tolerance": 1e-5}
    found = invert_partial(model, rows[2:], known={0: 8, 1: 9}, **part)
    assert (found.outcome, found.token_ids) == (Outcome.RECOVERED, [8, 9, 21, 5])
    assert said in found.to_json()["explanation"]
    (deep,) = sipit.capture(model, [[7, 300, 21, 5]], layer=1)
    behind = invert_partial(model, deep[2:], known={0: 7, 1: 300}, **part | {"layer": 1, "observe": None})
    assert (behind.outcome, behind.note) == (Outcome.RECOVERED, None)
