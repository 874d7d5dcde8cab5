"""How threads that have nothing to do wait: asleep. This is chosen here, for all three packages, and nowhere else.

The threads of OpenMP stay awake for some milliseconds after each piece of work, so that the next one begins sooner. Two
processes on the processors of one then spend most of their time keeping each other from working. The libraries read
the choice when they are loaded, so it is made when `sipit` or `numerics` is imported, and comes too late behind torch.
"""

import os
import sys

# The standard's name, and those of the GNU and the LLVM (Intel) libraries. Who has set any of them has chosen.
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_idle_threads_sleep() -> None:
    """Chooses it for this process and those that it starts, unless the environment says otherwise."""
    if not any(name in os.environ for name in VARIABLES):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


TORCH_CAME_FIRST = "torch" in sys.modules
"""Whether torch had been loaded when this was imported; a choice that it has not read then has no effect."""
