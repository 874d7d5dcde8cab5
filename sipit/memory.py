"""The memory of this process: what it may take, what it used at most, and handing back what is no longer needed."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

GIB = 2**30
ROOT = Path("/")
# What a file of the second version of control groups is in the first.
_V1 = {
    "cpu.max": ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
    "memory.max": ("memory.limit_in_bytes",),
    "memory.current": ("memory.usage_in_bytes",),
}
# Of memory.stat, by version: pages of files, which are given up before anything else is; those read twice are active.
_DROPPED = (("inactive_file", "active_file"), ("total_inactive_file", "total_active_file"))
_MMAP_THRESHOLD = -3  # the name of the option in malloc.h
_LARGE = 8 * 2**20  # bytes; where smaller blocks are given back at once, fetching them anew takes a third of the time


def usable_memory(root: Path = ROOT) -> tuple[int, int]:
    """Bytes of memory in all and available now, of the machine or of what is left of a control group's limit."""
    memory = psutil.virtual_memory()
    total, available = float(memory.total), float(memory.available)
    for folder, first in _groups("memory", root):
        for limit in _numbers(folder, "memory.max", first=first)[:1]:
            used = sum(_numbers(folder, "memory.current", first=first)) - _dropped(folder, first=first)
            total, available = min(total, limit), min(available, max(0.0, limit - max(0.0, used)))
    return int(total), int(available)


def available_memory() -> float:
    """Bytes of memory that this process may still take, caches of files that can be dropped included."""
    return float(usable_memory()[1])


def usable_time(root: Path) -> Iterator[float]:
    """The processors that each control group of this process allows, where it sets a limit; a fraction is of one."""
    for folder, first in _groups("cpu", root):
        numbers = _numbers(folder, "cpu.max", first=first)
        if len(numbers) > 1 and numbers[1]:
            yield numbers[0] / numbers[1]


def _groups(controller: str, root: Path) -> Iterator[tuple[Path, bool]]:
    """The folders of the control groups that this process is in, inner ones first, and whether of the first version."""
    for line in _lines(root / "proc" / "self" / "cgroup"):
        _, controllers, place = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys" / "fs" / "cgroup" / controllers
        group = top / place.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent == top or top in parent.parents)):
            yield folder, bool(controllers)


def _numbers(folder: Path, name: str, *, first: bool) -> list[float]:
    """The numbers in a file of a group, by its name in the second version; [] where it says `max` or -1: no limit."""
    words = [
        word for file in (_V1[name] if first else (name,)) for line in _lines(folder / file) for word in line.split()
    ]
    return [float(word) for word in words] if all(word.isdecimal() for word in words) else []


def _dropped(folder: Path, *, first: bool) -> float:
    """Bytes of a group's memory that only keep files at hand, and are given up before anything else is."""
    named = [line.split() for line in _lines(folder / "memory.stat")]
    return sum(float(words[1]) for words in named if words[0] in _DROPPED[first])


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
