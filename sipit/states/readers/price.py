"""What reading a file costs, held against what there is before any of it is done.

A small file can say that it holds much: an archive inflates to a thousand times its size, a header counts entries by
the billion. States are no such things: floats hardly compress.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from proofs.errors import InvalidInput
from sipit.memory import available_memory

LARGEST_RATIO = 64  # times its size that an archive of states inflates to; honest floats stay below 10
SMALL = 64 * 2**20  # bytes that are inflated whatever the ratio: masks and ids compress well
_COPIES = 3  # of what is read that lie side by side while it is put together
_ENTRIES = 2**22  # of all lists in the header of a GGUF file; the largest vocabulary with its merges has a third
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a value by GGUF's number
_STRING, _LIST = 8, 9


def check_inflated(path: Path, inflated: int) -> None:
    """Raises InvalidInput where an archive would inflate to what no archive of states of its size does."""
    size = path.stat().st_size
    if inflated > max(SMALL, LARGEST_RATIO * size):
        raise InvalidInput(
            f"Expected an archive of states, but {path}, of {size} bytes, inflates to {inflated}, which floats never "
            "do; save the states again, uncompressed."
        )


def check_memory(path: Path, needed: int) -> None:
    """Raises InvalidInput where so many bytes of numbers do not fit into the memory that is free."""
    free = available_memory()
    if _COPIES * needed > free:
        raise InvalidInput(
            f"Expected states that fit into memory, but {path} holds {needed / 2**30:.2g} GiB of numbers, and "
            f"{free / 2**30:.2g} GiB are free; save fewer prompts in a file."
        )


def check_gguf(path: Path) -> None:
    """Raises InvalidInput where the header of a GGUF file counts more than any model has; other damage is left."""
    with path.open("rb") as stream:
        try:
            counted = 0
            for count in _listed(stream):
                counted += count
                if counted > _ENTRIES:
                    break
            else:
                return
        except (struct.error, KeyError):
            return  # it ends early, or has values of a kind that the library will name
    raise InvalidInput(
        f"Expected a GGUF file, but the lists in the header of {path} have more than {_ENTRIES} entries; copy it again."
    )


def _listed(stream: IO[bytes]) -> Iterable[int]:
    """For every list in the header how many entries it has, before it is passed over."""
    stream.seek(4)
    order = "<" if stream.read(4)[:2] != b"\0\0" else ">"  # the version, a small number

    def read(kind: str) -> int:
        (value,) = struct.unpack(order + kind, stream.read(struct.calcsize(order + kind)))
        return value

    read("Q")
    for _ in range(read("Q")):
        stream.seek(read("Q"), 1)
        kind, count = read("I"), 1
        if kind == _LIST:
            kind, count = read("I"), read("Q")
            yield count
        if kind != _STRING:
            stream.seek(_WIDTHS[kind] * count, 1)
            continue
        for _ in range(count):
            stream.seek(read("Q"), 1)
