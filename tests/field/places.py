"""Folders with models as people bring them, and one run of a command with what it printed."""

import contextlib
import io
import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sipit.cli import run
from sipit.models.tiny import tiny_module, tiny_tokenizer

IDS = [97, 98, 99]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def model_folder(folder, family="llama", *, seed=3, tokenizer=True, **options):
    """Saves a tiny model, and hands its module on."""
    module = tiny_module(family, seed=seed)
    module.save_pretrained(folder, **options)
    if tokenizer:
        tiny_tokenizer(family).save_pretrained(folder)
    return module


def configured(folder, **fields):
    """Changes fields of a configuration."""
    path = Path(folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def rewritten(folder, change):
    """Changes the stored weights of a folder: `change` takes them by name and hands others back."""
    path = str(Path(folder) / "model.safetensors")
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def called(*arguments):
    """Exit status, standard output and standard error of one command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return status, out.getvalue(), err.getvalue()


def prompts_file(folder, ids=IDS):
    """A file with one prompt of ids."""
    path = Path(folder) / "ids.jsonl"
    path.write_text(json.dumps({"token_ids": ids}) + "\n")
    return path


def captured(folder, tmp_path, *options, ids=IDS, layer=1):
    """The states that `sipit capture` writes for a prompt of ids."""
    file = tmp_path / "states.safetensors"
    prompts = prompts_file(tmp_path, ids)
    status, _, err = called("capture", folder, "--prompts", prompts, "--layer", layer, "-o", file, *options)
    assert status == 0, err
    return load_file(file)["000000"]


def plain_states(module, ids=IDS, layer=1):
    """The states of a plain run of the library."""
    with torch.inference_mode():
        return module(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]


def assert_refused(said, *parts):
    """Exit status 2, nothing on standard output, one sentence that names the parts."""
    status, out, err = said
    assert (status, out) == (2, ""), said
    lines = err.splitlines()
    assert lines[-1].startswith("sipit: Expected ") and "; " in lines[-1], err
    assert not re.search(r"[a-z]{3}\. [A-Z]", lines[-1]), err  # a second sentence
    for part in parts:
        assert part in lines[-1], (part, err)


def refused(folder, tmp_path, *parts):
    """Refuses to capture from a folder, in one sentence, and writes nothing."""
    file = tmp_path / "refused.safetensors"
    assert_refused(called("capture", folder, "--prompts", prompts_file(tmp_path), "--layer", 1, "-o", file), *parts)
    assert not file.exists()
