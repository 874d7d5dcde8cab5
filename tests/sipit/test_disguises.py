"""Disguised states: what a disguise leaves is read and verified, and what it does not leave stays undecided."""

import itertools
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from proofs.errors import InvalidInput
from sipit.diagnosis.conventions import Diagnostician
from sipit.diagnosis.disguises.coordinates import undo_choice
from sipit.diagnosis.disguises.evidence import Vocabulary
from sipit.diagnosis.findings import Cause
from sipit.diagnosis.record import diagnosis_record
from sipit.diagnosis.sites import Site
from sipit.observations.network import observed_network
from sipit.observations.observation import Observation
from tests.sipit.cases import altered, rest_slow, tiny

PROMPT = [104, 7, 33, 250, 9, 180, 61, 61, 2]
LAYER = 1
FAMILIES = ("llama", pytest.param("gpt2", marks=pytest.mark.slow), pytest.param("mamba", marks=pytest.mark.slow))


@cache
def doctor(family):
    return Diagnostician(tiny(family))


def diagnosed(family, rows, layer=LAYER):
    return doctor(family).diagnose(rows, claimed=layer)


def drawn(count, seed=0):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def rotation(width, seed=0):
    random = torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(random)[0].float()


def states(family, prompt=PROMPT, layer=LAYER):
    return sipit.capture(tiny(family), [prompt], layer=layer)[0]


def of_another_seed():
    return sipit.capture(sipit.load_model("tiny-llama", seed=1), [PROMPT], layer=LAYER)[0]


