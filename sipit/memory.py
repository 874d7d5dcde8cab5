"""The memory of this process: what it may take, what it used at most, and handing back what is no longer needed."""

import ctypes
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

GIB = 2**30
ROOT = Path("/")
# What a file of the second version of control groups is in the first: the controller, and its files.
_V1 = {"cpu.max": ("cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us"), "memory.max": ("memory", "memory.limit_in_bytes")}
_MMAP_THRESHOLD = -3  # the name of the option in malloc.h
_LARGE = 8 * 2**20  # bytes; where smaller blocks are given back at once, fetching them anew takes a third of the time


def usable_memory(root: Path = ROOT) -> tuple[int, int]:
    """Bytes of memory in all and available now, of the machine or of what a control group allows of it."""
    memory = psutil.virtual_memory()
    limit = min([math.inf, *(limit for limit, _ in group_limits("memory.max", root))])
    return int(min(memory.total, limit)), int(min(memory.available, limit))


def available_memory() -> float:
    """Bytes of memory that this process may still take, caches of files that can be dropped included."""
    return float(usable_memory()[1])


def group_limits(name: str, root: Path) -> Iterator[tuple[float, float]]:
    """The limits that the control groups of this process set, of both versions, with the period where there is one."""
    controller, *files = _V1[name]
    for line in _lines(root / "proc" / "self" / "cgroup"):
        _, controllers, place = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys" / "fs" / "cgroup" / controllers
        group = top / place.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent == top or top in parent.parents)):
            names = files if controllers else [name]
            words = [word for file in names for line in _lines(folder / file) for word in line.split()]
            numbers = [float(word) for word in words if word.isdecimal()]
            if numbers and len(numbers) == len(words):  # otherwise `max` or -1: no limit
                yield numbers[0], numbers[1] if len(numbers) > 1 else 0.0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


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
