"""Odd inputs drawn by kind end with an answer or with a refusal in one sentence.

Nothing is half written; a token that is named is the true one; states that are written are those of a plain run.
"""

import json
import re
import shutil

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from tests.field.places import IDS, POINTER, called, model_folder, plain_states, prompts_file

FAMILIES = ("llama", "gpt2", "qwen2", "gpt-neox")
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 600), st.sampled_from([2**31, 10**12, 1e30, -0.5, 0.0, float("nan")]),
    st.text(max_size=6), st.just([]), st.just({}), st.lists(st.integers(-1, 3), max_size=3),
)  # fmt: skip


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """A folder of each family, its module, and states of a prompt as the library computes them."""
    place = tmp_path_factory.mktemp("wholes")
    modules = {family: model_folder(place / family, family) for family in FAMILIES}
    return place, modules


def edited_json(path, data):
    """Puts an odd value in some place of a JSON file."""
    whole = json.loads(path.read_text())
    part, depth = whole, data.draw(st.integers(0, 4))
    for _ in range(depth):
        inner = [
            value for value in (part.values() if isinstance(part, dict) else part) if isinstance(value, dict | list)
        ]
        if not inner:
            break
        part = data.draw(st.sampled_from(inner[:40]))
    if isinstance(part, dict):
        part[data.draw(st.sampled_from([*list(part)[:60], "odd"]))] = data.draw(ODD)
    elif part:
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(ODD)
    path.write_text(json.dumps(whole))


def edited_weights(path, data):
    """Takes a tensor away, or gives it another name, type, shape, or values that are no numbers."""
    weights = load_file(path)
    name = data.draw(st.sampled_from(sorted(weights)))
    tensor = weights.pop(name)
    how = data.draw(
        st.sampled_from(["gone", "renamed", "half", "int8", "fp8", "longer", "flat", "nan", "twice", "wrapped"])
    )
    if how == "wrapped":
        word = data.draw(st.sampled_from(["_orig_mod.", "module.", "a.b.", "model."]))
        weights = {word + key: value for key, value in [*weights.items(), (name, tensor)]}
    elif how != "gone":
        changed = {
            "half": tensor.half(), "int8": tensor.to(torch.int8), "fp8": tensor.to(torch.float8_e4m3fn),
            "longer": torch.cat([tensor, tensor]), "flat": tensor.flatten(), "nan": tensor * float("nan"),
        }.get(how, tensor)  # fmt: skip
        weights[f"{name}.lora_A" if how == "renamed" else name] = changed
        if how == "twice":
            weights[data.draw(st.sampled_from(["extra", "model.layers.9.x", f"{name}_scale"]))] = tensor.clone()
    save_file(weights, path, metadata={"format": "pt"})


def edited_bytes(path, data):
    """Cuts a file off, changes bytes of it, or puts something else into its place."""
    content = bytearray(path.read_bytes())
    how = data.draw(st.sampled_from(["cut", "changed", "pointer", "empty", "gone", "folder"]))
    if how in ("gone", "folder"):
        path.unlink()
        if how == "folder":
            path.mkdir()
        return
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, min(4000, len(content) - 1)))] = data.draw(st.integers(0, 255))
    cut = content[: data.draw(st.integers(0, len(content)))]
    path.write_bytes({"cut": cut, "changed": content, "pointer": POINTER.encode(), "empty": b""}[how])


def added_file(folder, data):
    """Puts a stray file into a folder."""
    name = data.draw(st.sampled_from([
        "adapter_config.json", "adapter_model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "x.gguf",
        "model.safetensors.index.json", "states.safetensors", "tokenizer.model", "added_tokens.json", "vocab.json",
    ]))  # fmt: skip
    content = data.draw(st.sampled_from([b"", b"{}", b"[]", b"\xff\xfe", POINTER.encode(), b'{"peft_type": "LORA"}']))
    (folder / name).write_bytes(content)


def odd_folder(folder, data):
    """Changes a folder in one or two places."""
    for _ in range(data.draw(st.integers(1, 2))):
        kind = data.draw(st.sampled_from(["config", "config", "weights", "weights", "tokenizer", "bytes", "stray"]))
        if kind == "stray":
            added_file(folder, data)
            continue
        name = {"config": "config.json", "tokenizer": "tokenizer.json", "weights": "model.safetensors"}.get(kind)
        path = folder / (name or data.draw(st.sampled_from(["config.json", "model.safetensors", "tokenizer.json"])))
        if not path.is_file() or not path.stat().st_size:
            continue
        how = {"config": edited_json, "tokenizer": edited_json, "weights": edited_weights, "bytes": edited_bytes}[kind]
        try:
            how(path, data)
        except (ValueError, RuntimeError, SafetensorError):
            continue  # an earlier change left nothing to edit


def odd_states(path, rows, data):
    """A file of states like those of the prompt, with another shape, type, value, name or manifest."""
    how = data.draw(st.sampled_from([
        "plain", "transposed", "flat", "stack", "wide", "half", "int", "fp8", "nan", "zero", "scaled", "shuffled",
        "noise", "none", "two", "manifest", "bytes",
    ]))  # fmt: skip
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 9))))
    table = {
        "transposed": rows.T, "flat": rows.flatten(), "stack": rows[None], "wide": torch.cat([rows, rows], dim=1),
        "half": rows.bfloat16(), "int": (rows * 10).to(torch.int8), "fp8": rows.to(torch.float8_e4m3fn),
        "nan": rows * float("nan"), "zero": rows * 0, "scaled": rows * 3, "shuffled": rows.flip(0), "noise": noise,
    }.get(how, rows)  # fmt: skip
    tensors = {} if how == "none" else {data.draw(st.sampled_from(["p", "0", "layer2", "\u00fc"])): table.contiguous()}
    if how == "two":
        tensors["q"] = data.draw(st.sampled_from([noise, rows.double(), rows.half(), rows[:1].clone()]))
    about = {"sipit": data.draw(st.sampled_from(["{}", "[]", "x", '{"schema": "sipit-states/1"}']))}
    save_file(tensors, path, metadata=about if how == "manifest" else None)
    if how == "bytes":
        edited_bytes(path, data)
    return how in {"plain", "stack"}


