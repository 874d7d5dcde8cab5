"""States in other number formats, of other layers, other models and of no prompt at all: right, or no token."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from proofs.errors import InvalidInput
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Outcome
from sipit.noise.tolerance import derive_tolerance
from sipit.states.files import States
from tests.sipit.cases import (
    EACH_POLICY,
    altered,
    answers,
    assert_consistent,
    assert_never_wrong,
    assert_recovers,
    inverted,
    random_prompts,
    relabelled,
    rest_slow,
    tiny,
)

WIDE = (torch.float64, torch.float32)
NARROW = (torch.bfloat16, torch.float16)


def stored_as(states, dtype):
    return relabelled(states, [array.to(dtype) for array in states])


# Number formats.


@pytest.mark.parametrize("policy", rest_slow("draft", of=["draft", "exhaustive"]))
@pytest.mark.parametrize("stored", [*WIDE, *NARROW], ids=str)
@pytest.mark.parametrize("family", rest_slow("gpt2", "gemma3", of=["gpt2", "llama", "gemma3"]))
def test_states_stored_in_another_format(family, stored, policy):
    model = tiny(family)
    prompts = random_prompts(2, longest=8, seed=21)
    states = stored_as(sipit.capture(model, prompts, layer=2), stored)
    for inversion, prompt in zip(inverted(model, states, policy=policy), prompts, strict=True):
        assert_never_wrong(model, inversion, prompt)
        if stored in WIDE:
            assert inversion.token_ids == prompt


@pytest.mark.parametrize("computed", rest_slow("float64", "bfloat16", of=["float64", "bfloat16", "float16"]))
@pytest.mark.parametrize("family", rest_slow("gemma3", "mamba", of=["gpt2", "llama", "gemma3", "mamba"]))
def test_states_computed_in_another_format(family, computed):
    """One digest names the stored weights, whatever they are computed in."""
    other, model = tiny(family, computed), tiny(family)
    assert other.digest == model.digest
    prompts = random_prompts(2, longest=8, seed=22)
    states = sipit.capture(other, prompts, layer=1)
    wide = getattr(other.module.config, "residual_in_fp32", False)  # mamba keeps its residual stream in float32
    assert states[0].dtype is (torch.float32 if wide and other.dtype.itemsize < 4 else other.dtype)
    for inversion, prompt in zip(inverted(model, states), prompts, strict=True):
        assert_never_wrong(model, inversion, prompt)
        if computed == "float64":
            assert inversion.token_ids == prompt


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_searching_in_another_format(dtype):
    model = tiny("llama", dtype)
    prompts = random_prompts(2, longest=6, seed=23)
    found = inverted(model, sipit.capture(model, prompts, layer=1))
    for inversion, prompt in zip(found, prompts, strict=True):
        assert_never_wrong(model, inversion, prompt)
        assert dtype != "float64" or inversion.token_ids == prompt


def test_residuals_are_taken_in_the_wider_type():
    """float64 states and a float32 search: a residual of the size of float32 rounding, which no cast to it hides."""
    model, prompts = tiny("gpt2"), [[1, 2, 3]]
    states = sipit.capture(tiny("gpt2", "float64"), prompts, layer=2)
    (inversion,) = assert_recovers(model, states, prompts, policy="exhaustive")
    assert 1e-9 < inversion.largest_residual < 1e-5
    bf16 = stored_as(sipit.capture(model, prompts, layer=2), torch.bfloat16)
    (coarse,) = inverted(model, bf16, tolerance=0.05)  # from the values themselves, not from the box around them
    # A cast of the *target's* rival into bfloat16 would give residuals of zero here.
    assert 1e-4 < coarse.largest_residual < 1e-2


def test_the_tolerance_grows_with_the_rounding_of_the_format():
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3]], layer=2)
    values = [derive_tolerance(model, stored_as(states, dtype)).value for dtype in (torch.float32, *reversed(NARROW))]
    assert values == sorted(values)
    assert values[0] < 1e-5 < 1e-4 < values[1] < values[2]


def test_float16_states_that_overflowed_are_refused():
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3]], layer=2)
    large = relabelled(states, [(array * 1e6).to(torch.float16) for array in states])
    with pytest.raises(InvalidInput, match="wider dtype if it overflowed"):
        inverted(model, large)


# Another place.


ONCE = [("gpt2", "draft"), ("llama", "nearest"), ("gemma3", "exhaustive"), ("bloom", "draft")]  # each policy, in short
CROSSED = [*itertools.product(["gpt2", "llama", "gemma3", "bloom"], ["draft", "nearest", "exhaustive"]),
           ("mamba", "draft"), ("gpt2", "gradient")]  # fmt: skip


@pytest.mark.parametrize(
    ("family", "policy"),
    [pytest.param(*one, marks=() if one in ONCE else pytest.mark.slow) for one in CROSSED],
)
@pytest.mark.parametrize(
    ("captured", "claimed"),
    [
        (1, 2),
        (2, "final"),
        pytest.param(2, 1, marks=pytest.mark.slow),
        pytest.param("final", 2, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_states_of_another_layer_or_the_other_side_of_the_norm(family, captured, claimed, policy):
    model = tiny(family)
    arrays = sipit.capture(model, random_prompts(1, shortest=4, longest=4, seed=24), layer=captured).arrays
    (inversion,) = inverted(model, States(arrays=arrays, layer=claimed), policy=policy)
    assert_consistent(inversion, 4)
    assert inversion.outcome is Outcome.NOT_FOUND
    assert inversion.token_ids == [None] * 4
    assert inversion.text is None
    assert inversion.tokens[0].residual > 0.01


def test_a_manifest_of_another_model_is_refused_by_its_digest():
    states = sipit.capture(tiny("gpt2"), [[1, 2]], layer=1)
    with pytest.raises(InvalidInput, match="captured from tiny-gpt2"):
        inverted(tiny("llama"), states)


@pytest.mark.parametrize("policy", ["draft", "exhaustive"])
def test_states_of_another_model_without_a_manifest_are_of_no_prompt(policy):
    states = sipit.capture(tiny("gpt2"), [[1, 2, 3]], layer=1)
    (inversion,) = inverted(tiny("llama"), States(arrays=states.arrays, layer=1), policy=policy)
    assert inversion.outcome is Outcome.NOT_FOUND
    assert inversion.token_ids == [None] * 3


# States of no prompt.


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-20, 1e-3, 1.0, 30.0, 1e6]),
    length=st.integers(1, 4),
    policy=st.sampled_from(["draft", "nearest"]),
)
def test_noise_is_never_text(seed, scale, length, policy):
    model = tiny("gpt2")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(length, model.width, generator=generator) * scale
    (inversion,) = inverted(model, States(arrays=(noise,), layer=1), policy=policy)
    assert_consistent(inversion, length)
    assert inversion.outcome is Outcome.NOT_FOUND
    assert inversion.token_ids == [None] * length
    assert inversion.tokens[0].candidates_tested == model.vocabulary_size
    assert inversion.tokens[0].residual is not None


@pytest.mark.parametrize("steered_from", [0, 2])
def test_steered_states_are_never_text(steered_from):
    """A constant direction added at one layer moves all states off every prompt."""
    model = tiny("llama")
    (prompt,) = random_prompts(1, shortest=5, longest=5, seed=25)
    states = sipit.capture(model, [prompt], layer=1)
    array = states[0].clone()
    direction = torch.randn(model.width, generator=torch.Generator().manual_seed(1))
    array[steered_from:] += 0.2 * array.norm(dim=1).mean() * direction / direction.norm()
    (inversion,) = inverted(model, relabelled(states, [array]))
    assert_never_wrong(model, inversion, prompt)
    assert inversion.outcome is Outcome.NOT_FOUND
    assert inversion.token_ids == prompt[:steered_from] + [None] * (5 - steered_from)


def test_the_suffix_of_a_prompt_is_of_no_prompt():
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3, 4]], layer=2)
    (inversion,) = inverted(model, relabelled(states, [states[0][1:]]))
    assert inversion.outcome is Outcome.NOT_FOUND


@given(order=st.permutations(range(4)).filter(lambda order: order != sorted(order)))
@settings(max_examples=8)
def test_positions_in_another_order_are_of_no_prompt(order):
    model, prompt = tiny("gpt2"), [1, 2, 3, 4]
    states = sipit.capture(model, [prompt], layer=2)
    (inversion,) = inverted(model, relabelled(states, [states[0][list(order)]]))
    assert inversion.outcome is Outcome.NOT_FOUND
    kept = next(place for place, source in enumerate(order) if place != source)
    assert inversion.token_ids == prompt[:kept] + [None] * (4 - kept)


# Scale.


def scaled_llama(power):
    """A llama without epsilon in its norms, whose residual stream is scaled by 2^power: exactly, state by state."""

    def change(module):
        module.config.rms_norm_eps = 0.0
        for name, part in module.named_modules():
            if hasattr(part, "variance_epsilon"):
                part.variance_epsilon = 0.0
            if name.endswith(("embed_tokens", "o_proj", "down_proj")):
                part.weight.mul_(2.0**power)

    return altered("llama", change)


@pytest.mark.slow
@pytest.mark.parametrize("power", [-20, -3, 7, 20])
@pytest.mark.parametrize("policy", ["nearest", "exhaustive", "draft"])
def test_a_power_of_two_changes_no_decision(power, policy):
    plain, scaled = scaled_llama(0), scaled_llama(power)
    prompts = [*random_prompts(2, longest=6, seed=26)]
    one = sipit.capture(plain, prompts, layer=2, cached=True)
    other = sipit.capture(scaled, prompts, layer=2, cached=True)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a * 2.0**power, b)
    noise = torch.randn(one[0].shape, generator=torch.Generator().manual_seed(2))
    one = relabelled(one, [*one, one[0] + 0.1 * noise])
    other = relabelled(other, [*other, other[0] + 2.0**power * 0.1 * noise])
    first, second = (Inverter.open(plain, one, policy=policy), Inverter.open(scaled, other, policy=policy))
    assert first.tolerance.value == second.tolerance.value
    before, after = first.invert_all(one), second.invert_all(other)
    assert answers(before) == answers(after)
    assert [inversion.outcome for inversion in before] == [Outcome.RECOVERED] * 2 + [Outcome.NOT_FOUND]
    if policy == "exhaustive":
        pairs = [(a, b) for x, y in zip(before, after, strict=True) for a, b in zip(x.tokens, y.tokens, strict=True)]
        assert all((a.residual, a.margin) == (b.residual, b.margin) for a, b in pairs)


# Candidates are rows of the embedding.


@pytest.mark.parametrize("policy", EACH_POLICY)
def test_rows_that_the_tokenizer_does_not_know_are_candidates_too(policy):
    """A table padded beyond the tokenizer, and a tokenizer that knows more than the table."""
    model = tiny("gpt2")
    few = replace(model, tokenizer=sipit.load_model("tiny-gpt2").tokenizer)
    few.tokenizer.add_tokens([f"<extra{i}>" for i in range(8)])
    assert len(few.tokenizer) == 520 > few.vocabulary_size
    prompts = [[509, 257, 511, 256]]
    assert_recovers(few, sipit.capture(few, prompts, layer=2), prompts, policy=policy)
    assert_recovers(replace(model, tokenizer=None), sipit.capture(model, prompts, layer=2), prompts, policy=policy)


@pytest.mark.parametrize("policy", EACH_POLICY)
def test_a_row_of_zeros_is_a_candidate(policy):
    model = altered("llama", lambda module: module.get_input_embeddings().weight[17].zero_())
    prompts = [[17, 3, 17]]
    assert_recovers(model, sipit.capture(model, prompts, layer=2), prompts, policy=policy)


def test_experts_run_in_float64():
    model = sipit.load_model("tiny-mixtral", dtype="float64")
    (states,) = sipit.capture(model, [[1, 2, 3]], layer=1)
    (single,) = sipit.capture(tiny("mixtral"), [[1, 2, 3]], layer=1)
    assert states.dtype == torch.float64
    assert 0 < float((states - single).norm() / states.norm()) < 1e-5
