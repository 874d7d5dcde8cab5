"""What the header of a GGUF file says that it holds, looked at before a library reads it.

A few bytes count entries by the billion. A model and a file of states are priced alike.
"""

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from numerics.networks.configuration import expect_sizes
from proofs.errors import InvalidInput

_ENTRIES = 2**22  # tensors, keys, entries of all lists; the largest vocabulary with its merges has a third
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a value by GGUF's number
_STRING, _LIST = 8, 9
_WHOLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}  # numbers, as Python unpacks them
_LONGEST = 256  # bytes of a name
# What a class of the library makes lists of, by the last word of its name; and what a configuration calls it.
_SIZES = {
    b"block_count": "num_hidden_layers", b"nextn_predict_layers": "num_nextn_predict_layers",
    b"embedding_length": "hidden_size", b"vocab_size": "vocab_size",
}  # fmt: skip


def check_gguf(path: Path) -> None:
    """Raises InvalidInput where the header of a GGUF file counts more than any model has, or has lists of lists.

    Other damage is left to whoever reads the file.
    """
    with path.open("rb") as stream:
        try:
            counted = 0
            for count in _listed(stream):
                counted += count
                if counted > _ENTRIES:
                    break
            else:
                return
        except (struct.error, KeyError, EOFError):
            return  # it ends early, or has values of a kind that the library will name
    raise InvalidInput(
        f"Expected a GGUF file, but the header of {path} counts more than {_ENTRIES} entries; copy it again."
    )


def _listed(stream: IO[bytes]) -> Iterable[int]:
    """How many tensors and entries there are, and of every list how long it is, before it is passed over."""
    end = os.fstat(stream.fileno()).st_size
    stream.seek(4)
    order = "<" if stream.read(4)[:2] != b"\0\0" else ">"  # the version, a small number

    def read(kind: str) -> int:
        (value,) = struct.unpack(order + kind, stream.read(struct.calcsize(order + kind)))
        return value

    def skip(size: int) -> None:
        if size > end:  # which no offset may hold
            raise EOFError
        stream.seek(size, 1)

    def words() -> bytes:
        """A name; nothing in the place of one that is too long to be known."""
        size = read("Q")
        if size <= _LONGEST:
            return stream.read(size)
        skip(size)
        return b""

    yield read("Q")
    entries = read("Q")
    yield entries
    for _ in range(entries):
        key = words()
        kind, count = read("I"), 1
        alone = kind != _LIST
        if not alone:
            kind, count = read("I"), read("Q")
            if kind == _LIST:
                raise InvalidInput(
                    f"Expected a GGUF file, but {stream.name} has lists of lists, which llama.cpp does not read "
                    "either; copy it again."
                )
            yield count
        size = key.rpartition(b".")[2]
        if size in _SIZES and kind in _WHOLE and alone:
            expect_sizes({_SIZES[size]: read(_WHOLE[kind])})
        elif kind == _STRING:
            for _ in range(count):
                skip(read("Q"))
        elif count:  # of nothing, the kind says nothing
            skip(_WIDTHS[kind] * count)
