"""Two processes at once against the same two in turn: threads that sleep while they wait, and threads that stay awake.

    python benchmarks/side_by_side.py [--model NAME] [--layer 15] [--processes 2] [--rounds 3] [--quick] [-o FILE.json]

Each process inverts one sentence from the command line, loading included, and has to recover it. The peer is the same
command with torch loaded first: the libraries then wait as they do by themselves. Ways take turns, and of several
rounds the shortest counts, since whatever else runs on a machine only adds. Seconds are wall-clock, and the processor
seconds of all processes stand beside them. `--quick` is tiny-llama, in one round.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from options import Options, answered, whole
from table import Row, Run

from proofs.idle_threads import VARIABLES

TEXT = "The quick brown fox jumps over the lazy dog."
METHODS = {"sipit": "", "torch loaded first": "import torch; "}
TASKS = ("alone", "in turn", "at once")


@dataclass(frozen=True)
class Spent:
    """Seconds of one round: on the wall, and of processors."""

    wall: float
    processor: float


def main() -> None:
    """Measures every task in both ways, in turns, and keeps the shortest."""
    parser = Options(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--layer", default="15")
    parser.add_argument("--processes", type=whole(), default=2)
    parser.add_argument("--rounds", type=whole(), default=3)
    parser.add_argument("--quick", action="store_true", help="tiny-llama, block 1, one round")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.model, options.layer, options.rounds = "tiny-llama", "1", 1
    command = ["invert", options.model, "--text", TEXT, "--layer", options.layer, "--json"]
    spend("sipit", "alone", command, 1)  # probes and noise are kept from here on
    best: dict[tuple[str, str], Spent] = {}
    for number in range(options.rounds):
        for key in product(TASKS, METHODS):
            spent = spend(*key[::-1], command, options.processes)
            print(f"round {number + 1}: {', '.join(key)}: {spent.wall:.1f} s", file=sys.stderr, flush=True)
            best[key] = min(spent, best.get(key, spent), key=lambda one: one.wall)
    run = Run("side by side", "wall")
    for task in TASKS:
        count = 1 if task == "alone" else options.processes
        name = f"{count} inversion{'s' * (count > 1)} {task}, {options.model}, layer {options.layer}"
        for method in METHODS:
            spent, turn = best[task, method], best["in turn", method]
            answer = f"recovered; {spent.processor:.3g} s of processors"
            if task == "at once":
                answer += f"; {spent.wall / turn.wall:.2f} of in turn"
            ratio = None if method == "sipit" else spent.wall / best[task, "sipit"].wall
            run.add(Row(name, method, spent.wall, answer, ratio))
    run.write(options.output)


def spend(method: str, task: str, command: list[str], processes: int) -> Spent:
    """Runs the command alone, or in as many processes in turn or at once, and checks every answer."""
    began, before = time.perf_counter(), children()
    batches = {"alone": [1], "in turn": [1] * processes, "at once": [processes]}[task]
    for batch in batches:
        started = [start(method, command) for _ in range(batch)]
        for process in started:
            output, _ = process.communicate()
            (prompt,) = json.loads(output)["result"]["prompts"]
            assert prompt["matches_truth"], prompt
    return Spent(time.perf_counter() - began, children() - before)


def start(method: str, command: list[str]) -> "subprocess.Popen[bytes]":
    """One process, in an environment that leaves the choice to the method."""
    code = f"{METHODS[method]}import sys; sys.argv[1:] = {command!r}; from sipit.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)


def children() -> float:
    """Processor seconds of all processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    answered(main)
