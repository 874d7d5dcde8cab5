"""The memory of this process: what is free, what was used at most, and handing back what is no longer needed."""

import ctypes
import math
import os
import sys
from pathlib import Path

GIB = 2**30
_MMAP_THRESHOLD = -3  # the name of the option in malloc.h
_LARGE = 8 * 2**20  # bytes; where smaller blocks are given back at once, fetching them anew takes a third of the time


def available_memory() -> float:
    """Free physical memory in bytes; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return math.inf


def peak_memory() -> float | None:
    """The largest resident memory of this process so far in GiB, pages of mapped files included; None if unknown."""
    try:  # Linux hands the largest size that a parent had on to its children with `ru_maxrss`, but not with this
        status = Path("/proc/self/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) * 1024 / GIB, 2)
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # not on this system
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB, 2)


def return_freed_memory() -> None:
    """Gives freed memory back to the system now, and from now on that of large blocks as soon as it is freed.

    glibc keeps blocks of up to 32 MiB, and those of another size do not fit into their places: a process that runs
    several models after one another would come to hold twice what it needs. Without glibc nothing is done.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.mallopt(_MMAP_THRESHOLD, _LARGE)
            library.malloc_trim(0)
