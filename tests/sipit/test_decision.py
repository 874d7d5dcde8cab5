"""The decision rule at its boundary, in exact rationals: what `Inversion.accepted_exactly` says, tried."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import sipit
from sipit.inversion.decision import Condition, accepted, clearly_farther, condition, fits, least_margin, limit
from sipit.inversion.inverter import Inverter
from tests.sipit.cases import relabelled, tiny

SMALL = st.fractions(min_value=0, max_value=4, max_denominator=12)


def answer(states, observed, tolerance):
    """The index that the rule accepts among states on a line, or None."""
    residuals = [abs(state - observed) for state in states]
    nearest = min(range(len(states)), key=residuals.__getitem__)
    rival = min((r for index, r in enumerate(residuals) if index != nearest), default=None)
    return nearest if accepted(residuals[nearest], rival, tolerance) else None


@given(error=SMALL, tolerance=SMALL, others=st.lists(st.fractions(-8, 8, max_denominator=12), max_size=4))
def test_under_a_condition_no_wrong_token_is_accepted(error, tolerance, others):
    """The truth lies at -error of the observed 0; others anywhere; their distance from the truth is the margin."""
    margin = min((abs(other + error) for other in others), default=None)
    if condition(error, tolerance, margin) is not None:
        assert answer([-error, *others], Fraction(0), tolerance) in (0, None)


@given(error=SMALL, tolerance=SMALL, margin=SMALL)
def test_without_a_condition_a_wrong_token_can_be_accepted(error, tolerance, margin):
    """The rival of the proof: as near as the margin allows, on the other side of what was observed."""
    assume(condition(error, tolerance, margin) is None)
    rival = max(Fraction(0), margin - error)
    assert abs(rival + error) >= margin
    assert answer([-error, rival], Fraction(0), tolerance) == 1


@given(error=SMALL, tolerance=SMALL, margin=SMALL)
def test_beyond_the_tolerance_no_acceptable_rival_reaches_the_margin(error, tolerance, margin):
    """At error = 2/3 margin half the error would reach it, but a rival is accepted below half the error only."""
    assume(error > tolerance)
    rival = tolerance if 2 * tolerance < error else error / 2 - Fraction(1, 10**9)
    assert (condition(error, tolerance, margin) is Condition.BELOW_MARGIN) == (error + rival < margin)


@pytest.mark.parametrize("number", [float, Fraction])
def test_the_boundaries(number):
    one, two, three = number(1), number(2), number(3)
    assert fits(one, one)
    assert limit(one, three) == three
    assert limit(two, three) == number(4)
    # Exactly twice as far, and exactly at the tolerance, is not clearly farther.
    assert not clearly_farther(two, one, one)
    assert not clearly_farther(three, one, three)
    assert accepted(one, None, one)
    assert not accepted(one, two, one)
    assert accepted(one, number(2.0000001), one)
    # Error within the tolerance; error exactly 2/3 of the margin; error and tolerance exactly the margin.
    assert condition(one, one, None) is Condition.WITHIN_TOLERANCE
    assert condition(two, one, three) is Condition.BELOW_MARGIN
    assert condition(two, one, number(2.9999999)) is None
    assert condition(number(10), one, number(11)) is None
    assert condition(number(10), one, number(11.0000001)) is Condition.BELOW_MARGIN
    assert condition(two, one, None) is None


def test_the_rule_that_says_at_least_would_be_wrong():
    """Error 2, margin 3, tolerance 1: the rival at 1 is exactly half as far as the truth."""
    assert answer([Fraction(-2), Fraction(1)], Fraction(0), Fraction(1)) is None
    assert condition(Fraction(2), Fraction(1), Fraction(3)) is Condition.BELOW_MARGIN


def test_what_is_not_finite_is_not_known():
    assert condition(float("inf"), 1.0, 1.0) is None
    assert condition(2.0, 1.0, float("inf")) is None
    assert least_margin(float("nan"), 1.0) is None
    assert least_margin(1.0, float("inf")) is None
    assert least_margin(0.1, 0.3) == Fraction(0.3) - Fraction(0.1)


@given(error=st.floats(0, 1), tolerance=st.floats(0, 1), margin=st.floats(0, 4))
def test_floats_are_taken_exactly(error, tolerance, margin):
    exact = condition(Fraction(error), Fraction(tolerance), Fraction(margin))
    assert condition(error, tolerance, margin) is exact


def test_a_round_trip_names_the_condition_and_a_prompt_from_elsewhere_none():
    model, prompt = tiny("gpt2"), [5, 6, 7, 8]
    states = sipit.capture(model, [prompt], layer=1)
    inverter = Inverter.open(model, states)
    (known,) = inverter.invert_all(states, truth=[prompt])
    (unknown,) = inverter.invert_all(states)
    assert {token.condition for token in known.tokens} == {Condition.WITHIN_TOLERANCE}
    assert {token.condition for token in unknown.tokens} == {None}
    assert known.to_json()["tokens"][0]["condition"] == "error within tolerance"


def test_a_state_outside_the_tolerance_names_the_margin_where_everything_was_tested():
    model, prompt = tiny("gpt2"), [5, 6, 7]
    states = sipit.capture(model, [prompt], layer=1)
    array = states[0].clone()
    array[1] += 1e-3 * array[1].norm() / array.shape[1] ** 0.5  # far outside of the tolerance, well below the margin
    moved = relabelled(states, [array])
    (whole,) = Inverter.open(model, moved, tolerance=1e-5, full_margin=True).invert_all(moved, truth=[prompt])
    found = [token.condition for token in whole.tokens]
    assert found == [Condition.WITHIN_TOLERANCE, Condition.BELOW_MARGIN, None]  # nothing is tested behind it


def test_another_truth_ends_what_is_said():
    model, prompt = tiny("gpt2"), [5, 6, 7, 8]
    states = sipit.capture(model, [prompt], layer=1)
    (wrong,) = Inverter.open(model, states, full_margin=True).invert_all(states, truth=[[5, 9, 7, 8]])
    assert wrong.tokens[0].condition is Condition.WITHIN_TOLERANCE
    assert [token.condition for token in wrong.tokens[1:]] == [None] * 3
    assert wrong.matches_truth is False
