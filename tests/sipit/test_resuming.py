"""An inversion that was stopped goes on where it was, and what was kept is checked before it is believed."""

import itertools
from dataclasses import replace

import pytest
import torch

import sipit
from sipit.cache import measured_with
from sipit.inversion import resume as resuming
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Outcome
from sipit.inversion.resume import Kept
from sipit.inversion.wanted import Candidates
from tests.sipit.cases import answers, random_prompts, relabelled, rest_slow, tiny


@pytest.fixture
def kept_at_once(empty_cache, monkeypatch):
    """Everything is written in every round."""
    monkeypatch.setattr(resuming, "INTERVAL", 0.0)
    return empty_cache / measured_with() / "inversions"


class Stopped(Exception):
    """Stands for a kill."""


def stopped_when(ends, monkeypatch):
    """Stops behind the writing of a prompt of which, by its number and its search, that is so."""
    genuine = Kept.keep

    def keep(self, number, search):
        genuine(self, number, search)
        if ends(number, search):
            raise Stopped

    monkeypatch.setattr(Kept, "keep", keep)
    return lambda: monkeypatch.setattr(Kept, "keep", genuine)


def stopped_after(rounds, monkeypatch):
    seen = itertools.count(1)
    return stopped_when(lambda _number, _search: next(seen) >= rounds, monkeypatch)


def hard():
    """Three prompts, the second of which is of no prompt from its third position on."""
    model = tiny("llama")
    prompts = random_prompts(3, shortest=5, longest=7, seed=91)
    states = sipit.capture(model, prompts, layer=2)
    broken = states[1].clone()
    broken[2] *= 1.5
    return model, relabelled(states, [states[0], broken, states[2]])


def in_eight_bits(states):
    """States rounded when they were stored, with a scale for each row."""
    steps = [rows.abs().amax(1, keepdim=True) / 127 for rows in states]
    return relabelled(states, [(rows / step).round() * step for rows, step in zip(states, steps, strict=True)])


@pytest.mark.parametrize("policy", ["exhaustive", "nearest"])
@pytest.mark.parametrize("rounds", rest_slow(9, of=[1, 9]))
@pytest.mark.parametrize("stored", rest_slow(None, of=[None, in_eight_bits]))
def test_the_answer_is_that_of_an_uninterrupted_run(kept_at_once, monkeypatch, policy, rounds, stored):
    monkeypatch.setattr("sipit.inversion.search.PIECE", 100)  # the vocabulary in several batches
    model, states = hard()
    states = states if stored is None else stored(states)
    inverter = Inverter.open(model, states, policy=policy)
    expected = answers(inverter.invert_all(states))
    undo = stopped_after(rounds, monkeypatch)
    with pytest.raises(Stopped):
        inverter.invert_all(states, resume=True)
    undo()
    assert len(list(kept_at_once.glob("*/*.safetensors"))) >= 1
    assert answers(inverter.invert_all(states, resume=True)) == expected
    assert not list(kept_at_once.iterdir())


COUNTED = {"seconds", "forward_passes", "token_positions", "candidates_tested", "rivals_tested"}
ROUNDED = {"residual", "margin", "largest_residual", "smallest_margin"}


def entries(inversions):
    """The entries of a record but for what was spent on them; of numbers that batches round, whether they are there."""

    def spared(entry):
        told = {name: value for name, value in entry.items() if name not in COUNTED}
        return {name: value is None if name in ROUNDED else value for name, value in told.items()}

    wholes = [inversion.to_json() for inversion in inversions]
    return [spared(whole) | {"tokens": [*map(spared, whole["tokens"])]} for whole in wholes]


