"""Fuzzing: what it finds is real, shrunk and repeatable; what it found is kept as a test."""

import json
import shlex
from dataclasses import replace

import pytest

import sipit
from proofs.errors import InvalidInput
from sipit.cli import run
from sipit.fuzzing import Example, Failure, FailureClass, Fuzzer, command_of, fuzz, judge, keep_failure, kept_examples
from sipit.inversion.outcome import Outcome
from sipit.models.architecture import Architecture, EqualRows, Weights, build_model
from sipit.models.length import LengthDependence
from tests.sipit.cases import assert_never_wrong, inverted, tiny

NEAR = build_model(Architecture("llama"), Weights(0, (EqualRows(0, 1, 1e-6),)))  # rows 0 and 1 within the noise


def saved(model, folder):
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def test_the_nearest_rows_are_tested_however_many_others_were():
    """Found by fuzzing: where a first batch had tested many tokens, the near twin of the right one never was."""
    prompt = [131, 126, 199, 0]
    (inversion,) = inverted(NEAR, sipit.capture(NEAR, [prompt], layer=2), [prompt])
    assert_never_wrong(NEAR, inversion, prompt)
    assert inversion.outcome is Outcome.AMBIGUOUS
    assert set(inversion.alternatives[0].token_ids) == {0, 1}


def test_what_holds_is_held_and_the_same_for_the_same_seed():
    fuzzer = Fuzzer(tiny("gpt2"))
    seen = []
    fuzzer.failure = lambda example: seen.append(example) or Fuzzer.failure(fuzzer, example)
    report = fuzz(fuzzer, layer=1, examples=8, seed=3)
    assert (report.examples, report.failures) == (8, [])
    first, seen[:] = list(seen), []
    fuzz(fuzzer, layer=1, examples=8, seed=3)
    assert seen == first
    assert any(example.cached for example in first)
    assert len({example.token_ids for example in first}) > 4


def planted(kind):
    """A fuzzer whose prompts fail in one way where token 7 stands behind another token."""
    fuzzer = Fuzzer(tiny("gpt2"))
    fuzzer.failure = lambda example: (
        Failure(kind(example), example, "") if 7 in example.token_ids[1:] and kind(example) else None
    )
    return fuzzer


def test_a_failure_is_shrunk_to_the_smallest_prompt():
    report = fuzz(planted(lambda _: FailureClass.NOT_FOUND), layer=1, examples=300, longest=8)
    (failure,) = report.failures
    assert failure.kind is FailureClass.NOT_FOUND
    assert failure.example == Example((0, 7), 1, False)


def test_every_class_is_shrunk_on_its_own_and_the_worst_comes_first():
    kind = {True: FailureClass.AMBIGUOUS, False: FailureClass.WRONG_TOKEN}
    report = fuzz(planted(lambda example: kind[example.cached]), layer=1, examples=300, longest=8)
    assert [failure.kind for failure in report.failures] == [FailureClass.WRONG_TOKEN, FailureClass.AMBIGUOUS]
    assert [failure.example.cached for failure in report.failures] == [False, True]


@pytest.mark.parametrize(
    "kinds", [("not_found",), ("crash", "budget_exhausted"), ("wrong_token", "crash", "not_found")]
)
@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_a_failure_that_does_not_repeat_is_a_failure(kinds, repeats):
    """As where time ended, or threads met: Hypothesis wraps it, one group deeper where there are several classes."""
    failed = dict.fromkeys(kinds, 0)

    def failure(example):
        kind = kinds[example.token_ids[-1] % len(kinds)]
        if len(example.token_ids) < 2 or failed[kind] == repeats:
            return None
        failed[kind] += 1
        return Failure(FailureClass(kind), example, "")

    fuzzer = Fuzzer(tiny("gpt2"))
    fuzzer.failure = failure
    report = fuzz(fuzzer, layer=1, examples=100, longest=8)
    assert [one.kind for one in report.failures] == [kind for kind in FailureClass if failed.get(kind)]
    assert all(failed.values())


def test_an_error_of_the_machine_is_no_failure_and_is_not_lost():
    fuzzer = Fuzzer(tiny("gpt2"))
    errors = iter([OSError("disk"), MemoryError("memory")])

    def failure(example):
        if (error := next(errors, None)) is not None:
            raise error

    fuzzer.failure = failure
    with pytest.raises((OSError, MemoryError, ExceptionGroup)):
        fuzz(fuzzer, layer=1, examples=20)


def test_known_failures_are_tried_first(tmp_path):
    example = Example((4, 7), "final", True)
    keep_failure(Failure(FailureClass.CRASH, example, ""), tmp_path, name="m-float32")
    assert kept_examples(tmp_path, name="m-float32", layer="final") == [example]
    assert kept_examples(tmp_path, name="m-float32", layer=None) == [example]
    assert kept_examples(tmp_path, name="m-float32", layer=1) == []
    assert kept_examples(tmp_path, name="other", layer=None) == []
    report = fuzz(planted(lambda _: FailureClass.CRASH), layer=1, examples=1, known=[example])
    assert [failure.example for failure in report.failures] == [example]


