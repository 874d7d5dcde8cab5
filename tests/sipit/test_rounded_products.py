"""Devices that round the factors of float32 products, as tf32 does: noticed by trying, named, and counted as noise."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sipit
from numerics.networks.products import product_unit, rounded_unit
from sipit.cache import measured_with
from sipit.noise.tolerance import derive_tolerance
from tests.sipit.cases import assert_recovers, random_prompts, rest_slow

BITS = {"tf32": 10, "bfloat16": 7}


class Rounded(TorchDispatchMode):
    """Rounds the factors of products to so many bits behind the leading one."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.factor = 2.0 ** (23 - bits) + 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).split(".")[1]
        if name in ("mm", "bmm", "matmul", "addmm", "linear"):
            first = 1 if name == "addmm" else 0
            args = list(args)
            args[first : first + 2] = map(self._rounded, args[first : first + 2])
        return func(*args, **(kwargs or {}))

    def _rounded(self, matrix: torch.Tensor) -> torch.Tensor:
        if matrix.dtype != torch.float32:
            return matrix
        high = matrix * self.factor  # Dekker's splitting
        return high - (high - matrix)


@pytest.mark.parametrize("bits", BITS.values(), ids=BITS)
def test_the_unit_of_products_is_found_by_trying(bits):
    with Rounded(bits):
        assert rounded_unit() == product_unit()
        assert 2.0**-bits / 2 <= product_unit() <= 2.0**-bits * 1.01
    assert rounded_unit() is None and product_unit() == 2.0**-23


@pytest.mark.parametrize("family", rest_slow("llama", of=["llama", "gpt2", "mamba"]))
def test_states_of_rounded_products_are_inverted_where_they_were_computed_and_elsewhere(family):
    prompts = random_prompts(2, longest=12, seed=5)
    with Rounded(10):
        model = sipit.load_model(f"tiny-{family}")
        states = sipit.capture(model, prompts, layer=1)
        assert "factors of products rounded to 1e-03" in model.arithmetic
        assert derive_tolerance(model, states).unit > 1e-4
        assert_recovers(model, states, prompts)
    for found, prompt in zip(sipit.invert(model, states), prompts, strict=True):
        assert found.token_ids == prompt and "as computed in float16" in found.note


def test_what_is_measured_with_rounded_products_is_kept_apart():
    plain = measured_with()
    with Rounded(10):
        assert measured_with() != plain
    assert measured_with() == plain