@pytest.mark.parametrize("decided", [1, 3])
def test_an_entry_of_a_record_is_that_of_an_uninterrupted_run(kept_at_once, monkeypatch, decided):
    """Also of a prompt that had ended: of another layer, with why its tokens cannot but be right."""
    monkeypatch.setattr("sipit.inversion.search.PIECE", 100)
    model, truth = tiny("llama"), [[5, 7, 9], [6, 8], [1, 2, 3, 4, 5]]
    one, two = (sipit.capture(model, truth, layer=layer) for layer in (1, 2))
    states = relabelled(two, [one[0], *two[1:]])
    inverter = Inverter.open(model, states, policy="exhaustive", tolerance=1e-5)
    expected = entries(inverter.invert_all(states, truth=truth))
    assert "name layer 1" in expected[0]["alternatives"][0]["reason"]
    assert all(token["condition"] for token in expected[1]["tokens"])
    undo = stopped_when(lambda number, search: number == 2 and len(search.results) >= decided, monkeypatch)
    with pytest.raises(Stopped):
        inverter.invert_all(states, truth=truth, resume=True)
    undo()
    assert entries(inverter.invert_all(states, truth=truth, resume=True)) == expected


def test_candidates_tested_before_are_not_tested_again(kept_at_once, monkeypatch):
    monkeypatch.setattr("sipit.inversion.search.PIECE", 64)
    model = tiny("gpt2")
    states = sipit.capture(model, [[400, 500]], layer=1)
    inverter = Inverter.open(model, states, policy="exhaustive")
    undo = stopped_after(4, monkeypatch)
    with pytest.raises(Stopped):
        inverter.invert_all(states, resume=True)
    undo()
    search = inverter._search(states[0], None)
    search.go_on_from(inverter.kept(states).standing(0))
    tested = len(search.verifier.trials[0].token_ids)
    assert tested >= 64
    steps = search.run()
    asked = next(steps)
    assert isinstance(asked, Candidates)
    assert not torch.isin(asked.tokens, search.verifier.trials[0].token_ids).any()


def test_working_tokens_that_do_not_fit_are_dropped(kept_at_once, monkeypatch):
    model, states = hard()
    inverter = Inverter.open(model, states, policy="nearest")
    expected = answers(inverter.invert_all(states))
    undo = stopped_after(3, monkeypatch)
    with pytest.raises(Stopped):
        inverter.invert_all(states, resume=True)
    undo()
    genuine = Kept.standing

    def altered(self, number):
        found = genuine(self, number)
        return found and replace(found, working=tuple((token + 1) % 512 for token in found.working))

    monkeypatch.setattr(Kept, "standing", altered)
    assert answers(inverter.invert_all(states, resume=True)) == expected


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 64])
def test_damaged_files_are_begun_anew(kept_at_once, content):
    model, states = hard()
    inverter = Inverter.open(model, states, policy="nearest")
    kept = inverter.kept(states)
    kept.folder.mkdir(parents=True)
    for number in range(3):
        (kept.folder / f"{number:06d}.safetensors").write_bytes(content)
    assert answers(inverter.invert_all(states, resume=True)) == answers(inverter.invert_all(states))
    assert not kept.folder.exists()  # it was this one that the run went on from


def test_other_states_and_other_tolerances_have_other_folders(kept_at_once):
    model, states = hard()
    tolerance = Inverter.open(model, states, policy="nearest").tolerance
    folders = {
        Kept.of(model, states.arrays, 2, tolerance).folder,
        Kept.of(model, states.arrays[:2], 2, tolerance).folder,
        Kept.of(model, states.arrays, 1, tolerance).folder,
        Kept.of(model, states.arrays, 2, replace(tolerance, value=0.5)).folder,
        Kept.of(model, states.arrays, 2, tolerance, 16).folder,
    }
    assert len(folders) == 5


def test_a_budget_that_ended_is_an_answer(kept_at_once):
    model, states = hard()
    inverter = replace(Inverter.open(model, states, policy="nearest"), budget=1e-9)
    found = inverter.invert_all(states, resume=True)
    assert {inversion.outcome for inversion in found} == {Outcome.BUDGET_EXHAUSTED}
    assert not list(kept_at_once.iterdir())
