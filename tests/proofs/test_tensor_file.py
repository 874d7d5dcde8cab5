"""A safetensors header is believed only where it fits the file: any bytes give tensors that fit, or one refusal."""

import contextlib
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save

from proofs.errors import InvalidInput
from proofs.network.tensor_file import ITEM_BITS, LARGEST_HEADER, LARGEST_RANK, read_header

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8, "BOOL": np.bool_}
WHOLE = save({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((1, 4), np.float16)}, {"sipit": "{}"})


def assert_fits(path):
    """Every tensor lies inside the file, behind the header, with as many bytes as its shape needs."""
    header, size = read_header(path), path.stat().st_size
    for tensor in header.tensors:
        assert 8 <= tensor.start <= tensor.end <= size
        assert 8 * (tensor.end - tensor.start) == int(np.prod(tensor.shape, dtype=object)) * ITEM_BITS[tensor.dtype]
    return header


def written(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(2, 3), offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=4),
    dtype=st.sampled_from(sorted(DTYPES)),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)
def test_what_the_library_writes_is_read_as_written(tmp_path, shapes, dtype, metadata):
    path = tmp_path / "a.safetensors"
    tensors = {f"t{n}": np.ones(shape, DTYPES[dtype]) for n, shape in enumerate(shapes)}
    path.write_bytes(save(tensors, metadata or None))
    header = assert_fits(path)
    assert header.metadata == metadata
    assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in header.tensors} == {
        name: (dtype, array.shape) for name, array in tensors.items()
    }
    content = path.read_bytes()
    for tensor in header.tensors:
        assert content[tensor.start : tensor.end] == tensors[tensor.name].tobytes()


@given(data=st.data())
def test_any_changed_bytes_are_refused_or_still_fit(tmp_path, data):
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.safetensors"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        header = assert_fits(path)
    except InvalidInput as refusal:
        assert str(path) in str(refusal)
    else:
        with safe_open(path, framework="np") as stream:
            assert set(stream.keys()) == {tensor.name for tensor in header.tensors}


@given(st.binary(max_size=64))
def test_any_bytes_at_all(tmp_path, content):
    path = tmp_path / "bytes.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(InvalidInput):
        assert_fits(path)


FIELDS = st.sampled_from(["dtype", "shape", "data_offsets", "a", "__metadata__"])
HEADERS = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda kids: st.lists(kids, max_size=3) | st.dictionaries(FIELDS, kids),
)


@given(HEADERS)
def test_any_json_as_header(tmp_path, value):
    with contextlib.suppress(InvalidInput):
        assert_fits(written(tmp_path / "json.safetensors", value, bytes(32)))


@pytest.mark.parametrize("length", range(0, len(WHOLE)))
def test_a_file_cut_anywhere_is_refused(tmp_path, length):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(InvalidInput):
        read_header(path)


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(offsets=(0, 2**60), shape=(2**58,))},
        {"a": entry(shape=(2**40, 2**40))},
        {"a": entry(shape=(-2, -3))},
        {"a": entry(offsets=(-24, 0))},
        {"a": entry(offsets=(24, 0))},
        {"a": entry(shape=(2, 2))},
        {"a": entry(dtype="F33")},
        {"a": entry(dtype=["F32"])},
        {"a": entry(shape=("2", "3"))},
        {"a": entry(shape=(2.0, 3.0))},
        {"a": entry(shape=(True, 6))},
        {"a": entry(), "b": entry()},
        {"a": entry(shape=(1, 3), offsets=(12, 24))},
        {"a": entry(shape=(1, 3), offsets=(0, 12))},
        json.dumps({"a": entry()}).encode("utf-16"),
        {"a": entry(offsets=(0, 24, 48))},
        {"a": {"dtype": "F32"}},
        {"a": None},
        {"__metadata__": {"sipit": 3}},
        {"__metadata__": []},
        [],
        b"{" * 5000,
        b"\xff\xfe",
        b'{"a": NaN',
    ],
    ids=lambda header: str(header)[:40],
)
def test_headers_that_contradict_the_file_or_themselves(tmp_path, header):
    with pytest.raises(InvalidInput):
        read_header(written(tmp_path / "bad.safetensors", header, bytes(24)))


@pytest.mark.parametrize(
    "shape", [[2**63], [10**4000] * 500, [0, 2**63], [1] * 65, [1] * 10**6], ids=["2**63", "long", "0", "65", "many"]
)
def test_sizes_beyond_all_tensors_are_refused_before_they_are_multiplied(tmp_path, shape):
    """Their product alone would take hours, in a header that is allowed."""
    path = written(tmp_path / "sizes.safetensors", {"a": entry(shape=shape, offsets=(0, 0))})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InvalidInput, match="sizes fit the file"):
        patch.setattr("proofs.network.tensor_file.math", None)
        read_header(path)


def test_as_many_axes_as_numpy_has_are_read(tmp_path):
    path = tmp_path / "deep.safetensors"
    path.write_bytes(save({"a": np.ones((1,) * 64, np.float32)}))
    assert assert_fits(path).tensors[0].shape == (1,) * LARGEST_RANK


@pytest.mark.parametrize("length", [2**64 - 1, LARGEST_HEADER + 1, 2**40, 10**4])
def test_an_oversized_header_is_refused_before_it_is_read(tmp_path, length):
    path = tmp_path / "large.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(InvalidInput, match="no header that fits"):
        read_header(path)


def test_other_formats_are_refused_and_never_run(tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    pickled = tmp_path / "pickle.safetensors"
    pickled.write_bytes(pickle.dumps(Evil()))
    zipped = tmp_path / "zip.safetensors"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Evil()))
    for path in (pickled, zipped):
        with pytest.raises(InvalidInput, match="pickle and other formats are never read"):
            read_header(path)
    assert not ran.exists()


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InvalidInput, match="readable"):
            read_header(path)


def test_the_library_agrees_that_the_sample_is_whole(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(WHOLE)
    assert set(load_file(path)) == {tensor.name for tensor in assert_fits(path).tensors}
