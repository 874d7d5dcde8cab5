"""Foreign states: odd captures are diagnosed, and nothing is claimed that was not recomputed."""

import copy
import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import sipit
from numerics.networks.stream import hidden_of
from proofs.errors import InvalidInput
from sipit import strategies
from sipit.cli import run
from sipit.diagnosis.conventions import Diagnostician, diagnose
from sipit.diagnosis.findings import Cause
from sipit.diagnosis.sites import Site, Sites
from sipit.diagnosis.walk import Start
from sipit.models.structure import find_decoder
from sipit.models.tiny import BOS
from sipit.noise.distances import direction_distance, directions
from sipit.noise.number_grid import stored_grid
from tests.sipit.cases import random_prompts, tiny, with_rows

PROMPT = [104, 7, 33, 250, 9, 180, 61, 61, 2]
LAYER = 1
FAMILIES = ("llama", pytest.param("gpt2", marks=pytest.mark.slow), pytest.param("mamba", marks=pytest.mark.slow))


def hooked(model, ids, *, mask=None, **arguments):
    """States of block LAYER as another program would take them: a hook, and the whole model."""
    seen = []
    handle = model.decoder.blocks[LAYER - 1].register_forward_hook(lambda _m, _i, o: seen.append(hidden_of(o).clone()))
    if mask is not None:
        arguments["attention_mask"] = torch.tensor([mask])
    try:
        with torch.inference_mode():
            model.module(input_ids=torch.tensor([ids]), **arguments)
    finally:
        handle.remove()
    return seen[0][0]


def changed(model, change):
    module = copy.deepcopy(model.module)
    module = change(module) or module
    return replace(model, module=module, decoder=find_decoder(module), dtype=next(module.parameters()).dtype)


def eight_bits(module):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim == 2 and "emb" not in name and "wte" not in name and "wpe" not in name:
                step = parameter.abs().amax(1, keepdim=True) / 127
                parameter.copy_((parameter / step).round() * step)


def at(model, site, ids=PROMPT):
    return Sites.of(model).read(torch.tensor([ids]))[site][0]


def left_padded(model, *, counted):
    mask = [0] * 3 + [1] * len(PROMPT)
    positions = (torch.tensor([mask]).cumsum(1) - 1).clamp_min(0)
    return hooked(model, [BOS] * 3 + PROMPT, mask=mask, **({"position_ids": positions} if counted else {}))


def in_int8(rows):
    step = rows.abs().amax(1, keepdim=True) / 127
    return (rows / step).round() * step


def centred(rows):
    return rows - rows.mean(1, keepdim=True)


