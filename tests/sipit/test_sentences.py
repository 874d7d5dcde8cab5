"""What a refusal says: the thing that is wrong by the name that it was given by, and a way out that is one."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

import sipit
from proofs.errors import InvalidInput
from sipit.cli import run
from sipit.installation.found import Examination
from sipit.installation.machine import check_machine
from sipit.inversion.partial import invert_partial
from sipit.models.loading import parse_dtype
from sipit.states.files import write_states
from tests.sipit.cases import tiny
from tests.sipit.report_records import stored_records

INVERT, CAPTURE = ["invert", "tiny-gpt2"], ["capture", "tiny-gpt2", "--text", "abc", "-o", "o.safetensors"]
TEXT = [*INVERT, "--text", "abc"]
EMPTY = "safetensors, npy, npz, GGUF or the JSON of an SGLang answer, but empty{} holds nothing; save"
RECORD = "record.json is a record of sipit, which holds none; name the file that sipit capture"


def case(words, *arguments):
    return pytest.param(arguments, words, id=" ".join(arguments))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for ending in (".npy", ".json", ".csv", ".txt", ".safetensors"):
        (tmp_path / f"empty{ending}").write_bytes(b"")
    (tmp_path / "one.txt").write_text("abc\n")
    (tmp_path / "record.json").write_text(stored_records()[0].dumps() + "\n")
    save_file({"000000": torch.ones(3, 64)}, "words.safetensors", {"sipit": "no JSON"})
    save_file({}, "none.safetensors")
    write_states("states.safetensors", sipit.capture(tiny("gpt2"), ["abc"], layer=1))
    return tmp_path


@pytest.mark.parametrize(("arguments", "words"), [
    *(case(EMPTY.format(e), *INVERT, "--states", f"empty{e}") for e in (".npy", ".json", ".csv", ".safetensors")),
    case("one.txt begins like none of them; save", *INVERT, "--states", "one.txt", "--layer", "1"),
    case("at least one tensor of states, but none.safetensors has none; capture", *INVERT, "--states",
         "none.safetensors", "--layer", "1"),
    case("a manifest in JSON, but that of words.safetensors is none", *INVERT, "--states", "words.safetensors"),
    case(RECORD, *INVERT, "--states", "record.json"),
    case(RECORD, "audit", "tiny-gpt2", "--states", "record.json", "--prompts", "one.txt", "--layer", "1"),
    case(RECORD, "certify", "tiny-gpt2", "--prompts", "one.txt", "--states", "record.json"),
    case(RECORD, "compare", "record.json", "tiny-gpt2"),
    case("at least 0, but got --noise -1; write", "certify", "tiny-gpt2", "--prompts", "one.txt", "--states",
         "states.safetensors", "--noise=-1"),
    case("at least 0, but got --noise x; write", "certify", "tiny-gpt2", "--prompts", "missing.txt", "--states",
         "states.safetensors", "--noise=x"),
    case("--prefix is empty", *TEXT, "--prefix", ""),
    case("--suffix is empty", *TEXT, "--suffix", "[]"),
    case("--prefix has 999 at position 0", *TEXT, "--prefix", "[999]"),
    case("--suffix has 6 tokens and the prompt 3; shorten", *TEXT, "--suffix", "abcdef"),
    case("layers from 0 to 2 for tiny-gpt2, but got layer=9; choose of these", "train", "--layers", "0,9"),
    case("layers from 0 to 2 for tiny-gpt2, but got layer=9; choose of these", "collide", "tiny-gpt2", "--layers", "9"),
    case("layers from 0 to 2 for tiny-gpt2, but got layer=9; choose of these", *CAPTURE, "--layer", "0,9"),
    case("float16 or auto, but got 'fp17'", *TEXT, "--dtype", "fp17"),
    case("a top of at least 1, but got -1; give one such as 20", *CAPTURE, "--observe", "logprobs", "--top", "-1"),
    case("beside logprobs alone, but got one for keys", *CAPTURE, "--observe", "keys", "--top", "1"),
    case("3 to 64 (an even one for rope), but got", "prove", "generic-position", "--positions", "rope", "--width", "3"),
    case("different layers, but got 1,1; name each once", *CAPTURE, "--layer", "1,1"),
    case("different layers, but got 1,1; name each once", "train", "--layers", "1,1"),
    case("different layers, but got --layer 0,0; name each once", *TEXT, "--layer", "0,0"),
])  # fmt: skip
def test_a_refusal_names_what_is_wrong(capsys, files, arguments, words):
    before = {path.name for path in files.iterdir()}
    capsys.readouterr()
    status = run([*arguments])
    output, error = capsys.readouterr()
    assert (status, output, error.count("\n")) == (2, "", 1), (status, output, error)
    assert words in error and error.startswith("sipit: Expected")
    assert {path.name for path in files.iterdir()} == before


def test_known_tokens_in_front_of_the_prompt_are_no_end_of_it():
    states = sipit.capture(tiny("gpt2"), ["abc"], layer=1)
    with pytest.raises(InvalidInput, match=r"known tokens of the vocabulary up to position 2, but got token 5 at -1"):
        invert_partial(tiny("gpt2"), states[0], layer=1, known={-1: 5})


@pytest.mark.parametrize(("name", "dtype"), [("bf16", "bfloat16"), ("fp16", "float16"), ("fp32", "float32")])
def test_a_type_may_be_spelled_as_number_formats_are(name, dtype):
    assert parse_dtype(name) == parse_dtype(dtype) == getattr(torch, dtype)


def test_doctor_says_which_type_auto_was():
    lines = {check.name: check.detail for check in check_machine(Examination(), "tiny-gpt2", dtype="auto",
                                                                 device="cpu", seed=0)}  # fmt: skip
    assert "in float32 on" in lines["model"]


# What has no effect, and what is meant.


@pytest.mark.slow
def test_verify_says_which_options_have_no_effect(capsys, tmp_path):
    path = tmp_path / "check.json"
    assert run(["check", "tiny-gpt2", "-o", str(path)]) == 0
    capsys.readouterr()
    assert run(["verify", str(path), "--model", "nosuch", "--steps", "3", "--seed", "5"]) == 0
    assert "--model, --steps, --seed: no effect beside a claim that is not about weights" in capsys.readouterr().err


def test_the_built_in_text_is_meant_where_nothing_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "builtin").write_text("x")
    few = ["collide", "tiny-gpt2", "--limit", "20", "--layers", "1"]
    assert run([*few, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["prompts"] == 20
    assert run([*few, "--prompts", "builtin"]) == 2
    assert "write ./builtin for what is here, or leave --prompts away" in capsys.readouterr().err


def test_distances_of_a_token_that_was_not_accepted_are_told_as_such(capsys, files, monkeypatch):
    states = sipit.capture(tiny("gpt2"), ["abc"], layer=1)
    rows = states[0].clone()
    rows[1] += torch.randn(64, generator=torch.Generator().manual_seed(0))
    write_states("bad.safetensors", sipit.States((rows,), layer=1))
    monkeypatch.setenv("COLUMNS", "300")
    assert run([*INVERT, "--states", "bad.safetensors", "--layer", "1"]) == 1
    said = capsys.readouterr().out
    found = re.search(r"largest residual (\S+) · .* no token accepted at position 1, the nearest tested (\S+) ·", said)
    assert found is not None and float(found[1]) < 1e-5 and float(found[2]) > 1e-2, said
