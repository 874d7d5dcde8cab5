"""Files of states in every container that is read: whatever happened to their bytes, they are read or refused."""

import io
import struct
import zipfile

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFEndian, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

import sipit
from proofs.errors import InvalidInput
from sipit.states.readers.containers import read_container

ROWS = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
IDS = np.arange(3)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(method):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, array in {"a": ROWS, "input_ids": IDS}.items():
            archive.writestr(f"{name}.npy", npy(array))
    return stream.getvalue()


def gguf(path, order=GGUFEndian.LITTLE, **options):
    writer = GGUFWriter(path, "llama", endianess=order)
    writer.add_array("words", ["some", "words"])
    writer.add_tensor("l_out-0", **({"tensor": ROWS} | options))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


HALF = {"tensor": torch.from_numpy(ROWS).bfloat16().view(torch.uint8).numpy(), "raw_dtype": GGMLQuantizationType.BF16}
ANSWER = b'{"output_ids": [3], "meta_info": {"prompt_tokens": 2, "hidden_states": [[[1.5, 2], [3, 4]]]}}'
MADE = {
    "safetensors": lambda path: save({"a": torch.from_numpy(ROWS), "input_ids": torch.from_numpy(IDS)}),
    "npy": lambda path: npy(ROWS),
    "npz": lambda path: npz(zipfile.ZIP_STORED),
    "npz by deflate": lambda path: npz(zipfile.ZIP_DEFLATED),
    "npz by bzip2": lambda path: npz(zipfile.ZIP_BZIP2),
    "npz by lzma": lambda path: npz(zipfile.ZIP_LZMA),
    "gguf": gguf,
    "gguf of bfloat16": lambda path: gguf(path, **HALF),
    "gguf with its bytes the other way round": lambda path: gguf(path, GGUFEndian.BIG),
    "json": lambda path: ANSWER,
}


@pytest.fixture(scope="module", params=MADE)
def whole(request, tmp_path_factory):
    """A file, and its bytes as they should be."""
    path = tmp_path_factory.mktemp("containers") / f"s.{request.param.split()[0]}"
    return path, MADE[request.param](path)


OTHERS = st.binary(min_size=1, max_size=8) | st.builds(bytes, st.integers(1, 40))


def read(path, content):
    path.write_bytes(content)
    return sipit.read_states(path, layer="final" if path.suffix == ".json" else 1)


def test_containers_hold_what_was_put_in(whole):
    path, content = whole
    (rows,) = read(path, content)
    expected = torch.tensor([[1.5, 2], [3, 4]]) if path.suffix == ".json" else torch.from_numpy(ROWS)
    torch.testing.assert_close(rows.float(), expected, rtol=0.01, atol=0)


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_happened_to_the_bytes_is_refused_in_a_sentence_or_read(whole, data):
    path, content = whole
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        at, other = data.draw(st.integers(0, len(changed) - 1)), data.draw(OTHERS)
        changed[at : at + len(other)] = other
    if data.draw(st.booleans()):
        del changed[data.draw(st.integers(0, len(changed))) :]
    try:
        states = read(path, bytes(changed))
    except InvalidInput as refusal:
        assert str(path) in str(refusal)
    else:
        assert all(rows.ndim == 2 and rows.is_floating_point() for rows in states)


KEYS = ["x", "x.npy", "x.npy.npy", "npy", "p0"]


@given(st.dictionaries(st.sampled_from(KEYS), st.integers(1, 4), min_size=1))
def test_every_array_of_an_archive_is_read_by_its_own_name(tmp_path, lengths):
    """Some of which are the name of another one's entry."""
    held = {key: np.full((length, 8), float(KEYS.index(key)), np.float32) for key, length in lengths.items()}
    np.savez(tmp_path / "s.npz", **held)
    tensors = read_container(tmp_path / "s.npz").tensors
    assert {one.name: one.read().tolist() for one in tensors} == {key: rows.tolist() for key, rows in held.items()}


OTHERWISE = {
    "npy": ("numpy.load", lambda *_, **__: ROWS[:2]),
    "npz": ("numpy.load", lambda *_, **__: dict.fromkeys(("a.npy", "input_ids.npy"), ROWS.astype(np.float64))),
    "gguf": ("sipit.states.readers.containers.from_numpy", lambda _: torch.ones(8, 3)),
}


@pytest.mark.parametrize("ending", OTHERWISE)
def test_what_a_library_reads_is_of_the_type_and_the_shape_that_the_file_says(tmp_path, monkeypatch, ending):
    path = tmp_path / f"s.{ending}"
    path.write_bytes(MADE[ending](path))
    container = read_container(path)
    monkeypatch.setattr(*OTHERWISE[ending])
    with pytest.raises(InvalidInput, match=r"F32 of shape \(3, 8\), as .* says, but what is read there"):
        container.tensors[0].read()


def test_one_number_keeps_its_shape(tmp_path):
    np.savez(tmp_path / "s.npz", layer=np.array(3))
    (one,) = read_container(tmp_path / "s.npz").tensors
    assert one.read().shape == one.shape == ()


def test_bfloat16_with_its_bytes_the_other_way_round_may_be_of_two_orders(tmp_path):
    path = tmp_path / "s.gguf"
    with pytest.raises(InvalidInput, match=r"'l_out-0', BF16 of shape .* widen it to F32"):
        read(path, gguf(path, GGUFEndian.BIG, **HALF))


LISTS = {
    "of lists": struct.pack("<IIQIQ", 9, 9, 1, 0, 2**40),
    "behind one of nothing": struct.pack("<IIQ", 9, 99, 0) + struct.pack("<Q1sIIQ", 1, b"b", 9, 0, 2**40),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_that_are_longer_than_any_are_refused_unread(tmp_path, kind):
    """The library would count to their length."""
    header = b"GGUF" + struct.pack("<IQQQ1s", 3, 0, len(LISTS), 1, b"a")
    with pytest.raises(InvalidInput, match="Expected a GGUF file"):
        read(tmp_path / "s.gguf", header + LISTS[kind])