def autocast(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return hooked(model, PROMPT)


PLAIN = {"cause": Cause.PLAIN, "site": Site(LAYER), "factor": 1.0, "skipped": 0}
OTHER = {"cause": Cause.CONVENTION, "site": Site(LAYER), "factor": 1.0, "skipped": 0}
ROUNDED = {"cause": Cause.ROUNDING, "site": Site(LAYER), "factor": 1.0}
ODD = {
    "one forward": (lambda m: hooked(m, PROMPT), PLAIN),
    "token by token": (lambda m: sipit.capture(m, [PROMPT], layer=LAYER, cached=True)[0], PLAIN),
    "eager attention": (lambda m: hooked(changed(m, lambda x: x.set_attn_implementation("eager")), PROMPT), PLAIN),
    "left padding": (lambda m: left_padded(m, counted=True), {**OTHER, "skipped": 3}),
    "left padding, positions counted through": (lambda m: left_padded(m, counted=False), {**OTHER, "skipped": 3}),
    "right padding": (lambda m: hooked(m, PROMPT + [BOS] * 2, mask=[1] * len(PROMPT) + [0] * 2), PLAIN),
    "rows of zeros": (lambda m: torch.cat([torch.zeros(2, m.width), hooked(m, PROMPT)]), {"skipped": 2}),
    "BOS row missing": (lambda m: hooked(m, [BOS, *PROMPT])[1:], {**OTHER, "start": Start((BOS,))}),
    "after the final norm": (lambda m: at(m, Site("final")), {**OTHER, "site": Site("final")}),
    "after an input norm": (lambda m: at(m, Site(LAYER, "normed")), {**OTHER, "site": Site(LAYER, "normed")}),
    "centred": (lambda m: centred(hooked(m, PROMPT)), {**OTHER, "site": Site(LAYER, "centred")}),
    "another layer": (lambda m: at(m, Site(2)), {**OTHER, "site": Site(2)}),
    "the embedding": (lambda m: at(m, Site(0)), {**OTHER, "site": Site(0)}),
    "scaled": (lambda m: hooked(m, PROMPT) * 0.125, {**OTHER, "factor": 0.125}),
    "rows of norm one": (lambda m: directions(hooked(m, PROMPT)).float(), {**OTHER, "factor": None}),
    "bfloat16": (lambda m: hooked(changed(m, lambda x: x.bfloat16()), PROMPT), {**ROUNDED, "stored": "bfloat16"}),
    "float16": (lambda m: hooked(changed(m, lambda x: x.half()), PROMPT), {**ROUNDED, "stored": "float16"}),
    "autocast": (autocast, ROUNDED),
    "stored as bfloat16": (lambda m: hooked(m, PROMPT).bfloat16().float(), {**ROUNDED, "stored": "bfloat16"}),
    "stored as int8": (lambda m: in_int8(hooked(m, PROMPT)), {**ROUNDED, "stored": "int8, one scale a row"}),
    "8-bit weights": (lambda m: hooked(changed(m, eight_bits), PROMPT), ROUNDED),
}


@cache
def doctor(family):
    return Diagnostician(tiny(family))


QUICK = {
    "one forward",
    "left padding",
    "BOS row missing",
    "after an input norm",
    "centred",
    "scaled",
    "stored as bfloat16",
}
KINDS = [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in ODD]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_odd_captures(family, kind):
    make, expected = ODD[kind]
    rows = make(tiny(family))
    found = doctor(family).diagnose(rows, claimed=LAYER)
    if getattr(tiny(family).module.config, "residual_in_fp32", False) and rows.dtype is torch.float32:
        expected = {name: value for name, value in expected.items() if name != "stored"}  # never was a half type
    told = {name: getattr(found, name) for name in expected}
    if isinstance(expected.get("factor"), float):
        assert told.pop("factor") == pytest.approx(expected["factor"], rel=0.02)
        expected = {name: value for name, value in expected.items() if name != "factor"}
    assert told == expected
    assert list(found.token_ids) == PROMPT[: found.verified]
    assert found.verified >= len(PROMPT) // 2
    assert found.largest_residual <= found.tolerance
    if found.cause is not Cause.ROUNDING:
        assert found.complete


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(
            lambda m: torch.randn(6, m.width, generator=torch.Generator().manual_seed(0)), marks=pytest.mark.slow
        ),
        lambda m: sipit.capture(sipit.load_model("tiny-llama", seed=1), [PROMPT], layer=LAYER)[0],
        pytest.param(
            lambda m: (
                sipit.capture(sipit.load_model("tiny-llama", seed=1), [PROMPT], layer=LAYER)[0].bfloat16().float()
            ),
            marks=pytest.mark.slow,
        ),
        lambda m: torch.zeros(3, m.width),
        lambda m: torch.full((3, m.width), torch.nan),
    ],
    ids=["random vectors", "another model", "another model in bfloat16", "zeros", "nan"],
)
def test_what_no_convention_fits_is_said_so(rows):
    found = doctor("llama").diagnose(rows(tiny("llama")), claimed=LAYER)
    assert found.cause in {Cause.FOREIGN, Cause.UNEXPLAINED}
    assert found.verified == 0
    assert not found.complete
    assert found.verdict.exit_status == 3


def test_tokens_with_identical_rows_stay_a_class():
    model = with_rows("llama", [(33, 400)])
    found = diagnose(model, hooked(model, PROMPT), claimed=LAYER)
    assert list(found.token_ids) == PROMPT
    assert found.shared
    assert found.verdict == "ambiguous"


def test_rounding_is_said_where_no_token_can_be_named():
    """A near twin of the first token lies within the noise of bfloat16: the cause is told, and no token."""
    model = with_rows("llama", [(PROMPT[0], 400)], relative=2e-3)
    found = diagnose(model, hooked(changed(model, lambda x: x.bfloat16()), PROMPT), claimed=LAYER)
    assert (found.cause, found.site, found.stored) == (Cause.ROUNDING, Site(LAYER), "bfloat16")
    assert (found.verified, found.consistent, found.token_ids) == (0, len(PROMPT), ())
    assert found.verdict == "undecided"
    assert any("none is named" in sentence for sentence in found.sentences())


def test_a_known_prefix_is_taken_as_given():
    model = tiny("llama")
    known, rest = PROMPT[:4], PROMPT[4:]
    rows = hooked(model, PROMPT)[4:]
    found = doctor("llama").diagnose(rows, claimed=LAYER, known=tuple(known))
    assert (list(found.token_ids), found.cause) == (rest, Cause.CONVENTION)
    assert doctor("llama").diagnose(rows, claimed=LAYER, known=(1, 2, 3, 4)).verified == 0


