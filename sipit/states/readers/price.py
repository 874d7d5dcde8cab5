"""What reading a file costs, held against what there is before any of it is done.

A small file can say that it holds much: an archive inflates to a thousand times its size. States are no such things:
floats hardly compress.
"""

from pathlib import Path

from proofs.errors import InvalidInput
from sipit.memory import available_memory

LARGEST_RATIO = 64  # times its size that an archive of states inflates to; honest floats stay below 10
SMALL = 64 * 2**20  # bytes that are inflated whatever the ratio: masks and ids compress well
_COPIES = 3  # of what is read that lie side by side while it is put together


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
