"""What counts as an answer: four outcomes, the nearest candidate, classes, margins, and no position that shifts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sipit
from sipit.cli.inversions import show_inversions
from sipit.inversion.inverter import Inverter, matches_truth
from sipit.inversion.outcome import Outcome, or_several
from sipit.models.network import Network
from sipit.noise.tolerance import Tolerance
from tests.sipit.cases import (
    EACH_POLICY,
    assert_consistent,
    assert_never_wrong,
    assert_recovers,
    inverted,
    random_prompts,
    relabelled,
    tiny,
    with_rows,
)

TWINS = with_rows("llama", [(65, 300), (65, 7), (400, 401)])  # {7, 65, 300} and {400, 401}
APART = 1e-3
NEAR = with_rows("gpt2", [(100, 50)], relative=APART)  # row 50 is row 100 but for a part in a thousand


def brute_force(model, layer, prompt, position, observed):
    """Relative residuals of the whole vocabulary at one position, each candidate run with its whole prefix."""
    network = Network(model, layer)
    ids = torch.tensor([[*prompt[:position], token] for token in range(model.vocabulary_size)])
    states = network.run(ids)[:, -1].double()
    return (states - observed[position].double()).norm(dim=1) / observed[position].double().norm()


def noisy(states, relative, *, seed=0, positions=None):
    """States with Gaussian noise of a relative norm added at some positions (default: all)."""
    generator = torch.Generator().manual_seed(seed)
    arrays = []
    for array in states:
        noise = torch.randn(array.shape, generator=generator, dtype=torch.float64)
        noise *= relative * array.double().norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
        moved = (array.double() + noise).to(array.dtype)
        kept = array.clone()
        rows = slice(None) if positions is None else positions
        kept[rows] = moved[rows]
        arrays.append(kept)
    return relabelled(states, arrays)


# Four outcomes.


def test_the_four_outcomes_are_reached_and_each_explains_itself():
    model, prompt = tiny("gpt2"), [[5, 6, 7, 8]]
    states = sipit.capture(model, prompt, layer=1)
    reached = {
        Outcome.RECOVERED: inverted(model, states)[0],
        Outcome.AMBIGUOUS: inverted(TWINS, sipit.capture(TWINS, [[1, 65, 2]], layer=1))[0],
        Outcome.NOT_FOUND: inverted(model, noisy(states, 1.0))[0],
        Outcome.BUDGET_EXHAUSTED: inverted(model, states, budget=1e-9, policy="exhaustive")[0],
    }
    for outcome, inversion in reached.items():
        assert inversion.outcome is outcome
        assert_consistent(inversion, len(inversion.tokens))
        meant = {outcome.explanation}
        if outcome is Outcome.NOT_FOUND:  # its rows may be meant otherwise
            meant.add(or_several(outcome.explanation))
        assert inversion.to_json()["explanation"] in meant
    assert len({outcome.explanation for outcome in Outcome}) == len(Outcome)
    assert len({outcome.verdict.exit_status for outcome in Outcome}) == 3


@pytest.mark.parametrize("policy", EACH_POLICY)
def test_without_time_nothing_is_claimed(policy):
    model, prompt = tiny("gpt2"), [[5, 6, 7, 8, 9, 10]]
    states = sipit.capture(model, prompt, layer=2)
    (inversion,) = inverted(model, states, budget=1e-9, policy=policy)
    assert_never_wrong(model, inversion, prompt[0])
    assert inversion.outcome is Outcome.BUDGET_EXHAUSTED
    assert None in inversion.token_ids
    assert any("budget" in alternative.reason for alternative in inversion.alternatives)


# Classes of equal rows.


@pytest.mark.parametrize("policy", EACH_POLICY)
@pytest.mark.parametrize("layer", [0, 1, 2, "final"])
def test_identical_rows_are_answered_by_their_class(policy, layer):
    prompt = [10, 300, 11, 65, 400, 12, 7, 13]
    states = sipit.capture(TWINS, [prompt], layer=layer)
    (inversion,) = inverted(TWINS, states, truth=[prompt], policy=policy)
    assert inversion.token_ids == [10, 7, 11, 7, 400, 12, 7, 13]
    assert inversion.outcome is Outcome.AMBIGUOUS
    assert inversion.matches_truth is True
    named = {alternative.position: alternative.token_ids for alternative in inversion.alternatives}
    assert named == {1: [7, 65, 300], 3: [7, 65, 300], 4: [400, 401], 6: [7, 65, 300]}
    assert all(alternative.reason == "identical embedding rows" for alternative in inversion.alternatives)
    later = [token for token in inversion.tokens if token.position not in named]
    assert {token.outcome for token in later} == {Outcome.RECOVERED}


def test_states_of_a_class_are_equal_to_the_last_bit():
    first, second = sipit.capture(TWINS, [[9, 65, 3, 400], [9, 300, 3, 401]], layer=2)
    assert torch.equal(first, second)


def test_classes_are_found_and_claimed_of_the_stored_rows_only():
    classes = TWINS.token_classes
    assert classes[[7, 65, 300, 400, 401]].tolist() == [7, 7, 7, 400, 400]
    assert TWINS.members(65) == [7, 65, 300]
    assert int((classes == torch.arange(512)).sum()) == 512 - 3
    assert torch.equal(tiny("llama").token_classes, torch.arange(512))


def test_minus_zero_is_zero():
    model = with_rows("gpt2", [(3, 4)])
    with torch.no_grad():
        rows = model.decoder.tables[0].weight
        rows[3, 0], rows[4, 0] = 0.0, -0.0
    assert model.members(4) == [3, 4]


# The nearest, and only when its rivals are clearly farther.


@pytest.mark.parametrize("policy", EACH_POLICY)
@pytest.mark.parametrize("true", [50, 100])
def test_the_nearest_of_two_inside_a_tolerance_comes_first(policy, true, capsys):
    """In the order of ids the wrong one comes first for one truth and last for the other."""
    prompt = [1, true, 2]
    states = sipit.capture(NEAR, [prompt], layer=1)
    (inversion,) = inverted(NEAR, states, policy=policy, tolerance=0.02)
    assert inversion.outcome is Outcome.AMBIGUOUS
    assert inversion.token_ids[1] is None
    named = next(alternative for alternative in inversion.alternatives if alternative.position == 1)
    assert named.token_ids[0] == true
    assert set(named.token_ids) == {50, 100}
    assert inversion.tokens[1].residual < APART / 100 < inversion.tokens[1].margin
    assert inversion.to_json()["working_text"] == NEAR.decode(prompt) and inversion.text is None
    show_inversions({"prompts": [inversion.to_json()]})
    assert "not verified" in capsys.readouterr().out


def test_what_is_the_same_of_positions_in_a_row_is_said_once(capsys):
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2, 3, 4, 5]], layer=1)
    spoilt = [rows.index_fill(0, torch.tensor([1]), 7.0) for rows in states]
    (inversion,) = inverted(model, replace(states, arrays=tuple(spoilt)))
    show_inversions({"prompts": [inversion.to_json()]})
    lines = [line for line in capsys.readouterr().out.splitlines() if "position" in line and ": " in line]
    assert [alternative.position for alternative in inversion.alternatives] == [1, 2, 3, 4]
    assert lines[-1].strip() == f"positions 2 to 4: {inversion.alternatives[-1].reason}"


@pytest.mark.parametrize("policy", EACH_POLICY)
@pytest.mark.parametrize("true", [50, 100])
def test_near_rows_are_told_apart_where_the_noise_allows(policy, true):
    prompts = [[1, true, 2, 3]]
    assert_recovers(NEAR, sipit.capture(NEAR, prompts, layer=2, cached=True), prompts, policy=policy)


@pytest.mark.parametrize("policy", EACH_POLICY)
def test_rows_apart_by_less_than_the_noise_are_ambiguous(policy):
    model = with_rows("gpt2", [(100, 50)], relative=1.2e-7)
    assert model.members(50) == [50]
    prompt = [1, 100, 2, 3]
    (inversion,) = inverted(model, sipit.capture(model, [prompt], layer=2, cached=True), policy=policy)
    assert_never_wrong(model, inversion, prompt)
    assert inversion.outcome is Outcome.AMBIGUOUS
    named = {alternative.position: set(alternative.token_ids) for alternative in inversion.alternatives}
    assert named[1] == {50, 100}


@given(
    share=st.floats(0, 1, exclude_max=True),
    relative=st.floats(1e-6, 0.1),
    true=st.sampled_from([50, 100]),
    seed=st.integers(0, 10**6),
    along=st.booleans(),
)
def test_noise_inside_the_tolerance_never_makes_a_wrong_token(share, relative, true, seed, along):
    """Whatever the noise and its direction: where it is at most the tolerance, the answer is right or ambiguous."""
    prompt = [1, true]
    states = sipit.capture(NEAR, [prompt], layer=1)
    if along:  # towards the state of the rival
        other = sipit.capture(NEAR, [[1, 150 - true]], layer=1)[0]
        array = states[0].clone()
        array[1] = array[1] + share * (other[1] - array[1])
        moved = relabelled(states, [array])
    else:
        moved = noisy(states, relative, seed=seed, positions=[1])
    size = float((moved[0][1] - states[0][1]).double().norm() / moved[0][1].double().norm())
    tolerance = min(max(size * 1.01, 1e-5), 0.5)
    (inversion,) = inverted(NEAR, moved, policy="nearest", tolerance=tolerance)
    assert_never_wrong(NEAR, inversion, prompt)
    if inversion.token_ids[1] is None:
        named = {alternative.position: alternative.token_ids for alternative in inversion.alternatives}
        assert true in named[1] or len(named[1]) == 32


def test_noise_past_half_the_margin_is_ambiguous_or_nothing_but_no_token():
    prompt = [1, 100]
    states = sipit.capture(NEAR, [prompt], layer=1)
    other = sipit.capture(NEAR, [[1, 50]], layer=1)[0]
    gap = float((other[1] - states[0][1]).double().norm() / states[0][1].double().norm())
    (exact,) = inverted(NEAR, states, tolerance=gap / 10)
    assert exact.tokens[1].margin == pytest.approx(gap, rel=1e-3)
    for share in (0.5, 0.6, 0.9, 1.0):
        array = states[0].clone()
        array[1] += share * (other[1] - array[1])
        (inversion,) = inverted(NEAR, relabelled(states, [array]), tolerance=gap * 1.01)
        assert inversion.outcome is Outcome.AMBIGUOUS
        assert inversion.token_ids[1] is None


@pytest.mark.parametrize("policy", EACH_POLICY)
@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_the_margin_is_that_of_a_plain_computation(family, policy):
    model, layer = tiny(family), 2
    (prompt,) = random_prompts(1, shortest=5, longest=5, seed=11)
    states = sipit.capture(model, [prompt], layer=layer, cached=True)
    (full,) = inverted(model, states, policy=policy, full_margin=True)
    (some,) = inverted(model, states, policy=policy)
    for position, token in enumerate(full.tokens):
        residuals = brute_force(model, layer, prompt, position, states[0])
        assert token.token_id == int(residuals.argmin()) == prompt[position]
        residuals[prompt[position]] = torch.inf
        assert token.margin == pytest.approx(float(residuals.min()), rel=1e-3)
        assert token.rivals_tested == 511
        assert token.candidates_tested == 512
        assert some.tokens[position].margin >= token.margin * (1 - 1e-3)
        assert some.tokens[position].rivals_tested >= 16
    assert full.smallest_margin == min(token.margin for token in full.tokens)
    assert full.largest_residual == max(token.residual for token in full.tokens)


# Positions.


@pytest.mark.parametrize("policy", EACH_POLICY)
@pytest.mark.parametrize("broken", [0, 3, 5])
def test_nothing_behind_a_position_without_a_token_is_verified_or_shifted(policy, broken):
    model = tiny("gpt2")
    (prompt,) = random_prompts(1, shortest=6, longest=6, seed=12)
    states = noisy(sipit.capture(model, [prompt], layer=1), 1.0, positions=[broken])
    (inversion,) = inverted(model, states, truth=[prompt], policy=policy)
    assert_never_wrong(model, inversion, prompt)
    assert inversion.outcome is Outcome.NOT_FOUND
    assert inversion.token_ids == prompt[:broken] + [None] * (6 - broken)
    assert inversion.matches_truth is False
    assert inversion.text is None
    # Not found is said only after the whole vocabulary, with the nearest beside it.
    assert inversion.tokens[broken].candidates_tested == model.vocabulary_size
    assert inversion.tokens[broken].residual > 0.01
    nearest = next(a for a in inversion.alternatives if a.position == broken)
    assert len(nearest.token_ids) == 1
    assert "not an answer" in nearest.reason


def test_what_stands_behind_an_ambiguity_is_conditional():
    model = with_rows("gpt2", [(100, 50)], relative=1.2e-7)
    prompt = [1, 100, 2, 3]
    (inversion,) = inverted(model, sipit.capture(model, [prompt], layer=2))
    assert inversion.token_ids == [1, None, None, None]
    assert {token.outcome for token in inversion.tokens[1:]} == {Outcome.AMBIGUOUS}
    for position in (2, 3):
        named = next(a for a in inversion.alternatives if a.position == position)
        assert named.token_ids == [prompt[position]]
        assert "conditional" in named.reason


@given(data=st.data())
def test_answers_are_compared_by_length_first(data):
    prompt = data.draw(st.lists(st.integers(0, 511), min_size=1, max_size=8))
    model = tiny("gpt2")
    states = sipit.capture(model, [prompt], layer=0)
    (inversion,) = inverted(model, states, policy="nearest", tolerance=1e-5)
    assert inversion.token_ids == prompt
    assert matches_truth(model, inversion, prompt)
    assert not matches_truth(model, inversion, prompt[:-1])
    assert not matches_truth(model, inversion, [*prompt, 0])
    assert not matches_truth(model, inversion, [])
    place = data.draw(st.integers(0, len(prompt) - 1))
    wrong = [*prompt[:place], (prompt[place] + 1) % 512, *prompt[place + 1 :]]
    assert not matches_truth(model, inversion, wrong)
    holed = replace(inversion, token_ids=[*prompt[:place], None, *prompt[place + 1 :]])
    assert not matches_truth(model, holed, prompt)


def test_the_truth_is_compared_by_class():
    prompt = [1, 300, 2]
    (inversion,) = inverted(TWINS, sipit.capture(TWINS, [prompt], layer=1))
    assert matches_truth(TWINS, inversion, prompt)
    assert matches_truth(TWINS, inversion, [1, 65, 2])
    assert not matches_truth(TWINS, inversion, [1, 66, 2])


def test_several_prompts_keep_their_order_and_their_truth():
    model = tiny("llama")
    prompts = random_prompts(4, longest=6, seed=13)
    states = sipit.capture(model, prompts, layer=1)
    mixed = relabelled(states, [states[2], torch.full_like(states[1], 3.0), states[0], states[3]])
    truth = [prompts[2], prompts[1], prompts[0], prompts[3]]
    found = inverted(model, mixed, truth=truth)
    assert [inversion.matches_truth for inversion in found] == [True, False, True, True]
    assert found[1].outcome is Outcome.NOT_FOUND


def test_a_state_of_zeros_is_an_answer_and_not_a_crash():
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2]], layer=1)
    (inversion,) = inverted(model, relabelled(states, [torch.zeros_like(states[0])]))
    assert inversion.outcome is Outcome.NOT_FOUND


def test_progress_only_grows_and_ends_at_all_positions():
    model = tiny("gpt2")
    prompts = random_prompts(3, longest=6, seed=14)
    states = sipit.capture(model, prompts, layer=1)
    seen = []
    Inverter.open(model, states).invert_all(states, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (sum(map(len, prompts)),) * 2


def test_a_given_tolerance_is_recorded_as_given():
    model = tiny("gpt2")
    states = sipit.capture(model, [[1, 2]], layer=1)
    assert Inverter.open(model, states, tolerance=1e-4).tolerance == Tolerance(1e-4, "given", "the caller")
