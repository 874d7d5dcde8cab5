"""Mutation testing of the checker: every small change of a kernel must be noticed by a test.

    python -m tests.mutation.mutants [module ...] [--every N] [--processes N]

Each mutant lives in the memory of a forked process alone; no file is touched. The tests that run what was changed are
shown it. A survivor must stand in `harmless.txt`, with the reason why it accepts nothing more; any other fails the run.
"""

import argparse
import hashlib
import importlib.machinery
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.changes import ROOT, Mutant, mutants
from tests.mutation.quick import QUICK
from tests.mutation.reached import Chosen, Reached

HARMLESS = Path(__file__).with_name("harmless.txt")
JUDGED = ROOT / "build" / "mutants.txt"  # what became of each: a run goes on from there


def outcome(path: str, text: str, tests: Iterable[str], seconds: float, plugin: Any) -> str:
    """`survived` where the tests pass with a module changed, else `noticed`, or `endless` after so many seconds."""
    child = os.fork()
    if child == 0:
        _run(path, text, tests, plugin)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "noticed"
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "endless"


def _run(path: str, text: str, tests: Iterable[str], plugin: Any) -> None:
    os.setsid()
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(silent, stream)
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    name, load = path.removesuffix(".py").replace("/", "."), importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, fullname: str) -> Any:
        return compile(text, path, "exec") if fullname == name else load(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code
    status = 1
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", "-m", "not slow"]
    plugin.begin()
    try:
        status = pytest.main([*options, *tests], plugins=[plugin])
    finally:
        os._exit(int(status))


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the checker with its mutants, by the digest of their texts.

    Attributes:
        digests: of each file of tests, and of all of them ("").
    """

    path: str
    tests: Sequence[str]
    mutants: dict[str, Mutant]
    digests: dict[str, str]

    @classmethod
    def of(cls, path: str, every: int) -> "Module":
        """Of every so manyth mutant."""
        chosen = [name.partition("::") for name in QUICK[path].split()]
        tests = [f"{os.path.normpath(f'tests/proofs/{file}.py')}{mark}{test}" for file, mark, test in chosen]
        files = sorted({test.partition("::")[0] for test in tests})
        digests = {file: _digest((ROOT / file).read_text()) for file in files}
        found = {_digest(mutant.text): mutant for mutant in list(mutants(path))[::every]}
        return cls(path, tests, found, {**digests, "": _digest(*digests.values())})

    def judged(self) -> dict[str, str]:
        """What was found of mutants, by key, where that still holds: the tests that told it are as they were."""
        lines = (line.split(" ", 3)[:3] for line in JUDGED.read_text().splitlines())
        valid = set(self.digests.values())
        return {key: found for key, found, by in lines if by in valid and key in self.mutants}

    def judge(self, keys: Sequence[str], seconds: float, reached: dict[str, Any]) -> None:
        """Writes down what becomes of mutants, for at most so long each."""
        chosen = Chosen(reached)
        for key in keys:
            mutant = self.mutants[key]
            tests = chosen.choose(mutant.lines)
            found = outcome(self.path, mutant.text, sorted(tests), seconds, chosen) if tests else "survived"
            by = self.digests[chosen.learn().partition("::")[0]]
            with JUDGED.open("a") as file:
                file.write(f"{key} {found} {by} {mutant.change}\n")


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:20]


def judge_all(module: Module, processes: int) -> None:
    """Judges the mutants of a module that are not, in so many processes side by side."""
    kept = module.judged()
    keys = [key for key in module.mutants if key not in kept]
    if not keys:
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "reached.json")
        text = (ROOT / module.path).read_text()
        if outcome(module.path, text, module.tests, 3600, Reached(module.path, file)) != "survived":
            sys.exit(f"Expected the tests of {module.path} to pass, but they fail; run them first.")
        reached = json.loads(file.read_text())
    limit = 30 + 2 * (time.monotonic() - began)
    workers: list[int] = []
    for number in range(processes):
        worker = os.fork()
        if worker == 0:
            module.judge(keys[number::processes], limit, reached)
            os._exit(0)
        workers.append(worker)
    ended = [os.waitpid(worker, 0)[1] for worker in workers]  # all of them, or some would be left behind
    if any(ended):
        sys.exit(f"Expected every mutant of {module.path} to be judged, but a process ended early; start it again.")


def main() -> int:
    """Runs what was asked for; 1 where a survivor is not known to be harmless."""
    asked = argparse.ArgumentParser()
    asked.add_argument("modules", nargs="*", default=list(QUICK))
    asked.add_argument("--every", type=int, default=1, help="only every N-th mutant")
    asked.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many run side by side")
    options = asked.parse_args()
    os.chdir(ROOT)
    import flint  # noqa: F401 - loaded once, before the processes part
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401

    known = {line.rsplit("  # ", 1)[0] for line in HARMLESS.read_text().splitlines() if line and line[0] != "#"}
    JUDGED.parent.mkdir(exist_ok=True)
    JUDGED.touch()
    unknown = 0
    for path in options.modules:
        module = Module.of(path, options.every)
        judge_all(module, options.processes)
        kept = module.judged()
        counts = Counter(kept[key] for key in module.mutants)
        left = [
            mutant.change
            for key, mutant in module.mutants.items()
            if kept[key] == "survived" and mutant.change not in known
        ]
        for change in left:
            print(f"survived  {change}")
        told = f"{counts['noticed']} noticed, {counts['endless']} endless, {counts['survived'] - len(left)} harmless"
        print(f"{path}: {told}, {len(left)} survived", flush=True)
        unknown += len(left)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
