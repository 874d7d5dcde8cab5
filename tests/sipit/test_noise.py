"""Measured noise, and what Monte Carlo runs say about a single prompt."""

import pytest
import torch

import sipit
from proofs.errors import InvalidInput
from sipit.inversion.inverter import Inverter, matches_truth
from sipit.models.network import Network
from sipit.noise.measured import measure_noise
from sipit.noise.spread import spread_of_rounding
from sipit.noise.tolerance import Tolerance
from sipit.observations.observation import Observation

UNIT = torch.finfo(torch.float32).eps


@pytest.fixture(scope="module")
def model() -> sipit.LanguageModel:
    return sipit.load_model("tiny-llama")


@pytest.mark.parametrize("layer", [0, 1, 2, "final"])
def test_the_spread_is_of_the_size_of_rounding_and_the_same_every_time(model, layer):
    ids = torch.arange(1, 20)
    network = Network(model, layer)
    spread = spread_of_rounding(network, ids, UNIT)
    assert spread.shape == (19,)
    assert bool((spread > UNIT / 100).all())
    assert bool((spread < 1000 * UNIT).all())
    assert torch.equal(spread, spread_of_rounding(network, ids, UNIT))
    assert network.work.forward_passes == 2


def test_perturbed_runs_leave_no_trace(model):
    ids = torch.arange(1, 20)
    network = Network(model, 2)
    before = network.run(ids[None])
    spread_of_rounding(network, ids, 0.1)
    assert torch.equal(before, network.run(ids[None]))


def test_the_spread_grows_with_the_perturbation(model):
    ids = torch.arange(1, 20)
    network = Network(model, 2)
    small, large = (spread_of_rounding(network, ids, unit) for unit in (1e-6, 1e-4))
    assert bool((large > 10 * small).all())


def test_noise_is_measured_in_the_dtype_of_the_capture(model):
    narrow = measure_noise(model, Observation.of(None, 2), computed=torch.bfloat16, stored=torch.bfloat16)
    wide = measure_noise(model, Observation.of(None, 2), computed=torch.float32, stored=torch.float32)
    assert 0 < wide.largest < 1e-5 < 1e-3 < narrow.largest < 1
    assert wide.ratio > 0


def test_a_raised_tolerance_is_never_below_the_general_one_and_a_given_one_stays(model):
    ids = torch.arange(1, 9)
    network = Network(model, 2)
    assert Tolerance(0.5, "measured", "here", ratio=1.0, unit=UNIT).at(network, ids) == 0.5
    assert Tolerance(1e-12, "measured", "here", ratio=1.0, unit=UNIT).at(network, ids) > UNIT
    assert Tolerance.given(1e-12).at(network, ids) == 1e-12


@pytest.mark.slow
def test_an_ill_conditioned_position_of_the_real_model_is_recovered_under_its_own_tolerance():
    model = sipit.load_model("smollm2")
    prompt = [32867, 7705, 7525]  # at layer 15 position 1 carries some hundred times the usual noise
    states = sipit.capture(model, [prompt], layer=15, cached=True)
    inverter = Inverter.open(model, states)
    inversion = inverter.invert(states[0])
    assert matches_truth(model, inversion, prompt)
    if inversion.tokens[1].residual > inverter.tolerance.value:
        assert inversion.tokens[1].candidates_tested == model.vocabulary_size
    assert all(token.residual <= token.tolerance < token.margin for token in inversion.tokens)


def test_a_tolerance_is_asked_for_in_one_way():
    assert Tolerance.asked(None) is Tolerance.asked("auto") is None
    assert Tolerance.asked(1e-3) == Tolerance.given(1e-3) == Tolerance.asked(Tolerance.given(1e-3))
    for wrong in ("small", True, 0, 1, float("nan"), [1e-3]):
        with pytest.raises(InvalidInput, match="'auto'"):
            Tolerance.asked(wrong)
