"""The processor: what torch uses of it, how many threads there are, and what these do while they wait."""

import os
import platform
import statistics
import time
from collections.abc import Iterator

import torch

from proofs.idle_threads import TORCH_CAME_FIRST, VARIABLES
from sipit.installation.checks import Check, degraded, ok
from sipit.installation.limits import usable_processors
from sipit.report.wording import count

_AWAKE = 0.1  # share of a pause that threads work through; asleep it is below 0.02, awake 0.3 and more
_INTEL = {"x86_64", "amd64"}


def check_processor() -> Iterator[Check]:
    """The lines about instructions and threads."""
    capability, kind = torch.backends.cpu.get_cpu_capability(), platform.machine()
    threads, usable = torch.get_num_threads(), usable_processors()
    processors = f"{usable:g} of {count(os.cpu_count() or 1, 'processor')}"
    detail = f"{kind} with {capability}, {count(threads, 'thread')} on {processors}"
    if threads > max(1, usable):
        yield degraded("processor", f"{detail}: they wait for each other", f"set OMP_NUM_THREADS={max(1, int(usable))}")
    elif capability == "DEFAULT" and kind.lower() in _INTEL:
        why = "unset ATEN_CPU_CAPABILITY" if "ATEN_CPU_CAPABILITY" in os.environ else "use a processor that has AVX2"
        yield degraded("processor", f"{detail}: vector instructions are not used", why)
    else:
        yield ok("processor", detail)
    yield _idle_threads(threads)


def _idle_threads(threads: int) -> Check:
    name = "idle threads"
    if threads == 1:
        return ok(name, "there is one thread, which waits for no other")
    share = statistics.median(_work_while_waiting() for _ in range(9))
    detail = f"they work through {share:.0%} of a pause"
    if share < _AWAKE:
        return ok(name, f"they sleep: {detail}")
    chosen = [f"{variable}={os.environ[variable]}" for variable in VARIABLES if variable in os.environ]
    way = f"they stay awake, so that two processes at once are slower than in turn: {detail}"
    if TORCH_CAME_FIRST:
        return degraded(
            name, f"{way}; torch was loaded first", "import sipit before torch, or set OMP_WAIT_POLICY=PASSIVE"
        )
    return degraded(name, f"{way}; {', '.join(chosen)}", "set OMP_WAIT_POLICY=PASSIVE and none of the others")


def _work_while_waiting() -> float:
    """The processor time of this process over the wall-clock time of a pause right behind parallel work."""
    values = torch.ones(2**20)
    for _ in range(5):
        values.add_(1)
    worked, began = time.process_time(), time.perf_counter()
    time.sleep(0.004)
    return (time.process_time() - worked) / (time.perf_counter() - began)
