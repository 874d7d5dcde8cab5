"""The command line: exit status, one record and nothing else with --json, one sentence and no file on misuse."""

import json
import os
import subprocess
import sys

import pytest
import torch
import typer
from safetensors.torch import save_file

import sipit
from proofs.evidence import Record, read_record
from sipit.cli import app, run
from sipit.prompts.builtin_text import section_prompts
from sipit.states.files import read_states, write_states
from tests.sipit.cases import random_prompts, tiny, with_rows
from tests.sipit.report_records import stored_records

TOKEN_FIELDS = {"position", "token_id", "outcome", "residual", "margin", "rivals_tested", "candidates_tested"}
PROMPT_FIELDS = {
    "outcome", "token_ids", "text", "alternatives", "tokens", "forward_passes", "candidates_tested",
    "largest_residual", "smallest_margin", "matches_truth",
}  # fmt: skip


def command(capsys, *arguments):
    """Exit status, standard output and standard error of one command line."""
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def record_of(output):
    """The record on standard output, and nothing else."""
    record = Record.from_json(json.loads(output))
    assert record.dumps() + "\n" == output
    return record


def assert_refused(result, reason=""):
    status, output, error = result
    assert status == 2
    assert output == ""
    sentence = error.strip()
    assert sentence.startswith("sipit: ")
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    assert reason in sentence


@pytest.fixture
def states_file(tmp_path):
    path = tmp_path / "s.safetensors"
    write_states(path, sipit.capture(tiny("gemma3"), ["Hello"], layer=1))
    return path


# Records.


def test_invert_writes_the_record_of_the_contract(capsys):
    status, output, _ = command(capsys, "invert", "tiny-gpt2", "--text", "Hello", "--layer", 2, "--json")
    record = record_of(output)
    assert (status, record.command, record.verdict) == (0, "invert", "recovered")
    assert set(record.result) >= {"layer", "policy", "tolerance", "prompts"}
    assert (record.result["layer"], record.result["policy"]) == (2, "draft")
    assert set(record.result["tolerance"]) >= {"value", "kind", "derived_from"}
    (prompt,) = record.result["prompts"]
    assert set(prompt) >= PROMPT_FIELDS
    assert all(set(token) >= TOKEN_FIELDS for token in prompt["tokens"])
    assert (prompt["text"], prompt["token_ids"], prompt["matches_truth"]) == ("Hello", list(b"Hello"), True)
    provenance = record.provenance
    assert provenance["digest"] == tiny("gpt2").digest
    assert (provenance["model"], provenance["seed"], provenance["dtype"]) == ("tiny-gpt2", 0, "float32")
    assert "float32" in provenance["arithmetic"]
    assert {"sipit", "torch", "transformers"} <= set(provenance["versions"])


def test_capture_then_invert(capsys, tmp_path):
    path, record_path = tmp_path / "s.safetensors", tmp_path / "r.json"
    status, output, _ = command(capsys, "capture", "tiny-gemma3", "--text", "Hello", "--cached", "-o", path, "--json")
    record = record_of(output)
    assert (status, record.verdict) == (0, "done")
    assert record.result["files"] == [str(path)]
    assert read_states(path).layer == 1
    status, output, _ = command(capsys, "invert", "tiny-gemma3", "--states", path, "-o", record_path, "--json")
    assert status == 0
    assert read_record(record_path) == record_of(output)
    assert record_of(output).result["prompts"][0]["text"] == "<bos>Hello"
    assert record_of(output).result["prompts"][0]["matches_truth"] is None


def test_the_truth_beside_states_is_compared(capsys, tmp_path, states_file):
    for text, agrees in (("Hello", True), ("Hallo", False)):
        prompts = tmp_path / "p.jsonl"
        prompts.write_text(json.dumps({"text": text}))
        status, output, _ = command(
            capsys, "invert", "tiny-gemma3", "--states", states_file, "--prompts", prompts, "--json"
        )
        assert status == 0
        assert record_of(output).result["prompts"][0]["matches_truth"] is agrees


def test_the_same_command_gives_the_same_record_but_for_times(capsys):
    def once():
        _, output, _ = command(capsys, "invert", "tiny-llama", "--text", "again", "--json")
        data = json.loads(output)
        for part in (data, *data["result"]["prompts"]):
            part["seconds"] = 0
        return data

    assert once() == once()


def test_people_get_the_text_and_programs_the_record(capsys):
    status, output, _ = command(capsys, "invert", "tiny-gpt2", "--text", "Hello")
    assert status == 0
    assert "recovered" in output
    assert "Hello" in output
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(output)


