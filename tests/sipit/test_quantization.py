"""Formats: counting is exact, scans agree with plain runs, and a margin above twice the noise is a guarantee."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from numerics.formats import FORMATS
from numerics.formats.conversion import Conversion, converted
from numerics.formats.rounding import round_to_bits
from proofs.errors import InvalidInput, Unsupported
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.cli import run
from sipit.collisions.known import families_at
from sipit.models.layers import layered_states
from sipit.models.structure import find_decoder
from sipit.prompts.corpora import whole_prompts
from sipit.quantization import Extent, Study, chosen_formats, crowds, findings, result, verdict_of
from sipit.quantization.counting import forced_collision
from sipit.quantization.formatted import in_format
from sipit.quantization.margins import Place, sampled_places, scan
from sipit.quantization.recovery import tolerance_between
from sipit.report import write_report
from tests.sipit.cases import random_prompts, tiny

SMALL = Extent(prompts=2, length=6, places=3, states=200, crossed=1, budget=5.0)


@given(st.integers(1, 8), st.integers(0, 8), st.integers(1, 5), st.integers(2, 9))
def test_counting_is_exact(bits, row_bits, width, vocabulary):
    found = forced_collision(bits=bits, row_bits=row_bits, width=width, vocabulary=vocabulary, context=50)
    states = 2 ** (bits * width + row_bits)
    prompts = sum(vocabulary**length for length in range(1, found.length + 1))
    assert prompts > states >= prompts - vocabulary**found.length
    assert found.in_context == (found.length <= 50)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from(["llama", "gpt2", "qwen3", "bloom"]), st.integers(0, 99))
def test_a_scan_agrees_with_plain_runs(family, seed):
    model = tiny(family)
    (ids,) = random_prompts(1, longest=5, seed=seed)
    place = Place(0, tuple(ids[:-1]), ids[-1])
    tokens = torch.tensor([*range(seed, seed + 20)])
    states = layered_states(model, ids, [1, 2])
    found = scan(model, place, {1: states[:1, -1], 2: states[1:, -1]}, tokens)
    classes = model.token_classes
    for number, layer in enumerate((1, 2)):
        runs = {
            token: layered_states(model, [*ids[:-1], token], [layer])[0, -1].double()
            for token in tokens.tolist()
            if classes[token] != classes[ids[-1]]
        }
        least = min(float((run - states[number, -1].double()).norm()) for run in runs.values())
        assert float(found[layer].rival[0]) == pytest.approx(least, rel=1e-4)
        assert float(found[layer].truth[0]) < 1e-4 * float(states[number, -1].norm())


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.sampled_from(["llama", "gpt2", "mistral", "qwen2"]),
    st.sampled_from(["bf16", "fp16-weights", "int8", "int4", "Q4_0", "fp8", "int8-states", "int4-states"]),
    st.integers(0, 99),
)
def test_where_noise_is_below_half_the_margin_the_nearest_token_is_the_true_one(family, name, seed):
    """Theorem 3.2: `held` means that inversion by the nearest state succeeds there."""
    model = tiny(family)
    formatted = in_format(model, FORMATS[name])
    (ids,) = random_prompts(1, longest=6, seed=seed)
    place = Place(0, tuple(ids[:-1]), ids[-1])
    exact = layered_states(model, ids, [1, 2])[:, -1]
    observed = layered_states(formatted.model, ids, [1, 2])[:, -1].float()
    if formatted.format.round_states is not None:
        observed = formatted.format.round_states(observed)
    found = scan(model, place, {layer: torch.stack([exact[layer - 1], observed[layer - 1]]) for layer in (1, 2)})
    for layer in (1, 2):
        noise = float((observed[layer - 1] - exact[layer - 1]).norm())
        if 2 * noise < 0.999 * float(found[layer].rival[0]):
            assert float(found[layer].truth[1]) < float(found[layer].rival[1])


def test_no_two_draws_of_noise_have_one_direction():
    """Seeds that follow each other, places, layers and sizes: no draw is shared."""
    state = torch.ones(1, 16, dtype=torch.float64)
    where = [(seed, place, layer) for seed in range(3) for place in range(3) for layer in (1, 2)]
    changes = [rounding(state) - state for one in where for rounding in result._leaking(*one)[len(result.BITS) :]]
    directions = torch.nn.functional.normalize(torch.cat(changes))
    alike = (directions @ directions.T).fill_diagonal_(0)
    assert len(changes) == len(where) * len(result.NOISES) * result.DRAWS and alike.max() < 0.999


def test_places_start_at_the_first_position_and_end_at_the_last():
    places = sampled_places(random_prompts(3, shortest=8, longest=8), 4)
    assert [place.position for place in places] == [0, 2, 5, 7]


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(1, 8),
)
def test_places_are_different_and_there(prompts, count):
    places = sampled_places(prompts, count)
    assert 1 <= len(places) <= count and places[0].position == 0
    assert len({(place.prefix, place.token) for place in places}) == len(places)
    for place in places:
        assert (*place.prefix, place.token) == tuple(prompts[place.prompt][: place.position + 1])


def test_a_degenerate_format_is_said_to_be_one():
    model = tiny("llama")
    once = in_format(model, FORMATS["Q8_0"])
    assert not once.degenerate
    assert in_format(once.model, FORMATS["Q8_0"]).degenerate
    assert not in_format(once.model, FORMATS["Q4_0"]).degenerate
    with torch.no_grad():
        once.model.decoder.tables[0].weight.mul_(1.01)
        once.model.decoder.tables[0].weight[:, 0].add_(1e-3)
    again = in_format(replace(once.model), FORMATS["Q8_0"])
    assert again.degenerate and again.conversion.table_change > 1e-4  # the tables are another matter
    assert "embedding rows changed" in again.arithmetic


def on_the_grid(model, name):
    """The model with the weights that a format makes of its own."""
    module = copy.deepcopy(model.module)
    module.load_state_dict(in_format(model, FORMATS[name]).model.module.state_dict())
    return replace(model, module=module, decoder=find_decoder(module))


@pytest.mark.parametrize("name", [name for name, one in FORMATS.items() if one.library == "torch" and name != "tf32"])
def test_a_format_is_degenerate_where_it_rounds_matrices_and_changes_none(name):
    """The matrices of the first model lie on no grid, those of the second on that of the format."""
    model = tiny("llama")
    once = in_format(model, FORMATS[name])
    assert not once.degenerate
    assert in_format(on_the_grid(model, name), FORMATS[name]).degenerate == (once.conversion.change > 0)


@pytest.mark.parametrize("name", ["bf16", "fp16-weights", "fp8-emulated", "Q8_0", "Q4_1"])
def test_one_row_off_the_grid_is_tested(name):
    """As where an adapter was merged into a few matrices: how little that is of the whole says nothing of it."""
    model = on_the_grid(tiny("llama"), name)
    assert in_format(model, FORMATS[name]).degenerate
    with torch.no_grad():
        model.decoder.blocks[1].mlp.up_proj.weight[3] = torch.linspace(1e-4, 3e-4, model.width)
    found = in_format(replace(model), FORMATS[name])
    assert not found.degenerate and found.conversion.change < 1e-4


def test_a_format_of_ones_own_is_degenerate_where_its_rounding_changes_nothing_and_only_there():
    """What a conversion did not look at is no field with a default: it said that nothing had changed."""

    def rounded(module, blocks):
        def quantize():
            for weight in (weight for block in blocks for weight in block.parameters() if weight.ndim >= 2):
                weight.data = round_to_bits(3)(weight.data)

        return converted(module, blocks, quantize, "float32", rescaled=True)

    own = replace(FORMATS["int4"], name="int3", library="torch", convert=rounded)
    module = copy.deepcopy(tiny("llama").module)
    decoder = find_decoder(module)
    with torch.no_grad():
        decoder.blocks[0].mlp.up_proj.weight[3] = 0
    model = replace(tiny("llama"), module=module, decoder=decoder)
    once = in_format(model, own)
    assert not once.degenerate
    assert in_format(once.model, own).degenerate
    with pytest.raises(TypeError, match="largest_change"):
        Conversion(matrices=1, left=(), change=0.1, stored="float32")


ran = {"ran_here": True, "reason": None, "first_layer_void": None, "wrong": 0, "collisions": 0}
KINDS = {
    "held": ran,
    "void": ran | {"first_layer_void": 1},
    "wrong": ran | {"wrong": 1},
    "collide": ran | {"collisions": 1},
    "overflow": ran | {"reason": "not finite", "first_layer_void": 2, "collisions": None},
    "unjudged": ran | {"reason": "its captures differ", "collisions": None},
    "missing": ran | {"ran_here": False, "reason": "no torchao", "collisions": None},
}


@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1), st.booleans())
def test_a_verdict_is_held_only_where_everything_asked_for_was_measured(kinds, named):
    found = verdict_of({"formats": [KINDS[kind] for kind in kinds], "formats_named": named})
    seen = set(kinds)
    broken = seen & {"void", "wrong", "collide", "overflow"}
    unclear = "unjudged" in seen or ("missing" in seen and (named or seen == {"missing"}))
    assert found is (Verdict.VOID if broken else Verdict.UNDECIDED if unclear else Verdict.HELD)


@pytest.mark.slow
def test_a_study_resumes_judges_and_is_json(tmp_path, monkeypatch):
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path))
    model = tiny("llama")
    prompts = random_prompts(2, shortest=6, longest=6, seed=3)
    study = Study.open(model, prompts, layers=[1, 2], extent=SMALL)
    chosen = chosen_formats(["float32", "int8", "int4-states", "tf32"])
    measured = [study.measured(one) for one in chosen]
    monkeypatch.setattr(Study, "_measure", lambda *_: pytest.fail("measured again"))
    assert [study.measured(one) for one in chosen[:3]] == measured[:3]
    with monkeypatch.context() as later, pytest.raises(pytest.fail.Exception, match="measured again"):
        later.setattr("sipit.quantization.study.installed_version", lambda _library: "99.0")
        study.measured(chosen[1])
    result = findings(study, measured)
    json.dumps(result)
    by_name = {one["format"]: one for one in result["formats"]}
    assert by_name["float32"]["first_layer_void"] is None and by_name["float32"]["recovered"] == 4
    left_out = by_name["tf32"]
    assert left_out["reason"] is not None and set(left_out) == set(by_name["float32"])
    assert left_out["prompts"] == 0 and left_out["layers"] == [] and left_out["collisions"] is None
    for one in result["formats"][:3]:
        assert one["wrong"] == 0
        counted = sum(one[key] for key in ("recovered", "wrong", "ambiguous", "not_found", "undecided"))
        assert counted == one["prompts"] == 4
        for layer in one["layers"]:
            assert (layer["guarantee"] == "held") == (layer["counterexample"] is None)
            if layer["guarantee"] == "held":
                assert layer["nearest_is_true"] == layer["positions"]
    assert verdict_of(result).value in {"held", "void"}
    assert result["leaks"][0]["bits"][0] == {"bits": 16, "recovered": 1.0}
    result["crossed"] = study.crossed()
    assert {(row["source"], row["target"]) for row in result["crossed"]} >= {("float32", "int4"), ("int4", "float32")}
    assert all(row["wrong"] == 0 for row in result["crossed"])
    record = Record("quantization", verdict_of(result), result, {"model": "tiny-llama"}, 1.0)
    for ending in (".html", ".md"):
        page = tmp_path / f"page{ending}"
        write_report(page, [record])
        text = page.read_text(encoding="utf-8")
        assert "int4-states" in text and "How much leaks" in text and "The arithmetic that really ran" in text


@pytest.mark.slow
def test_what_another_seed_drew_is_not_taken_for_this_one(tmp_path, monkeypatch):
    """The same study, after one with another seed in the same cache and in an empty one."""
    monkeypatch.setattr(result, "NOISES", (2.0, 3.0, 4.0))  # so large that some tokens are lost, and others by chance
    monkeypatch.setattr(result, "DRAWS", 16)
    model, found = tiny("llama"), []
    prompts = random_prompts(2, shortest=6, longest=6, seed=3)
    for cache, seed in (("one", 0), ("one", 1), ("two", 1)):
        monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / cache))
        study = Study.open(model, prompts, layers=[1], extent=SMALL, seed=seed)
        found.append(findings(study, [study.measured(one) for one in chosen_formats(["float32"])])["leaks"])
    first, after_another, alone = found
    assert after_another == alone != first


@pytest.fixture(scope="module")
def repeating():
    """A model, and what is known of it to collide: runs of one token."""
    model = tiny("llama")
    return in_format(model, FORMATS["float32"]), families_at(model, 1)


@pytest.mark.parametrize(("listed", "noise", "counted", "more"), [
    (2, 1.0, 1, True), (3, 1.0, 2, True), (9, 1.0, 5, False), (2, 1e-9, 0, False), (3, 4.75e-4, 1, False),
])  # fmt: skip
def test_pairs_within_noise_are_counted_and_said_to_be_more_where_more_may_follow(
    listed, noise, counted, more, monkeypatch, repeating
):
    """Six pairs, of which one collides whatever the weights; at 1e-4; the next are 9e-4, 1e-3 and 9e-3 apart."""
    monkeypatch.setattr(crowds, "LISTED", listed)
    model, families = repeating
    corpus = whole_prompts("given", [[5], [7], [5, 5], [8, 9]], independent=True)
    crowd = crowds.Crowd(corpus, {1: families}, model.before.token_classes.cpu().numpy())
    states = np.array([[1.0, 0.0], [1.0, 1e-3], [1.0, 1e-4], [1.0, 1e-2]])  # as the corpus orders them
    found = crowd.searched(model, 1, states, noise=noise)
    assert (found["below_noise"], found["below_noise_at_least"]) == (counted, more)
    assert found["collisions"] == 0
    assert found["minimum_distance"] in (None, pytest.approx(9e-4))


def test_prompts_with_one_state_are_counted_as_pairs(repeating):
    """Six pairs, of which one collides whatever the weights: what is named as closest is not that."""
    model, families = repeating
    corpus = whole_prompts("given", [[5], [7], [5, 5], [8, 9]], independent=True)
    crowd = crowds.Crowd(corpus, {1: families}, model.before.token_classes.cpu().numpy())
    found = crowd.searched(model, 1, np.ones((4, 2)), noise=1e-9)
    assert found["collisions"] == found["below_noise"] == 5 and found["minimum_distance"] == 0
    near = crowd.searched(model, 1, np.array([[1.0, 0], [1, 0], [1 + 1e-7, 0], [9, 0]]), noise=1e-9)
    assert near["collisions"] == 1 and near["closest"] == [model.model.decode([5]), model.model.decode([7])]


def test_a_layer_a_prompt_or_a_format_that_is_named_twice_is_looked_at_once():
    """As on the command line."""
    study = Study.open(tiny("llama"), [[5, 6], [5, 6], [8, 9], [6, 7]], layers=[2, 1, 2], extent=SMALL)
    assert study.layers == (1, 2) and study.prompts == ((5, 6), (8, 9))
    measured = study.measured(FORMATS["bf16"])
    assert [layer["collisions"] for layer in measured["searched"]] == [0, 0] and measured["state_type"] == "bfloat16"
    assert [one.name for one in chosen_formats(["fp16", "bf16", "fp16"])] == ["fp16", "bf16"]
    spelled = ["float16", "fp16", "bfloat16-states", "fp32"]
    assert [one.name for one in chosen_formats(spelled)] == ["fp16", "bf16-states", "float32"]


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_no_tolerance_is_made_of_states_that_overflow(value):
    states = sipit.capture(tiny("llama"), [[5, 6, 7]], layer=1)
    broken = replace(states, arrays=(torch.full_like(states.arrays[0], value),))
    for pair in ((broken, states), (states, broken)):
        with pytest.raises(Unsupported, match="finite states in fp16 and in float32, but at layer 1"):
            tolerance_between(*pair, ("fp16", "float32"))


def test_an_unknown_format_is_refused():
    with pytest.raises(InvalidInput, match="int3"):
        chosen_formats(["int3"])


def test_what_was_left_of_given_prompts_is_said_by_the_limits_themselves(tmp_path, monkeypatch, capsys):
    """Not by the longest prompt that was looked at, which may be shorter."""
    seen = Record("quantization", Verdict.UNDECIDED, {"prompts": 4, "length": 1, "formats": []})
    monkeypatch.setattr("sipit.quantization.record.quantization_record", lambda *_, **__: seen)
    (tmp_path / "p.txt").write_text("a\n" * 9)
    run(["quantization", "tiny-gpt2", "--quick", "--prompts", str(tmp_path / "p.txt")])
    assert "the first 4 different ones of 9 prompts, and of each at 12 tokens at most" in capsys.readouterr().err


@pytest.mark.slow
def test_predictions_of_a_format_are_compared_as_an_independent_sum_does():
    model, prompts = tiny("llama"), random_prompts(2, longest=6, shortest=6, seed=3)
    study = Study.open(model, prompts, layers=[1], extent=SMALL)
    same = study.measured(FORMATS["float32"])["output"]
    assert same == {"kl": dict.fromkeys(("mean", "p50", "p99", "max"), 0.0), "same_top1": 1.0}
    found = study.measured(FORMATS["bf16"])["output"]
    rounded = in_format(model, FORMATS["bf16"]).model
    expected: list[float] = []
    for ids in prompts:
        logits = [one.module(input_ids=torch.tensor([ids])).logits[0].double() for one in (model, rounded)]
        p, q = (torch.softmax(one, 1) for one in logits)
        expected += (p * (p / q).log()).sum(1).tolist()
    assert found["kl"]["mean"] == pytest.approx(sum(expected) / len(expected), abs=1e-6)
    assert found["kl"]["max"] == pytest.approx(max(expected), abs=1e-6)


@pytest.mark.slow
def test_predictions_move_where_states_alone_are_rounded():
    model, prompts = tiny("llama"), random_prompts(2, longest=6, shortest=6, seed=3)
    study = Study.open(model, prompts, layers=[1], extent=SMALL)
    assert 0 < study.measured(FORMATS["int4-states"])["output"]["kl"]["mean"] < 10
