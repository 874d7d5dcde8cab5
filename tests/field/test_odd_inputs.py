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
from safetensors import safe_open
from safetensors.torch import load_file

from tests.field.odd import odd_folder, odd_options, odd_states
from tests.field.places import IDS, called, model_folder, plain_states, prompts_file

FAMILIES = ("llama", "gpt2", "qwen2", "gpt-neox")


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """A folder of each family, its module, and states of a prompt as the library computes them."""
    place = tmp_path_factory.mktemp("wholes")
    modules = {family: model_folder(place / family, family) for family in FAMILIES}
    return place, modules


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


def captures_agree(data, folder, module, work):
    """Captures prompts of several lengths in some way, and holds every state against plain runs of the library."""
    length = st.lists(st.integers(3, 511), min_size=1, max_size=12)
    prompts = data.draw(st.lists(length, min_size=1, max_size=4))
    layer = data.draw(st.sampled_from(["0", "1", "final", "0,1"]))
    how = data.draw(st.sampled_from([(), ("--batch", "3"), ("--cached",)]))
    given, file = work / "several.jsonl", work / "several.safetensors"
    given.write_text("".join(json.dumps({"token_ids": ids}) + "\n" for ids in prompts))
    said = called("capture", folder, "--prompts", given, "--layer", layer, "-o", file, *how)
    assert said[0] == 0, (prompts, layer, how, said)
    found = load_file(file)
    for number, ids in enumerate(prompts):
        for one in layer.split(","):
            key = f"{number:06d}.{one}" if "," in layer else f"{number:06d}"
            want = plain_states(module, ids, -1 if one == "final" else int(one))
            assert torch.allclose(found.pop(key), want, rtol=1e-4, atol=1e-5), (prompts, layer, how)
    assert not found


def judge(data, tmp_path, wholes):
    """Draws one input, runs one command on it, and holds what comes back against what must hold."""
    place, modules = wholes
    work = tmp_path / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    family = data.draw(st.sampled_from(FAMILIES))
    ending = data.draw(st.sampled_from(["safetensors", "safetensors", "npy", "npz"]))
    folder, states, out = work / "model", work / f"states.{ending}", work / "out"
    shutil.copytree(place / family, folder)
    kind = data.draw(st.sampled_from(["folder", "folder", "states", "options", "prompts", "captures"]))
    if kind == "captures":
        captures_agree(data, folder, modules[family], work)
        return
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
