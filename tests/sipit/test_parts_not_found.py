"""Of a part of the states `not_found` is said where it is said of all of them, with what else was tried."""

from dataclasses import replace

import pytest
import torch

import sipit
from sipit.inversion.inverter import invert
from sipit.inversion.outcome import Outcome
from sipit.inversion.partial import invert_partial
from sipit.models.network import Network
from sipit.noise.tolerance import Tolerance
from tests.sipit.cases import tiny

IDS = [5, 77, 200]
LAYER = 2


def under_autocast(model):
    """States computed in bfloat16 here and there, which lie on no half grid."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return Network(model, LAYER).run(torch.tensor([IDS]))[0].float()


def part(rows, known=(), **options):
    model, told = tiny("llama"), dict(enumerate(known))
    at = range(len(known), len(IDS))
    return invert_partial(model, rows[at.start :], layer=LAYER, positions=[*at], known=told, **options)


def test_a_part_is_tried_in_half_types_before_it_is_not_found():
    rows = under_autocast(tiny("llama"))
    found = part(rows)
    assert (found.outcome, found.token_ids) == (Outcome.RECOVERED, IDS)
    assert "Nothing fits as computed in float32; as computed in float16" in found.to_json()["explanation"]
    assert {one.tolerance for one in found.segments} == {found.tolerance.value}


def test_a_known_token_that_only_half_types_bear_out_is_not_taken_for_the_true_one():
    found = part(under_autocast(tiny("llama")), IDS[:1])
    assert (found.outcome, found.nearest_token_ids) == (Outcome.AMBIGUOUS, IDS)
    assert "Or a token that was given is not the true one." in found.note


def test_a_tolerance_that_was_asked_for_is_the_only_one():
    found = part(under_autocast(tiny("llama")), tolerance=1e-5)
    assert (found.outcome, found.note) == (Outcome.NOT_FOUND, None)


def test_a_part_of_what_is_no_prompt_is_not_found_and_says_what_was_tried():
    rows = sipit.capture(tiny("llama"), [IDS], layer=LAYER)[0]
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    near = rows + 0.3 * noise * rows.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    found = part(near)
    assert (found.outcome, found.note) == (Outcome.NOT_FOUND, "Tried as computed in float32, float16, bfloat16.")
    far = part(noise)
    assert (far.outcome, far.note) == (Outcome.NOT_FOUND, None)


def test_a_budget_that_ends_in_another_format_leaves_it_undecided(monkeypatch):
    from sipit.inversion import partial

    genuine = partial._searched

    def searched(model, states, at, given, allowed, budget, started, progress):
        late = allowed.value > 1e-3
        return genuine(model, states, at, given, allowed, 1e-9 if late else budget, started, progress)

    monkeypatch.setattr(partial, "_searched", searched)
    rows = sipit.capture(tiny("llama"), [IDS], layer=LAYER)[0]
    found = part(rows + 0.2 * rows.roll(1, 0))
    assert found.outcome is Outcome.BUDGET_EXHAUSTED
    assert "float16 (the time budget ended)" in found.note


AMPLIFIED = Tolerance(1e-10, "measured", "a test", ratio=4.0, unit=1e-7)


@pytest.mark.parametrize("known", [(), IDS[:1], IDS], ids=["all rows", "behind a prefix", "all known"])
def test_a_part_is_allowed_as_much_as_rounding_is_amplified_before_it_is_not_found(known):
    """As the whole prompt is: the least residual is of rounding, and more than what is allowed elsewhere."""
    model = tiny("llama")
    rows = sipit.capture(model, [IDS], layer=LAYER)[0] * (1 + 2e-8)
    rows = rows + 2e-7 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)) * rows.abs()
    (whole,) = invert(model, sipit.States((rows,), LAYER), tolerance=AMPLIFIED)
    known = list(known)[: len(IDS) - 1]
    found = part(rows, known, tolerance=AMPLIFIED)
    assert whole.outcome is found.outcome is Outcome.RECOVERED
    assert found.token_ids == whole.token_ids == IDS
    assert all(AMPLIFIED.value < one.residual <= one.tolerance for one in found.segments)
    held = replace(AMPLIFIED, ratio=0.0)
    assert part(rows, known, tolerance=held).outcome is Outcome.NOT_FOUND
