"""Partial knowledge: the nearest prompt, marked as what it is; recovered only where the whole space was searched."""

import itertools
import json

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import sipit
from proofs.errors import InvalidInput
from sipit.cli import run
from sipit.inversion.outcome import Outcome
from sipit.inversion.partial import invert_partial
from sipit.inversion.placing import agreed
from sipit.inversion.record import partial_record
from sipit.models.architecture import Architecture, EqualRows, Weights, build_model
from sipit.models.network import Network
from sipit.states.perturbations import Noise
from tests.sipit.cases import tiny, with_rows

SMALL = build_model(Architecture("gpt2", width=32, heads=2, vocabulary=32))  # 1,024 prompts of two tokens
PROMPT = [3, 30, 17, 8, 21]


def captured(model, prompt, layer=2):
    return sipit.capture(model, [prompt], layer=layer)[0]


def partial(model, rows, **options):
    return invert_partial(model, rows, layer=2, **({"tolerance": 1e-5, "budget": 60} | options))


@settings(max_examples=10)
@given(prompt=st.lists(st.integers(0, 31), min_size=1, max_size=2))
def test_the_last_state_of_a_short_prompt_gives_it_back(prompt):
    found = partial(SMALL, captured(SMALL, prompt)[-1:], positions=[len(prompt) - 1])
    assert found.outcome is Outcome.RECOVERED
    assert found.nearest_token_ids == prompt
    (segment,) = found.segments
    assert (segment.first, segment.last, segment.space) == (0, len(prompt) - 1, 32 ** len(prompt))


def test_a_space_searched_whole_agrees_with_brute_force():
    row = Noise(0.1, seed=1).apply(captured(SMALL, PROMPT[:2])[-1:])
    pairs = list(itertools.product(range(32), repeat=2))
    states = Network(SMALL, 2).run(torch.tensor(pairs))[:, -1].double()
    apart = (states - row[0].double()).norm(dim=1) / row[0].double().norm()
    order = apart.argsort()
    found = partial(SMALL, row, positions=[1])
    (segment,) = found.segments
    assert found.outcome is Outcome.NOT_FOUND
    assert segment.tested == 1024
    assert tuple(segment.token_ids) == pairs[order[0]]
    assert segment.residual == pytest.approx(float(apart[order[0]]), rel=1e-4)
    assert [tuple(tokens) for tokens, _ in segment.alternatives[:3]] == [pairs[index] for index in order[1:4]]


@pytest.mark.parametrize("site", ["keys", "values", "keys,values", "normed", "mid", "attention-out", "mlp-out"])
def test_a_part_of_the_rows_of_any_site_gives_the_prompt_back(site):
    (rows,) = sipit.capture(SMALL, [PROMPT], layer=1, observe=site)
    given_rows = {"layer": 1, "observe": site, "tolerance": 1e-5}
    behind = invert_partial(SMALL, rows[2:], positions=[2, 3, 4], known={0: PROMPT[0], 1: PROMPT[1]}, **given_rows)
    assert (behind.outcome, behind.token_ids) == (Outcome.RECOVERED, PROMPT)
    some = invert_partial(SMALL, rows[[0, 2, 3]], positions=[0, 2, 3], **given_rows)
    assert (some.outcome, some.token_ids) == (Outcome.RECOVERED, PROMPT[:4])


def test_ids_of_experts_are_no_part():
    rows = sipit.capture(tiny("mixtral"), [[5, 6]], layer=1, observe="experts")[0]
    with pytest.raises(InvalidInput, match="give the rows of all positions"):
        invert_partial(tiny("mixtral"), rows, layer=1, observe="experts")


def test_every_other_row_is_enough():
    found = partial(SMALL, captured(SMALL, PROMPT)[[0, 2, 4]], positions=[0, 2, 4])
    assert (found.outcome, found.nearest_token_ids) == (Outcome.RECOVERED, PROMPT)
    assert [(segment.first, segment.last) for segment in found.segments] == [(0, 0), (1, 2), (3, 4)]


