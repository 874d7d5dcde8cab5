"""A state may be zero, as that of a token whose row of the embedding is: it is met by zero alone, and has no factor."""

import json
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sipit
from sipit.diagnosis.conventions import diagnose
from sipit.diagnosis.findings import Cause
from sipit.inversion.outcome import Outcome
from sipit.inversion.partial import invert_partial
from sipit.noise.distances import relative_distance
from sipit.quantization.recovery import tolerance_between
from tests.sipit.cases import altered, inverted, relabelled

ZERO = 7
PROMPT = [5, ZERO, 9, 11]


@cache
def without_a_row():
    """A model one of whose tokens has a row of zeros."""

    def change(module):
        module.get_input_embeddings().weight[ZERO] = 0

    return altered("llama", change)


@pytest.mark.parametrize("at", [[0, 1, 2, 3], [1, 2, 3], [0, 1, 3], [1]])
def test_a_part_of_a_prompt_with_such_a_row_comes_back(at):
    model = without_a_row()
    (rows,) = sipit.capture(model, [PROMPT], layer=0)
    known = {place: PROMPT[place] for place in range(at[-1]) if place not in at}
    found = invert_partial(model, rows[at], layer=0, positions=at, known=known, tolerance=1e-5)
    assert (found.outcome, found.token_ids) == (Outcome.RECOVERED, PROMPT[: at[-1] + 1])
    assert found.segments[-1].residual == 0
    far = invert_partial(model, rows[at] + 1, layer=0, positions=at, known=known, tolerance=1e-5)
    assert far.outcome is Outcome.NOT_FOUND


def test_the_layer_at_which_such_a_row_fits_is_named():
    def change(module):
        body = module.transformer
        body.wte.weight[ZERO] = -body.wpe.weight[0]
        body.h[0].attn.c_proj.bias += 1

    model = altered("gpt2", change)
    states = sipit.capture(model, [[ZERO, 9]], layer=0)
    (found,) = inverted(model, sipit.States(states.arrays, layer=1), tolerance=1e-5)
    assert found.outcome is Outcome.NOT_FOUND
    assert found.alternatives[0].token_ids == [ZERO] and "name layer 0" in found.alternatives[0].reason


def test_a_tolerance_between_formats_counts_it_as_met():
    states = sipit.capture(without_a_row(), [PROMPT], layer=0)
    near = relabelled(states, [states[0] * (1 + 2**-10)])
    assert tolerance_between(near, states, ("one", "other")).value == pytest.approx(4 * 2**-10, rel=1e-3)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_it_says_nothing_of_the_factor_of_all_rows(factor):
    model = without_a_row()
    (rows,) = sipit.capture(model, [PROMPT], layer=0)
    found = diagnose(model, rows * factor, claimed=0)
    assert (found.cause, found.factor) == (Cause.PLAIN if factor == 1 else Cause.CONVENTION, pytest.approx(factor))
    assert list(found.token_ids) == PROMPT
    json.dumps(found.to_json(), allow_nan=False)


@given(st.lists(st.sampled_from([0.0, 1.0, float("inf"), float("nan")]), min_size=4, max_size=4))
def test_what_is_not_finite_meets_nothing(values):
    one, other = torch.tensor(values, dtype=torch.float64).split(2)
    apart = float(relative_distance(one, other, damped=False))
    if bool(one.isfinite().all() and other.isfinite().all()):
        assert (apart == 0) == bool((one == other).all())
    else:
        assert apart == torch.inf
