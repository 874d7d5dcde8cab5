"""Tokens come back from values that were rounded when they were stored, and none is named wrongly."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Outcome
from sipit.inversion.partial import invert_partial
from sipit.models.copies import in_dtype
from tests.sipit.cases import (
    altered,
    assert_never_wrong,
    inverted,
    random_prompts,
    relabelled,
    rest_slow,
    tiny,
    with_rows,
)
from tests.sipit.storing import GROUPS, ROUNDED, by_row, integers

PLACED = [[9, 200, 31], [77, 77], [200], [200, 200, 200]]
BOXES = [*itertools.product([0.003, 0.01, 0.03, 0.1], [4, 8])]

PLACES = [
    ("keys", 1),
    ("residual", 2),
    *(pytest.param(observe, 1, marks=pytest.mark.slow) for observe in ("values", "keys,values")),
]


@pytest.mark.parametrize("family", rest_slow("llama", of=["llama", "gpt2"]))
@pytest.mark.parametrize(("observe", "layer"), PLACES)
@pytest.mark.parametrize("grouped", rest_slow("row", "channel", of=GROUPS))
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


@pytest.mark.parametrize("held", rest_slow(torch.float16, of=[torch.float32, torch.bfloat16, torch.float16]))
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


@pytest.fixture
def one_search(monkeypatch):
    """Lets every search but the first end for want of time before it begins."""
    begun, genuine = [], Inverter._search

    def search(self, *arguments):
        begun.append(genuine(self, *arguments))
        if len(begun) > 1:
            begun[-1].clock.charge(float("inf"))
        return begun[-1]

    monkeypatch.setattr(Inverter, "_search", search)
    return begun


@pytest.mark.parametrize("how", ROUNDED)
def test_what_was_found_is_not_lost_where_the_time_ends_in_the_larger_box(how, one_search):
    """In the smaller one a token may be named, or none: none stays named, and what was found is listed."""
    model, prompt = tiny("llama"), [200]
    states = sipit.capture(model, [prompt], layer=2)
    stored = sipit.States([integers(one, bits=8, grouped="head", rounded=ROUNDED[how]) for one in states], layer=2)
    (inversion,) = inverted(model, stored, [prompt])
    assert len(one_search) > 1 and inversion.token_ids == [None] and inversion.matches_truth is False
    assert "the time budget ended before it was known what fits if values moved" in inversion.note
    if how == "nearest":
        assert inversion.outcome is Outcome.BUDGET_EXHAUSTED
        assert [(one.token_ids, "rounded to the nearest" in one.reason) for one in inversion.alternatives] == [
            ([200], True)
        ]
        assert (inversion.text, inversion.pieces) == (None, [None]) and inversion.tokens[0].residual is not None
    else:
        assert inversion.outcome is Outcome.NOT_FOUND and inversion.alternatives[0].token_ids


def test_several_tokens_that_fit_stay_where_the_time_ends_in_the_larger_box(one_search):
    model = altered("llama", lambda module: twin(module, 0.05))
    step = model.module.get_input_embeddings().weight[200].detach().abs().amax() / 127
    (rows,) = sipit.capture(model, [[9, 200]], layer=0)
    (inversion,) = inverted(model, sipit.States([torch.round(rows / step) * step], layer=0))
    assert [one.outcome for one in inversion.tokens] == [Outcome.BUDGET_EXHAUSTED, Outcome.AMBIGUOUS]
    assert [{*one.token_ids} for one in inversion.alternatives] == [{9}, {77, 200}]


def twin(module, beside, cut=False):
    """Makes row 77 one that lies a part of a step beside row 200 in every coordinate."""
    rows = module.get_input_embeddings().weight
    step = rows[200].abs().amax() / 127
    rows[77] = rows[200] + beside * step * (rows[200].sign() if cut else 1.0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_half_type_may_have_been_cut_off(family):
    model, prompt = tiny(family), [9, 200, 31, 7, 18]
    states = sipit.capture(model, [prompt], layer=2)
    cut = [(one.view(torch.int32) & ~0xFFFF).view(torch.float32) for one in states]
    (inversion,) = inverted(model, relabelled(states, cut))
    assert_never_wrong(model, inversion, prompt)
    assert inversion.token_ids == prompt


@pytest.mark.parametrize("how", ROUNDED)
@pytest.mark.parametrize("beside", rest_slow(-0.6, 0.5, of=[-1.0, -0.6, -0.5, -0.4, 0.4, 0.5, 0.6, 1.0]))
@pytest.mark.parametrize("prompt", rest_slow(PLACED[0], of=PLACED))
def test_a_twin_half_a_step_beside_is_never_named_for_the_true_token(how, beside, prompt):
    """Every coordinate of the twin lies a part of a step beside that of the other token."""
    model = altered("llama", lambda module: twin(module, beside, cut=how == "cut off"))
    step = model.module.get_input_embeddings().weight[200].detach().abs().amax() / 127
    (rows,) = sipit.capture(model, [prompt], layer=0)
    stored = sipit.States([ROUNDED[how](rows / step) * step], layer=0)
    (inversion,) = inverted(model, stored)
    assert_never_wrong(model, inversion, prompt)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("box", BOXES, ids=str)
def test_a_box_that_holds_many_tokens_names_none_before_the_true_one_is_tested(box):
    """Four hundred tokens about as far apart as what is stored alike is wide: the true one is not tested first."""
    spread, bits = box

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


@pytest.mark.parametrize("small", [1024, 0])  # tokens of a vocabulary that is tested whole behind every alternative
@pytest.mark.parametrize("relative", rest_slow(0.2, of=[0.05, 0.2]))
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
@pytest.mark.parametrize("behind", rest_slow([7], of=[[], [7], [7, 18]]))
def test_one_row_that_is_made_to_mislead_strikes_nothing_out(family, behind, monkeypatch):
    monkeypatch.setattr("sipit.inversion.lookahead._SMALL", 0)
    model, prompt = with_a_row_made_to_mislead(family), [9, 200, 31, *behind]
    named = [9, 200, 90, *behind]  # the likeliest, of which the true one is none
    monkeypatch.setattr("sipit.inversion.lookahead._likeliest", lambda *asked: [named[asked[-1]], 5, 6])
    (rows,) = sipit.capture(model, [prompt], layer=1)
    stored = sipit.States([by_row(rows, [8, 2, *[8] * (1 + len(behind))])], layer=1)
    assert_never_wrong(model, inverted(model, stored)[0], prompt)


@pytest.mark.slow
@settings(max_examples=4)
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


@pytest.mark.slow
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