@pytest.mark.parametrize("at", [range(2), range(3, 5), [1], []], ids=["prefix", "suffix", "middle", "none"])
def test_known_tokens_are_taken_as_given(at):
    known = {index: PROMPT[index] for index in at}
    found = partial(SMALL, captured(SMALL, PROMPT)[2:], positions=[2, 3, 4], known=known)
    assert found.given == sorted(known)
    if 0 in known or 1 in known:
        assert (found.outcome, found.nearest_token_ids) == (Outcome.RECOVERED, PROMPT)


def test_a_wrong_known_token_is_not_found_and_nothing_behind_it_is_verified():
    found = partial(SMALL, captured(SMALL, PROMPT)[2:], positions=[2, 3, 4], known={0: 3, 1: 31})
    assert found.outcome is Outcome.NOT_FOUND
    assert found.segments[0].outcome is Outcome.NOT_FOUND
    assert all(segment.outcome is Outcome.AMBIGUOUS for segment in found.segments[1:])
    assert all("conditional" in segment.reason for segment in found.segments[1:])


def test_what_fits_without_the_whole_space_is_never_called_recovered():
    prompt = [5, 11, 29, 2]
    found = partial(SMALL, captured(SMALL, prompt)[-1:], positions=[3], budget=20)
    assert found.segments[0].space == 32**4
    assert found.outcome in {Outcome.AMBIGUOUS, Outcome.BUDGET_EXHAUSTED}
    assert (found.segments[0].residual <= 1e-5) == (found.outcome is Outcome.AMBIGUOUS)
    assert found.segments[0].alternatives


@pytest.mark.parametrize("budget", [0, -1, float("nan")])
def test_a_budget_in_which_nothing_can_be_done_is_refused(budget):
    with pytest.raises(InvalidInput, match="more than 0 seconds"):
        partial(SMALL, captured(SMALL, [3])[-1:], positions=[0], budget=budget)


def test_a_budget_without_end_can_be_written():
    found = partial(SMALL, captured(SMALL, [3])[-1:], positions=[0], budget=float("inf"))
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["budget"] is None


def test_a_budget_is_kept_and_the_nearest_is_named():
    found = partial(tiny("gpt2"), captured(tiny("gpt2"), PROMPT)[-1:], positions=[4], budget=1e-3)
    assert found.outcome is Outcome.BUDGET_EXHAUSTED
    assert len(found.nearest_token_ids) == 5
    assert found.seconds < 30


def test_noisy_states_give_the_nearest_prompt_and_say_that_it_does_not_fit():
    model = tiny("llama")
    rows = Noise(0.02, seed=3).apply(captured(model, PROMPT))
    found = partial(model, rows)
    assert (found.outcome, found.nearest_token_ids) == (Outcome.NOT_FOUND, PROMPT)
    assert partial(model, rows, tolerance=0.05).outcome is Outcome.RECOVERED


def test_classes_are_answers_but_never_recovered():
    model = with_rows("llama", [(65, 300)])
    found = partial(model, captured(model, [1, 300, 2]))
    assert (found.outcome, found.nearest_token_ids) == (Outcome.AMBIGUOUS, [1, 65, 2])
    assert [segment.outcome for segment in found.segments] == [
        Outcome.RECOVERED, Outcome.AMBIGUOUS, Outcome.RECOVERED,
    ]  # fmt: skip


@settings(max_examples=3)
@example(given_at={1, 2}, prompt=[1, 65, 300, 2])
@given(given_at=st.sets(st.integers(0, 3)), prompt=st.permutations([1, 65, 300, 2]))
def test_only_a_token_that_is_searched_is_an_answer_of_its_class(given_at, prompt):
    model = with_rows("llama", [(65, 300)])
    found = partial(model, captured(model, prompt), known={index: prompt[index] for index in given_at})
    searched = any(prompt[index] in (65, 300) for index in range(4) if index not in given_at)
    assert found.outcome is (Outcome.AMBIGUOUS if searched else Outcome.RECOVERED)
    assert all(found.nearest_token_ids[index] == prompt[index] for index in given_at)


