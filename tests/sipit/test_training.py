"""Training: resumed runs equal uninterrupted ones, steps are what they are called, and pages say what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import sipit
from proofs.errors import InvalidInput
from proofs.evidence import read_record
from proofs.verdict import Verdict
from sipit.cli import run
from sipit.models.digest import digest_of_tensors
from sipit.report import render
from sipit.training.followed import Followed
from sipit.training.record import training_record
from sipit.training.trainer import Settings, _batch, train


def settings(optimizer: Any = "adamw", model: str = "tiny-gpt2", **more: Any) -> Settings:
    digest = sipit.load_model(model).digest
    options = {"rate": 0.01, "steps": 2, "layers": (2,), "seed": 0, "dtype": "float32", "batch": 2, "length": 8}
    return Settings(model=model, digest=digest, optimizer=optimizer, **options | more)  # pyright: ignore


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipit.training.followed.WINDOWS", 3)
    monkeypatch.setattr("sipit.training.followed.SWAPPED", 2)


def interrupted_after(steps: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done == steps:
            raise KeyboardInterrupt

    return progress


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_resumed_run_equals_an_uninterrupted_one(optimizer: Any, tmp_path: Path) -> None:
    whole, stopped = (tmp_path / name for name in ("whole", "stopped"))
    whole.mkdir()
    stopped.mkdir()
    model = sipit.load_model("tiny-gpt2")
    first = train(model, settings(optimizer), whole)
    with pytest.raises(KeyboardInterrupt):
        train(model, settings(optimizer), stopped, interrupted_after(1))
    second = train(model, settings(optimizer), stopped)
    assert first.to_json() == second.to_json()
    for name, value in first.model.module.named_parameters():
        assert torch.equal(value, dict(second.model.module.named_parameters())[name])
    assert (whole / "checkpoint.safetensors").read_bytes() == (stopped / "checkpoint.safetensors").read_bytes()
    assert first.verdict is Verdict.SEPARATED
    assert [entry["step"] for entry in first.checkpoint.series] == [0, 1, 2]


@pytest.mark.slow
def test_sgd_is_the_plain_gradient_step(tmp_path: Path) -> None:
    before = sipit.load_model("tiny-gpt2", dtype="float64")
    stepped: list[Any] = []
    for rate in (0.01, 0.005):
        folder = tmp_path / str(rate)
        folder.mkdir()
        stepped.append(train(before, settings("sgd", dtype="float64", steps=1, rate=rate), folder).model)
    for start, whole, part in zip(*(model.module.parameters() for model in (before, *stepped)), strict=True):
        assert torch.allclose(whole - start, 2 * (part - start), rtol=0, atol=1e-14)  # linear in the rate


@pytest.mark.slow
def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    train(sipit.load_model("tiny-gpt2"), settings(steps=1), tmp_path)
    with pytest.raises(InvalidInput, match=r"other steps|other every"):
        train(sipit.load_model("tiny-gpt2"), settings(steps=2), tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(InvalidInput, match="safetensors"):
        train(sipit.load_model("tiny-gpt2"), settings(steps=1), tmp_path)


@pytest.mark.slow
def test_pairs_that_collide_for_every_parameter_are_set_apart(tmp_path: Path) -> None:
    """A rotary model without BOS cannot tell runs of one token apart, however long it is trained."""
    found = train(sipit.load_model("tiny-qwen2"), settings(model="tiny-qwen2", steps=1, rate=0.001), tmp_path)
    assert found.verdict is Verdict.COLLISION
    assert found.to_json()["known_to_collide"][0]["pairs"] >= 3 * 15 * 16 // 2
    assert all(entry["layers"][0]["bit_identical"] == 0 for entry in found.checkpoint.series)


def test_training_leaves_the_given_model_as_it_is(tmp_path: Path) -> None:
    """What is kept of a model is found by its digest: it may not come to have other weights."""
    model = sipit.load_model("tiny-gpt2")
    before = {name: value.clone() for name, value in model.module.named_parameters()}
    record = training_record(model, settings("sgd", steps=1, layers=(1,)), tmp_path)
    after = dict(model.module.named_parameters())
    assert all(torch.equal(value, after[name]) and not after[name].requires_grad for name, value in before.items())
    assert digest_of_tensors(model.module.config, after.items()) == model.digest == record.provenance["digest"]
    trained = sipit.load_model(str(tmp_path / "model"))
    assert trained.digest == record.provenance["digest_of_trained"] != model.digest
    with pytest.raises(InvalidInput, match="lower --rate"):
        train(model, settings("sgd", rate=1e30, steps=40, layers=(1,)), tmp_path / "..")
    assert not any(value.requires_grad for value in model.module.parameters())


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="lower --rate"):
        train(sipit.load_model("tiny-gpt2"), settings("sgd", rate=1e30, steps=40, layers=(1,)), tmp_path)


@pytest.mark.parametrize(
    "pair", [((0, 1_000_004), (1, 1)), ((0, 1), (0, 2)), ((0, 1), (2**63 - 1, 1)), ((2**63 - 2, 1), (2**63 - 1, 1))],
    ids=str,
)  # fmt: skip
def test_each_step_of_each_seed_has_a_batch_of_its_own(pair: tuple[tuple[int, int], tuple[int, int]]) -> None:
    text = torch.arange(100_000)
    first, second, again = (_batch(text, [256], settings(seed=seed), step) for seed, step in (*pair, pair[0]))
    assert first.shape == (2, 8) and not torch.equal(first, second) and torch.equal(first, again)


def test_the_command_writes_a_model_a_record_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_path, folder = tmp_path / "record.json", tmp_path / "trained"
    line = ["train", "--optimizer", "sgd", "--steps", "2", "--layers", "2", "--folder", str(folder)]
    assert run([*line, "--json", "-o", str(record_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    record = read_record(record_path)
    assert printed == record.to_json()
    assert all(Path(file).exists() for file in record.result["files"])
    assert not list(folder.rglob("*.bin")) and not list(folder.rglob("*.pt"))
    trained = sipit.load_model(str(folder / "model"))
    assert trained.layers == 2
    quoted = record.result["theorem"]
    assert quoted["says_of_this_run"].startswith("nothing")
    assert {entry["checked"] for entry in quoted["hypotheses"]} == {True, False}
    page = render([record], format="html")
    assert page.count("<figure") == 5
    assert page.count("<desc") == 5  # every figure in words as well
    assert "null set" in page
    assert run([*line, "--json", "-o", str(record_path)]) == 0  # finished: the same record again
    assert read_record(record_path).result == record.result


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--model", "smollm2"], "tiny-<family>"), (["--layers", "9", "--steps", "1"], "layer"),
        (["--layers", "one"], "layer numbers"), (["--steps", "0"], "at least one step"),
        (["--rate", "-1"], "positive rate"), (["--optimizer", "lion"], "lion"), (["-o", "x.txt"], "ending"),
    ],
    ids=str,
)  # fmt: skip
def test_misuse_is_told_in_one_sentence(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--folder", str(tmp_path / "t"), *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_a_page_of_a_record_with_fields_missing() -> None:
    from proofs.evidence import Record

    empty = Record("train", Verdict.UNDECIDED, {"series": [{"step": 1, "layers": [{"layer": 1}]}, {}, 3]}, {}, 0.0)
    assert "null set" in render([empty], format="md")


def test_noise_of_float64_is_not_its_difference_from_itself() -> None:
    """It is what float64 rounds, and more where the class computes norms in float32."""
    noise: dict[str, float] = {}
    for family in ("gpt2", "qwen2"):
        model = sipit.load_model(f"tiny-{family}", dtype="float64")
        (layer,) = Followed.of(model, [2], seed=0).measure(model)
        noise[family] = layer["noise"]
        assert layer["threshold"] > 0
    assert 1e-16 < noise["gpt2"] < 1e-13 and 1e-8 < noise["qwen2"] < 1e-4
