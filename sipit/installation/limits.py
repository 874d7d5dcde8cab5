"""How many processors this process may keep busy, as far as its control groups allow."""

import os
from pathlib import Path

from sipit.memory import ROOT, group_limits


def usable_processors(root: Path = ROOT) -> float:
    """Processors that this process may keep busy; a fraction where a control group gives it part of one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([allowed, *(quota / period for quota, period in group_limits("cpu.max", root) if period)])
