"""Values that were rounded when they were stored: the box around them holds the state."""

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

import sipit
from numerics.dtypes import name_of
from numerics.grids import half_type, moved_by
from sipit.inversion.outcome import Outcome
from sipit.noise.distances import damping, relative_distance
from sipit.noise.number_grid import grid_error
from sipit.noise.stored_steps import ANYHOW, NEAREST, box_around, coarse_box, outside
from sipit.observations.sites import without_mean
from tests.sipit.cases import assert_never_wrong, inverted, rest_slow, tiny
from tests.sipit.storing import GROUPS, ROUNDED, drawn, integers


@given(st.integers(0, 9999), st.sampled_from(GROUPS), st.sampled_from([3, 4, 6, 8]), st.booleans(), st.integers(4, 40))
def test_the_state_lies_in_the_box_of_what_was_stored(seed, grouped, bits, offset, length):
    length = max(16, length) if grouped == "channel" else length
    rows = drawn(seed, length, 64)
    stored = integers(rows, bits=bits, grouped=grouped, offset=offset)
    assume(int((stored != 0).sum()) >= stored.numel() // 2)  # the fewer bits, the more becomes zero and says nothing
    found = coarse_box(stored)
    assert found is not None
    assert float(outside((rows - stored).double(), found).abs().max()) == 0
    assert float(found.steps.max()) <= 12 * float((stored - rows).abs().max())  # and it says something


@given(
    st.integers(0, 9999),
    st.sampled_from(GROUPS),
    st.sampled_from([3, 4, 8]),
    st.booleans(),
    st.sampled_from([*ROUNDED]),
)
def test_it_lies_in_the_larger_box_however_it_was_rounded(seed, grouped, bits, offset, how):
    rows = drawn(seed, 20, 64)
    stored = integers(rows, bits=bits, grouped=grouped, offset=offset, rounded=ROUNDED[how])
    assume(int((stored != 0).sum()) >= stored.numel() // 2 and coarse_box(stored) is not None)
    assert float(outside((rows - stored).double(), box_around(stored, ANYHOW)).abs().max()) == 0
    assert (how == "nearest") >= (
        float(outside((rows - stored).double(), box_around(stored, NEAREST)).abs().max()) == 0
    )


@given(st.integers(0, 9999), st.sampled_from([torch.float8_e5m2, torch.float8_e4m3fn, torch.bfloat16, torch.float16]))
def test_of_floating_point_as_well(seed, dtype):
    rows = drawn(seed, 3, 64)
    stored = rows.to(dtype).float()
    assert (coarse_box(stored) is None) == (dtype.itemsize > 1)
    assert float(outside((rows - stored).double(), box_around(stored, NEAREST)).abs().max()) == 0


@given(
    st.integers(0, 9999), st.sampled_from(["row", "head", "block", "channel", "tensor"]), st.sampled_from([4, 6, 8]),
    st.sampled_from([torch.bfloat16, torch.float16]), st.sampled_from(["nearest", "cut off"]), st.booleans(),
)  # fmt: skip
def test_whole_steps_may_have_been_rounded_to_a_half_type_since(seed, grouped, bits, dtype, how, offset):
    """As caches are handed out: in the type that the model computes in."""
    rows = drawn(seed, 20, 64)
    stored = integers(rows, bits=bits, grouped=grouped, offset=offset, rounded=ROUNDED[how]).to(dtype)
    assume(int((stored != 0).sum()) >= stored.numel() // 2)
    found = coarse_box(stored.float())
    few = offset and bits == 8 and grouped in ("head", "channel")  # 16 or 20 of 256 values may lie anyhow
    assert found is not None or few
    assume(found is not None)
    box = box_around(stored.float(), NEAREST if how == "nearest" else ANYHOW)
    assert float(outside((rows - stored.float()).double(), box).abs().max()) == 0
    assert float(found.steps.max()) <= 12 * float((stored.float() - rows).abs().max())


@given(
    st.integers(0, 9999), st.sampled_from([torch.float8_e5m2, torch.float8_e4m3fn]), st.floats(1.0, 2.0),
    st.sampled_from(["row", "head", "channel", "tensor"]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), st.sampled_from([1, 2, 20]),
)  # fmt: skip
@example(831, torch.float8_e5m2, 1.8345153441947648, "row", torch.bfloat16, 20)  # whose scale is known to 7e-4
def test_of_8_bit_floating_point_with_any_scale(seed, dtype, beside, grouped, held, length):
    assume(length == 20 or grouped != "channel")  # one or two values of a scale are numbers like any
    rows = drawn(seed, length, 64)
    by = {"row": rows.abs().amax(1, keepdim=True), "channel": rows.abs().amax(0), "tensor": rows.abs().max(),
          "head": rows.reshape(length, 4, 16).abs().amax(2).repeat_interleave(16, 1)}[grouped]  # fmt: skip
    scale = by * beside / torch.finfo(dtype).max
    stored = ((rows / scale).to(dtype).float() * scale).to(held).float()
    found = coarse_box(stored)
    assert found is not None
    assert float(outside((rows - stored).double(), found).abs().max()) == 0
    assert float((found.steps / stored.abs().amax(1, keepdim=True)).max()) <= 0.13


@given(st.integers(0, 9999), st.integers(1, 40), st.integers(1, 8), st.sampled_from(["float32", "bfloat16", "float16"]))
def test_what_is_computed_lies_on_no_such_grid(seed, length, parts, dtype):
    rows = drawn(seed, length, 16 * parts)
    assert coarse_box(rows.to(getattr(torch, dtype))) is None
    assert coarse_box(rows.to(getattr(torch, dtype)).float()) is None


@given(st.integers(0, 9999), st.sampled_from([3, 4, 8]), st.sampled_from([1, 4, 16]), st.sampled_from([1.5, 2.0]))
def test_scales_in_small_ratios_are_not_read_as_the_least_of_them(seed, bits, length, ratio):
    """Rounded to powers of a ratio, as scales of a shared exponent are, steps lie on the finest of their grids."""
    heads = drawn(seed, length, 64).reshape(length, 4, 16)
    least = heads.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    step = ratio ** (least.log() / torch.tensor(ratio).log()).ceil()
    stored = (heads / step).round() * step
    assume(bool(((stored != 0).sum(-1) >= 4).all()))
    found = coarse_box(stored.reshape(length, 64))
    assert found is None or float(outside((heads - stored).reshape(length, 64).double(), found).abs().max()) == 0


@given(st.integers(0, 9999), st.sampled_from([3, 4, 8]), st.floats(0.7, 1), st.sampled_from([16, 32, 64]))
def test_what_was_clipped_lies_in_the_box_too(seed, bits, quantile, size):
    groups = drawn(seed, 4, 64).reshape(-1, size)
    step = groups.abs().quantile(quantile, dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
    most = 2 ** (bits - 1) - 1
    stored = (groups / step).round().clamp(-most, most) * step
    found = coarse_box(stored.reshape(4, 64))
    assert found is None or float(outside((groups - stored).reshape(4, 64).double(), found).abs().max()) == 0


@given(st.integers(0, 9999), st.integers(-4, 2))
def test_so_does_what_8_bit_floating_point_saturates(seed, exponent):
    rows = drawn(seed, 4, 64) * 300
    scale = 2.0**exponent
    stored = (rows / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
    found = coarse_box(stored)
    assert found is None or float(outside((rows - stored).double(), found).abs().max()) == 0


@given(st.integers(0, 9999))
def test_a_computation_in_float64_may_be_stored_in_float32(seed):
    rows = drawn(seed, 3, 64).double() / 3
    stored = rows.float().double()
    assert float(outside(rows - stored, box_around(stored, NEAREST)).abs().max()) == 0
    assert float(box_around(rows, NEAREST).steps.max()) == 0


@pytest.mark.parametrize("shape", [(0, 64), (2, 0), (1, 1), (1, 15), (40, 1), (1, 64)])
@pytest.mark.parametrize("value", [0.0, 1.0, float("inf"), float("nan")])
def test_hardly_any_values_are_no_grid_either(shape, value):
    assert coarse_box(torch.full(shape, value)) is None
    assert box_around(torch.full(shape, value), NEAREST).steps.shape == shape


@given(
    st.integers(0, 9999),
    st.floats(0.05, 1.0),
    st.floats(0.0, 8.0),
    st.sampled_from([torch.bfloat16, torch.float16]),
)
def test_a_half_type_away_from_zero_is_on_no_coarser_grid_than_its_own(seed, size, shift, dtype):
    """Values in one octave are whole steps apart, and half a step of those is all that rounding to them moved."""
    stored = (drawn(seed, 16, 16) * size + shift).to(dtype).float()
    found, own = coarse_box(stored), 2.0 ** stored.abs().log2().floor() * torch.finfo(dtype).eps
    assert found is None or float((found.steps / own).max()) <= 1.1


@given(
    st.integers(0, 9999), st.floats(-8, 4), st.sampled_from([torch.bfloat16, torch.float16]), st.booleans()
)  # fmt: skip
def test_a_half_type_moves_rows_by_no_more_than_is_said_next_to_its_least_numbers_too(seed, power, dtype, damped):
    rows = drawn(seed, 4, 64).double() * 10.0**power
    stored = rows.to(dtype).double()
    weights = damping(stored) if damped else None
    moved = moved_by(dtype, stored, weights)
    assert bool(((relative_distance(rows, stored, damped=damped) <= moved) | (stored == 0).all(1)).all())
    if power > -3:  # where a type has all of its digits, by no more than its unit
        assert float(moved.max()) <= torch.finfo(dtype).eps / 2
    if damped:
        error = grid_error(name_of(dtype), stored)
        unit = max(torch.finfo(dtype).eps / 2, 2 * float(moved.median()))
        assert error == min(float(moved.max()), unit)  # a row of almost nothing says nothing of the others
    if bool((stored != 0).any()):  # of few numbers next to zero both types have all
        assert half_type(stored) == dtype


def test_small_float16_rows_may_have_had_their_means_taken_away():
    rows = 3e-7 * torch.randn(8, 256, generator=torch.Generator().manual_seed(0))
    centred = (rows - rows.mean(1, keepdim=True)).half()
    assert without_mean(centred) and not without_mean((rows + 3e-7).half())


@pytest.mark.parametrize("dtype", rest_slow(torch.bfloat16, of=[torch.bfloat16, torch.float16]))
@pytest.mark.parametrize("grouped", rest_slow("row", of=["tensor", "row", "block"]))
@pytest.mark.parametrize(("observe", "layer"), [("keys,values", 1), ("residual", 2), ("logits", None)])
def test_prompts_come_back_from_a_grid_with_an_offset_in_a_half_type(observe, layer, grouped, dtype):
    model, prompt = tiny("llama"), [200, 31, 7, 18, 300, 5, 77, 12]
    (rows,) = sipit.capture(model, [prompt], layer=layer, observe=observe)
    stored = integers(rows, bits=8, grouped=grouped, offset=True).to(dtype)
    (inversion,) = inverted(model, sipit.States([stored], observation=observe, layer=layer))
    assert_never_wrong(model, inversion, prompt)
    assert inversion.outcome is not Outcome.NOT_FOUND
    assert inversion.token_ids == prompt or inversion.outcome is Outcome.AMBIGUOUS


@pytest.mark.parametrize("value", [1e9, 1e19, 3.4e38])
def test_a_huge_value_in_the_last_row_hides_no_token_of_the_rows_before(value):
    model, prompt = tiny("llama"), [200, 31, 7, 18, 300, 5]
    (rows,) = sipit.capture(model, [prompt], layer=1)
    rows[-1, 5] = value
    (inversion,) = inverted(model, sipit.States([rows], layer=1))
    assert inversion.outcome is Outcome.NOT_FOUND
    assert inversion.token_ids[:-1] == prompt[:-1]


def test_a_few_equal_numbers_are_no_grid():
    assert coarse_box(torch.eye(4, 64)) is None
    assert coarse_box(torch.ones(4, 64)) is None
    assert coarse_box(torch.zeros(4, 64)) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 8, 12, 17, 100])
def test_rows_of_zeros_are_no_grid_however_many(length, dtype):
    assert coarse_box(torch.zeros(length, 64, dtype=dtype)) is None


@given(
    st.integers(0, 9999), st.integers(1, 12), st.floats(7, 38), st.integers(1, 3),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)  # fmt: skip
def test_values_beyond_all_others_make_no_grid_of_these(seed, length, decades, count, dtype):
    """Beside a huge value the others are 0 to its rounding, wherever it stands; that is no evidence of steps."""
    rows = drawn(seed, length, 64)
    rows.view(-1)[torch.randperm(64 * length, generator=torch.Generator().manual_seed(seed))[:count]] = 10.0**decades
    assert coarse_box(rows.to(dtype)) is None


@given(st.integers(0, 9999), st.sampled_from([8, 40, 100]), st.sampled_from([torch.float16, torch.bfloat16]))
def test_zeros_in_front_hide_no_grid(seed, length, dtype):
    """Groups of zeros lie on every grid: those behind them say which, though only some are looked at first."""
    rows = drawn(seed, length, 64)
    rows[: length // 2] = 0
    rows[:, :16] = 0
    stored = integers(rows, bits=8, grouped="tensor").to(dtype).float()
    assert float(outside(rows - stored, box_around(stored, NEAREST)).abs().max()) == 0