def test_near_twins_are_told_from_a_clear_answer():
    near = build_model(Architecture("llama"), Weights(0, (EqualRows(0, 1, 1e-7),)))
    assert partial(near, captured(near, [131, 126, 199, 0])).outcome is Outcome.AMBIGUOUS


@pytest.mark.parametrize(
    "options",
    [
        {"positions": [0, 1]},
        {"positions": [2, 1, 0]},
        {"known": {9: 1}},
        {"known": {0: 512}},
        {"positions": [-1, 0, 1]},
    ],
)
def test_bad_positions_and_tokens_are_refused(options):
    with pytest.raises(InvalidInput, match="Expected"):
        partial(tiny("gpt2"), captured(tiny("gpt2"), [1, 2, 3]), **options)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba"])
def test_two_tokens_from_the_last_state_over_the_whole_vocabulary(family):
    model = tiny(family)
    found = partial(model, captured(model, [77, 402])[-1:], positions=[1], budget=300)
    assert (found.outcome, found.nearest_token_ids, found.tested) == (Outcome.RECOVERED, [77, 402], 512**2)


def record_of(capsys, *arguments):
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "positions"),
    [(["--positions", "all"], 5), (["--prefix", "[72,101]"], 3), (["--prefix", "Hell", "--positions", "last"], 1)],
)
def test_the_command(capsys, options, positions):
    status, record = record_of(capsys, "invert", "tiny-gpt2", "--text", "Hello", "--layer", 2, *options, "--json")
    (found,) = record["result"]["partial"]
    assert found["nearest_text"] == "Hello"
    assert found["matches_truth"] is True
    assert len(found["segments"]) == positions
    tolerance = record["result"]["tolerance"]
    assert {segment["tolerance"] for segment in found["segments"]} == {tolerance["value"]}
    assert tolerance["kind"] == "measured" and tolerance["derived_from"]
    assert record["provenance"]["arithmetic"].endswith("; shared keys and values; residuals and decisions in float64")
    assert (status, record["verdict"]) in {(0, "recovered"), (3, "ambiguous")}


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize("positions", [None, "all"])
def test_rows_behind_a_prefix_stand_there_with_ids_of_their_own_and_of_the_whole_prompt(
    tmp_path, capsys, tail, positions
):
    model, ids = tiny("gpt2"), [77, 402, 9, 31]
    start = 2 if tail else 0
    rows = {"p": captured(model, ids)[start:].contiguous(), "input_ids": torch.tensor([ids[start:]])}
    save_file(rows, tmp_path / "s.safetensors")
    line = ["--states", tmp_path / "s.safetensors", "--layer", 2, "--prefix", "[77,402]"]
    line += [] if positions is None else ["--positions", positions]
    status, record = record_of(capsys, "invert", "tiny-gpt2", *line, "--json")
    (found,) = record["result"]["partial"]
    assert (status, found["nearest_token_ids"], found["matches_truth"]) == (0, ids, True)


def beside(folder, model, rows, ids, layer):
    """The command line for rows that another program stored with an id each, behind the prefix 77, 402."""
    save_file({"p": rows.contiguous(), "input_ids": torch.tensor([ids])}, folder / "s.safetensors")
    return ["invert", model, "--states", folder / "s.safetensors", "--layer", layer, "--prefix", "[77,402]"]


def test_rows_behind_a_prefix_may_say_the_same_again(tmp_path, capsys):
    """Their ids begin like the prefix, and they were taken for those of the whole prompt."""
    ids = [77, 402, 77, 402, 9]
    for start in (2, 0):
        line = beside(tmp_path, "tiny-gpt2", captured(tiny("gpt2"), ids)[start:], ids[start:], 2)
        status, record = record_of(capsys, *line, "--json")
        (found,) = record["result"]["partial"]
        assert (status, found["nearest_token_ids"], found["matches_truth"]) == (0, ids, True)


