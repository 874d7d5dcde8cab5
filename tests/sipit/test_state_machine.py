"""The inverter as a state machine: captured, perturbed, inverted, and again another way; never a wrong token."""

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import sipit
from sipit import strategies
from sipit.inversion.outcome import Outcome
from sipit.states.perturbations import Noise, Rescaled, Rounded
from tests.sipit.cases import answers, assert_consistent, assert_never_wrong, inverted, tiny, with_rows

MODELS = {"llama": tiny("llama"), "classes": with_rows("gpt2", [(65, 300), (7, 8)]), "mamba": tiny("mamba")}
TRUE = (Noise, Rounded)  # perturbations behind which the true prompt is still the only right answer


class Inverting(RuleBasedStateMachine):
    """Captures of prompts wait in a bundle with their truth: what may be done to them in any order."""

    captures = Bundle("captures")

    @initialize(name=st.sampled_from(sorted(MODELS)))
    def choose(self, name):
        self.model = MODELS[name]

    @rule(target=captures, data=st.data(), cached=st.booleans())
    def capture(self, data, cached):
        prompt = data.draw(strategies.prompts(self.model, max_length=6))
        layer = data.draw(strategies.layers(self.model))
        return sipit.capture(self.model, [prompt], layer=layer, cached=cached), [prompt], True

    @rule(target=captures, data=st.data())
    def capture_a_batch(self, data):
        prompts = data.draw(st.lists(strategies.prompts(self.model, max_length=5), min_size=2, max_size=3))
        layer = data.draw(st.integers(1, self.model.layers))
        side = data.draw(st.sampled_from(["left", "right"]))
        return sipit.capture(self.model, prompts, layer=layer, batch=len(prompts), padding=side), prompts, True

    @rule(target=captures, captured=captures, perturbation=strategies.perturbations())
    def perturb(self, captured, perturbation):
        states, prompts, true = captured
        small = isinstance(perturbation, TRUE) and getattr(perturbation, "relative", 0) <= 1e-7
        same = small or perturbation == Rescaled(1.0)
        arrays = tuple(perturbation.apply(array) for array in states)
        return sipit.States(arrays=arrays, layer=states.layer), prompts, true and same

    @rule(captured=captures, policy=st.sampled_from(["draft", "nearest"]))
    def invert(self, captured, policy):
        states, prompts, true = captured
        for inversion, array, prompt in zip(inverted(self.model, states, policy=policy), states, prompts, strict=True):
            assert_consistent(inversion, len(array))
            if true:
                assert_never_wrong(self.model, inversion, prompt)
                assert inversion.outcome in {Outcome.RECOVERED, Outcome.AMBIGUOUS}

    @rule(captured=captures)
    def invert_again_another_way(self, captured):
        states, _, true = captured
        if not true:
            return  # which of several that fit is named may hang on the order where nothing is right
        found = answers(inverted(self.model, states, policy="draft"))
        assert found == answers(inverted(self.model, states, policy="nearest"))
        alone = [sipit.States(arrays=(array,), layer=states.layer, manifest=states.manifest) for array in states]
        assert found == [answer for one in alone for answer in answers(inverted(self.model, one))]

    @rule(captured=captures)
    def a_budget_only_leaves_out(self, captured):
        states, prompts, true = captured
        for inversion, prompt in zip(inverted(self.model, states, budget=1e-9), prompts, strict=True):
            assert_consistent(inversion, len(inversion.tokens))
            if true:
                assert_never_wrong(self.model, inversion, prompt)

    @rule(captured=captures)
    def states_are_left_as_they_were(self, captured):
        states, _, _ = captured
        before = [array.clone() for array in states]
        inverted(self.model, states)
        assert all(torch.equal(array, kept) for array, kept in zip(states, before, strict=True))


def test_a_few_histories():
    run_state_machine_as_test(Inverting, settings=settings(max_examples=3, stateful_step_count=5))


@pytest.mark.slow
def test_many_histories():
    run_state_machine_as_test(Inverting, settings=settings(max_examples=60, stateful_step_count=12))
