"""A tolerance is a multiple of noise that was measured relative to each state."""

import pytest
import torch

import sipit
from proofs.errors import InvalidInput
from sipit.noise.tolerance import SAFETY, Tolerance, derive_tolerance, measure_noise
from sipit.observations.observation import Observation
from sipit.states.files import States
from tests.sipit.cases import random_prompts, tiny


@pytest.mark.parametrize("layer", [0, 1, 2, "final"])
def test_the_tolerance_is_a_multiple_of_the_measured_noise(layer, empty_cache, monkeypatch):
    model = tiny("llama")
    states = sipit.capture(model, [[1, 2]], layer=layer)
    noise = measure_noise(model, Observation.of(None, layer), computed=torch.float32, stored=torch.float32)
    # Two measurements need not agree in the last bits: threads and addresses change the order of summation.
    monkeypatch.setattr("sipit.noise.tolerance.measure_noise", lambda *_arguments, **_named: noise)
    tolerance = derive_tolerance(model, states)
    assert tolerance.value == max(SAFETY * noise.largest, torch.finfo(torch.float32).eps)
    assert tolerance.kind == "measured"
    assert f"{noise.largest:.2e}" in tolerance.derived_from
    assert str(noise.positions) in tolerance.derived_from
    assert f"layer {layer}" in tolerance.derived_from


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "mixtral"])
def test_prompts_that_were_not_measured_stay_below_it(family):
    model = tiny(family)
    prompts = random_prompts(4, longest=40, seed=71)
    reference = sipit.capture(model, prompts, layer=2)
    tolerance = derive_tolerance(model, reference).value
    for how in ({"cached": True}, {"batch": 4}, {"batch": 4, "padding": "left"}):
        for a, b in zip(sipit.capture(model, prompts, layer=2, **how), reference, strict=True):
            assert float(((a - b).norm(dim=1) / b.norm(dim=1)).max()) <= tolerance


def test_the_noise_is_that_of_a_model_a_layer_and_formats(empty_cache):
    model = tiny("gpt2")
    for layer in (1, 2):
        for dtype in (torch.float32, torch.bfloat16):
            derive_tolerance(model, States((torch.full((1, 64), 1 / 3, dtype=dtype),), layer))
    derive_tolerance(tiny("llama"), States((torch.full((1, 64), 1 / 3),), 1))
    assert len(list(empty_cache.glob("*/noise/*"))) == 5


@pytest.mark.parametrize("value", [0.0, -1e-6, 1.0, 2.0, float("nan"), float("inf")])
def test_a_tolerance_out_of_range_is_refused(value):
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        Tolerance.given(value)
