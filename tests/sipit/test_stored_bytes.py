"""As many bytes of a tensor are read as its header promised, or none are believed."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from proofs.errors import InvalidInput
from proofs.network.tensor_file import read_header
from sipit.models import digest, files
from sipit.models.leftovers import check_one_each


def written(folder: Path, **tensors: torch.Tensor) -> Path:
    path = folder / "w.safetensors"
    save_file(tensors, path)
    return path


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 40))
def test_pieces_are_the_whole_tensor_or_refused(tmp_path, monkeypatch, length, at_once, lost):
    monkeypatch.setattr(files, "_AT_ONCE", at_once)
    values = torch.arange(length, dtype=torch.uint8)
    path = written(tmp_path, a=torch.zeros(3, dtype=torch.uint8), b=values, c=torch.zeros(5, dtype=torch.uint8))
    tensor = next(one for one in read_header(path).tensors if one.name == "b")
    assert b"".join(files.bytes_of(path, tensor)) == bytes(values.tolist())
    size = path.stat().st_size - lost
    os.truncate(path, size)
    if size >= tensor.end:
        assert b"".join(files.bytes_of(path, tensor)) == bytes(values.tolist())
    else:
        with pytest.raises(InvalidInput, match="changed while it was read; load it again"):
            list(files.bytes_of(path, tensor))


def test_a_digest_of_a_file_that_becomes_shorter_ends(tmp_path, monkeypatch):
    path = written(tmp_path, w=torch.zeros(100))
    header = read_header(path)
    os.truncate(path, path.stat().st_size - 40)
    monkeypatch.setattr(digest, "read_header", lambda _path: header)
    with pytest.raises(InvalidInput, match="changed while it was read"):
        digest.digest_of_adapter({}, path, base="")


class Body(nn.Module):
    """One weight, which may be stored with the name of the body in front."""

    base_model_prefix = "model"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(100))


def test_what_is_behind_the_end_of_a_file_equals_nothing(tmp_path):
    """Of two weights with one place the second differs in what was cut off."""
    second = torch.zeros(100)
    second[90:] = 1
    path = written(tmp_path, **{"weight": torch.zeros(100), "model.weight": second})
    held = [(path, tensor) for tensor in read_header(path).tensors]
    with pytest.raises(InvalidInput, match="have the same and differ"):
        check_one_each(Body(), held)
    os.truncate(path, min(tensor.start for _, tensor in held))
    with pytest.raises(InvalidInput, match="changed while it was read"):
        check_one_each(Body(), held)