def test_kept_examples_that_the_model_refuses_are_passed_over():
    """They would be called crashes of it, in this run and in every later one."""
    model = tiny("gpt2")
    chain, abilities = replace(model.decoder.chain, final_width=None), replace(model.abilities, memory=None)
    model = replace(model, decoder=replace(model.decoder, chain=chain, abilities=abilities))
    refused = [
        Example((4, 7), 1, True), Example((4, 7), "final"), Example((4, 7), 9), Example((4, 7 * 10**6), 1),
        Example((4,) * (model.limit + 1), 1), Example((), 1),
    ]  # fmt: skip
    report = fuzz(Fuzzer(model), layer=1, examples=2, known=[*refused, Example((4, 7), 1)])
    assert (report.examples, report.failures) == (3, [])


def test_nothing_is_drawn_that_the_model_refuses():
    model = tiny("gpt2")
    model = replace(model, decoder=replace(model.decoder, lengths=LengthDependence((2,))))
    assert fuzz(Fuzzer(model), layer=1, examples=8, longest=6).failures == []
    with pytest.raises(InvalidInput, match="layer from 0 to 2"):
        fuzz(Fuzzer(model), layer=9, examples=8)


def test_a_crash_is_a_finding_and_a_policy_that_is_none_is_not(monkeypatch):
    def fail(*arguments, **named):
        raise RuntimeError("planted")

    fuzzer = Fuzzer(tiny("gpt2"))
    monkeypatch.setattr("sipit.fuzzing.capture", fail)
    failure = fuzzer.failure(Example((1,), 1))
    assert failure is not None and failure.kind is FailureClass.CRASH
    assert failure.detail == "RuntimeError: planted"
    with pytest.raises(InvalidInput, match="no such policy"):
        Fuzzer(tiny("gpt2"), policy="no such policy")


def judged(model, ids, truth):
    states = sipit.capture(model, [ids], layer=1)
    (inversion,) = inverted(model, states)
    return judge(model, inversion, Example(tuple(truth), 1))


def test_answers_are_judged_by_class():
    model = tiny("llama")
    assert judged(model, [1, 2, 3], [1, 2, 3]) is None
    assert judged(model, [1, 2, 3], [1, 2, 4]).kind is FailureClass.WRONG_TOKEN
    assert judged(model, [1, 2, 3], [1, 2]).kind is FailureClass.WRONG_TOKEN
    assert judged(NEAR, [5, 0], [5, 0]).kind is FailureClass.AMBIGUOUS
    assert judged(NEAR, [5, 0], [5, 9]).kind is FailureClass.TRUTH_LEFT_OUT
    twins = build_model(Architecture("llama"), Weights(0, (EqualRows(3, 400),)))
    assert judged(twins, [1, 400, 2], [1, 400, 2]) is None


@pytest.mark.parametrize("bad", [{"examples": 0}, {"examples": 1, "longest": 0}])
def test_nothing_to_draw_is_refused(bad):
    with pytest.raises(InvalidInput, match="at least one"):
        fuzz(Fuzzer(tiny("gpt2")), layer=1, **bad)


def record_of(capsys, *arguments):
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    return status, json.loads(capsys.readouterr().out)


def test_the_command_holds_on_a_sound_model(capsys, tmp_path):
    status, record = record_of(capsys, "fuzz", "tiny-gpt2", "--examples", 5, "--keep", tmp_path, "--json")
    assert (status, record["command"], record["verdict"]) == (0, "fuzz", "held")
    assert record["result"]["examples"] == 5
    assert record["result"]["failures"] == record["result"]["files"] == []


def test_the_printed_command_repeats_the_failure(capsys, tmp_path):
    folder = saved(NEAR, tmp_path / "near")
    status, record = record_of(
        capsys, "fuzz", folder, "--examples", 60, "--layer", 1, "--keep", tmp_path / "kept", "--json"
    )
    assert (status, record["verdict"]) == (1, "void")
    (failure,) = record["result"]["failures"]
    assert failure["class"] == "ambiguous"
    assert failure["token_ids"] in ([0], [1])
    program, *arguments = shlex.split(failure["command"])
    assert program == "sipit"
    assert record_of(capsys, *arguments, "--json")[1]["verdict"] == "ambiguous"


def test_the_command_of_a_cached_capture_takes_two_steps(capsys, tmp_path):
    failure = Failure(FailureClass.AMBIGUOUS, Example((5, 0), 2, True), "")
    path = keep_failure(failure, tmp_path, name="near")
    folder = saved(NEAR, tmp_path / "near")
    first, second = command_of(failure, path, options=[str(folder)]).split(" && ")
    assert run(shlex.split(first)[1:]) == 0
    status, record = record_of(capsys, *shlex.split(second)[1:], "--json")
    assert (status, record["verdict"], record["result"]["layer"]) == (3, "ambiguous", 2)