@pytest.mark.edge
@pytest.mark.parametrize("ending", ["json", "md", "html"])
def test_a_page_or_a_record_is_written_by_its_ending(capsys, tmp_path, ending):
    path = tmp_path / f"r.{ending}"
    status, _, _ = command(capsys, "invert", "tiny-gpt2", "--text", "Hello", "-o", path)
    assert status == 0
    written = path.read_text(encoding="utf-8")
    assert tiny("gpt2").digest[:12] in written
    assert all(character in written for character in "Hello")


def test_a_report_recomputes_nothing(capsys, tmp_path):
    record, page = tmp_path / "r.json", tmp_path / "r.html"
    command(capsys, "invert", "tiny-gpt2", "--text", "Hello", "-o", record)
    status, output, _ = command(capsys, "report", record, "-o", page, "--json")
    assert status == 0
    assert record_of(output).result["files"] == [str(page)]
    assert page.read_text(encoding="utf-8").startswith("<!")
    own = tmp_path / "own.json"
    status, output, _ = command(capsys, "report", record, "-o", own, "--json")
    assert (status, read_record(own)) == (0, record_of(output))
    assert record_of(output).result["files"] == [str(own.with_suffix(".html"))]
    assert own.with_suffix(".html").read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


# Exit status.


def test_states_of_no_prompt_are_not_found_and_end_with_one(capsys, tmp_path):
    path, out = tmp_path / "s.safetensors", tmp_path / "r.json"
    save_file({"a": torch.randn(3, 64, generator=torch.Generator().manual_seed(0))}, path)
    status, output, error = command(capsys, "invert", "tiny-gpt2", "--states", path, "--layer", 1, "-o", out, "--json")
    record = record_of(output)
    assert (status, record.verdict) == (1, "not_found")
    (prompt,) = record.result["prompts"]
    assert prompt["token_ids"] == [None] * 3
    assert prompt["text"] is None
    assert prompt["tokens"][0]["residual"] > 0.1
    assert "Traceback" not in error


def test_an_open_answer_ends_with_three(capsys, tmp_path):
    status, output, _ = command(
        capsys, "invert", "tiny-gpt2", "--text", "Hello", "--budget", "1e-9", "--policy", "exhaustive", "--json"
    )
    assert (status, record_of(output).verdict) == (3, "budget_exhausted")
    folder = tmp_path / "twins"
    twins = with_rows("gpt2", [(72, 200)])
    twins.module.save_pretrained(folder)
    twins.tokenizer.save_pretrained(folder)
    status, output, _ = command(capsys, "invert", folder, "--text", "Hello", "--json")
    record = record_of(output)
    assert (status, record.verdict) == (3, "ambiguous")
    assert record.result["prompts"][0]["alternatives"][0]["token_ids"] == [72, 200]


def test_over_several_prompts_one_no_is_a_no(capsys, tmp_path):
    path = tmp_path / "s.safetensors"
    good = sipit.capture(tiny("gpt2"), [[1, 2, 3]], layer=1)[0]
    save_file({"0": good, "1": torch.ones(2, 64), "2": good.clone()}, path)
    status, output, _ = command(capsys, "invert", "tiny-gpt2", "--states", path, "--layer", 1, "--json")
    assert status == 1
    outcomes = [prompt["outcome"] for prompt in record_of(output).result["prompts"]]
    assert outcomes == ["recovered", "not_found", "recovered"]


# Misuse.

