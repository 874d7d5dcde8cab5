"""The command and its record."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import sipit
from proofs import InvalidInput
from proofs.verdict import Verdict
from sipit.cli import run
from sipit.collisions.causes import Cause, StandAlone
from sipit.collisions.examination import batch_for, examine, state_folder
from sipit.collisions.record import collision_record
from sipit.collisions.result import layers_json
from sipit.prompts.corpora import read_corpus, whole_prompts
from sipit.states import store as state_store
from sipit.states.store import store_states
from tests.sipit.cases import tiny, with_rows


def record_of(capsys, *arguments):
    status = run(["collide", *arguments, "--json"])
    printed = capsys.readouterr()
    return status, json.loads(printed.out) if printed.out else None, printed.err


def examined(model, corpus, tmp_path, layer, **options):
    states = store_states(model, corpus.prompts, layers=[layer], folder=tmp_path / "states", batch=4)[layer]
    return examine(StandAlone.of(model), corpus, states, layer=layer, **{"threshold": None, "seed": 0, **options})


def test_separated_prompts_end_with_0_and_a_complete_record(capsys, empty_cache):
    status, record, _ = record_of(capsys, "tiny-llama", "--layers", "1,2", "--limit", "300")
    result = record["result"]
    assert status == 0 and record["verdict"] == "separated" and record["command"] == "collide"
    assert result["prompts"] == 300 and result["pairs"] == 300 * 299 // 2 and result["collisions"] == []
    assert result["bound"] is None and "fixed corpus" in result["bound_reason"]
    for layer, expected in zip(result["layers"], (1, 2), strict=True):
        assert layer["layer"] == expected and layer["bit_identical"] == 0 == layer["below_threshold"]
        assert 0 < layer["threshold"] < layer["minimum_distance"] == layer["outside"]["minimum_distance"]
        assert layer["co_lipschitz"]["exact"] is True and layer["co_lipschitz"]["edit"] > 0
        assert len(layer["closest"]) == 10 and all(first < second for first, second in layer["closest"])
        assert [at["length"] for at in layer["by_length"]] == list(range(2, 33))  # one prompt is the BOS alone
    assert not list(empty_cache.glob("*/collide/*")), "states are kept only while the work goes on"


def test_a_layer_that_is_named_twice_is_searched_once():
    record = collision_record(tiny("llama"), "random:3", layers=[1, 1], limit=4)
    assert [layer["layer"] for layer in record.result["layers"]] == [1]


def test_runs_of_one_token_are_collisions_although_rounding_splits_them(capsys, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    rows = [[7], [7, 7, 7], [7, 7], [7, 8], [8]]
    prompts.write_text("\n".join(json.dumps({"token_ids": ids}) for ids in rows))
    status, record, _ = record_of(capsys, "tiny-qwen2", "--prompts", str(prompts), "--layers", "2")
    result = record["result"]
    assert status == 1 and record["verdict"] == "collision"
    assert {(c["first"], c["second"], c["cause"]) for c in result["collisions"]} == {
        (0, 1, "structural family"), (0, 2, "structural family"), (1, 2, "structural family"),
    }  # fmt: skip
    (layer,) = result["layers"]
    assert layer["known_to_collide"]["pairs"] == 3
    assert layer["minimum_distance"] < layer["threshold"] < layer["outside"]["minimum_distance"]
    assert "There are collisions" in result["bound_reason"]
    named = {(one["claim"], one["theorem"]) for one in result["theorems"]}
    assert {claim for claim, _ in named} == {"repeated tokens"}
    assert ("repeated tokens", "Collisions.repeated_tokens_last") in named


def test_what_no_graph_was_captured_for_is_not_called_shown(tmp_path):
    """Of layer 0 no graph is captured; a record named value numbering, and rows without positions, of a GPT-2 there."""
    corpus = whole_prompts("some", [[1, 2, 5], [3, 4, 5], [4, 5]])
    model = tiny("gpt2")
    theorems = layers_json(model, corpus, [examined(model, corpus, tmp_path, 0)])["theorems"]
    assert [(one["claim"], one["theorem"]) for one in theorems] == [("window reach", "Collisions.window_reach")]


def test_tokens_with_equal_rows_collide_and_nearly_equal_ones_come_close(tmp_path):
    model = with_rows("llama", [(10, 20)])
    corpus = whole_prompts("some", [[256, 1, 10], [256, 1, 20], [256, 1, 30], [256, 5]])
    found = examined(model, corpus, tmp_path, 2)
    (hit,) = found.collisions
    assert hit.explanation.cause == "duplicate rows" and hit.explanation.distance == 0
    assert found.findings.known.claims == ("equal embedding rows",)
    assert found.findings.minimum_outside > found.findings.threshold and found.verdict is Verdict.COLLISION
    near = examined(with_rows("llama", [(10, 20)], relative=1e-5), corpus, tmp_path / "near", 2, threshold=0.01)
    (hit,) = near.hits
    assert hit.explanation.cause == "unexplained" and near.verdict is Verdict.COLLISION
    assert near.findings.minimum_outside == near.findings.minimum_distance == pytest.approx(hit.stored_distance)


def test_hits_beyond_the_limit_leave_the_verdict_undecided_unless_one_is_confirmed(tmp_path):
    corpus = whole_prompts("some", [[256, 1, token] for token in range(6)])
    found = examined(tiny("llama"), corpus, tmp_path, 2, threshold=1e6, listed=4)
    assert len(found.hits) == 4 and found.unexamined == 11 and found.verdict is Verdict.COLLISION
    told = layers_json(tiny("llama"), corpus, [found])
    assert told["layers"][0]["unexamined"] == 11 and len(told["collisions"]) == 4


def test_independent_prompts_give_a_bound(capsys):
    status, record, _ = record_of(capsys, "tiny-llama", "--prompts", "random:6", "--limit", "200", "--layers", "2")
    assert status == 0 and record["result"]["bound"] == pytest.approx(1 - 0.05 ** (1 / 100))
    assert "100 disjoint pairs" in record["result"]["bound_reason"]


@pytest.mark.slow
def test_interrupted_work_is_resumed_to_the_same_record(capsys, empty_cache, monkeypatch):
    arguments = ("tiny-qwen2", "--layers", "0,2", "--limit", "600", "--memory", "2")
    _, whole, _ = record_of(capsys, *arguments)
    monkeypatch.setattr(state_store, "CHECKPOINT_EVERY", 1)
    written, calls = state_store.write_atomically, []

    def interrupt(path, content):
        written(path, content)
        calls.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(state_store, "write_atomically", interrupt)
    status, record, _ = record_of(capsys, *arguments)
    assert status == 130 and record is None and len(calls) == 1
    assert len(list(empty_cache.glob("*/collide/*/checkpoint.json"))) == 1
    monkeypatch.setattr(state_store, "write_atomically", written)
    _, again, _ = record_of(capsys, *arguments)
    assert again["result"] == whole["result"] and again["verdict"] == whole["verdict"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layers", "1,x"), "layer numbers"),
        (("--layers", "9"), "layer=9"),
        (("--threshold", "-1"), "not negative"),
        (("--threshold", "nan"), "finite"),
        (("--listed", "0"), "at least one pair"),
        (("--address", "auto"), "--engine ray"),
        (("--prompts", "nowhere"), "there is no nowhere"),
        (("--limit", "1000", "--memory", "0.0001"), "raise --memory"),
    ],
)
def test_misuse_is_told_in_one_sentence(capsys, arguments, message):
    status, record, error = record_of(capsys, "tiny-llama", *arguments)
    assert status == 2 and record is None and message in error and error.count("\n") == 1


def test_memory_sets_the_batch_and_is_refused_where_too_small():
    model = tiny("llama")
    prompts = read_corpus(model, "builtin", limit=1000).prompts
    assert batch_for(model, prompts, 4) == 64 > batch_for(model, prompts, 0.01) >= 1
    with pytest.raises(InvalidInput, match="1000 prompts to fit"):
        batch_for(model, prompts, 0.001)


def test_a_cache_that_cannot_be_written_is_only_slower(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / "file"))
    corpus = whole_prompts("some", [[1], [2]])
    with state_folder(tiny("llama"), corpus.prompts, [1], 4) as folder:
        states = store_states(tiny("llama"), corpus.prompts, layers=[1], folder=folder, batch=4)
        assert states[1].shape == (2, 64)
    assert not folder.exists()


def test_noise_is_relative_and_never_below_one_rounding(tmp_path):
    corpus = whole_prompts("some", [[256, token] for token in range(5)])
    at_zero, deep = (examined(tiny("llama"), corpus, tmp_path / str(layer), layer) for layer in (0, 2))
    assert at_zero.noise == np.finfo(np.float32).eps < deep.noise < 1e-4
    assert deep.findings.threshold == pytest.approx(8 * deep.noise * deep.findings.median_norm)


def test_what_rounding_of_float64_sets_apart_is_no_separation_in_float64(tmp_path):
    """Two rows a last bit apart: the run that is searched is no reference for itself."""
    model = sipit.load_model("tiny-qwen2", dtype="float64")
    with torch.no_grad():
        rows = model.decoder.tables[0].weight
        rows[11] = rows[10] * (1 + torch.finfo(torch.float64).eps)
    found = examined(replace(model), whole_prompts("given", [[1, 10], [1, 11], [7, 3]]), tmp_path, layer=2)
    assert found.verdict is Verdict.COLLISION and [hit.explanation.cause for hit in found.hits] == [Cause.UNEXPLAINED]
    assert found.noise > torch.finfo(torch.float32).eps  # in which norms are computed
