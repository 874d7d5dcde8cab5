"""Hunts for collisions: states are those of stand-alone runs, and interrupted ones resume to the same bits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sipit
from proofs.errors import InvalidInput
from proofs.evidence import read_record
from proofs.verdict import Verdict
from sipit.cli import run
from sipit.collisions.causes import StandAlone
from sipit.collisions.examination import examine
from sipit.collisions.findings import LocalSearch
from sipit.collisions.hunts import collapse, continuations, hunt
from sipit.collisions.hunts.bases import has_room
from sipit.collisions.hunts.collapse import FORMATS, fading, hunt_collapse, in_dtype
from sipit.collisions.hunts.continuations import continuation_states
from sipit.collisions.hunts.swaps import swaps
from sipit.collisions.known import Families
from sipit.collisions.record import collision_record
from sipit.models.length import LengthDependence
from sipit.prompts.corpora import read_corpus, whole_prompts
from sipit.report import render, write_report
from sipit.states.store import store_states
from tests.sipit.cases import altered, rest_slow, tiny, with_rows

NOTHING = Families(repeats=False, permutations=False, reach=None, back=0, anywhere=False)  # is known to collide


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    model = tiny("qwen2")
    corpus = read_corpus(model, "builtin", limit=100)
    alone = StandAlone.of(model)
    states = store_states(model, corpus.prompts, layers=[2], folder=folder, batch=16)[2]
    return alone, corpus, [examine(alone, corpus, states, layer=2, threshold=None, seed=0)]


def hunted(searched, name, tmp_path):
    found = hunt(*searched, [name], folder=tmp_path, threshold=None, seed=0, memory=4, listed=20)
    assert list(found) == [name]
    return found[name]


@pytest.mark.parametrize("family", ["qwen2", "mamba"])
def test_states_of_continuations_are_those_of_stand_alone_runs(family, tmp_path):
    model = tiny(family)
    prompts = [[5], [1, 2, 3]]
    states = continuation_states(model, prompts, layer=2, folder=tmp_path)
    assert states.shape == (2 * model.vocabulary_size, model.width)
    for number, ids in enumerate(prompts):
        for token in (0, 7, model.vocabulary_size - 1):
            alone = sipit.capture(model, [[*ids, token]], layer=2).arrays[0][-1].numpy()
            row = states[number * model.vocabulary_size + token]
            np.testing.assert_allclose(row, alone, rtol=1e-4, atol=1e-4 * np.linalg.norm(alone))


def test_interrupted_continuations_are_resumed_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(continuations, "TOKENS", 200)
    model, prompts = tiny("qwen2"), [[5], [1, 2, 3]]
    whole = continuation_states(model, prompts, layer=1, folder=tmp_path / "..")

    def stop(done, total):
        if done >= 700:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        continuation_states(model, prompts, layer=1, folder=tmp_path, progress=stop)
    seen = []
    again = continuation_states(
        model, prompts, layer=1, folder=tmp_path, progress=lambda done, total: seen.append(done)
    )
    assert seen == [912, 1024] and np.array_equal(whole, again)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def _flipped(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut, _flipped, Path.unlink])
@pytest.mark.parametrize("ending", [".json", ".npy"])
def test_continuations_that_are_not_as_they_were_written_are_computed_anew(tmp_path, damage, ending):
    model, prompts = tiny("gpt2"), [[3, 1], [4]]
    whole = np.array(continuation_states(model, prompts, layer=1, folder=tmp_path))
    (file,) = tmp_path.glob(f"*{ending}")
    damage(file)
    computed = []
    again = continuation_states(
        model, prompts, layer=1, folder=tmp_path, progress=lambda done, _: computed.append(done)
    )
    assert computed and np.array_equal(whole, again)
    computed.clear()
    continuation_states(model, prompts, layer=1, folder=tmp_path, progress=lambda done, _: computed.append(done))
    assert not computed


@pytest.mark.slow
def test_continuations_of_the_closest_prompts_are_compared_all_with_all(searched, tmp_path):
    found = hunted(searched, "continuations", tmp_path)
    (layer,) = found["layers"]
    assert layer["prompts"] == len(layer["bases"]) * 512 == 5120 and layer["bases_left_out"] == 0
    assert layer["pairs"] == 5120 * 5119 // 2 and found["summary"].startswith("layer 2: 0 hits")
    lengths = [len(ids) for ids in layer["base_token_ids"]]
    assert lengths == sorted(lengths)
    first, second = layer["closest"][0]
    for number, ids in zip((first, second), layer["closest_prompts"][0]["token_ids"], strict=True):
        assert [*layer["base_token_ids"][number // 512], number % 512] == ids


@pytest.mark.parametrize("family", rest_slow("gpt2", of=["gpt2", "qwen2"]))
def test_no_token_is_put_behind_a_prompt_as_long_as_the_context(family, tmp_path):
    """There a table of positions has no row (GPT-2), or the model runs where it was never trained (Qwen2)."""
    model = tiny(family)
    ids = [[5] * (model.context - 1), *([token, 7] * (model.context // 2) for token in range(2))]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"token_ids": row}) + "\n" for row in ids))
    (tmp_path / "full.jsonl").write_text("".join(json.dumps({"token_ids": row}) + "\n" for row in ids[1:]))

    def searched_from(name):
        record = collision_record(model, str(tmp_path / name), layers=[1], searches=["continuations"], listed=1)
        return record.result["searches"]["continuations"]

    (layer,) = searched_from("p.jsonl")["layers"]
    assert layer["base_token_ids"] == ids[:1] and layer["bases_left_out"] == layer["bases_full"] == 2
    assert searched_from("full.jsonl")["layers"] == []
    assert searched_from("full.jsonl")["summary"].startswith("layer 1: no token fits behind the closest prompts")


def test_no_search_goes_on_to_lengths_that_make_another_network():
    model = tiny("qwen2")
    model = replace(model, decoder=replace(model.decoder, lengths=LengthDependence((20,))))
    assert [has_room(model, length) for length in (19, 20, 21)] == [True, False, False]
    assert hunt_collapse(model, read_corpus(model, "builtin", limit=50), {1: NOTHING})["length"] == 20


@pytest.mark.slow
def test_swaps_change_one_token_for_one_that_is_near(searched, tmp_path):
    model = with_rows("qwen2", [(1, 2), (1, 3)], relative=1e-3)
    first, *changed = swaps(model, [[1, 9]], nearest=2)
    assert first == [1, 9] and sorted(changed[:2]) == [[2, 9], [3, 9]]
    assert len(swaps(model, [[1, 9], [4]], nearest=2)) == 1 + 4 + 1 + 2
    found = hunted(searched, "swaps", tmp_path)
    closest = found["layers"][0]["outside"]["minimum_distance"]
    assert closest < searched[2][0].findings.minimum_outside and found["collisions"] == []


def test_fading_tells_what_a_format_hides():
    real = np.array([[4.0], [2.0], [1.0], [0.5], [0.0], [0.25]])
    shown = np.array([[4.0], [0.0], [1.0], [0.0], [0.0], [0.0]])
    sure = {"states": np.ones((6, 1)), "errors": np.zeros(6), "known": np.zeros(6, bool)}
    found = fading(shown, real, **sure)
    assert found["bit_identical"] == 3 and found["first_bit_identical"] == 2 and found["lengths"] == 6
    assert found["undecided"] == 1 and found["known_to_collide"] == 0
    assert found["always_from"] == 6 and found["minimum_distance"] == 0 == found["minimum_distance_float64"]
    assert [(at["length"], at["distance_float64"]) for at in found["distances"]] == [(1, 4.0), (2, 2.0), (4, 0.5)]
    later = fading(shown, real, **sure, shortest=2)
    assert later["first_bit_identical"] == 3 and later["always_from"] == 7 and later["lengths"] == 6
    assert [(at["length"], at["distance_float64"]) for at in later["distances"]] == [(2, 4.0), (4, 1.0)]
    broken = fading(np.array([[np.nan], [1.0]]), np.ones((2, 1)), **{name: one[:2] for name, one in sure.items()})
    assert broken["overflown"] == 1 and broken["distances"][0]["distance"] is None and broken["always_from"] is None


lengths = st.tuples(st.sampled_from([0.0, 1.0]), st.floats(0, 4), st.floats(0, 4), st.booleans())


@given(st.lists(lengths, min_size=1, max_size=9))
def test_nothing_is_hidden_that_float64_may_have_made_up_or_that_collides_over_the_reals(rows):
    """Every length that the format does not tell apart is of one kind of three."""
    shown, real, errors, collide = (np.array(one) for one in zip(*rows, strict=True))
    found = fading(shown[:, None], real[:, None], states=np.ones((len(rows), 1)), errors=errors, known=collide)
    equal = [(distance > error, known) for told, distance, error, known in rows if told == 0]
    assert found["bit_identical"] == equal.count((True, False)) and found["undecided"] == equal.count((False, False))
    assert found["known_to_collide"] == collide.sum()


def in_bfloat16(model, families, length, monkeypatch):
    monkeypatch.setattr(collapse, "FORMATS", {"bfloat16": torch.bfloat16})
    return hunt_collapse(model, whole_prompts("given", [[256, 5, 5, 6, 7]]), {1: families}, length=length)


def test_behind_a_window_no_difference_is_hidden_since_there_is_none(monkeypatch):
    """The window has 16 tokens: b and 16 times a is the first whose last token sees a alone."""
    families = replace(NOTHING, repeats=True, reach=16, back=15, anywhere=True)
    found = in_bfloat16(tiny("mistral"), families, 24, monkeypatch)
    runs = [case for case in found["cases"] if case["kind"] == "run"]
    assert [(case["known_to_collide"], case["bit_identical"], case["undecided"]) for case in runs] == [(7, 0, 0)] * 3
    assert found["summary"] == "bfloat16: 0 of 4 cases become bit-identical"


@pytest.mark.parametrize(("family", "name", "told"), [("qwen2", "o_proj", False), ("gpt2", "c_proj", True)])
def test_a_difference_that_float64_cannot_tell_is_undecided(family, name, told, monkeypatch):
    """Attention so faint that it is lost among the casts of Qwen2 to float32, but not in GPT-2, which has none."""

    def faintest(module):
        for path, part in module.named_modules():
            if "attn" in path and path.endswith(name):
                part.weight *= 1e-11

    found = in_bfloat16(altered(family, faintest), NOTHING, 12, monkeypatch)
    (case,) = (case for case in found["cases"] if case["kind"] == "early difference")
    assert (case["bit_identical"], case["undecided"]) == ((11, 0) if told else (0, 11))
    assert case["known_to_collide"] == 0 < case["minimum_distance_float64"]
    assert found["summary"].endswith("undecided") == (not told)


def faint(module):
    for block in module.model.layers:
        block.self_attn.o_proj.weight *= 3e-4


def test_faint_attention_collapses_in_narrow_formats_first():
    model = altered("qwen2", faint)
    corpus = read_corpus(model, "builtin", limit=200)
    found = hunt_collapse(model, corpus, {2: NOTHING}, length=64)
    assert found["length"] == 64 and {case["kind"] for case in found["cases"]} == {"run", "early difference"}
    runs = [case for case in found["cases"] if case["kind"] == "run"]
    hidden = {name: sum(case["bit_identical"] for case in runs if case["format"] == name) for name in FORMATS}
    assert hidden["bfloat16"] > hidden["float16"] > hidden["float32"] == 0
    for case in runs:
        assert case["token"] != case["first_token"] and case["lengths"] == 62
        assert (case["minimum_distance"] == 0) == (case["bit_identical"] > 0) and case["minimum_distance_float64"] > 0


def test_a_length_is_that_of_the_shorter_prompt(monkeypatch):
    """The same difference of the same two lengths, told of a run and of a context, has one number."""
    model = tiny("qwen2")
    corpus = read_corpus(model, "builtin", limit=50)
    genuine, asked = collapse._states, []

    def flat(one, ids, layer):  # over the reals the states differ; in every format they are one from 5 tokens on
        asked.append(ids)
        states = genuine(one, ids, layer)
        states[4:] = 1.0 if one.dtype != torch.float64 else np.arange(len(ids) - 4)[:, None] + ids[0]
        return states

    monkeypatch.setattr(collapse, "_states", flat)
    found = hunt_collapse(model, corpus, {1: NOTHING}, length=12)
    assert {case["first_bit_identical"] for case in found["cases"]} == {5}
    assert {case["always_from"] for case in found["cases"]} == {5} and max(map(len, asked)) == 12
    assert "first at 5 tokens" in found["summary"]


def test_another_format_rounds_the_weights_too():
    model = in_dtype(tiny("qwen2"), torch.bfloat16)
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}
    assert tiny("qwen2").dtype == torch.float32 and in_dtype(model, torch.bfloat16) is model


def test_a_search_that_there_is_not_is_refused_before_any_work():
    with pytest.raises(InvalidInput, match="Expected searches of continuations, swaps, collapse, but got 'luck'"):
        collision_record(tiny("llama"), "random:2", limit=4, searches=["collapse", "luck"], engine=None)


def test_what_a_search_finds_is_in_the_verdict_and_on_the_page(tmp_path, empty_cache):
    """No two of the prompts collide, but one of them and what a swap makes of it do."""
    model = with_rows("qwen2", [(9, 5)], relative=1e-7)
    (tmp_path / "p.jsonl").write_text('{"token_ids": [1, 9]}\n{"token_ids": [7, 3]}\n')
    record = collision_record(model, str(tmp_path / "p.jsonl"), layers=[1], searches=["swaps"])
    assert record.result["collisions"] == [] and record.result["verdict"] is Verdict.SEPARATED
    assert record.result["searches"]["swaps"]["verdict"] is Verdict.COLLISION is record.verdict
    page = render([record], format="md")
    assert "All pairs of 2 prompts were compared: none collide; swaps found some that do." in page


@pytest.mark.slow
def test_every_search_looks_for_pairs_where_it_is_told_to(searched, tmp_path):
    class Elsewhere(LocalSearch):
        asked = 0

        def closest_pairs(self, states, *, count):
            Elsewhere.asked += 1
            return super().closest_pairs(states, count=count)

    hunt(*searched, ["swaps"], folder=tmp_path, threshold=None, seed=0, memory=4, listed=20, search=Elsewhere())
    assert Elsewhere.asked


@pytest.mark.parametrize("search", ["swaps", "continuations"])
def test_prompts_that_all_collide_are_no_place_to_start_from(search, tmp_path):
    """Whatever is searched from there, the record of the collisions is written."""
    (tmp_path / "p.txt").write_text("a\naa\naaa\n")
    line = ["collide", "tiny-qwen2", "--prompts", tmp_path / "p.txt", "--search", search, "-o", tmp_path / "r.json"]
    assert run([str(one) for one in line]) == 1
    record = read_record(tmp_path / "r.json")
    assert record.verdict is Verdict.COLLISION
    assert "no two prompts differ" in record.result["searches"][search]["summary"]
    write_report(tmp_path / "r.html", [record])


def test_a_corpus_of_one_token_has_nothing_that_fades(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"token_ids": [5]}\n{"token_ids": [5, 5]}\n')
    model = replace(tiny("qwen2"), tokenizer=None)
    found = hunt_collapse(model, read_corpus(model, str(tmp_path / "p.jsonl")), {1: NOTHING})
    assert found["cases"] == [] and "one embedding row" in found["summary"]