MISUSE = {
    "unknown command": (["nothing"], "nothing"),
    "no model": (["invert"], "model"),
    "unknown option": (["invert", "tiny-gpt2", "--nothing"], "--nothing"),
    "unknown model": (["invert", "tiny-gpt3", "--text", "a"], "did you mean"),
    "unknown family": (["capture", "tiny-x", "--text", "a", "-o", "{out}.safetensors"], "tiny-"),
    "hub id out of reach": (["invert", "nobody/nothing", "--text", "a"], "nobody/nothing"),
    "layer too deep": (["invert", "tiny-gpt2", "--text", "a", "--layer", "3"], "from 0 to 2"),
    "layer below zero": (["invert", "tiny-gpt2", "--text", "a", "--layer", "-1"], "from 0 to 2"),
    "layer no number": (["invert", "tiny-gpt2", "--text", "a", "--layer", "last"], "last"),
    "capture layer": (["capture", "tiny-gpt2", "--text", "a", "--layer", "9", "-o", "{out}.safetensors"], "0 to 2"),
    "empty text": (["invert", "tiny-gpt2", "--text", ""], "empty"),
    "beyond the context": (["invert", "tiny-gpt2", "--text", "a" * 129], "128"),
    "no prompt": (["invert", "tiny-gpt2"], "--text"),
    "two prompts": (["invert", "tiny-gpt2", "--text", "a", "--prompts", "{p}.txt"], "--text"),
    "missing prompts": (["invert", "tiny-gpt2", "--prompts", "{p}.txt"], "{p}.txt"),
    "missing states": (["invert", "tiny-gpt2", "--states", "{p}.safetensors", "--layer", "1"], "{p}.safetensors"),
    "unknown policy": (["invert", "tiny-gpt2", "--text", "a", "--policy", "best"], "draft"),
    "unknown margin": (["invert", "tiny-gpt2", "--text", "a", "--margin", "some"], "full"),
    "tolerance": (["invert", "tiny-gpt2", "--text", "a", "--tolerance", "small"], "auto"),
    "negative tolerance": (["invert", "tiny-gpt2", "--text", "a", "--tolerance", "-1"], "between 0 and 1"),
    "budget": (["invert", "tiny-gpt2", "--text", "a", "--budget", "0"], "budget"),
    "budget no number": (["invert", "tiny-gpt2", "--text", "a", "--budget", "x"], "--budget"),
    "dtype": (["invert", "tiny-gpt2", "--text", "a", "--dtype", "int4"], "bfloat16"),
    "device": (["invert", "tiny-gpt2", "--text", "a", "--device", "abacus"], "cpu"),
    "output ending": (["invert", "tiny-gpt2", "--text", "a", "-o", "{out}.pdf"], ".json"),
    "output folder": (["invert", "tiny-gpt2", "--text", "a", "-o", "{out}/none/r.json"], "folder"),
    "capture without file": (["capture", "tiny-gpt2", "--text", "a"], "-o"),
    "capture ending": (["capture", "tiny-gpt2", "--text", "a", "-o", "{out}.pt"], ".safetensors"),
    "cached batch": (["capture", "tiny-gpt2", "--text", "a", "--cached", "--batch", "2", "-o", "{out}.safetensors"],
                     "batch"),
    "limit": (["collide", "tiny-none", "--limit", "0"], "a limit of at least 2"),
    "report of nothing": (["report", "{p}.json", "-o", "{out}.html"], "{p}.json"),
    "unknown download": (["download", "gpt5"], "smollm2"),
}  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
@pytest.mark.parametrize("kind", sorted(MISUSE))
def test_misuse_is_one_sentence_and_no_file(capsys, tmp_path, kind, as_json):
    arguments, reason = MISUSE[kind]
    places = {"out": tmp_path / "out", "p": tmp_path / "p"}
    filled = [argument.format(**places) for argument in arguments]
    if as_json and kind not in {"unknown command", "no model"}:
        filled.append("--json")
    assert_refused(command(capsys, *filled), reason.format(**places))
    assert not list(tmp_path.iterdir())


def damaged(kind, path):
    good = sipit.capture(tiny("gpt2"), [[1, 2, 3]], layer=1)
    array = good[0].clone()
    if kind == "of another model":
        write_states(path, sipit.capture(tiny("llama"), [[1, 2]], layer=1))
    elif kind == "pickle":
        torch.save({"a": array}, path)
    elif kind == "text":
        path.write_text("not states")
    elif kind == "empty file":
        path.write_bytes(b"")
    elif kind in {"truncated", "oversized header"}:
        save_file({"a": array}, path)
        content = path.read_bytes()
        path.write_bytes(content[:-7] if kind == "truncated" else (2**62).to_bytes(8, "little") + content[8:])
    else:
        changed = {
            "NaN": array.index_fill(0, torch.tensor([1]), float("nan")),
            "infinity": array.index_fill(0, torch.tensor([2]), float("inf")),
            "wrong width": array[:, :-1],
            "wrong shape": array[0],
            "no positions": array[:0],
            "integers": array.to(torch.int32),
            "beyond the context": array[:1].repeat(129, 1),
        }
        save_file({"a": changed[kind].contiguous()}, path)


DAMAGE = {
    "of another model": "digest", "pickle": "pickle", "text": "safetensors", "empty file": "safetensors",
    "truncated": "truncated", "oversized header": "header", "NaN": "position 1", "infinity": "position 2",
    "wrong width": "(3, 63)", "wrong shape": "(64,)", "no positions": "(0, 64)", "integers": "I32",
    "beyond the context": "129",
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_bad_states_are_one_sentence_and_no_file(capsys, tmp_path, kind):
    path, out = tmp_path / "s.safetensors", tmp_path / "r.json"
    damaged(kind, path)
    layer = [] if kind == "of another model" else ["--layer", 1]
    result = command(capsys, "invert", "tiny-gpt2", "--states", path, *layer, "-o", out, "--json")
    assert_refused(result, DAMAGE[kind])
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.safetensors"]


def test_an_id_out_of_range_is_refused(capsys, tmp_path):
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"token_ids": [1, 512]}')
    assert_refused(command(capsys, "invert", "tiny-gpt2", "--prompts", prompts), "512 at position 1")