def test_rows_that_may_stand_in_two_places_are_refused_until_they_are_placed(tmp_path, capsys):
    ids = [77, 402, 77, 402, 9]  # embeddings alone do not say where they stand
    line = beside(tmp_path, "tiny-llama", captured(tiny("llama"), ids, layer=0)[2:], ids[2:], 0)
    assert run([*map(str, line)]) == 2
    assert "say with --positions where each row stands" in capsys.readouterr().err
    _, record = record_of(capsys, *line, "--positions", "2,3,4", "--json")
    (found,) = record["result"]["partial"]
    assert (found["nearest_token_ids"], found["matches_truth"]) == (ids, True)


def test_ids_of_rows_with_gaps_between_them_are_compared_with_nothing(tmp_path, capsys):
    rows = captured(tiny("gpt2"), [77, 402, 9, 31])[[2, 3]]
    line = beside(tmp_path, "tiny-gpt2", rows[1:], [31], 2)
    _, record = record_of(capsys, *line, "--positions", "3", "--budget", 1, "--json")
    assert record["result"]["partial"][0]["matches_truth"] is None


def test_tokens_that_are_only_the_nearest_match_no_truth():
    """As in the entries of whole inversions: what is not settled agrees with nothing."""
    states = sipit.capture(tiny("gpt2"), [[5, 6, 7, 8]], layer=1)
    record = partial_record(tiny("gpt2"), states, truth=[[5, 6, 7, 8]], positions=[0, 1], tolerance=0.9, budget=1)
    (found,) = record.result["partial"]
    assert found["nearest_token_ids"] == [5, 6] and None in found["token_ids"]
    assert (found["matches_truth"], found["nearest_matches_truth"]) == (False, True)
    assert record.result["tolerance"] | {"value": 0.9, "kind": "given"} == record.result["tolerance"]


@pytest.mark.parametrize(
    ("options", "source", "token"), [({"suffix": [9, 8]}, "--suffix", 9), ({"truth": [[31]]}, "the ids beside", 31)]
)
def test_what_contradicts_the_prefix_is_refused_in_a_sentence_that_names_both(options, source, token):
    place = 2 if "suffix" in options else 3
    states, prefix = sipit.States((captured(SMALL, PROMPT)[3:4],), layer=2), PROMPT[: place + 1]
    sentence = f"position {place} is {PROMPT[place]} by --prefix and {token} by {source}"
    with pytest.raises(InvalidInput, match=sentence):
        partial_record(SMALL, states, positions=[3], prefix=prefix, **options)


@given(length=st.integers(1, 5), tail=st.integers(1, 5))
def test_a_prefix_and_a_suffix_that_agree_may_overlap(length, tail):
    known = agreed(SMALL, PROMPT[:length], dict(list(enumerate(PROMPT))[-tail:]), "--suffix")
    assert known == {n: token for n, token in enumerate(PROMPT) if n < length or n >= 5 - tail}


def test_tokens_of_one_class_contradict_nothing():
    twins = build_model(Architecture("llama"), Weights(0, (EqualRows(5, 9),)))
    assert agreed(twins, [5, 6], {0: 9}, "--suffix") == {0: 5, 1: 6}
    for other in (6, twins.vocabulary_size, -1):
        with pytest.raises(InvalidInput, match="position 0 is 5 by --prefix"):
            agreed(twins, [5, 6], {0: other}, "--suffix")


def test_a_prefix_of_another_prompt_is_refused(capsys):
    assert run(["invert", "tiny-gpt2", "--text", "Hello", "--layer", "2", "--prefix", "[1,2]"]) == 2
    assert "--prefix" in capsys.readouterr().err
