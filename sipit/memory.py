"""The memory of this process: what is free, what was used at most, and handing back what is no longer needed."""

import ctypes
import math
import os
import sys

GIB = 2**30


def available_memory() -> float:
    """Free physical memory in bytes; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return math.inf


def peak_memory() -> float | None:
    """The largest resident memory of this process so far in GiB, pages of mapped files included; None if unknown."""
    try:
        import resource
    except ImportError:  # not on this system
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB, 2)


def return_freed_memory() -> None:
    """Gives freed memory back to the system, where the allocator keeps it.

    glibc keeps matrices of up to 32 MB that were freed, and those of another size or type do not fit into their
    places: a process that converts one model after the other would hold nearly another model for ever.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