def test_states_need_a_layer_and_prompts_of_their_lengths(capsys, tmp_path, states_file):
    foreign, prompts = tmp_path / "f.safetensors", tmp_path / "p.txt"
    save_file({"a": torch.ones(2, 64)}, foreign)
    assert_refused(command(capsys, "invert", "tiny-gpt2", "--states", foreign), "--layer")
    prompts.write_text("Hello!")
    refused = command(capsys, "invert", "tiny-gemma3", "--states", states_file, "--prompts", prompts)
    assert_refused(refused, "lengths")


def test_a_missing_embedded_model_names_its_download(capsys, monkeypatch):
    monkeypatch.setattr("sipit.models.smollm2.PACKAGE", "llm_that_is_not_installed")
    assert_refused(command(capsys, "invert", "smollm2", "--text", "a"), "sipit download smollm2")


def test_a_download_writes_its_record_and_a_page_of_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("sipit.models.smollm2.gguf_file", lambda: tmp_path / "model.gguf")
    for ending in ("json", "html", "md"):
        status, _, _ = command(capsys, "download", "smollm2", "-o", tmp_path / f"download.{ending}")
        assert (status, (tmp_path / f"download.{ending}").is_file()) == (0, True)
    record = record_of((tmp_path / "download.json").read_text(encoding="utf-8"))
    assert (record.command, record.result["files"]) == ("download", [str(tmp_path / "model.gguf")])


def test_the_old_file_stays_when_an_inversion_is_refused(capsys, tmp_path):
    out = tmp_path / "r.json"
    out.write_text("old")
    assert_refused(command(capsys, "invert", "tiny-gpt2", "--text", "a", "--layer", 7, "-o", out))
    assert out.read_text() == "old"


# As a program.


def test_as_a_program_the_streams_are_kept_apart(tmp_path):
    arguments = ["invert", "tiny-gpt2", "--text", "Hello", "--json"]
    code = f"from sipit.cli import main; import sys; sys.argv[1:] = {arguments!r}; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "recovered"
    code = "from sipit.cli import main; import sys; sys.argv[1:] = ['verify', 'none.json', '--json']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, env=os.environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1


def test_many_prompts_of_a_file(capsys, tmp_path):
    model = tiny("bloom")
    prompts = [*random_prompts(2, longest=9, seed=61), *section_prompts(model, count=1, length=16)]
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(json.dumps({"token_ids": ids}) for ids in prompts))
    status, output, _ = command(capsys, "invert", "tiny-bloom", "--prompts", path, "--layer", "final", "--json")
    record = record_of(output)
    assert (status, record.result["layer"]) == (0, "final")
    assert [prompt["token_ids"] for prompt in record.result["prompts"]] == prompts


def test_the_module_is_the_command_line(tmp_path):
    """Whatever folder it is called from, and with the status of the command."""
    program = [sys.executable, "-m", "sipit"]
    done = subprocess.run([*program, "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: sipit " in done.stdout
    done = subprocess.run([*program, "report", tmp_path / "none.json"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_every_command_that_reads_prompts_can_do_without_special_tokens():
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--no-special-tokens" in options) == ("--prompts" in options), name


# Of a network over the reals, or of a record: no type that a model computes in, and no device.
WITHOUT_A_MODEL = {"verify", "prove", "report", "download", "demo"}


def test_every_command_takes_the_options_that_all_take():
    group = typer.main.get_command(app)
    commands = {(name,): one for name, one in group.commands.items() if not hasattr(one, "commands")}
    commands |= {("prove", name): one for name, one in group.commands["prove"].commands.items()}
    for (name, *of), one in commands.items():
        options = {option for parameter in one.params for option in parameter.opts}
        assert {"--json", "-o"} <= options, name
        assert ({"--device", "--dtype"} <= options) == (name not in WITHOUT_A_MODEL), name
        assert ("--seed" in options) == (name not in {"report", "download"} and of != ["witness"]), name


@pytest.mark.parametrize("record", stored_records(), ids=lambda record: record.command)
def test_every_record_says_where_it_comes_from(record):
    assert {"versions", "model", "digest", "seed", "dtype", "device", "arithmetic"} <= set(record.provenance)
    assert record.provenance["arithmetic"]
