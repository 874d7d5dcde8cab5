"""States captured in half types: the damped distance, what later states tell apart, and never a wrong token."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from sipit import strategies
from sipit.inversion.batching import run_together
from sipit.inversion.inverter import Inverter, matches_truth
from sipit.inversion.outcome import Outcome
from sipit.inversion.search import RIVALS
from sipit.inversion.verifier import LISTED
from sipit.noise.distances import damping, relative_distance
from sipit.noise.tolerance import Tolerance, derive_tolerance
from tests.sipit.cases import (
    ALL_FAMILIES,
    assert_consistent,
    assert_never_wrong,
    inverted,
    random_prompts,
    tiny,
    with_rows,
)

HALVES = ("bfloat16", "float16")
FAMILIES = [pytest.param(f, marks=() if f == "llama" else pytest.mark.slow) for f in ALL_FAMILIES]


# The distance.


def test_a_massive_coordinate_drowns_nothing_in_the_damped_distance():
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(64, generator=generator, dtype=torch.float64)
    true[7] = 30000.0
    other = true + 0.3 * torch.randn(64, generator=generator, dtype=torch.float64)
    observed = true.clone()
    observed[7] *= 1 + 2**-8  # what the rounding of bfloat16 does to it
    plain, even = ([float(relative_distance(x, observed, damped=e)) for x in (true, other)] for e in (False, True))
    assert plain[1] < 1.01 * plain[0]
    assert even[1] > 10 * even[0]


def test_without_massive_coordinates_both_distances_are_one():
    h, f = torch.rand(5, 9, dtype=torch.float64) + 1, torch.rand(5, 9, dtype=torch.float64)
    assert torch.equal(relative_distance(f, h, damped=True), relative_distance(f, h, damped=False))
    assert torch.equal(damping(h), torch.ones_like(h))


@given(power=st.integers(-40, 40), seed=st.integers(0, 999))
def test_a_power_of_two_changes_no_distance(power, seed):
    h, f = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).exp() ** 3
    scaled = relative_distance(f * 2.0**power, h * 2.0**power, damped=True)
    assert torch.equal(scaled, relative_distance(f, h, damped=True))


def test_zero_and_sparse_states_have_a_distance():
    zero = torch.zeros(1, 8)
    assert relative_distance(zero, zero, damped=True).item() == 0
    assert relative_distance(zero + 1, zero, damped=True).item() == torch.inf
    sparse = zero.clone()
    sparse[0, 3] = 5.0
    assert relative_distance(sparse * 2, sparse, damped=True).item() == 1


def test_half_types_have_the_damped_distance_and_others_the_plain_one():
    model = tiny("llama")
    states = sipit.capture(model, [[1, 2, 3]], layer=2)
    halved = sipit.States(tuple(array.bfloat16() for array in states), 2)
    assert not derive_tolerance(model, states).damped
    assert derive_tolerance(model, halved).damped
    assert not derive_tolerance(model, halved, damped=False).damped
    assert "damped" in derive_tolerance(model, halved).derived_from
    assert not Tolerance.given(0.1).damped


# What later states say.


def searched(model, array, limits, *, layer=2, value=1e-4):
    """A finished search whose tolerance is raised at some positions, as it is where rounding is amplified."""
    states = sipit.States((array,), layer)
    inverter = Inverter.open(model, states, tolerance=Tolerance(value, "measured", "this test", damped=True))

    def begin():
        search = inverter._search(array, None)
        for position, limit in limits.items():
            search.verifier.limits[position] = limit
        return search

    ((_, search),) = run_together([(len(array), begin)])
    return search


@pytest.mark.parametrize(("family", "place"), [("llama", 2), ("gpt2", 0)])
def test_rivals_that_fit_are_struck_out_by_later_states(family, place):
    model, prompt = tiny(family), [9, 200, 31, 7, 18]
    search = searched(model, sipit.capture(model, [prompt], layer=2)[0], {place: 2.0})
    assert [token.token_id for token in search.results] == prompt
    token = search.results[place]
    assert token.outcome is Outcome.RECOVERED
    assert token.told_apart_later == token.rivals_tested >= 4 * RIVALS  # four times as many fared alike
    assert token.margin is None
    assert all(other.told_apart_later == 0 for other in search.results if other.position != place)


def test_the_last_position_has_no_later_state():
    model, prompt = tiny("llama"), [9, 200, 31]
    search = searched(model, sipit.capture(model, [prompt], layer=2)[0], {2: 2.0})
    assert [token.token_id for token in search.results] == [9, 200, None]
    assert search.results[2].outcome is Outcome.AMBIGUOUS
    assert search.alternatives[0].token_ids[0] == 31


def test_where_nothing_fits_behind_any_alternative_nothing_is_learned():
    model, prompt = with_rows("llama", [(200, 77)], relative=0.1), [9, 200, 31, 7]
    array = sipit.capture(model, [prompt], layer=2)[0].clone()
    gap = sipit.capture(model, [[9, 77]], layer=2)[0][1] - array[1]
    array[2] = torch.randn(model.width, generator=torch.Generator().manual_seed(3))
    search = searched(model, array, {1: float(1.1 * gap.norm() / array[1].norm())})
    assert [token.token_id for token in search.results] == [9, None, None, None]
    assert search.results[1].outcome is Outcome.AMBIGUOUS
    assert search.results[1].told_apart_later == 0
    assert set(search.alternatives[0].token_ids) == {77, 200}


def test_a_nearest_token_that_is_wrong_gives_way_to_the_one_that_later_states_fit():
    """The state at position 1 lies nearer to that of a near twin; only the rest of the prompt shows the true one."""
    model, prompt = with_rows("llama", [(200, 77)], relative=0.1), [9, 200, 31, 7, 18]
    array = sipit.capture(model, [prompt], layer=2)[0].clone()
    gap = sipit.capture(model, [[9, 77]], layer=2)[0][1] - array[1]
    array[1] += 0.6 * gap
    search = searched(model, array, {1: float(0.7 * gap.norm() / array[1].norm())})
    assert [token.token_id for token in search.results] == prompt
    assert search.results[1].told_apart_later == 1


def test_tokens_that_no_later_state_tells_apart_stay_ambiguous():
    model = with_rows("gpt2", [(100, 50)], relative=1e-6)
    prompt = [1, 100, 2, 3]
    search = searched(model, sipit.capture(model, [prompt], layer=2)[0], {})
    assert search.results[1].outcome is Outcome.AMBIGUOUS
    assert set(search.alternatives[0].token_ids) == {50, 100}


def test_too_many_alternatives_are_not_followed(monkeypatch):
    monkeypatch.setattr("sipit.inversion.lookahead._FOLLOWED_BY_ALL", 3)
    model, prompt = tiny("llama"), [9, 200, 31]
    search = searched(model, sipit.capture(model, [prompt], layer=2)[0], {0: 2.0})
    assert search.results[0].told_apart_later == 0
    assert search.results[0].outcome is Outcome.AMBIGUOUS


# Laws.


def assert_honest(model, inversion, prompt):
    """Never wrong; and where several fit behind a right prefix, the truth is among those named."""
    assert_never_wrong(model, inversion, prompt)
    classes = model.token_classes
    named = {alternative.position: alternative.token_ids for alternative in inversion.alternatives}
    for token, true in zip(inversion.tokens, prompt, strict=True):
        if token.outcome is not Outcome.AMBIGUOUS or not named.get(token.position):
            if token.token_id is None:
                return  # given up from here on
            continue
        possible = named[token.position]
        assert true in possible or len(possible) == LISTED
        if classes[possible[0]] != classes[true]:
            return  # what stands behind is conditional on another token


def half_captured(family, dtype, data, *, longest):
    model, other = tiny(family), tiny(family, dtype)
    prompt = data.draw(strategies.prompts(model, max_length=longest))
    layer = data.draw(strategies.layers(model))
    return model, sipit.capture(other, [prompt], layer=layer, cached=data.draw(st.booleans())), prompt


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=4)
@given(data=st.data(), dtype=st.sampled_from(HALVES))
def test_half_types_are_never_wrong(family, data, dtype):
    model, states, prompt = half_captured(family, dtype, data, longest=8)
    for policy in ("draft", "nearest"):
        (inversion,) = inverted(model, states, policy=policy)
        assert_consistent(inversion, len(prompt))
        assert_honest(model, inversion, prompt)


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
@settings(max_examples=80)
@given(data=st.data(), dtype=st.sampled_from(HALVES))
def test_half_types_are_never_wrong_in_many_examples(family, data, dtype):
    model, states, prompt = half_captured(family, dtype, data, longest=16)
    (inversion,) = inverted(model, states)
    assert_honest(model, inversion, prompt)


def test_most_prompts_come_back_from_half_types():
    model = tiny("llama")
    prompts = random_prompts(6, longest=12, seed=5)
    for dtype in HALVES:
        found = inverted(model, sipit.capture(tiny("llama", dtype), prompts, layer=2), prompts)
        assert sum(matches_truth(model, one, prompt) for one, prompt in zip(found, prompts, strict=True)) >= 5
