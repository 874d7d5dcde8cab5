"""Small files that say they hold much are refused before any of it is read: without memory."""

import io
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sipit
from proofs.errors import InvalidInput
from sipit.prompts.reading import read_prompts, tokenize
from sipit.states.readers.containers import read_container
from tests.sipit.cases import tiny

GIB = 2**30
BYTES = 128 * 2**20  # a refusal takes at most


def header(shape, dtype="<f4"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def archive(path, **members):
    """An archive of arrays that are all zeros, each of so many GiB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, (dtype, gib) in members.items():
            width = np.dtype(dtype).itemsize
            with whole.open(f"{name}.npy", "w", force_zip64=True) as stream:
                stream.write(header((int(gib * GIB) // width // 64, 64), dtype))
                for _ in range(int(gib * GIB) // 2**20):
                    stream.write(bytes(2**20))


def hole(path, start, size):
    """A file that begins with something and then has a hole, which takes no room."""
    with path.open("wb") as stream:
        stream.write(start)
        stream.truncate(len(start) + size)


def safetensors_of(shape, size):
    text = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(text)) + text


def gguf_of(kind, count):
    return b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"x" + struct.pack("<IIQ", 9, kind, count)


GGUF = {
    "numbers.gguf": lambda path: hole(path, gguf_of(4, 2**26), 2**28),
    "texts.gguf": lambda path: hole(path, gguf_of(8, 2**26), 2**29),
    "keys.gguf": lambda path: hole(path, b"GGUF" + struct.pack("<IQQ", 3, 0, 2**26), 2**30),
    "tensors.gguf": lambda path: hole(path, b"GGUF" + struct.pack("<IQQ", 3, 2**26, 0), 2**31),
}


STATES = {
    "one.npz": lambda path: archive(path, a=("<f4", 0.5)),
    "several.npz": lambda path: archive(path, **{f"p{n}": ("<f4", 1 / 16) for n in range(8)}),
    "ids.npz": lambda path: archive(path, input_ids=("<i8", 0.5), a=("<f4", 2**-20)),
    "mask.npz": lambda path: archive(path, attention_mask=("|u1", 0.5), a=("<f4", 2**-20)),
    "claim.npy": lambda path: path.write_bytes(header((2**40, 64))),
    "claim.safetensors": lambda path: path.write_bytes(safetensors_of([2**40, 64], 2**48)),
    "hole.npy": lambda path: hole(path, header((4 * GIB // 256, 64)), 4 * GIB),
    "hole.safetensors": lambda path: hole(path, safetensors_of([4 * GIB // 256, 64], 4 * GIB), 4 * GIB),
    **GGUF,
    "hole.json": lambda path: hole(path, b"[", 3 * GIB),
    "deep.json": lambda path: path.write_bytes(b"[" * 3_000_000),
    "digits.json": lambda path: path.write_text('{"meta_info":{"hidden_states":[[[' + "9" * 4_000_000 + "]]]}}"),
}
PROMPTS = {
    "line.txt": lambda path: path.write_text("a " * 8_000_000),
    "ids.jsonl": lambda path: path.write_text('{"token_ids":[' + ",".join(["1"] * 1_000_000) + "]}"),
    "hole.txt": lambda path: hole(path, b"a", 2 * GIB),
}


def assert_refused_in_little_room(read):
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match=r"^Expected .*; "):
            read()
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", STATES)
def test_states_that_cost_too_much_are_refused_before_they_are_read(name, tmp_path):
    STATES[name](tmp_path / name)
    model = tiny("gpt2")
    assert_refused_in_little_room(lambda: sipit.read_states(tmp_path / name, layer=1, model=model))


@pytest.mark.parametrize("name", GGUF)
@pytest.mark.parametrize("given", ["file", "folder"])
def test_models_that_cost_too_much_are_refused_before_they_are_read(name, given, tmp_path):
    GGUF[name](tmp_path / name)
    assert_refused_in_little_room(lambda: sipit.load_model(tmp_path / name if given == "file" else tmp_path))


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_that_cost_too_much_are_refused_before_they_are_tokenised(name, tmp_path):
    PROMPTS[name](tmp_path / name)
    model = tiny("gpt2")
    assert_refused_in_little_room(lambda: tokenize(model, read_prompts(tmp_path / name)))


@settings(max_examples=20)
@given(rows=st.integers(1, 60), width=st.integers(1, 64), zeros=st.booleans(), packed=st.booleans())
def test_honest_archives_are_read_however_well_they_compress(rows, width, zeros, packed, tmp_path_factory):
    path = tmp_path_factory.mktemp("honest") / "states.npz"
    values = np.zeros((rows, width), "<f4") if zeros else np.random.default_rng(rows).normal(size=(rows, width))
    (np.savez_compressed if packed else np.savez)(path, a=values, attention_mask=np.ones((1, rows), "|u1"))
    stored = {one.name: one.read() for one in read_container(path).tensors}
    assert np.array_equal(stored["a"].numpy(), values)


def test_archives_of_many_arrays_are_read_in_one_go(tmp_path, monkeypatch):
    path, count, opened, load = tmp_path / "many.npz", 4000, [], np.load
    np.savez(path, **{f"p{number}": np.full((1, 4), number, "<f4") for number in range(count)})
    monkeypatch.setattr(np, "load", lambda *args, **named: opened.append(args) or load(*args, **named))
    read = [one.read()[0, 0].item() for one in read_container(path).tensors]
    assert read == list(range(count))
    assert len(opened) == 1  # its list of entries was read anew for each
