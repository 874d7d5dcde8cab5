"""The largest few log-probabilities: a candidate has those that are named, and no larger ones; copies are no values."""

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sipit
from sipit.inversion.outcome import Outcome
from sipit.inversion.partial import invert_partial
from sipit.noise.stored_steps import NEAREST, box_around
from sipit.noise.tolerance import format_of
from sipit.observations.observation import Observation
from sipit.observations.top import apart, leading, packed, stored_values, unpacked
from tests.sipit.cases import altered, inverted, tiny

PROMPT = [5, 7, 300]


def kept(rows, top, model):
    """Rows (T, 2 K) as they are read."""
    return sipit.States((rows,), observation=Observation(("logprobs",), (), top)).beside(model)


def drawn(count, vocabulary, seed, levels=None):
    rows = torch.randn(count, 3, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = rows if levels is None else (rows * levels).round() / levels
    return rows.log_softmax(-1)


@given(st.integers(1, 9), st.integers(0, 2**31), st.sampled_from([None, 1, 2]))
def test_candidates_differ_by_no_more_than_all_log_probabilities_do(count, seed, levels):
    """Also where several tie at the border, and whichever of them is named."""
    rows, others = drawn(2, 9, seed, levels)
    observed = unpacked(packed(others, count), 9, count, 0)
    moved = (rows - others).abs().amax(1, keepdim=True)
    assert bool((apart(rows, observed, count).abs() <= moved + 1e-12).all())
    assert float(apart(others, observed, count).abs().max()) == 0
    least = others.topk(count, dim=1).values[:, -1:]
    unnamed = observed < least
    raised = apart(torch.where(unnamed, least + 1, others), observed, count)
    torch.testing.assert_close(raised[unnamed], torch.ones_like(raised[unnamed]))
    assert torch.equal(stored_values(observed, count), packed(others, count)[:, count:])
    assert torch.equal(leading(others, count), observed)


@pytest.mark.parametrize("top", [1, 2])
def test_a_token_that_names_others_is_not_found(top):
    model = tiny("llama")
    (rows,) = sipit.capture(model, [PROMPT], observe="logprobs", top=top)
    (every,) = sipit.capture(model, [PROMPT], observe="logprobs")
    wrong = rows.clone()
    wrong[1, top - 1] = every[1].argmin()
    states = kept(wrong, top, model)
    (found,) = inverted(model, states, policy="exhaustive", tolerance=1e-5)
    assert [token.outcome for token in found.tokens] == [Outcome.RECOVERED, *[Outcome.NOT_FOUND] * 2]
    part = {"observe": states.observation, "known": {0: PROMPT[0]}, "tolerance": 1e-5}
    assert invert_partial(model, wrong[1:2], positions=[1], **part).outcome is Outcome.NOT_FOUND
    honest = invert_partial(model, rows[1:2], positions=[1], **part)
    assert (honest.outcome, honest.token_ids) == (Outcome.RECOVERED, PROMPT[:2])


@cache
def with_a_tie():
    """A model two of whose tokens are equally likely everywhere, one of them the likeliest behind a prompt."""
    ((row,),) = (rows[:1] for rows in sipit.capture(tiny("llama"), [PROMPT], observe="logprobs"))
    likeliest = int(row.argmax())
    other = next(token for token in range(512) if token not in (likeliest, *PROMPT))

    def change(module):
        weight = module.get_output_embeddings().weight
        weight[other] = weight[likeliest]

    return altered("llama", change), {likeliest, other}


def test_of_two_that_tie_an_engine_may_name_either():
    model, tied = with_a_tie()
    (rows,) = sipit.capture(model, [PROMPT], observe="logprobs", top=1)
    assert int(rows[0, 0]) in tied
    for name in tied:
        rows[0, 0] = name
        (found,) = inverted(model, kept(rows, 1, model), tolerance=1e-5)
        assert (found.outcome, found.token_ids) == (Outcome.RECOVERED, PROMPT)


@given(st.integers(2, 3), st.integers(1, 8), st.integers(0, 999))
def test_what_fills_a_row_up_says_nothing_of_a_grid(top, length, seed):
    rows = drawn(1, 512, seed)[0].float()[:1].expand(length, -1)
    states = sipit.States((leading(rows, top),), observation=Observation(("logprobs",), (), top))
    assert format_of(states[0], states).boxed == 0


def test_a_grid_of_what_was_stored_is_seen():
    rows = drawn(1, 512, 0)[0].float().topk(64, dim=1)
    step = rows.values.abs().amax() / 127
    stored = torch.cat([rows.indices.float(), (rows.values / step).round() * step], dim=1)
    states = kept(stored, 64, tiny("llama"))
    assert format_of(states[0], states).boxed == NEAREST
    whole, values = box_around(states[0], NEAREST, 64), box_around(stored_values(states[0], 64), NEAREST)
    assert bool((whole.steps >= step / 2).all())
    fills = torch.ones(whole.steps.shape, dtype=torch.bool).scatter(1, rows.indices, False)
    for part, told in zip(whole, values, strict=True):
        assert torch.equal(part[fills], told[:, -1:].expand(-1, 512 - 64).flatten())
