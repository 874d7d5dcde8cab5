"""Files that hold named tensors, told apart by their first bytes: safetensors, numpy's npy and npz, GGUF.

Names, types and shapes come first, held against the size of the file; a tensor is read when it is asked for. Pickles
are programs, and are refused unread.
"""

import math
import re
import zipfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from proofs.errors import InvalidInput
from proofs.files import beginning
from proofs.network.tensor_file import ITEM_BITS, check_pointer, read_header
from sipit.models.gguf_header import check_gguf
from sipit.states.arrays import from_numpy
from sipit.states.readers.numpy_files import DAMAGE, read_npy, read_npz
from sipit.states.readers.price import check_memory

NUMBER = "[0-9]{1,9}"  # of a layer in a name: what is longer is none, and may be too long to be made a number
# Words in front of the number of a layer: of a block, counted from 0, an entry of `hidden_states`, a part of a cache. A
# file of prompts that are called so may be one of layers; the short words say so only where their number ends the name.
LAYER_WORDS = "layers?|blocks?|h|hidden_states?|(?:past_)?key_values|k(?:ey)?_cache|v(?:alue)?_cache"
PART_WORDS = "k(?:eys?)?|v(?:alues?)?"
_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_WHOLE = {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool,
          "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8}  # fmt: skip
_PICKLES = (b"\x80", b"(dp", b"ccopy_reg")


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a file: whether its numbers are floating-point ones, and how to read it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]

    @property
    def floating(self) -> bool:
        """Whether it may hold states."""
        return self.dtype in _FLOATS

    @property
    def whole(self) -> bool:
        """Whether it may hold token ids or a mask."""
        return self.dtype in _WHOLE

    @property
    def bytes(self) -> int:
        """How large it is, if it is of floats or of whole numbers."""
        return math.prod(self.shape) * (ITEM_BITS.get(self.dtype, 0) // 8)

    def __str__(self) -> str:
        return f"{self.name!r}, {self.dtype} of shape {self.shape}"


@dataclass(frozen=True, slots=True)
class Container:
    """A file of tensors in the order of their names (natural: p2 before p10), with its text metadata."""

    path: Path
    tensors: tuple[Stored, ...]
    metadata: dict[str, str]


def check_numbers(path: Path, tensors: Iterable[Stored]) -> None:
    """Raises InvalidInput where a tensor is of neither floats nor whole numbers: left out, it would be missed nowhere.

    Prompts are counted, so that those behind it would have the numbers of others.
    """
    odd = next((tensor for tensor in tensors if not tensor.floating and not tensor.whole), None)
    if odd is not None:
        raise InvalidInput(
            f"Expected states in floating-point numbers of 16 bits and more, but {path} has {odd}; widen it to F32, "
            "times its scale if it has one, or leave it out of the file."
        )


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts `layer2` before `layer10`: digits by value, the rest by letters."""
    parts = re.split(r"([0-9]+)", name)  # letters and digits by turns, of any length
    return [(len(part.lstrip("0")), part.lstrip("0")) if at % 2 else (0, part) for at, part in enumerate(parts)]


def files_in(folder: Path, endings: Collection[str]) -> list[Path]:
    """The files of a folder that end so, in the order in which they are read."""
    return sorted((path for path in folder.iterdir() if path.suffix in endings), key=lambda path: natural(path.name))


def read_container(path: Path) -> Container:
    """The tensors that a file holds, unread, in the order of their names.

    Raises:
        InvalidInput: no such file, a pickle, damaged, or sizes that contradict each other.
    """
    try:
        start = beginning(path)
    except OSError as error:
        raise InvalidInput(f"Expected a readable file, but {path} is not: {error.strerror}; check the path.") from None
    if start[4:] == bytes(4):  # the length of a header in safetensors; no other format has these zeros
        return _safetensors(path)
    if start.startswith(_PICKLES) or _pickle_in_archive(path, start):
        raise InvalidInput(
            f"Expected tensors, but {path} is a pickle, which is a program and never run; load it where it was "
            "written, and save its tensors with safetensors.torch.save_file({name: tensor.contiguous(), …}, file)."
        )
    if start.startswith(b"\x93NUMPY"):
        found = [Stored(*one) for one in read_npy(path)]
    elif start.startswith(b"PK"):
        found = [Stored(*one) for one in read_npz(path)]
    elif start.startswith(b"GGUF"):
        found = _gguf(path)
    elif start and path.suffix == ".safetensors":
        return _safetensors(path)  # which says what is wrong with its header
    else:
        check_pointer(path)
        what = "holds nothing" if not start else "begins like none of them"
        raise InvalidInput(
            f"Expected states in safetensors, npy, npz, GGUF or the JSON of an SGLang answer, but {path} {what}; save "
            "the tensors with safetensors.torch.save_file, or capture them with sipit capture."
        )
    return _priced(path, found, {})


def _priced(path: Path, found: Iterable[Stored], metadata: dict[str, str]) -> Container:
    """The tensors in the order of their names, where those that may be states, ids or a mask fit into memory."""
    tensors = tuple(sorted((_as_told(path, one) for one in found), key=lambda one: natural(one.name)))
    if not tensors:
        raise InvalidInput(f"Expected at least one tensor of states, but {path} has none; capture them again.")
    check_memory(path, sum(one.bytes for one in tensors if one.floating or one.whole))
    return Container(path, tensors, metadata)


def _as_told(path: Path, stored: Stored) -> Stored:
    """The tensor, of which nothing is believed that has another type or shape than the file says, by which it is known.

    Libraries look for a tensor in their own way, and may find another.
    """

    def read() -> torch.Tensor:
        found = stored.read()
        told = (_FLOATS | _WHOLE).get(stored.dtype, found.dtype)
        if (found.dtype, tuple(found.shape)) != (told, stored.shape):
            raise InvalidInput(
                f"Expected {stored}, as {path} says, but what is read there is {found.dtype} of shape "
                f"{tuple(found.shape)}; save it again."
            )
        return found

    return replace(stored, read=read)


def _pickle_in_archive(path: Path, start: bytes) -> bool:
    if not start.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except DAMAGE:
        return False


def _safetensors(path: Path) -> Container:
    from safetensors import SafetensorError, safe_open

    header = read_header(path)
    try:
        with safe_open(path, framework="pt"):
            pass  # the library looks at the header as well
    except SafetensorError as error:
        raise InvalidInput(f"Expected a safetensors file, but {path} is damaged ({error}); write it again.") from None

    def reader(name: str) -> Callable[[], torch.Tensor]:
        def read() -> torch.Tensor:
            with safe_open(path, framework="pt") as stream:
                return stream.get_tensor(name)

        return read

    stored = [Stored(one.name, one.dtype, one.shape, reader(one.name)) for one in header.tensors]
    return _priced(path, stored, header.metadata)


def _gguf(path: Path) -> list[Stored]:
    from gguf import GGUFReader

    check_gguf(path)
    try:
        reader = GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError, OverflowError) as error:
        raise InvalidInput(f"Expected a GGUF file, but {path} is damaged: {error}; copy it again.") from None

    def read(data: Any, dtype: str) -> torch.Tensor:
        # numpy does not have BF16: the library leaves its bytes.
        return from_numpy(data).view(torch.bfloat16) if dtype == "BF16" else from_numpy(data)

    found: list[Stored] = []
    for one in reader.tensors:
        dtype, shape = one.tensor_type.name, tuple(int(n) for n in reversed(one.shape))
        found.append(Stored(one.name, dtype, shape, partial(read, one.data, dtype)))
        if dtype == "BF16" and reader.byte_order == "S":
            raise InvalidInput(
                f"Expected one order of bytes, but {path} has the other one than this machine, in which the gguf "
                f"library turns the bytes of BF16 or leaves them, and holds {found[-1]}; widen it to F32."
            )
    return found
