"""Strategies: what they draw is what they promise, usable in anybody's tests, and it shrinks."""

import subprocess
import sys

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

import sipit
from proofs.errors import InvalidInput
from sipit import strategies
from sipit.models.architecture import Architecture, EqualRows, Scaled, Weights, ZeroedHead, build_model
from sipit.models.network import Network, check_layer
from sipit.models.tiny import BOS
from sipit.states.perturbations import Dropped, Noise, Permuted, Rescaled, Rounded, Steered, Swapped
from tests.sipit.cases import EACH_KIND, tiny, with_rows


@given(data=st.data())
def test_prompts_are_prompts(data):
    model = tiny("llama")
    prompt = data.draw(strategies.prompts(model, min_length=2, max_length=9))
    assert 2 <= len(prompt) <= 9
    assert all(0 <= token < 512 for token in prompt)
    check_layer(model, data.draw(strategies.layers(model)))


@pytest.mark.parametrize(
    "wanted",
    [
        lambda ids: len(ids) == 5 and len(set(ids)) == 1,
        lambda ids: BOS in ids,
        lambda ids: 511 in ids,
        lambda ids: 300 in ids,
        lambda ids: len(ids) == 1,
    ],
    ids=["repeated", "special", "boundary", "of a class", "shortest"],
)
def test_the_kinds_of_prompts_are_drawn(wanted):
    prompts = strategies.prompts(with_rows("llama", [(65, 300)]), max_length=8)
    assert wanted(find(prompts, wanted, settings=settings(max_examples=2000, database=None, derandomize=True)))


def test_prompts_shrink_to_the_shortest():
    prompts = strategies.prompts(tiny("gpt2"))
    chosen = settings(max_examples=500, database=None, derandomize=True)
    assert len(find(prompts, lambda ids: len(ids) > 1 and ids[-1] > 9, settings=chosen)) == 2


@pytest.mark.slow
@settings(max_examples=15)
@given(architecture=strategies.architectures(), weights=strategies.weights())
def test_drawn_models_are_decoders_of_the_sizes_drawn(architecture, weights):
    model = build_model(architecture, weights)
    assert (model.layers, model.width) == (architecture.layers, architecture.width)
    assert model.vocabulary_size == architecture.vocabulary
    assert eval(repr(architecture)) == architecture
    assert eval(repr(weights)) == weights
    assert model.digest == build_model(architecture, weights).digest


@pytest.mark.parametrize("family", EACH_KIND)
def test_changes_do_what_they_say(family):
    plain = build_model(Architecture(family))
    rows = build_model(Architecture(family), Weights(0, (EqualRows(3, 7),)))
    assert rows.members(7) == [3, 7]
    ids = torch.tensor([[5, 9, 200]])
    cut = build_model(Architecture(family), Weights(0, (ZeroedHead(0, 1),)))
    scaled = build_model(Architecture(family), Weights(0, (Scaled("weight", 1),)))
    run = [Network(model, 1).run(ids) for model in (plain, cut, scaled)]
    assert torch.equal(run[0], run[1]) == (family == "mamba")  # it has no heads
    assert not torch.equal(run[0], run[2])


def test_a_cut_head_has_no_effect_on_the_state():
    """Whatever the head computed before it was cut off, nothing of it arrives."""
    cut = ZeroedHead(0, 2)
    one, other = (build_model(Architecture("gpt2"), Weights(0, changes)) for changes in ((cut,), (cut,)))
    with torch.no_grad():
        values = other.module.transformer.h[0].attn.c_attn.weight[:, 128 + 32 : 128 + 48]  # values of the third head
        values *= 3
    ids = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(Network(one, 1).run(ids), Network(other, 1).run(ids))


@pytest.mark.parametrize("bad", [Architecture("gpt5"), Architecture("gpt2", width=10), Architecture("gpt2", layers=0)])
def test_sizes_that_do_not_fit_are_refused(bad):
    with pytest.raises(InvalidInput):
        build_model(bad)


@given(perturbation=strategies.perturbations(), length=st.integers(1, 6))
def test_perturbations_are_repeatable_and_keep_what_they_were_given(perturbation, length):
    states = torch.randn(length, 8, generator=torch.Generator().manual_seed(length))
    kept = states.clone()
    first = perturbation.apply(states)
    assert torch.equal(states, kept)
    assert torch.equal(first, perturbation.apply(states))
    assert first.shape[1] == 8
    assert 1 <= len(first) <= length


def test_each_perturbation():
    states = torch.arange(1.0, 13.0).view(4, 3)
    noisy = Noise(1e-3).apply(states)
    torch.testing.assert_close(
        (noisy - states).norm(dim=1) / states.norm(dim=1), torch.full((4,), 1e-3), rtol=1e-3, atol=0
    )
    assert Rounded(torch.bfloat16).apply(states).dtype is torch.bfloat16
    assert Rounded(torch.float16, kept=True).apply(states).dtype is torch.float32
    assert Swapped(0, 3).apply(states).tolist() == states[[3, 1, 2, 0]].tolist()
    assert sorted(Permuted(1).apply(states).tolist()) == states.tolist()
    assert torch.equal(Rescaled(2.0).apply(states), 2 * states)
    assert torch.equal(Dropped(1).apply(states), states[1:])
    assert len(Dropped(9).apply(states)) == 1
    moved = Steered(1).apply(states)
    assert [torch.equal(a, b) for a, b in zip(moved, states, strict=True)] == [True, False, True, True]


def test_without_hypothesis_the_extra_is_named():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "try:\n    import sipit.strategies\n"
        "except LookupError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "sipit[fuzz]" in done.stdout


@pytest.mark.slow
@settings(max_examples=6)
@given(data=st.data())
def test_a_user_can_write_a_round_trip(data):
    model = data.draw(strategies.models(["gpt2", "llama", "mamba"]))
    prompt = data.draw(strategies.prompts(model, max_length=5))
    states = sipit.capture(model, [prompt], layer=data.draw(strategies.layers(model)))
    (inversion,) = sipit.invert(model, states, policy="nearest")
    classes = model.token_classes
    pairs = zip(inversion.token_ids, prompt, strict=True)
    assert all(found is None or found == int(classes[true]) for found, true in pairs)
