"""Prompts inverted together: the answers of one by one, in fewer runs of the model, whatever is hard among them."""

from dataclasses import replace

import pytest

import sipit
from sipit.inversion import batching
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Outcome
from tests.sipit.cases import answers, assert_never_wrong, random_prompts, relabelled, rest_slow, tiny, with_rows


@pytest.mark.parametrize("policy", ["draft", "nearest"])
@pytest.mark.parametrize("family", rest_slow("bloom", of=["gpt2", "llama", "bloom", "mamba"]))
def test_answers_are_those_of_one_by_one(family, policy):
    model = tiny(family)
    prompts = random_prompts(7, longest=24, seed=71)
    states = sipit.capture(model, prompts, layer=model.layers, cached=True)
    inverter = Inverter.open(model, states, policy=policy)
    found = inverter.invert_all(states, truth=prompts)
    assert [inversion.matches_truth for inversion in found] == [True] * 7
    assert answers(found) == answers([inverter.invert(array) for array in states])


@pytest.mark.slow
def test_a_hard_prompt_among_others_keeps_nobody():
    """One of no prompt, one with classes, and more prompts than run at once."""
    model = with_rows("llama", [(65, 300)])
    prompts = [[1, 300, 2], *random_prompts(5, longest=9, seed=72)]
    states = sipit.capture(model, prompts, layer=2)
    broken = states[3].clone()
    broken[0] *= 1.5
    states = relabelled(states, [*states[:3], broken, *states[4:]])
    inverter = Inverter.open(model, states, policy="nearest")
    expected = answers([inverter.invert(array) for array in states])
    for prompts_at_once, positions in ((16, 4096), (2, 4096), (16, 1), (1, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batching, "PROMPTS", prompts_at_once)
            patch.setattr(batching, "POSITIONS", positions)
            found = inverter.invert_all(states)
        assert answers(found) == expected
    assert found[0].outcome is Outcome.AMBIGUOUS
    assert found[3].outcome is Outcome.NOT_FOUND


def test_runs_are_shared(monkeypatch):
    """Eight prompts of one length need about as many runs as one of them."""
    model = tiny("llama")
    prompts = random_prompts(8, shortest=12, longest=12, seed=73)
    states = sipit.capture(model, prompts, layer=2)
    inverter = Inverter.open(model, states, policy="nearest")
    inverter.invert(states[0])  # tries packing at this length
    runs = []
    network = type(inverter.network)
    genuine = network.run
    monkeypatch.setattr(network, "run", lambda self, ids, **named: runs.append(1) or genuine(self, ids, **named))
    apart = []
    for array in states:
        runs.clear()
        inverter.invert(array)
        apart.append(len(runs))
    runs.clear()
    inverter.invert_all(states)
    assert len(runs) < sum(apart) / 2


def test_a_budget_is_that_of_a_prompt():
    model = tiny("gpt2")
    prompts = random_prompts(4, shortest=6, longest=6, seed=74)
    states = sipit.capture(model, prompts, layer=1)
    inverter = Inverter.open(model, states, policy="nearest")
    found = replace(inverter, budget=1e-9).invert_all(states)
    for inversion, prompt in zip(found, prompts, strict=True):
        assert inversion.outcome is Outcome.BUDGET_EXHAUSTED
        assert_never_wrong(model, inversion, prompt)
        assert 0 < inversion.seconds < 60
