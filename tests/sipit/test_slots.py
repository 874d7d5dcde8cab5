"""Bodies that look at the slots of tokens in a row where they are told positions: states are those of plain runs."""

from functools import cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from sipit.models.network import Network
from sipit.models.tiny import drawn_module, tiny_config
from sipit.observations.network import observed_network
from sipit.observations.observation import Observation
from sipit.prefix import packed
from sipit.prefix.choice import prefix_opener, single_opener
from sipit.prefix.compared import Shifted, Tried
from sipit.prefix.kinds import CachedPrefix, RecomputedPrefix
from sipit.prefix.packed import PackedPrefix, candidates_together, extend_together
from tests.sipit.cases import language_model, tiny

TRIED = 24  # tokens: on the prompt that cached prefixes are tried on, a step at this slot or later is not seen
LONG = 36
STEPS = st.sampled_from([24, 31, 40, 60])


@cache
def windowed(window):
    """A GPT-Neo of one local block, whose window ends by slots."""
    config = tiny_config("gpt-neo")
    config.window_size, config.attention_types, config.attention_layers = window, [[["local"], 2]], ["local", "local"]
    return Network(language_model(drawn_module(config, seed=0)), 1)


@cache
def stepping(step):
    """A Llama 4 whose first block scales its scores by a factor that steps up with slots."""
    from transformers import Llama4TextConfig

    config = Llama4TextConfig(
        vocab_size=512, hidden_size=32, intermediate_size=32, intermediate_size_mlp=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=128, num_local_experts=1,
        num_experts_per_tok=1, no_rope_layers=[0], floor_scale=step, attn_scale=1.0, attention_chunk_size=128,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return Network(language_model(drawn_module(config, seed=0)), 1)


@cache
def clamped():
    """An OLMo whose keys are so small that attention tells no positions apart, though its keys do."""
    from transformers import OlmoConfig

    config = OlmoConfig(
        vocab_size=512, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, clip_qkv=1e-4, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    module = drawn_module(config, seed=0)
    with torch.no_grad():
        module.get_input_embeddings().weight.mul_(100)  # beside what attention adds
    return observed_network(language_model(module), Observation.of("keys", 0))


def opened(opener, network, prompt):
    prefix = opener(network)
    prefix.extend(0, prompt[None])
    prefix.keep(0)
    return prefix


def packing(_network):
    """Packs whatever a trial would say of steps that lie within a full row behind the trial prompt."""
    return partial(PackedPrefix, tried=Tried(position=18))


def assert_close(one, other):
    assert float(((one - other).norm(dim=-1) / other.norm(dim=-1)).max()) < 2e-5


@settings(max_examples=6)
@given(data=st.data())
@pytest.mark.parametrize(
    ("body", "opener"), [(windowed, packing), (windowed, prefix_opener), (stepping, single_opener)]
)
def test_candidates_are_those_of_plain_runs(body, opener, data):
    """Wherever a step lies, however many candidates there are, and in whatever order positions are asked for."""
    network = body(data.draw(STEPS))
    tokens = st.integers(3, 500)
    prompt = torch.tensor(data.draw(st.lists(tokens, min_size=TRIED, max_size=LONG)))
    shared, plain = opened(opener(network), network, prompt), opened(RecomputedPrefix, network, prompt)
    for _ in range(2):
        positions = torch.tensor(data.draw(st.lists(st.integers(0, len(prompt)), min_size=2, max_size=5)))
        positions = positions.repeat_interleave(data.draw(st.integers(1, 20)))
        candidates = 3 + torch.arange(len(positions)) * 7 % 500
        assert_close(shared.candidates(positions, candidates), plain.candidates(positions, candidates))


@pytest.mark.parametrize("positions", [[0, 1], [0, 0, 4], [1, 0, 4], [4, 2, 0]])
def test_the_very_first_token_is_compared_too(positions):
    """Behind padding its keys are those of another position, where a body is told none: no later state shows that."""
    network, prompt = clamped(), torch.tensor([5, 6, 7, 8])
    assert network.model.abilities.positions is None
    shared, plain = opened(single_opener(network), network, prompt), opened(RecomputedPrefix, network, prompt)
    at = torch.tensor(positions)
    candidates = 3 + torch.arange(len(at)) * 7
    assert_close(shared.candidates(at, candidates), plain.candidates(at, candidates))


@settings(max_examples=6)
@given(data=st.data())
def test_so_are_prompts_that_run_together(data):
    """Drafts and candidates behind prefixes of unequal lengths stand in other slots than their positions say."""
    network = windowed(data.draw(STEPS))
    opener = packing(network)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    prompts = [torch.randint(3, 500, (LONG,), generator=generator) for _ in range(3)]
    together, alone = ([kind(network) for _ in prompts] for kind in (opener, RecomputedPrefix))
    for _ in range(2):
        starts = [data.draw(st.integers(0, min(len(prefix.prompt), LONG - 1))) for prefix in alone]
        lengths = [data.draw(st.integers(1, LONG - start)) for start in starts]
        drafts = [
            prompt[None, start : start + length] for prompt, start, length in zip(prompts, starts, lengths, strict=True)
        ]
        found = extend_together(list(zip(together, starts, drafts, strict=True)))
        for prefix, start, draft, states in zip(alone, starts, drafts, found, strict=True):
            assert_close(states, prefix.extend(start, draft))
        for prefix in (*together, *alone):
            prefix.keep(0)
    ends = [torch.tensor([len(prefix.prompt)]) for prefix in alone]
    found = candidates_together([(prefix, end, end + 3) for prefix, end in zip(together, ends, strict=True)])
    for prefix, end, states in zip(alone, ends, found, strict=True):
        assert_close(states, prefix.candidates(end, end + 3))


@pytest.mark.parametrize("policy", ["draft", "nearest", "exhaustive"])
def test_a_window_that_ends_by_slots_leaves_no_prompt_unfound(policy):
    network = windowed(31)
    prompt = [3 + 7 * place % 500 for place in range(TRIED)]
    (found,) = sipit.invert(network.model, sipit.capture(network.model, [prompt], layer=1), policy=policy)
    assert found.token_ids == prompt


@settings(max_examples=6)
@given(
    few=st.integers(1, 8), others=st.lists(st.integers(1, LONG), max_size=2), seed=st.integers(0, 99),
    side=st.sampled_from(["left", "right"]),
)  # fmt: skip
def test_padded_prompts_are_captured_as_alone(few, others, seed, side):
    """However short: a prompt of few tokens has the most padding, and more than was tried at loading."""
    network, generator = stepping(TRIED), torch.Generator().manual_seed(seed)
    prompts = [torch.randint(3, 500, (n,), generator=generator).tolist() for n in (few, *others, LONG)]
    together = sipit.capture(network.model, prompts, layer=1, batch=4, padding=side)
    for prompt, states in zip(prompts, together, strict=True):
        assert_close(states, sipit.capture(network.model, [prompt], layer=1)[0])


@pytest.mark.parametrize("place", [0, 5])
@pytest.mark.parametrize("sees", ["nothing", "half", "too late"])
def test_not_found_rests_on_plain_runs(sees, place, monkeypatch):
    """Where what packing is held to shows nothing, where half of what ran packed is wrong, and once it was given up."""
    model, prompt = tiny("llama"), [3 + 7 * at for at in range(8)]
    states = sipit.capture(model, [prompt], layer=1)
    run = packed._run_candidates

    def wrong(parts):
        found = run(parts)
        for (prefix, positions, tokens), rows in zip(parts, found, strict=True):
            off = positions == place
            if sees == "half":
                off &= tokens % 2 == prompt[place] % 2
            rows[off] += torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(0))
            prefix.tried.agrees = not (sees == "too late" and bool((tokens[off] == prompt[place]).any()))
        return found

    monkeypatch.setattr("sipit.prefix.packed._run_candidates", wrong)
    monkeypatch.setattr("sipit.inversion.first_states.SMALLEST", 8192)
    assert sipit.invert(model, states, policy="exhaustive", tolerance=1e-5)[0].token_ids == prompt


@pytest.mark.parametrize("given_up", [False, True])
def test_keys_that_ran_packed_are_left_behind_whoever_gave_packing_up(given_up, monkeypatch):
    """A draft whose states are right and whose values are not, beside a prompt whose comparison fails later or not."""
    model, prompts = tiny("llama"), [[3 + 7 * at for at in range(6)], [5 + 11 * at for at in range(6)]]
    states, run, done = sipit.capture(model, prompts, layer=2), packed._run_drafts, []

    def wrong(parts):
        found, (prefix, start, _) = run(parts), parts[0]
        if not done and start == 2:
            done.append(start)
            for layer in prefix._cache.layers:
                layer.values = layer.values + torch.randn_like(layer.values) * layer.values.std()
            prefix.tried.agrees = not given_up
        return found

    monkeypatch.setattr("sipit.prefix.packed._run_drafts", wrong)
    assert [found.token_ids for found in sipit.invert(model, states, policy="exhaustive", tolerance=1e-5)] == prompts
    assert done


@pytest.mark.parametrize("observe", ["residual", "experts"])
def test_memory_of_runs_anew_is_that_of_the_model_whatever_is_observed(observe, monkeypatch):
    model, asked = tiny("mixtral"), []
    network = observed_network(model, Observation.of(observe, 1))
    monkeypatch.setattr("sipit.prefix.kinds.chunks", lambda count, row: asked.append(row) or [slice(0, count)])
    RecomputedPrefix(network).candidates(torch.tensor([3]), torch.tensor([7]))
    assert asked[0] >= 4 * 16 * model.width * model.dtype.itemsize


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)).map(sorted), max_size=6),
    st.integers(1, 30), st.integers(1, 30), st.integers(1, 30),
)  # fmt: skip
def test_no_step_lies_in_what_is_covered(spans, step, position, slot):
    """What is entered shows no step, so nothing that is covered does."""
    known = Shifted()
    for first, last in spans:
        if not first < step <= last:
            known.note(first, last)
    assert not (known.covers(position, slot) and position < step <= slot)


def test_a_step_within_a_full_row_is_seen_before_anything_is_packed():
    assert prefix_opener(windowed(60)) is CachedPrefix


def test_packing_goes_on_where_slots_say_nothing():
    network = Network(language_model(drawn_module(tiny_config("llama"), seed=0)), 1)
    prefix = opened(prefix_opener(network), network, torch.arange(10, 10 + LONG))
    prefix.candidates(torch.arange(LONG), torch.arange(LONG))
    assert isinstance(prefix, PackedPrefix) and prefix.tried.agrees and prefix.tried.covers(1, 2 * LONG - 2)
    passes = network.work.forward_passes
    prefix.candidates(torch.arange(LONG), torch.arange(LONG))
    assert network.work.forward_passes == passes + 1