@pytest.mark.slow
@settings(max_examples=40)
@given(data=st.data())
def test_a_claim_is_never_wrong_whatever_happened_to_the_states(data):
    """Whatever is claimed is recomputed here, apart from the code that claimed it."""
    model = tiny("llama")
    prompt = data.draw(strategies.prompts(model, min_length=2, max_length=8))
    rows = data.draw(strategies.perturbations()).apply(sipit.capture(model, [prompt], layer=LAYER)[0])
    found = doctor("llama").diagnose(rows, claimed=LAYER)
    if not found.verified:
        return
    end = found.first_run  # what stands behind it is a run of its own
    ids = torch.tensor([[*found.start.known, *found.token_ids[:end]]])
    states = Sites.of(model).read(ids)[found.site][0][len(found.start.known) :]
    order = range(found.skipped, found.skipped + end) if found.order is None else found.order
    observed = rows[list(order)].float()
    assert float(direction_distance(states.double(), observed.double()).max()) <= found.tolerance


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "olmo2", "mamba"])
def test_sites_agree_with_runs_that_end_there(family):
    sites = Sites.of(tiny(family))
    ids = torch.tensor(random_prompts(1, longest=7, shortest=7, seed=4))
    read = sites.read(ids)
    assert set(read) == set(sites.all())
    for site, states in read.items():
        torch.testing.assert_close(sites.network(site).run(ids), states, rtol=1e-5, atol=1e-5)


def test_grids():
    rows = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    assert stored_grid(rows) is None
    assert stored_grid(rows.bfloat16().float()) == "bfloat16"
    assert stored_grid(rows.half().float()) == "float16"
    assert stored_grid(in_int8(rows)) == "int8, one scale a row"
    step = rows.abs().max() / 127
    assert stored_grid((rows / step).round() * step).startswith("int8")


HALVES = ("llama", *(pytest.param(family, marks=pytest.mark.slow) for family in ("gpt2", "olmo2", "gemma3")))


@pytest.mark.parametrize("family", HALVES)
@pytest.mark.parametrize("half", ["mid", "attention-out", "mlp-out"])
def test_halves_of_a_block_are_known(family, half):
    rows = at(tiny(family), Site(2, half))
    found = doctor(family).diagnose(rows, claimed=LAYER)
    assert (found.cause, found.site, list(found.token_ids)) == (Cause.CONVENTION, Site(2, half), PROMPT)
    plain = sipit.capture(tiny(family), [PROMPT], layer=2, observe=half)[0]
    assert torch.allclose(plain, rows, atol=1e-5)


def test_blocks_without_halves_have_no_such_site():
    assert {site.name for site in Sites.of(tiny("mamba")).all()} == {"residual", "centred", "normed"}
    assert "mid" not in {site.name for site in Sites.of(tiny("gpt-neox")).all()}


ORDERS = {
    "all": [3, 0, 5, 7, 1, 2, 4, 6, 8],
    "reversed": [*range(8, -1, -1)],
    "two behind": [0, 1, 2, 6, 4, 5, 3, 7, 8],
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ORDERS)
def test_rows_out_of_order_are_put_in_that_of_the_prompt(family, kind):
    order, model = ORDERS[kind], tiny(family)
    found = doctor(family).diagnose(hooked(model, PROMPT)[order], claimed=LAYER)
    assert (list(found.token_ids), found.cause, found.complete) == (PROMPT, Cause.CONVENTION, True)
    assert list(found.order) == [order.index(position) for position in range(len(PROMPT))]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_so_they_are_where_the_likeliest_tokens_of_a_large_vocabulary_fit_nowhere(family, monkeypatch):
    monkeypatch.setattr("sipit.diagnosis.order._ALL", 0)
    monkeypatch.setattr("sipit.diagnosis.order._LIKELY", (1, 512))
    order = ORDERS["all"]
    found = doctor(family).diagnose(hooked(tiny(family), PROMPT)[order], claimed=LAYER)
    assert list(found.order) == [order.index(position) for position in range(len(PROMPT))]


