"""Values that were rounded when they were stored: the box around them holds the state, and tokens come back from it."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import sipit
from sipit.inversion.outcome import Outcome
from sipit.inversion.partial import invert_partial
from sipit.models.copies import in_dtype
from sipit.noise.stored_steps import ANYHOW, NEAREST, box_around, coarse_box, outside
from tests.sipit.cases import altered, assert_never_wrong, inverted, random_prompts, relabelled, tiny, with_rows

GROUPS = ("tensor", "row", "head", "block", "channel")
CHANCE = torch.Generator().manual_seed(7)
ROUNDED = {
    "nearest": torch.round,
    "cut off": torch.trunc,
    "down": torch.floor,
    "up": torch.ceil,
    "by chance": lambda values: torch.floor(values + torch.rand(values.shape, generator=CHANCE)),
}


def integers(rows, *, bits, grouped, offset=False, width=16, rounded=torch.round):
    """Rows (T, n) rounded to 2^bits values of each group, and widened again."""
    length, n = rows.shape
    values = rows.T if grouped == "channel" else rows
    size = {"tensor": rows.numel(), "row": n, "head": width, "block": n // 2, "channel": length}[grouped]
    groups = values.reshape(-1, size)
    if offset:
        least = groups.amin(1, keepdim=True)
        step = (groups.amax(1, keepdim=True) - least) / (2**bits - 1)
        stored = rounded((groups - least) / step) * step + least
    else:
        step = groups.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        stored = rounded(groups / step) * step
    return stored.reshape(n, length).T.clone() if grouped == "channel" else stored.reshape(length, n)


def drawn(seed, length, width):
    generator = torch.Generator().manual_seed(seed)
    scales = (0.5 * torch.randn(width, generator=generator)).exp()
    return torch.randn(length, width, generator=generator) * scales


# The box.


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("grouped", ["tensor", "row", "block"])
@pytest.mark.parametrize(("observe", "layer"), [("keys,values", 1), ("residual", 2), ("logits", None)])
def test_prompts_come_back_from_a_grid_with_an_offset_in_a_half_type(observe, layer, grouped, dtype):
    model, prompt = tiny("llama"), [200, 31, 7, 18, 300, 5, 77, 12]
    (rows,) = sipit.capture(model, [prompt], layer=layer, observe=observe)
    stored = integers(rows, bits=8, grouped=grouped, offset=True).to(dtype)
    (inversion,) = inverted(model, sipit.States([stored], observation=observe, layer=layer))
    assert_never_wrong(model, inversion, prompt)
    assert inversion.outcome is not Outcome.NOT_FOUND
    assert inversion.token_ids == prompt or inversion.outcome is Outcome.AMBIGUOUS


def test_a_few_equal_numbers_are_no_grid():
    assert coarse_box(torch.eye(4, 64)) is None
    assert coarse_box(torch.ones(4, 64)) is None
    assert coarse_box(torch.zeros(4, 64)) is None


# Tokens.


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(("observe", "layer"), [("keys", 1), ("values", 1), ("keys,values", 1), ("residual", 2)])
@pytest.mark.parametrize("grouped", GROUPS)
def test_prompts_come_back_from_eight_bits_without_a_tolerance(family, observe, layer, grouped):
    model, prompts = tiny(family), [[*range(9, 29)], [200, 31, 7, 18, 300, 5, 77, 12] * 3]
    states = sipit.capture(model, prompts, layer=layer, observe=observe)
    stored = sipit.States([integers(one, bits=8, grouped=grouped) for one in states], observation=observe, layer=layer)
    for inversion, prompt in zip(inverted(model, stored), prompts, strict=True):
        assert_never_wrong(model, inversion, prompt)
        assert inversion.token_ids == prompt
        assert inversion.outcome is Outcome.RECOVERED


def scaled_floats(rows):
    """Rows in 8-bit floating point, with one scale."""
    scale = rows.abs().max() / 448
    return (rows / scale).to(torch.float8_e4m3fn).to(rows.dtype) * scale


@pytest.mark.parametrize("held", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("computed", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stored", ["int8", "fp8"])
def test_so_they_do_from_what_is_handed_out_in_a_half_type(held, computed, stored):
    model, prompt = tiny("llama"), [200, 31, 7, 18, 300, 5, 77, 12] * 2
    states = sipit.capture(in_dtype(model, computed), [prompt], layer=1, observe="keys,values")
    rows = [one.float() for one in states]
    rows = [integers(one, bits=8, grouped="head") if stored == "int8" else scaled_floats(one) for one in rows]
    (inversion,) = inverted(model, sipit.States([rows[0].to(held).float()], observation="keys,values", layer=1))
    assert_never_wrong(model, inversion, prompt)
    assert inversion.token_ids == prompt


@pytest.mark.parametrize("how", [how for how in ROUNDED if how != "nearest"])
@pytest.mark.parametrize(("observe", "layer"), [("keys,values", 1), ("residual", 2)])
def test_so_they_do_however_they_were_rounded(how, observe, layer):
    model, prompts = tiny("llama"), [[*range(9, 29)], [200]]
    states = sipit.capture(model, prompts, layer=layer, observe=observe)
    rows = [integers(one, bits=8, grouped="head", rounded=ROUNDED[how]) for one in states]
    stored = sipit.States(rows, observation=observe, layer=layer)
    for inversion, prompt in zip(inverted(model, stored), prompts, strict=True):
        assert (inversion.outcome, inversion.token_ids) == (Outcome.RECOVERED, prompt)
        assert inversion.note is not None and "whole step" in inversion.note


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_half_type_may_have_been_cut_off(family):
    model, prompt = tiny(family), [9, 200, 31, 7, 18]
    states = sipit.capture(model, [prompt], layer=2)
    cut = [(one.view(torch.int32) & ~0xFFFF).view(torch.float32) for one in states]
    (inversion,) = inverted(model, relabelled(states, cut))
    assert_never_wrong(model, inversion, prompt)
    assert inversion.token_ids == prompt


@pytest.mark.parametrize("how", ROUNDED)
@pytest.mark.parametrize("beside", [-1.0, -0.6, -0.5, -0.4, 0.4, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("prompt", [[200], [200, 200, 200], [9, 200, 31], [77, 77]])
def test_a_twin_half_a_step_beside_is_never_named_for_the_true_token(how, beside, prompt):
    """Every coordinate of the twin lies a part of a step beside that of the other token."""

    def change(module):
        rows = module.get_input_embeddings().weight
        step = rows[200].abs().amax() / 127
        rows[77] = rows[200] + beside * step * (rows[200].sign() if how == "cut off" else 1.0)

    model = altered("llama", change)
    step = model.module.get_input_embeddings().weight[200].detach().abs().amax() / 127
    (rows,) = sipit.capture(model, [prompt], layer=0)
    stored = sipit.States([ROUNDED[how](rows / step) * step], layer=0)
    (inversion,) = inverted(model, stored)
    assert_never_wrong(model, inversion, prompt)


@settings(max_examples=10)
@given(
    st.integers(0, 9999), st.sampled_from(["llama", "gpt2", "gemma3"]), st.sampled_from([2, 3, 4, 8]),
    st.sampled_from([*ROUNDED]),
)  # fmt: skip
def test_few_bits_are_never_answered_wrongly(seed, family, bits, how):
    model, prompts = tiny(family), random_prompts(2, longest=8, seed=seed)
    states = sipit.capture(model, prompts, layer=1, observe="values")
    stored = [integers(one, bits=bits, grouped="head", rounded=ROUNDED[how]) for one in states]
    for inversion, prompt in zip(
        inverted(model, sipit.States(stored, observation="values", layer=1)), prompts, strict=True
    ):
        assert_never_wrong(model, inversion, prompt)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("spread", [0.003, 0.01, 0.03, 0.1])
def test_a_box_that_holds_many_tokens_names_none_before_the_true_one_is_tested(bits, spread):
    """Four hundred tokens about as far apart as what is stored alike is wide: the true one is not tested first."""

    def crowd(module):
        rows = module.get_input_embeddings().weight
        drawn = torch.randn(400, rows.shape[1], generator=torch.Generator().manual_seed(1))
        rows[100:500] = rows[100] * (1 + spread * drawn)

    model = altered("llama", crowd)
    generator = torch.Generator().manual_seed(2)
    prompts = torch.randint(100, 500, (12, 3), generator=generator).tolist()
    states = sipit.capture(model, prompts, layer=1, observe="values")
    stored = [integers(one, bits=bits, grouped="head") for one in states]
    found = inverted(model, sipit.States(stored, observation="values", layer=1))
    for inversion, prompt in zip(found, prompts, strict=True):
        assert_never_wrong(model, inversion, prompt)


def by_row(rows, bits):
    """Rows stored in whole steps, each in so many bits."""
    return torch.cat([integers(row[None], bits=few, grouped="row") for row, few in zip(rows, bits, strict=True)])


@pytest.mark.parametrize("small", [1024, 0])  # tokens of a vocabulary that is tested whole behind every alternative
@pytest.mark.parametrize("relative", [0.05, 0.2])
@pytest.mark.parametrize(("length", "told"), [(5, True), (3, False)])
def test_twins_in_one_box_are_told_apart_by_later_rows(relative, small, length, told, monkeypatch):
    """In a large vocabulary by two of them: of that one, one row is not enough."""
    model, prompt = with_rows("llama", [(200, 77)], relative=relative), [9, 200, 31, 7, 18][:length]
    monkeypatch.setattr("sipit.inversion.lookahead._SMALL", small)
    monkeypatch.setattr("sipit.inversion.lookahead._likeliest", lambda *asked: [prompt[asked[-1]], 5, 6])
    (rows,) = sipit.capture(model, [prompt], layer=2)
    (inversion,) = inverted(model, sipit.States([by_row(rows, [8, 2, 8, 8, 8][:length])], layer=2))
    assert_never_wrong(model, inversion, prompt)
    assert (inversion.outcome is Outcome.RECOVERED) == (told or small == 1024)
    assert inversion.tokens[1].told_apart_later == (told or small == 1024)


def test_a_later_box_that_holds_two_tokens_strikes_nothing_out(monkeypatch):
    """Which of both follows is not known, and in a large vocabulary the right one may be one that was not tested."""
    monkeypatch.setattr("sipit.inversion.lookahead._SMALL", 0)
    model, prompt = with_rows("llama", [(200, 77), (31, 90)], relative=0.01), [9, 200, 31, 7, 18]
    (rows,) = sipit.capture(model, [prompt], layer=2)
    (inversion,) = inverted(model, sipit.States([by_row(rows, [8, 2, 4, 8, 8])], layer=2))
    assert_never_wrong(model, inversion, prompt)
    assert inversion.tokens[1].outcome is Outcome.AMBIGUOUS
    assert inversion.tokens[1].told_apart_later == 0


def with_a_row_made_to_mislead(family):
    """Tokens 200 and 77 are near twins, and 90 behind 9, 77 has the state of 31 behind 9, 200."""

    def twin(module):
        rows = module.get_input_embeddings().weight
        rows[77] = rows[200]
        rows[77, : rows.shape[1] // 2] *= 1.2

    module = altered(family, twin).module.requires_grad_(False)
    rows = module.get_input_embeddings().weight.detach()

    def state(second, third):
        inputs = torch.cat([rows[[9, second]], third[None]])[None]
        return module(inputs_embeds=inputs, output_hidden_states=True).hidden_states[1][0, 2]

    wanted, row = state(200, rows[31]), rows[31].clone().requires_grad_()
    descent = torch.optim.LBFGS([row], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        descent.zero_grad()
        off = (state(77, row) - wanted).square().sum()
        off.backward()
        return off

    descent.step(closure)

    def change(module):
        twin(module)
        module.get_input_embeddings().weight[90] = row.detach()

    return altered(family, change)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("behind", [[], [7], [7, 18]])
def test_one_row_that_is_made_to_mislead_strikes_nothing_out(family, behind, monkeypatch):
    monkeypatch.setattr("sipit.inversion.lookahead._SMALL", 0)
    model, prompt = with_a_row_made_to_mislead(family), [9, 200, 31, *behind]
    named = [9, 200, 90, *behind]  # the likeliest, of which the true one is none
    monkeypatch.setattr("sipit.inversion.lookahead._likeliest", lambda *asked: [named[asked[-1]], 5, 6])
    (rows,) = sipit.capture(model, [prompt], layer=1)
    stored = sipit.States([by_row(rows, [8, 2, *[8] * (1 + len(behind))])], layer=1)
    assert_never_wrong(model, inverted(model, stored)[0], prompt)


@settings(max_examples=10)
@given(
    st.sampled_from(["llama", "gpt2"]), st.sampled_from([0.01, 0.05, 0.2]), st.sampled_from([1024, 0]),
    st.lists(st.sampled_from([2, 3, 4, 8]), min_size=5, max_size=5), st.sampled_from([200, 77]),
    st.sampled_from([31, 90]),
)  # fmt: skip
def test_later_rows_never_speak_for_a_wrong_twin(family, relative, small, bits, second, third):
    model, prompt = with_rows(family, [(200, 77), (31, 90)], relative=relative), [9, second, third, 7, 18]
    (rows,) = sipit.capture(model, [prompt], layer=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sipit.inversion.lookahead._SMALL", small)
        (inversion,) = inverted(model, sipit.States([by_row(rows, bits)], layer=2))
    assert_never_wrong(model, inversion, prompt)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_was_computed_in_float64_fits_however_it_was_stored(dtype):
    model, prompts = tiny("llama", "float64"), [[9, 29, 200, 31, 7], [18, 3]]
    states = sipit.capture(model, prompts, layer=2)
    stored = relabelled(states, [one.to(dtype) for one in states])
    for inversion, prompt in zip(inverted(model, stored), prompts, strict=True):
        assert (inversion.outcome, inversion.token_ids, inversion.note) == (Outcome.RECOVERED, prompt, None)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_states_of_even_numbers_are_not_taken_for_rounded_ones(family):
    """Embedding rows of whole numbers lie on a grid of step two but for one, which the box would hold as well."""

    def change(module):
        rows = module.get_input_embeddings().weight
        drawn = torch.randint(-3, 4, rows.shape, generator=torch.Generator().manual_seed(0))
        rows.copy_(2.0 * drawn)
        rows[77] = rows[200]
        rows[77, 3] += 1
        for name, other in module.named_parameters():
            if "wpe" in name:
                other.zero_()

    model, prompts = altered(family, change), [[9, 200, 31, 7, 18], [200], [77], [5, 77, 200, 3]]
    states = sipit.capture(model, prompts, layer=0)
    for inversion, prompt in zip(inverted(model, states), prompts, strict=True):
        assert_never_wrong(model, inversion, prompt)
        assert inversion.token_ids == prompt


@pytest.mark.parametrize("policy", ["draft", "nearest", "exhaustive"])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_clipped_state_is_not_taken_for_that_of_a_twin_which_ends_there(bits, policy):
    """Two tokens that one coordinate tells apart, in which both are stored as the largest level."""

    def change(module):
        rows = module.get_input_embeddings().weight
        rows[77] = rows[200]
        rows[200, 3], rows[77, 3] = 1.5 * rows[200].abs().amax(), 1.1 * rows[200].abs().amax()

    model, most = altered("llama", change), 2 ** (bits - 1) - 1
    step = model.module.get_input_embeddings().weight[77].detach().abs().amax() / most
    for prompt in ([200], [77], [9, 200, 31]):
        (rows,) = sipit.capture(model, [prompt], layer=0)
        stored = sipit.States([(rows / step).round().clamp(-most, most) * step], layer=0)
        (inversion,) = inverted(model, stored, policy=policy)
        assert_never_wrong(model, inversion, prompt)


def test_a_box_that_holds_only_the_first_rows_falls_back_as_one_that_holds_none():
    """A later row is off its grid by more than the box has room for, but by less than half types move it."""
    model, prompt = tiny("llama"), [9, 200, 31, 7, 18]
    (rows,) = sipit.capture(model, [prompt], layer=1, observe="values")
    stored = integers(rows, bits=8, grouped="row")
    stored[2] += 0.8 * stored[2].abs().amax() / 127
    (inversion,) = inverted(model, sipit.States([stored], observation="values", layer=1))
    assert (inversion.outcome, inversion.token_ids) == (Outcome.RECOVERED, prompt)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_was_rounded_when_stored_is_told_from_what_was_computed_so(dtype):
    """Two tokens that a bfloat16 computation cannot tell apart, but its storage can; and the answer says so."""
    model, prompt = with_rows("llama", [(200, 77)], relative=0.03), [9, 200, 31, 7, 18]
    stored = sipit.States([one.to(dtype) for one in sipit.capture(model, [prompt], layer=2)], layer=2)
    (inversion,) = inverted(model, stored)
    assert inversion.token_ids == prompt
    if inversion.note is not None:
        assert "rounded to" in inversion.note


@pytest.mark.parametrize("relative", [0.003, 0.01, 0.03])
@settings(max_examples=10)
@given(seed=st.integers(0, 9999))
def test_what_was_computed_in_a_half_type_is_not_taken_for_rounded(relative, seed):
    """Near twins in states of a bfloat16 run: whichever of both hypotheses answers, never the twin alone."""
    prompt = random_prompts(1, longest=6, seed=seed)[0]
    prompt[len(prompt) // 2] = 200
    model = with_rows("llama", [(200, 77)], relative=relative)
    states = sipit.capture(in_dtype(model, torch.bfloat16), [prompt], layer=1)
    (inversion,) = inverted(model, sipit.States(states.arrays, layer=1))
    assert_never_wrong(model, inversion, prompt)


@pytest.mark.parametrize("grouped", ["row", "head"])
def test_some_rows_of_a_prompt_come_back_as_well(grouped):
    model, prompt = tiny("llama"), [9, 200, 31, 7, 18]
    (rows,) = sipit.capture(model, [prompt], layer=2)
    stored = integers(rows, bits=8, grouped=grouped)[[1, 3, 4]]
    found = invert_partial(model, stored, layer=2, positions=[1, 3, 4], known={0: 9, 2: 31})
    assert (found.outcome, found.token_ids) == (Outcome.RECOVERED, prompt)
