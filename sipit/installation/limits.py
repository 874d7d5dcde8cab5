"""What this process may use of the machine: processors and memory, as far as its control groups allow."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path("/")
# What a file of the second version is in the first: the controller, and its files.
_V1 = {"cpu.max": ("cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us"), "memory.max": ("memory", "memory.limit_in_bytes")}


def usable_processors(root: Path = ROOT) -> float:
    """Processors that this process may keep busy; a fraction where a control group gives it part of one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([allowed, *(quota / period for quota, period in _group_limits("cpu.max", root) if period)])


def usable_memory(root: Path = ROOT) -> tuple[int, int]:
    """Bytes of memory in all and available now."""
    memory = psutil.virtual_memory()
    limit = min([math.inf, *(limit for limit, _ in _group_limits("memory.max", root))])
    return int(min(memory.total, limit)), int(min(memory.available, limit))


def _group_limits(name: str, root: Path) -> Iterator[tuple[float, float]]:
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
