"""States as people save them: whatever numpy, safetensors or JSON can mean is read, the rest is one sentence."""

import io
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save

from tests.field.places import assert_refused, called, model_folder, plain_states


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("states") / "model"


@pytest.fixture(scope="module")
def rows(folder):
    return plain_states(model_folder(folder)).contiguous()


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def declared(shape, data):
    """An npy file whose header says a shape of its own."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (64 - (len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def tensors(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape=(3, 64), offsets=(0, 768)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": list(offsets)}


def inverted(folder, tmp_path, ending, content):
    file = tmp_path / f"states.{ending}"
    file.write_bytes(content)
    return called("invert", folder, "--states", file, "--layer", 1)


READ = {
    "axes in the order of Fortran": lambda rows: npy(np.asfortranarray(rows)),
    "bytes the other way round": lambda rows: npy(rows.astype(">f4")),
    "a batch of one": lambda rows: npy(rows[None]),
    "half": lambda rows: npy(rows.astype("f2")),
    "long double": lambda rows: npy(rows.astype(np.longdouble)),
    "beside ids": lambda rows: npz(hidden=rows, input_ids=np.array([97, 98, 99])),
}


@pytest.mark.parametrize("kind", READ)
def test_arrays_are_read_as_they_are_meant(folder, rows, tmp_path, kind):
    status, out, _ = inverted(folder, tmp_path, "npz" if "beside" in kind else "npy", READ[kind](rows.numpy()))
    assert status == 0 and "'abc'" in out


REFUSED = {
    "turned": (lambda rows: npy(rows.T), ["(64, 3)", "transpose it"]),
    "one row": (lambda rows: npy(rows[0]), ["(64,)"]),
    "no rows": (lambda rows: npy(rows[:0]), ["(0, 64)"]),
    "whole numbers": (lambda rows: npy(rows.astype("i4")), ["I32", "undo their scale"]),
    "bits of bfloat16": (lambda rows: npy(torch.tensor(rows).bfloat16().view(torch.int16).numpy()), ["I16", "view"]),
    "a type beside numpy's": (lambda rows: npy(rows.astype("f2").view("V2")), ["|V2", "float32"]),
    "complex": (lambda rows: npy(rows.astype("c8")), ["complex64"]),
    "words": (lambda rows: npy(rows.astype(str)), ["<U32"]),
    "objects": (lambda rows: npy(np.array([rows, None], dtype=object), allow_pickle=True), ["pickles"]),
    "infinite": (lambda rows: npy(np.where(rows > 1, np.inf, rows)), ["infinity at position 0"]),
    "cut": (lambda rows: npy(rows)[:-5], ["cut or damaged"]),
    "longer than it says": (lambda rows: npy(rows) + b"..", ["cut or damaged"]),
    "larger than anything": (lambda rows: declared((10**20, 10**11), rows.tobytes()), ["cut or damaged"]),
    "less than nothing": (lambda rows: declared((-1, -192), rows.tobytes()), ["cut or damaged"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_arrays_that_are_no_states_are_refused(folder, rows, tmp_path, kind):
    make, parts = REFUSED[kind]
    assert_refused(inverted(folder, tmp_path, "npy", make(rows.numpy())), *parts)


DAMAGED = {
    "sizes that are no numbers": ({"a": entry(shape=(True, 192))}, b""),
    "tensors that overlap": ({"a": entry(), "b": entry()}, b""),
    "a hole": ({"a": entry(offsets=(4, 772))}, b"...."),
    "a rest": ({"a": entry()}, b"...."),
    "half a character": (b'{"\\ud800": {"dtype": "F32", "shape": [3, 64], "data_offsets": [0, 768]}}', b""),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_file_that_only_its_library_refuses_is_told(folder, rows, tmp_path, kind):
    header, more = DAMAGED[kind]
    assert_refused(inverted(folder, tmp_path, "safetensors", tensors(header, rows.numpy().tobytes() + more)), "states.")


def test_one_changed_byte_is_refused_or_gives_no_wrong_token(folder, rows, tmp_path):
    whole = save({"p": rows})
    for place in range(0, len(whole) - 768, 11):
        content = bytearray(whole)
        content[place] ^= 0xFF
        status, out, err = inverted(folder, tmp_path, "safetensors", bytes(content))
        assert status in {0, 1, 2} and "Traceback" not in err
        assert status != 0 or "'abc'" in out
