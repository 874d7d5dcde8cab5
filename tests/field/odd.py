"""Odd files, folders and command lines by kind, drawn by Hypothesis from whole ones."""

import contextlib
import json
import os

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tests.field.places import POINTER

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 600), st.sampled_from([2**31, 10**12, 1e30, -0.5, 0.0, float("nan")]),
    st.text(max_size=6), st.just([]), st.just({}), st.lists(st.integers(-1, 3), max_size=3),
)  # fmt: skip


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
        st.sampled_from(
            ["gone", "renamed", "half", "int8", "fp8", "longer", "flat", "nan", "twice", "wrapped", "empty", "packed"]
        )
    )
    if how == "wrapped":
        word = data.draw(st.sampled_from(["_orig_mod.", "module.", "a.b.", "model."]))
        weights = {word + key: value for key, value in [*weights.items(), (name, tensor)]}
    elif how != "gone":
        changed = {
            "half": tensor.half(), "int8": tensor.to(torch.int8), "fp8": tensor.to(torch.float8_e4m3fn),
            "longer": torch.cat([tensor, tensor]), "flat": tensor.flatten(), "nan": tensor * float("nan"),
            "empty": tensor[:0], "packed": tensor[..., ::8].to(torch.int32).view(torch.uint32),
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


def sharded(folder, data):
    """Splits the weights into two shards with an index, and changes something of them."""
    whole = folder / "model.safetensors"
    weights = load_file(whole)
    names = sorted(weights)
    shards = {f"model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in range(2)}
    for shard, own in shards.items():
        save_file({name: weights[name] for name in own}, folder / shard, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {name: shard for shard in shards for name in shards[shard]}}
    how = data.draw(st.sampled_from(["", "shard", "index", "metadata", "name", "both", "odd"]))
    if how == "metadata":
        index.pop("metadata")
    if how == "name":
        index["weight_map"].pop(data.draw(st.sampled_from(names)))
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    if how == "odd":
        edited_json(path, data)
    if how in ("shard", "index"):
        (folder / next(iter(shards)) if how == "shard" else path).unlink()
    if how != "both":
        whole.unlink()


def moved(folder, data):
    """Puts the files of a folder into one inside it, or behind links, which may lead nowhere."""
    inside = folder / data.draw(st.sampled_from(["checkpoint-5", "blobs"]))
    inside.mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        os.rename(path, inside / path.name)
        if inside.name == "blobs":
            path.symlink_to(inside / path.name)
    if inside.name == "blobs" and data.draw(st.booleans()):
        (inside / data.draw(st.sampled_from(["config.json", "model.safetensors", "tokenizer.json"]))).unlink()


KINDS = ("config", "config", "weights", "weights", "tokenizer", "bytes", "stray", "shards", "moved")


def odd_folder(folder, data):
    """Changes a folder in one or two places."""
    for _ in range(data.draw(st.integers(1, 2))):
        kind = data.draw(st.sampled_from(KINDS))
        if kind == "stray":
            added_file(folder, data)
            continue
        if kind in ("shards", "moved"):
            if (folder / "model.safetensors").is_file() and not (folder / "checkpoint-5").exists():
                with contextlib.suppress(ValueError, SafetensorError, FileExistsError):
                    (sharded if kind == "shards" else moved)(folder, data)
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
    if path.suffix == ".npy":
        array = next(iter(tensors.values()), rows)
        array = array.float() if array.dtype in (torch.bfloat16, torch.float8_e4m3fn) else array
        order = data.draw(st.sampled_from([np.ascontiguousarray, np.asfortranarray]))
        np.save(path, order(array.numpy()).astype(array.numpy().dtype.newbyteorder(data.draw(st.sampled_from("<>")))))
    elif path.suffix == ".npz":
        arrays = {name: (one.float() if one.dtype == torch.bfloat16 else one) for name, one in tensors.items()}
        np.savez(path, **{name: one.numpy() for name, one in arrays.items() if one.dtype != torch.float8_e4m3fn})
    else:
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
