"""Files that the program reads back: one that is not as it was written counts as missing, whoever reads it."""

import json
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from sipit.cache import opened_json, opened_tensors, sealed_json, sealed_tensors

ROOT = Path(__file__).parents[2]
OBJECT = {"noise": 1e-6, "left_out": ["é"], "many": [1, 2.5, None, True]}
TENSORS = {
    "rows": torch.arange(12.0).view(3, 4),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "none": torch.zeros(0, 3),
    "one": torch.tensor(7),
}
WRITTEN = {"json": sealed_json(OBJECT), "tensors": sealed_tensors(TENSORS, "a note")}


def opened(kind, path):
    """What is found in a file, as text that can be compared; None where nothing is."""
    found = opened_json(path) if kind == "json" else opened_tensors(path)
    if found is None or kind == "json":
        return found and json.dumps(found)
    return repr(
        sorted((name, tensor.dtype, tensor.shape, tensor.tolist()) for name, tensor in found[0].items())
    ), found[1]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("sealed") / "file"


VIEWS = (lambda t: t, lambda t: t[1:], lambda t: t.T, lambda t: t[:, ::2], lambda t: t.reshape(-1), lambda t: t.clone())


@given(views=st.lists(st.sampled_from(VIEWS), min_size=1, max_size=4))
def test_tensors_that_share_memory_come_back_each_for_itself(path, views):
    tensors = {str(number): view(TENSORS["rows"]) for number, view in enumerate(views)}
    path.write_bytes(sealed_tensors(tensors))
    found, _ = opened_tensors(path)
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_is_written_comes_back(path, kind):
    path.write_bytes(WRITTEN[kind])
    if kind == "json":
        assert opened_json(path) == OBJECT
    else:
        tensors, note = opened_tensors(path)
        assert note == "a note" and tensors.keys() == TENSORS.keys()
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("kind", WRITTEN)
@given(data=st.data())
def test_no_changed_byte_is_believed(path, kind, data):
    content = bytearray(WRITTEN[kind])
    places = st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)
    for place in data.draw(places):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(WRITTEN[kind])
    whole = opened(kind, path)
    path.write_bytes(content)
    assert opened(kind, path) in (None, whole)  # blanks of a header may be others


@pytest.mark.parametrize("kind", WRITTEN)
@given(data=st.data())
def test_no_part_of_a_file_is_believed(path, kind, data):
    path.write_bytes(WRITTEN[kind][: data.draw(st.integers(0, len(WRITTEN[kind]) - 1))])
    assert opened(kind, path) is None


@pytest.mark.parametrize("content", [
    b"", b"{}", b"\n", b"\n{}", b"null", b"[" * 100_000, b"\xff" * 64,
    b'{"noise": 1e999}', b"8" * 200, b"0" * 64 + b"\n{}",
])  # fmt: skip
@pytest.mark.parametrize("kind", WRITTEN)
def test_anything_else_counts_as_missing(path, kind, content):
    path.write_bytes(content)
    assert opened(kind, path) is None


def test_tensors_without_a_seal_count_as_missing(path):
    save_file(TENSORS, path)
    assert opened_tensors(path) is None
    save_file(TENSORS, path, {"sealed": "0" * 64 + " "})
    assert opened_tensors(path) is None


def test_a_link_or_a_folder_in_its_place_counts_as_missing(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in (tmp_path, tmp_path / "loop", tmp_path / "none"):
        assert opened_json(place) is None and opened_tensors(place) is None


# What reads from the cache other than through seals, and why that is sound.
BESIDE = {
    "sipit/cache.py": "hands on what is sealed",
    "sipit/cli/__init__.py": "tries whether it can be written",
    "sipit/claims/kept_enclosures.py": "removes a folder",
    "sipit/claims/weights.py": "weights under their own digest, which is compared",
    "sipit/collisions/examination.py": "a folder of a state store, which is sealed",
    "sipit/inversion/resume.py": "sealed there",
    "sipit/fuzzing.py": "examples of the library that draws them; each is tried again",
    "sipit/installation/storage.py": "tries whether it can be written",
    "sipit/models/smollm2.py": "the digest and the files of a converted model are sealed",
}


def test_nothing_is_read_from_the_cache_without_a_seal():
    users = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "sipit").rglob("*.py")
        if re.search(r"\bcache_folder\(", path.read_text())
    }
    assert users == BESIDE.keys()