def test_the_tolerance_of_a_record_is_of_the_distance_in_which_a_disguise_was_found():
    plain = states("llama")
    for rows, damped, distance in ((plain[:, drawn(plain.shape[1])], False, "relative"), (plain, True, "directions")):
        told = diagnosis_record(tiny("llama"), [rows], claimed=LAYER).result["tolerance"]
        assert told["damped"] is damped and distance in told["derived_from"] and "None" not in told["derived_from"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows_too", [False, True])
@pytest.mark.parametrize("layer", [LAYER, pytest.param("final", marks=pytest.mark.slow)])
def test_permuted_coordinates_are_found_on_the_way(family, rows_too, layer):
    plain = states(family, layer=layer)
    secret, order = drawn(plain.shape[1]), drawn(len(PROMPT), 1) if rows_too else torch.arange(len(PROMPT))
    found = diagnosed(family, plain[order][:, secret], layer)
    assert (found.cause, list(found.token_ids), found.complete) == (Cause.DISGUISED, PROMPT, True)
    assert found.coordinates == tuple(secret.tolist())
    assert (found.order is None) == (not rows_too)
    if rows_too:
        assert order[list(found.order)].tolist() == list(range(len(PROMPT)))
    assert found.largest_residual <= found.tolerance < found.smallest_margin


@pytest.mark.parametrize("family", FAMILIES)
def test_a_part_of_the_coordinates_is_enough(family):
    secret = drawn(64)[:20]
    found = diagnosed(family, states(family)[:, secret])
    assert (list(found.token_ids), found.coordinates) == (PROMPT, tuple(secret.tolist()))
    assert found.disguise == "a part of the coordinates"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rotation_is_undone_and_shared_with_the_next_prompt(family):
    one, other = rotation(64), rotation(64, 1)
    doctors = Diagnostician(tiny(family))
    first = doctors.diagnose(states(family) @ one, claimed=LAYER)
    second = doctors.diagnose(states(family, [5, 6, 7]) @ one, claimed=LAYER)
    third = doctors.diagnose(states(family, [8, 9, 10, 11]) @ other, claimed=LAYER)
    assert [list(found.token_ids) for found in (first, second, third)] == [PROMPT, [5, 6, 7], [8, 9, 10, 11]]
    assert second.disguise == "the rotation of a prompt before it"
    assert first.disguise == third.disguise == "a rotation of its own"


def test_equal_rows_do_not_mislead():
    """The embedding of a rotary model: the same token twice is the same row."""
    found = diagnosed("llama", states("llama", layer=0) @ rotation(64), 0)
    assert list(found.token_ids) == PROMPT


OPEN = {
    "one rotated row": (lambda: states("llama")[:1] @ rotation(64, 9), "too few to tell"),
    "two coordinates": (lambda: states("llama")[:, [3, 40]], "too few to tell"),
    "random": (lambda: torch.randn(6, 64, generator=torch.Generator().manual_seed(0)), "no token's"),
    "another seed": (lambda: of_another_seed(), "no token's"),
    "another seed, permuted": (lambda: of_another_seed()[:, drawn(64)], "no token's"),
    "a shear": (lambda: states("llama") @ (torch.eye(64) + torch.triu(torch.ones(64, 64), 1)), "no token's"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OPEN)
def test_what_is_not_left_stays_undecided_with_the_reason(kind):
    make, reason = OPEN[kind]
    found = diagnosed("llama", make())
    assert (found.verified, found.token_ids, found.verdict) == (0, (), "undecided")
    assert any(reason in sentence for sentence in found.sentences())


def test_states_that_would_take_too_much_memory_are_not_tried(monkeypatch):
    monkeypatch.setattr("sipit.diagnosis.disguises.undoing.HELD", 1000)
    found = diagnosed("llama", states("llama")[:, drawn(64)])
    assert (found.verified, found.verdict) == (0, "undecided")
    assert "not tried" in found.open_disguises[0]


LARGE = {
    "coordinates": lambda rows: rows[:, drawn(64)],
    "some coordinates": lambda rows: rows[:, drawn(64)[:20]],
    "rows and coordinates": lambda rows: rows[drawn(len(PROMPT), 1)][:, drawn(64)],
    "a rotation": lambda rows: rows @ rotation(64),
}


@pytest.mark.parametrize("family", rest_slow("llama", of=["llama", "gpt2"]))
@pytest.mark.parametrize("disguise", LARGE)
@pytest.mark.parametrize("batch", rest_slow(4, of=[4, 128]))
def test_of_a_large_vocabulary_the_likeliest_are_tried_first(disguise, family, batch, monkeypatch):
    monkeypatch.setattr("sipit.diagnosis.disguises.evidence.RUNS", 0)
    monkeypatch.setattr("sipit.diagnosis.disguises.evidence._LIKELIEST", batch)
    found = Diagnostician(tiny(family)).diagnose(LARGE[disguise](states(family)), claimed=LAYER)
    assert (list(found.token_ids), found.verified) == (PROMPT, len(PROMPT))
    assert found.largest_residual <= found.tolerance < found.smallest_margin


@pytest.mark.parametrize("disguise", LARGE)
def test_where_the_runs_are_used_up_it_stays_undecided(disguise, monkeypatch):
    monkeypatch.setattr("sipit.diagnosis.disguises.evidence.RUNS", 0)
    monkeypatch.setattr("sipit.diagnosis.disguises.evidence.MOST", 3)
    found = Diagnostician(tiny("llama")).diagnose(LARGE[disguise](states("llama")), claimed=LAYER)
    assert (found.verified, found.token_ids, found.verdict) == (0, (), "undecided")
    assert any("that were tried" in reason for reason in found.open_disguises)


@pytest.mark.parametrize("disguise", [name for name in LARGE if name != "some coordinates"])
def test_of_a_large_vocabulary_states_of_another_seed_are_no_disguise(disguise, monkeypatch):
    monkeypatch.setattr("sipit.diagnosis.disguises.evidence.RUNS", 0)
    found = Diagnostician(tiny("llama")).diagnose(LARGE[disguise](of_another_seed()), claimed=LAYER)
    assert (found.verified, found.token_ids, found.verdict) == (0, (), "undecided")


def test_a_width_that_no_choice_of_coordinates_explains_is_refused():
    with pytest.raises(InvalidInput, match=r"\(T, 64\)"):
        diagnosed("llama", torch.randn(6, 32, generator=torch.Generator().manual_seed(0)))


def test_the_claim_is_that_of_the_layer_named():
    assert diagnosed("llama", states("llama")[:, drawn(64)]).site == Site(LAYER)
    assert not diagnosed("llama", states("llama", layer=2)[:, drawn(64)]).verified


def with_twins(relative):
    """A model where twenty rows lie as near to row 200 as that."""

    def change(module):
        rows = module.get_input_embeddings().weight
        drawn_ = torch.randn(20, rows.shape[1], generator=torch.Generator().manual_seed(3))
        rows[201:221] = rows[200] * (1 + relative * drawn_)

    return altered("llama", change)


TWINS = [*itertools.product(LARGE, [1, 128], [1e-6, 3e-6])]


def named_wrongly(model, prompt, found):
    classes = model.token_classes
    return found.token_ids != () and list(found.token_ids) != classes[prompt].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("case", TWINS, ids=str)
def test_a_twin_that_is_tried_first_is_not_named(case, monkeypatch):
    """Of a large vocabulary a batch may hold the twin and not the true token."""
    disguise, batch, relative = case
    monkeypatch.setattr("sipit.diagnosis.disguises.evidence.RUNS", 0)
    monkeypatch.setattr("sipit.diagnosis.disguises.evidence._LIKELIEST", batch)
    model = with_twins(relative)
    doctors = Diagnostician(model)
    for prompt in ([116, 211, 270], [168, 206, 237], [32, 206, 265], [211, 116, 206, 9]):
        rows = sipit.capture(model, [prompt], layer=LAYER)[0]
        if disguise == "rows and coordinates":
            rows = rows[drawn(len(prompt), 1)][:, drawn(64)]
        else:
            rows = LARGE[disguise](rows)
        assert not named_wrongly(model, prompt, doctors.diagnose(rows, claimed=LAYER))


@pytest.mark.parametrize("seed", rest_slow(1, of=range(4)))
@pytest.mark.parametrize("kept", [64, 40])
@pytest.mark.parametrize("prompt", rest_slow([9, 200, 31], of=[[9, 200], [9, 77], [9, 200, 31]]))
def test_coordinates_that_earlier_rows_do_not_tell_apart_name_no_token(seed, kept, prompt):
    """Token 77 is token 200 with two coordinates exchanged, in which the first token is the same."""

    def change(module):
        rows = module.get_input_embeddings().weight
        rows[9, 5] = rows[9, 7]
        rows[77] = rows[200]
        rows[77, [5, 7]] = rows[200, [7, 5]]

    model = altered("llama", change)
    (rows,) = sipit.capture(model, [prompt], layer=0)
    secret = [at for at in drawn(64, seed).tolist() if at < kept]
    found = Diagnostician(model).diagnose(rows[:, secret], claimed=0)
    assert not named_wrongly(model, prompt, found)
    assert found.disguise in (None, "a rotation of its own")


@pytest.mark.slow
@settings(max_examples=40)
@given(seed=st.integers(0, 9999), others=st.integers(5, 40), length=st.sampled_from([1, 1, 2]))
def test_a_coordinate_that_outweighs_all_others_names_no_token_alone(seed, others, length):
    """Rows of no prompt: one huge value near that of a token, and others near anything at that scale."""

    def change(module):
        spread = torch.randn(512, generator=torch.Generator().manual_seed(0))
        module.get_input_embeddings().weight[:, 5] = 1000 * (1 + 0.05 * spread)

    model, chance = altered("llama", change), torch.Generator().manual_seed(seed)
    vocabulary = Vocabulary(observed_network(model, Observation.of("residual", 1)), 1e-4, length)
    first = vocabulary.first.states
    kept = torch.tensor([5, *[at for at in drawn(64, seed).tolist() if at != 5][:others]])
    rows = first[torch.randint(0, 512, (length,), generator=chance)][:, kept]
    rows[:, 1:] += 0.3 * first.std(0)[kept[1:]] * torch.randn(length, others, generator=chance)
    rows[:, 0] *= 1 + 1e-3 * torch.randn(length, generator=chance)
    assert isinstance(undo_choice(vocabulary, rows, lambda *_: vocabulary.tokens), str)
