"""The header of a safetensors file, checked before a byte of its data is read.

A safetensors file is eight bytes of header length, a JSON header, then the data. Whoever reads one from a stranger
wants the sizes in the header held against the size of the file before anything is allocated.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput
from proofs.files import expect_lasting

LARGEST_HEADER = 100 * 2**20  # bytes; the limit of the safetensors library
LARGEST_RANK = 64  # axes, of which neither numpy nor torch has more
ITEM_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file: `start` and `end` are byte offsets from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """What a safetensors file says it holds."""

    tensors: tuple[StoredTensor, ...]
    metadata: dict[str, str]


def read_header(path: Path) -> TensorHeader:
    """Reads and checks the header of a safetensors file.

    Raises:
        InvalidInput: not readable, not safetensors, truncated, sizes that contradict each other, or tensors that do
            not lie one behind another from the header to the end of the file, as the format has them.
    """
    try:
        expect_lasting(path)
        size = path.stat().st_size
        with path.open("rb") as stream:
            check_pointer(path)
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(LARGEST_HEADER, size - 8):
                raise InvalidInput(
                    f"Expected a safetensors file, but {path} ({size} bytes) has no header that fits it; "
                    "pickle and other formats are never read."
                )
            header = json.loads(stream.read(length).decode("utf-8"))
    except OSError as error:
        raise InvalidInput(f"Expected a readable file, but {path} is not: {error.strerror}; check the path.") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"Expected a safetensors file, but the header of {path} is not JSON; "
            "pickle and other formats are never read."
        ) from None
    return _checked(path, header, data_start=8 + length, size=size)


def check_pointer(path: Path) -> None:
    """Raises InvalidInput where a file is the pointer that Git LFS leaves in the place of a large one."""
    with path.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise InvalidInput(
                f"Expected the content of {path}, but it is a Git LFS pointer of {path.stat().st_size} bytes to it; "
                "fetch the file itself with git lfs pull."
            )


def _checked(path: Path, header: Any, *, data_start: int, size: int) -> TensorHeader:
    if not isinstance(header, dict):
        raise InvalidInput(f"Expected a safetensors header that is an object, but {path} has another; write it again.")
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        raise InvalidInput(f"Expected metadata of text fields, but {path} has others; write the file again.")
    tensors: list[StoredTensor] = []
    for name, entry in header.items():
        kind = entry.get("dtype") if isinstance(entry, dict) else None
        if isinstance(kind, str) and kind not in ITEM_BITS:
            raise InvalidInput(
                f"Expected element types of safetensors, but {name!r} in {path} is of type {kind[:32]!r}, which is not "
                "known here; write the file again in a floating-point type such as BF16."
            )
        tensor = _stored_tensor(name, entry, data_start)
        if tensor is None or tensor.end > size:
            raise InvalidInput(
                f"Expected tensors whose sizes fit the file, but {name!r} in {path} does not; "
                "the file is truncated or damaged: copy it again."
            )
        tensors.append(tensor)
    reached = data_start
    for tensor in sorted(tensors, key=lambda one: (one.start, one.end)):
        if tensor.start != reached:
            raise InvalidInput(
                f"Expected tensors that lie one behind another, but {tensor.name!r} in {path} begins at byte "
                f"{tensor.start}, where {reached} bytes are taken; write the file again."
            )
        reached = tensor.end
    if reached != size:
        raise InvalidInput(
            f"Expected {reached} bytes, as the header of {path} says, but there are {size}; copy the file again."
        )
    return TensorHeader(tensors=tuple(tensors), metadata=metadata)


def _stored_tensor(name: str, entry: Any, data_start: int) -> StoredTensor | None:
    """The tensor an entry describes, or None where its type, shape and offsets contradict each other."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        sound = (
            len(shape) <= LARGEST_RANK  # before anything is multiplied: long numbers, and many, take hours
            and all(type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end))
            and 8 * (end - begin) == math.prod(shape) * ITEM_BITS[dtype]
        )
    except (KeyError, TypeError, ValueError):
        return None
    return StoredTensor(name, dtype, tuple(shape), data_start + begin, data_start + end) if sound else None