OPTIONS = {
    "--layer": ["0", "1", "2", "final", "3", "-1", "x", "", "1.0", "\u00b2"],
    "--dtype": ["float32", "float64", "bfloat16", "int8", ""], "--device": ["cpu", "tpu", "cuda:7", "meta"],
    "--text": ["a", "", " ", "\x00", "\ud800", "\u00e9" * 200], "--batch": ["1", "0", "x"], "--seed": ["0", "-1"],
    "--policy": ["nearest", "best"], "--tolerance": ["auto", "0", "nan", "1e-4"], "--budget": ["5", "0", "x"],
    "--prefix": ["[1]", "[", "a", ""], "--positions": ["last", "0", "9", "x"], "--nothing": [""],
}  # fmt: skip


def odd_options(data, command):
    """A few options of a command, with good and bad values."""
    known = [option for option in OPTIONS if (option in {"--batch"}) <= (command == "capture")]
    known = [option for option in known if command == "invert" or option not in {
        "--policy", "--tolerance", "--budget", "--prefix", "--positions"}]  # fmt: skip
    chosen = data.draw(st.lists(st.sampled_from(known), max_size=2, unique=True))
    return [part for option in chosen for part in (option, data.draw(st.sampled_from(OPTIONS[option])))]


def assert_told(said, arguments):
    """A status that means something; with 2 nothing on standard output and one sentence at the end."""
    status, out, err = said
    assert status in {0, 1, 2, 3}, (arguments, said)
    assert "Traceback" not in err, (arguments, err)
    if status == 2:
        assert out == "", (arguments, said)
        last = err.splitlines()[-1]
        assert re.fullmatch(r"sipit: \S.*[^.][.?]?", last) and not re.search(r"[a-z]{3}\. [A-Z]", last), (
            arguments,
            err,
        )


def assert_as_the_library(folder, file, layer):
    """The states in a file are those of a plain run of the library, where that has every weight."""
    module, found = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, use_safetensors=True
    )
    if found["missing_keys"] or found["mismatched_keys"] or any("lora" in key for key in found["unexpected_keys"]):
        return  # it draws something at random there, where words were taken off the names
    want = plain_states(module.eval(), IDS, layer)
    assert torch.allclose(load_file(file)["000000"], want, rtol=1e-5, atol=1e-5, equal_nan=True)


def judge(data, tmp_path, wholes):
    """Draws one input, runs one command on it, and holds what comes back against what must hold."""
    place, modules = wholes
    work = tmp_path / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    family = data.draw(st.sampled_from(FAMILIES))
    folder, states, out = work / "model", work / "states.safetensors", work / "out"
    shutil.copytree(place / family, folder)
    kind = data.draw(st.sampled_from(["folder", "folder", "states", "options", "prompts"]))
    command = "invert" if kind == "states" else data.draw(st.sampled_from(["capture", "invert"]))
    if kind == "folder":
        odd_folder(folder, data)
    options = odd_options(data, command) if kind == "options" else []
    arguments = [command, folder, *([] if "--layer" in options else ["--layer", "1"]), *options]
    true = False
    if command == "capture":
        out = out.with_suffix(".safetensors")
        prompts = prompts_file(work)
        if kind == "prompts":
            prompts = work / data.draw(st.sampled_from(["p.txt", "p.jsonl", "p.csv"]))
            prompts.write_bytes(data.draw(st.one_of(st.binary(max_size=20), st.sampled_from([
                b"\xef\xbb\xbfabc\n", b'\xef\xbb\xbf{"text": "a"}\n', b'{"token_ids": [1, 600]}', b'{"text": ""}',
                b"\n \n",
            ]))))  # fmt: skip
        if "--text" not in options:
            arguments += ["--prompts", prompts]
        arguments += ["-o", out]
    else:
        true = odd_states(states, plain_states(modules[family]), data) and kind == "states"
        out = out.with_suffix(".json")
        arguments += ["--states", states, "-o", out]
        if "--budget" not in options:
            arguments += ["--budget", "20"]
    said = called(*arguments)
    assert_told(said, arguments)
    if said[0] == 2:
        assert not out.exists(), arguments
        return
    assert out.is_file() and not list(work.glob("*.tmp*")), (arguments, said)
    if command == "capture":
        with safe_open(out, framework="pt") as stream:
            assert list(stream.keys())
        if kind == "folder":
            assert_as_the_library(folder, out, 1)
        return
    record = json.loads(out.read_text())
    for entry in record["result"].get("prompts", []):
        if entry["outcome"] == "recovered" and kind in {"states", "folder"}:
            assert len(entry["token_ids"]) in {1, len(IDS)}, (arguments, entry)
            assert set(entry["token_ids"]) <= set(IDS), (arguments, entry)
    if true:
        assert record["result"]["prompts"][0]["token_ids"] == IDS, (arguments, record)


@settings(max_examples=12)
@given(data=st.data())
def test_odd_inputs_are_answered_or_told(tmp_path, wholes, data):
    judge(data, tmp_path, wholes)


@pytest.mark.slow
@settings(max_examples=3000)
@given(data=st.data())
def test_three_thousand_odd_inputs_are_answered_or_told(tmp_path, wholes, data):
    judge(data, tmp_path, wholes)
