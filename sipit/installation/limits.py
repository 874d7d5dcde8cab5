"""How many processors this process may keep busy, as far as its control groups allow."""

from pathlib import Path

from proofs.processes import processors
from sipit.memory import ROOT, usable_time


def usable_processors(root: Path = ROOT) -> float:
    """Processors that this process may keep busy; a fraction where a control group gives it part of one."""
    return min([processors(), *usable_time(root)])
