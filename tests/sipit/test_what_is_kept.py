"""What a run leaves for a later one, in the cache or in a folder: never believed for what it was not made with."""

import contextlib
import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sipit
from proofs.errors import InvalidInput
from proofs.verdict import Verdict
from sipit.cache import alone_in, kept_json, measured_with
from sipit.claims.certify import certify
from sipit.claims.kept_enclosures import KeptTrails
from sipit.cluster.inversions import InversionWorker
from sipit.cluster.states import Worker, expect_same
from sipit.collisions.examination import state_folder
from sipit.inversion.inverter import Inverter
from sipit.inversion.policies import POLICIES
from sipit.prompts.windows import prefixes
from sipit.quantization.record import quantization_record
from sipit.quantization.study import Extent, Study
from sipit.report import render
from sipit.training.checkpoint import CHECKPOINT
from sipit.training.record import training_record, write_model
from sipit.training.trainer import Settings, train
from tests.sipit.cases import altered, tiny

SMALL = Extent(prompts=1, length=4, places=2, scanned=64, nearest=16, states=20, crossed=1, budget=5.0)


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch):
    monkeypatch.setattr("sipit.training.followed.WINDOWS", 2)
    monkeypatch.setattr("sipit.training.followed.SWAPPED", 1)


def raising(number: int) -> Any:
    """What the system does where it answers with this error."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def fresh() -> tuple[Any, Settings]:
    model = sipit.load_model("tiny-gpt2")
    options: Any = {"optimizer": "sgd", "rate": 0.01, "steps": 1, "layers": (1,), "seed": 0, "dtype": "float32"}
    return model, Settings(model="tiny-gpt2", digest=model.digest, batch=2, length=8, **options)


# Folders of training.


def test_a_model_that_no_run_has_written_is_left_as_it_is(tmp_path):
    own = tmp_path / "model" / "weights"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(InvalidInput, match="no checkpoint of a run; name another with --folder"):
        training_record(*fresh(), tmp_path)
    assert own.read_text() == "mine" and not (tmp_path / CHECKPOINT).exists()


def test_one_run_at_a_time_is_in_a_folder(tmp_path):
    with alone_in(tmp_path) as alone, pytest.raises(InvalidInput, match="no other run works in"):
        assert alone
        training_record(*fresh(), tmp_path)
    record = training_record(*fresh(), tmp_path)
    assert training_record(*fresh(), tmp_path).result["series"] == record.result["series"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EIO])
def test_a_disk_without_locks_says_nothing_of_another_run(tmp_path, monkeypatch, empty_cache, number):
    """Nobody is told that one is there; a search keeps to itself, and a training says what it cannot know."""
    monkeypatch.setattr("fcntl.flock", raising(number))
    with alone_in(tmp_path) as alone:
        assert alone is None
    if number == errno.ENOSYS:
        model, settings = fresh()
        record = training_record(model, settings, tmp_path / "trained")
        assert "cannot be told" in record.provenance["warnings"][-1]
        with state_folder(model, prefixes([(1, 2, 3), (3, 4)]), [1], 4) as folder:
            assert not folder.is_relative_to(empty_cache)


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_another_has_is_told_by_either_name(tmp_path, monkeypatch, number):
    monkeypatch.setattr("fcntl.flock", raising(number))
    with alone_in(tmp_path) as alone:
        assert alone is False


@pytest.mark.parametrize("when", [0, 1])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_the_model_of_before(tmp_path, monkeypatch, when, stop):
    """At either renaming."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "before").touch()
    genuine, calls = Path.rename, []

    def rename(path, target):
        calls.append(target)
        if len(calls) == when + 1:
            raise stop
        return genuine(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises((stop, InvalidInput)):
        write_model(tiny("gpt2"), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"] and (folder / "before").exists()


def test_a_checkpoint_of_another_installation_or_a_damaged_one_is_refused(tmp_path, monkeypatch):
    train(*fresh(), tmp_path)
    with monkeypatch.context() as elsewhere, pytest.raises(InvalidInput, match="has other versions and machine;"):
        elsewhere.setattr("sipit.training.trainer.measured_with", lambda _device: "another")
        train(*fresh(), tmp_path)
    content = bytearray((tmp_path / CHECKPOINT).read_bytes())
    content[-1] ^= 1
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(InvalidInput, match="is damaged; remove it"):
        train(*fresh(), tmp_path)


# The cache.


def test_a_search_that_a_budget_has_cut_short_is_not_that_of_a_longer_one():
    model = tiny("llama")
    states = sipit.capture(model, [[3, 4]], layer=1)
    inverter = Inverter.open(model, states, policy="nearest")
    folders = {replace(inverter, budget=budget).kept(states).folder for budget in (1.0, 600.0, 600.0)}
    assert len(folders) == 2


def test_work_in_one_order_of_the_candidates_is_not_that_in_another():
    """The record counts what was tested, and names the order."""
    model = tiny("llama")
    states = sipit.capture(model, [[3, 4]], layer=1)
    inverters = [Inverter.open(model, states, policy=policy, full_margin=True) for policy in POLICIES]
    assert len({one.kept(states).folder for one in inverters}) == len(POLICIES)


def test_enclosures_of_few_bits_are_not_those_of_many(empty_cache, monkeypatch):
    monkeypatch.setattr("sipit.claims.kept_enclosures.WORTH", -1.0)
    prompts, model = [[1, 2], [3, 2], [1, 4]], sipit.load_model("tiny-gpt2")

    def stop(*_told):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(KeptTrails, "forget", stop)
        certify(model, prompts=prompts, layer=1, bits=64, budget=False)
    again = certify(model, prompts=prompts, layer=1, bits=300, budget=False)
    monkeypatch.setenv("SIPIT_CACHE", str(empty_cache / "other"))
    assert again.result == certify(model, prompts=prompts, layer=1, bits=300, budget=False).result
    assert again.result["bits"] == 300


@pytest.mark.parametrize("undecided", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_a_budget_has_left_undecided_of_a_format_is_measured_again(empty_cache, monkeypatch, undecided):
    monkeypatch.setattr("sipit.quantization.study.QUICK", SMALL)
    genuine, keys = Study._measure, []

    def measure(study, number_format):
        keys.append(study._kept_as(number_format))
        return genuine(study, number_format) | {"undecided": undecided}

    monkeypatch.setattr(Study, "_measure", measure)
    for _ in range(2):
        quantization_record(tiny("llama"), formats=["bf16"], prompts=[[5, 6, 7, 8]], layers=[1], quick=True)
    assert len(keys) == 1 + undecided
    assert (kept_json(keys[0]) is None) is bool(undecided)


def test_a_format_that_overflows_behind_the_layers_looked_at_is_void_and_its_page_says_so(empty_cache, monkeypatch):
    monkeypatch.setattr("sipit.quantization.study.QUICK", SMALL)
    model = altered("gpt2", lambda module: module.transformer.h[1].mlp.c_proj.bias.add_(1e5))
    record = quantization_record(model, formats=["float32", "fp16"], prompts=[[5, 6, 7, 8]], layers=[1], quick=True)
    sound, found = record.result["formats"]
    assert "not finite behind block 2" in found["reason"] and found["first_layer_void"] == 2 and record.dumps()
    assert sound["first_layer_void"] is None and record.verdict is Verdict.VOID
    page = render([record], format="md")
    assert "Of 2 number formats, some have states that are not finite." in page
    assert "Formats whose states overflow" in page and "not measured" not in page


def test_a_format_that_was_asked_for_and_does_not_run_here_leaves_the_question_open(empty_cache, monkeypatch):
    monkeypatch.setattr("sipit.quantization.study.QUICK", SMALL)
    options = {"prompts": [[5, 6, 7, 8]], "layers": [1], "quick": True}
    record = quantization_record(tiny("llama"), formats=["float32", "tf32"], **options)
    assert record.verdict is Verdict.UNDECIDED and record.result["formats_named"]
    assert "wherever it was seen; not measured: tf32." in render([record], format="md")


# Workers.


def test_a_worker_that_has_loaded_another_model_by_the_name_does_nothing(tmp_path):
    model = tiny("gpt2")
    expect_same(model, model.digest)
    expect_same(model, model.digest, measured_with(model.device))
    with pytest.raises(InvalidInput, match="differ by rounding"):
        expect_same(model, model.digest, "python-2.7")
    worker = Worker("tiny-gpt2", "float32", "cpu", 0, tiny("llama").digest, measured_with(model.device))
    with pytest.raises(InvalidInput, match="wherever workers run, but a worker's tiny-gpt2 has other weights"):
        worker.run(None, [1], str(tmp_path), 1)  # pyright: ignore[reportArgumentType]
    states = sipit.capture(model, [[3, 4]], layer=1)
    inverter = Inverter.open(model, states, policy="nearest")
    named = ("tiny-gpt2", "float32", "cpu", 0, "another")
    other = InversionWorker(
        named, states.observation, "nearest", inverter.tolerance, 2, False, 2, 9.0, {}, states.manifest
    )
    with pytest.raises(InvalidInput, match="has other weights"):
        other.run(list(states), None)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_left_by_whoever_was_in_it(tmp_path):
    """From other threads as from other processes; None where it cannot be told."""
    found = []
    with alone_in(tmp_path) as first:
        other = threading.Thread(target=lambda: found.append(contextlib.ExitStack().enter_context(alone_in(tmp_path))))
        other.start()
        other.join()
    with alone_in(tmp_path) as later, alone_in(tmp_path / "none") as nowhere:
        assert (first, found, later, nowhere) == (True, [False], True, None)
