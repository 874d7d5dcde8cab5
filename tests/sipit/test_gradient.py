"""The gradient policy: the answers of every other policy, by way of descent on an embedding."""

import time
from dataclasses import replace

import pytest
import torch

import sipit
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Outcome
from sipit.inversion.policies import GradientPolicy
from sipit.models.network import Network
from sipit.prefix.kinds import CachedPrefix, RecomputedPrefix
from tests.sipit.cases import answers, assert_never_wrong, random_prompts, relabelled, tiny, with_rows

FORMS = {"published": GradientPolicy(), "tuned": GradientPolicy.tuned()}
EACH_FORM = [pytest.param("published", marks=pytest.mark.slow), "tuned"]  # the same descent, with more steps


@pytest.mark.parametrize("form", EACH_FORM)
@pytest.mark.parametrize("family", ["gpt2", "gemma3", "bloom"])
def test_it_answers_as_the_draft_does(family, form):
    model = tiny(family)
    prompts = random_prompts(2, shortest=3, longest=4, seed=61)
    states = sipit.capture(model, prompts, layer=model.layers, cached=True)
    inverter = Inverter.open(model, states, policy="draft")
    descending = replace(inverter, policy=FORMS[form])
    assert answers(descending.invert_all(states)) == answers(inverter.invert_all(states))


@pytest.mark.parametrize("form", EACH_FORM)
def test_a_state_of_no_prompt_is_not_found_after_the_whole_vocabulary(form):
    model, prompt = tiny("gpt2"), [5, 6]
    states = sipit.capture(model, [prompt], layer=1)
    broken = states[0].clone()
    broken[1] *= 1.5
    inverter = replace(Inverter.open(model, states, policy="nearest"), policy=FORMS[form])
    (inversion,) = inverter.invert_all(relabelled(states, [broken]))
    assert inversion.outcome is Outcome.NOT_FOUND
    assert inversion.token_ids == [5, None]
    assert inversion.tokens[1].candidates_tested == model.vocabulary_size


@pytest.mark.parametrize("form", EACH_FORM)
def test_equal_rows_are_answered_by_their_class(form):
    model = with_rows("llama", [(65, 300)])
    states = sipit.capture(model, [[1, 300, 2]], layer=2)
    inverter = replace(Inverter.open(model, states, policy="nearest"), policy=FORMS[form])
    (inversion,) = inverter.invert_all(states)
    assert (inversion.outcome, inversion.token_ids) == (Outcome.AMBIGUOUS, [1, 65, 2])


@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_budget_ends_it_and_no_token_is_wrong(form):
    model = tiny("llama")
    (prompt,) = random_prompts(1, shortest=60, longest=60, seed=62)
    states = sipit.capture(model, [prompt], layer=2)
    inverter = replace(Inverter.open(model, states, policy="nearest", budget=0.2), policy=FORMS[form])
    started = time.monotonic()
    (inversion,) = inverter.invert_all(states)
    assert time.monotonic() - started < 5
    assert inversion.outcome is Outcome.BUDGET_EXHAUSTED
    assert_never_wrong(model, inversion, prompt)


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "bloom", "llama"])
@pytest.mark.parametrize("opener", [CachedPrefix, RecomputedPrefix])
def test_a_row_put_in_for_a_token_gives_its_state_and_the_gradient(family, opener):
    """Scaled embeddings and added positions included; the slope is that of finite differences."""
    model = sipit.load_model(f"tiny-{family}", dtype="float64")
    prefix = opener(Network(model, 2))
    ids = torch.tensor([[9, 8, 7, 6]])
    states = prefix.extend(0, ids)
    prefix.keep(0)
    table = model.decoder.tables[0].weight.detach()
    for position, token in ((0, 9), (3, 6)):
        row = table[token].clone().requires_grad_()
        state = prefix.embedded(position, 5, row)
        assert torch.allclose(state, states[0, position].clone(), rtol=1e-5, atol=1e-5)
        weights = torch.randn(len(state), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (state @ weights).backward()
        direction = torch.randn(row.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        ends = [prefix.embedded(position, 5, (row + sign * 1e-3 * direction).detach()) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) @ weights / 2e-3
        assert torch.allclose(slope, row.grad @ direction, rtol=1e-2, atol=1e-2)  # some norms are computed in float32