def test_an_order_that_rows_do_not_tell_is_not_named():
    """The embedding of a rotary model is that of the token wherever it stands."""
    model = tiny("llama")
    rows = sipit.capture(model, [PROMPT], layer=0)[0][[4, 0, 1, 2, 3]]
    found = doctor("llama").diagnose(rows, claimed=0)
    assert found.order is None  # as plain a prompt as any other
    assert list(found.token_ids) == [PROMPT[at] for at in (4, 0, 1, 2, 3)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("counted", [False, True], ids=["anew", "counted on"])
def test_chunks_that_do_not_see_those_before_are_found(family, counted):
    model, at = tiny(family), 5
    positions = {"position_ids": torch.arange(at, len(PROMPT))[None]} if counted and family != "mamba" else {}
    rows = torch.cat([hooked(model, PROMPT[:at]), hooked(model, PROMPT[at:], **positions)])
    found = doctor(family).diagnose(rows, claimed=LAYER)
    assert (list(found.token_ids), found.cause, found.complete) == (PROMPT, Cause.CONVENTION, True)
    (chunk,) = found.chunks
    assert (chunk.row, list(chunk.token_ids)) == (at, PROMPT[at:])
    if family == "gpt2":
        assert chunk.start.shift == (at if counted else 0)


BETWEEN = {
    "out of order": lambda m: hooked(m, PROMPT)[ORDERS["two behind"]],
    "chunks": lambda m: torch.cat([hooked(m, PROMPT[:5]), hooked(m, PROMPT[5:])]),
    "padding tokens": lambda m: left_padded(m, counted=True),
    "rows of no token": lambda m: torch.cat([hooked(m, PROMPT), torch.ones(2, m.width)]),
}


@pytest.mark.parametrize("kind", BETWEEN)
@settings(max_examples=1)
@example(front=3, behind=2)
@given(front=st.integers(0, 3), behind=st.integers(0, 3))
def test_empty_rows_at_the_ends_move_every_number_of_a_row_and_change_nothing_else(kind, front, behind):
    model = tiny("llama")
    rows = BETWEEN[kind](model)
    alone = doctor("llama").diagnose(rows, claimed=LAYER)
    empty = torch.full((front, model.width), torch.nan), torch.zeros(behind, model.width)
    found = doctor("llama").diagnose(torch.cat([empty[0], rows, empty[1]]), claimed=LAYER)
    assert found.order == (alone.order and tuple(row + front for row in alone.order))
    assert [chunk.row for chunk in found.chunks] == [chunk.row + front for chunk in alone.chunks]
    assert [one.skipped for one in found.tried] == [one.skipped + front for one in alone.tried]
    assert found.first_run == alone.first_run == (5 if kind == "chunks" else alone.verified)
    assert (found.skipped, found.rows) == (alone.skipped + front, len(rows) + front + behind)
    assert (found.token_ids, found.cause, found.verdict) == (alone.token_ids, alone.cause, alone.verdict)
    explained = [0 if one.padding is None else one.padding.rows for one in (alone, found)]
    assert explained[1] == explained[0] + front + behind


def test_rows_of_whole_blocks_may_be_cut_away_inside_what_is_known():
    model, ids = tiny("llama"), [7 * n % 256 for n in range(40)]
    rows = hooked(model, ids)[32:]
    found = doctor("llama").diagnose(rows, claimed=LAYER, known=tuple(ids[:37]))
    assert (found.start, list(found.token_ids)) == (Start(tuple(ids[:32])), ids[32:])
    assert found.complete
    assert not doctor("llama").diagnose(rows, claimed=LAYER).verified


def test_another_width_is_refused():
    with pytest.raises(InvalidInput, match=r"\(T, 64\)"):
        diagnose(tiny("gpt2"), torch.ones(3, 32))


def test_the_command_needs_no_layer_and_names_it(capsys, tmp_path):
    path = tmp_path / "s.safetensors"
    save_file({"a": at(tiny("llama"), Site(2)), "b": hooked(tiny("llama"), [BOS, *PROMPT])[1:].contiguous()}, path)
    capsys.readouterr()
    status = run(["invert", "tiny-llama", "--states", str(path), "--diagnose", "--json"])
    record = json.loads(capsys.readouterr().out)
    assert (status, record["verdict"]) == (0, "recovered")
    first, second = record["result"]["diagnosis"]
    assert first["site"] == {"layer": 2, "name": "residual", "normed": False}
    assert record["result"]["tolerance"]["value"] == max(first["tolerance"], second["tolerance"])
    assert "; shared keys and values; residuals and decisions in float64" in record["provenance"]["arithmetic"]
    assert second["start"]["known"] == [BOS]
    assert first["token_ids"] == second["token_ids"] == PROMPT
    assert run(["invert", "tiny-llama", "--states", str(path), "--diagnose", "--prefix", "[600]"]) == 2
