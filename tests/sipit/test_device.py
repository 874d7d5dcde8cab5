"""States of a device are those of the processor up to rounding, and prompts come back on either from both."""

import pytest
import torch

import sipit
from numerics.formats import FORMATS
from sipit.noise.distances import relative_distance
from sipit.quantization.formatted import in_format
from tests.sipit.cases import KINDS, assert_recovers, random_prompts, tiny

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("layer", [1, "final"])
def test_prompts_come_back_on_either_from_the_states_of_both(family, layer):
    here, there = tiny(family), sipit.load_model(f"tiny-{family}", device="cuda")
    prompts = random_prompts(3, longest=20, seed=81)
    expected, found = (sipit.capture(model, prompts, layer=layer) for model in (here, there))
    for one, other in zip(found, expected, strict=True):
        assert float(relative_distance(one.cpu().double(), other.double(), damped=False).max()) < 1e-4
    for model in (here, there):
        for states in (expected, found):
            assert_recovers(model, states, prompts)


@pytest.mark.parametrize("name", ["int8", "nf4", "fp8", "tf32", "bf16"])
def test_a_number_format_names_the_arithmetic_that_ran_on_the_device(name):
    formatted = in_format(sipit.load_model("tiny-llama", device="cuda"), FORMATS[name])
    states = formatted.capture([[1, 2, 3, 4]], layer=2)[0]
    other = in_format(tiny("llama"), FORMATS[name if name != "tf32" else "float32"]).capture([[1, 2, 3, 4]], layer=2)[0]
    assert formatted.arithmetic and bool(torch.isfinite(states).all())
    assert float((states.cpu().double() - other.double()).norm() / other.double().norm()) < 0.05


def test_tf32_is_noticed_and_its_states_come_back_on_either():
    prompts = random_prompts(3, longest=20, seed=82)
    torch.set_float32_matmul_precision("high")
    try:
        there = sipit.load_model("tiny-llama", device="cuda")
        assert "factors of products rounded" in there.arithmetic
        states = sipit.capture(there, prompts, layer=1)
        assert_recovers(there, states, prompts)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert "factors of products rounded" not in there.arithmetic
    for model in (there, tiny("llama")):
        assert [one.token_ids for one in sipit.invert(model, states)] == prompts
