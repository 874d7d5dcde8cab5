"""Weights are the same in a coarser type where one was rounded to it, and not where they are merely near."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from numerics.formats import FORMATS
from proofs.verdict import Verdict
from sipit.models.copies import copied, in_dtype
from sipit.privacy.comparison import compare_runs
from sipit.privacy.rounded_weights import rounded_to
from sipit.privacy.weights import a_step_apart, common_format, of_one_weight, unpack
from sipit.quantization.formatted import in_format
from tests.sipit.cases import tiny

F64, F32, F16, B16 = torch.float64, torch.float32, torch.float16, torch.bfloat16
WAYS = [(F32,), (F16,), (B16,), (F32, F16), (F32, B16), (F16, B16), (B16, F16)]
PROMPT = [[1, 2, 3, 4, 5, 6]]
SCALES = st.sampled_from([1e-9, 1e-6, 1e-3, 0.02, 1.0, 30.0])


def drawn(seed, scale, source):
    return (scale * torch.randn(256, generator=torch.Generator().manual_seed(seed), dtype=F64)).to(source).double()


def through(weights, way):
    for dtype in way:
        weights = weights.to(dtype)
    return weights.double()


def coarsest(*ways):
    return max((dtype for way in ways for dtype in way), key=lambda dtype: torch.finfo(dtype).eps)


@given(seed=st.integers(0, 99), scale=SCALES, source=st.sampled_from([F64, F32]), way=st.sampled_from(WAYS))
def test_a_rounding_is_recognised_whichever_way_it_went(seed, scale, source, way):
    weights = drawn(seed, scale, source)
    rounded = through(weights, way)
    assert torch.equal(weights, rounded) or of_one_weight(weights, rounded, coarsest(way))


@given(seed=st.integers(0, 99), scale=SCALES)
def test_two_roundings_of_a_weight_that_is_not_at_hand_are_recognised(seed, scale):
    weights = drawn(seed, scale, F32)
    for one, other in [((F16,), (B16,)), ((B16,), (F16,)), ((F32,), (B16,))]:
        assert of_one_weight(through(weights, one), through(weights, other), B16)


@given(seed=st.integers(0, 99), scale=SCALES, change=st.sampled_from([1.003, 0.997]), first=st.booleans())
def test_weights_beside_a_rounding_are_other_ones_however_near(seed, scale, change, first):
    rounded = drawn(seed, scale, B16)
    pair = (rounded, (rounded * change).float().double())
    one, other = pair if first else reversed(pair)
    assert not any(
        of_one_weight(one, other, dtype) or a_step_apart(one, other, dtype) for dtype in (F64, F32, F16, B16)
    )


@given(seed=st.integers(0, 99), scale=st.sampled_from([0.02, 1.0]), dtype=st.sampled_from([F16, B16]))
def test_a_step_between_two_numbers_of_a_type_is_no_rounding_of_one_weight(seed, scale, dtype):
    one = drawn(seed, scale, dtype)
    other = one * (1 + torch.finfo(dtype).eps / 2)
    other = torch.where(other.to(dtype).double() == one, one * (1 + torch.finfo(dtype).eps), other).to(dtype).double()
    assert not torch.equal(one, other) and a_step_apart(one, other, dtype) and not of_one_weight(one, other, dtype)


def changed(model, change):
    other = copied(model)
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.copy_(change(parameter))
    return replace(other, digest=f"{change}"[-16:] * 4)


def a_step_up(weights):
    held = weights.bfloat16()
    return torch.nextafter(held, torch.full_like(held, torch.inf)).to(weights.dtype)


WHOLE = tiny("llama")
HALF = changed(WHOLE, lambda weights: weights.bfloat16().float())  # a checkpoint that was saved in bfloat16
PAIRS = {
    "rounded": (WHOLE, HALF, Verdict.ROUNDING),
    "rounded twice": (WHOLE, changed(WHOLE, lambda weights: weights.half().bfloat16().float()), Verdict.ROUNDING),
    "larger": (HALF, changed(HALF, lambda weights: weights * 1.003), Verdict.NOT_ROUNDING),
    "a step up": (HALF, changed(HALF, a_step_up), Verdict.UNDECIDED),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_networks_in_float32_are_one_in_a_half_type_only_where_it_is_shown(name):
    first, second, expected = PAIRS[name]
    found = compare_runs(first, second, PROMPT)
    assert found.kind is expected, found.reason
    shared = common_format(first, second)
    assert (shared and (shared.dtype, shared.sure)) == {
        Verdict.ROUNDING: (B16, True), Verdict.NOT_ROUNDING: None, Verdict.UNDECIDED: (B16, False),
    }[expected]  # fmt: skip
    assert expected is not Verdict.UNDECIDED or "steps of bfloat16 apart" in found.reason


def test_what_no_format_makes_of_a_norm_is_not_taken_over_with_the_matrices():
    whole = in_format(WHOLE, FORMATS["int8"]).model
    unpack(whole.module, F32)
    coarse = in_dtype(replace(whole), B16)
    with torch.no_grad():
        assert rounded_to(WHOLE, coarse) is not None
        coarse.module.model.norm.weight.mul_(1.01)
    assert rounded_to(WHOLE, coarse) is None
