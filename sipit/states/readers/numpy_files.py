"""numpy's files: one array (npy) or several in an archive (npz). Headers are read first, pickles never."""

import lzma
import math
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import torch

from proofs.errors import InvalidInput
from sipit.states.arrays import from_numpy
from sipit.states.readers.price import check_inflated

_NAMES = {"f16": "F64", "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8",
          "u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL"}  # fmt: skip
# What an archive raises where it is damaged, or encrypted, or compressed in a way that is not known.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError, TypeError)
_Entry = tuple[str, str, tuple[int, ...], Callable[[], torch.Tensor]]


def read_npy(path: Path) -> list[_Entry]:
    """The array of an npy file as (name, type, shape, reader); its name is that of the file.

    Raises:
        InvalidInput: damaged, cut, or of objects.
    """
    with path.open("rb") as stream:
        dtype, shape = _header(path, stream, path.stat().st_size)
    return [(path.stem, dtype, shape, _reader(path, path.stem, lambda: np.load(path, allow_pickle=False)))]


def read_npz(path: Path) -> list[_Entry]:
    """The arrays of an npz file as (name, type, shape, reader).

    Raises:
        InvalidInput: no archive of arrays, damaged, cut, or of objects.
    """
    found: list[_Entry] = []
    opened = cache(lambda: np.load(path, allow_pickle=False))  # once: its list of entries may be long
    try:
        with zipfile.ZipFile(path) as archive:
            check_inflated(path, sum(entry.file_size for entry in archive.infolist()))
            for entry in archive.infolist():
                if not entry.filename.endswith(".npy"):
                    raise InvalidInput(
                        f"Expected an archive of numpy arrays, but {path} has {entry.filename!r}; save the states "
                        "with numpy.savez or as safetensors."
                    )
                name = entry.filename.removesuffix(".npy")
                with archive.open(entry) as stream:
                    dtype, shape = _header(path, stream, entry.file_size)
                # By its whole name: for the name x numpy takes an entry that is called so before x.npy.
                read = _reader(path, name, lambda entry=entry.filename: opened()[entry])
                found.append((name, dtype, shape, read))
    except DAMAGE as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"Expected an archive of numpy arrays, but {path} is damaged; copy it again.") from None
    if len({one[0] for one in found}) < len(found):
        raise InvalidInput(f"Expected arrays of different names, but {path} has two of one; save it again.")
    return found


def _reader(path: Path, name: str, load: Callable[[], Any]) -> Callable[[], torch.Tensor]:
    def read() -> torch.Tensor:
        try:
            return from_numpy(load())
        except DAMAGE:
            raise InvalidInput(f"Expected the array {name!r}, but {path} is damaged there; copy it again.") from None

    return read


def _header(path: Path, stream: IO[bytes], size: int) -> tuple[str, tuple[int, ...]]:
    """Type and shape of an array, whose bytes are as many as the file has."""
    try:
        with warnings.catch_warnings(action="error"):  # numpy warns where it has to mend a header
            version = np.lib.format.read_magic(stream)
            parsed = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = parsed(stream)
    except (ValueError, EOFError, TypeError, MemoryError, RecursionError, SyntaxError, TokenError, Warning):
        raise InvalidInput(f"Expected a numpy array, but a header in {path} is damaged; copy it again.") from None
    if dtype.hasobject:
        raise InvalidInput(
            f"Expected an array of numbers, but one in {path} holds objects, which are pickles and never run; save one "
            "plain array of floats for each prompt, with numpy.savez."
        )
    if dtype.kind not in "fiub" or dtype.str[1:] not in _NAMES:
        raise InvalidInput(
            f"Expected an array of numbers, but one in {path} holds {dtype}, which is none that numpy computes states "
            "in; bring it to float32, and save it again."
        )
    sizes = all(type(one) is int and one >= 0 for one in shape)
    if not sizes or math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise InvalidInput(
            f"Expected as many bytes as an array of shape {shape} has, but {path} is cut or damaged; copy it again."
        )
    return _NAMES[dtype.str[1:]], tuple(shape)
