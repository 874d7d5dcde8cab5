"""Imports modules in a process of its own, where one that crashes, hangs or ends the process is only an answer."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence


def import_errors(modules: Sequence[str], *, seconds: float = 300.0) -> dict[str, str | None]:
    """Why each of some modules cannot be imported, in one line; None where it can.

    They are imported one after another in one process, and in another one behind a module that ends it. `seconds` are
    for each process: many more than importing takes on a machine that is busy, since too few make a fault of a wait.
    """
    found: dict[str, str | None] = {}
    while left := [module for module in modules if module not in found]:
        # As a file and with -P, so that neither this package nor the working directory hides a module.
        command = [sys.executable, "-P", __file__, json.dumps([sys.path, left])]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
            answers, end = done.stdout, _end(done.returncode)
        except subprocess.TimeoutExpired as late:
            answers, end = late.stdout or b"", f"importing it did not end within {seconds:g} seconds"
        found |= dict(_answers(answers))
        if unanswered := [module for module in left if module not in found]:
            found[unanswered[0]] = end
    return found


def _answers(lines: bytes) -> Iterator[tuple[str, str | None]]:
    for line in lines.split(b"\n")[:-1]:  # one that was cut off is none
        name, reason = json.loads(line)
        yield name, reason


def _end(status: int) -> str:
    """How a process ended that should have gone on."""
    try:
        return f"importing it ends the process by {signal.Signals(-status).name}"
    except ValueError:
        return f"importing it ends the process with status {status}"


def _main() -> None:
    """The other process: one line of JSON for each module, on what was standard output."""
    sys.path[:], modules = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for module in modules:
        reason = None
        try:
            importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001 - SystemExit too
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}"
        answers.write(json.dumps([module, reason]) + "\n")
        answers.flush()
    answers.flush()
    os._exit(0)  # what libraries do at the end was not asked for


if __name__ == "__main__":
    _main()
