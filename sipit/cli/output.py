"""How a command ends: its record goes to standard output or a file, its verdict becomes the exit status."""

import shlex
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record, write_atomically

if TYPE_CHECKING:
    from sipit.models import LanguageModel

RECORD_ENDINGS = (".json", ".md", ".html")


def check_output(path: Path | None, endings: tuple[str, ...] = RECORD_ENDINGS) -> None:
    """Refuses an output file that could not be written, before anything is computed.

    Raises:
        InvalidInput: another ending, or no such folder.
    """
    if path is None:
        return
    if path.suffix not in endings:
        raise InvalidInput(f"Expected an output file ending in {' or '.join(endings)}, but got {path}; rename it.")
    if not path.parent.is_dir() or path.is_dir():
        raise InvalidInput(f"Expected an output file in a folder that exists, but got {path}; make the folder first.")


def finish(
    record: Record, *, as_json: bool, output: Path | None, show: Callable[[], None], judged: bool = True
) -> None:
    """Writes and prints a record and ends the command; `show` prints the result for people.

    `judged` false ends with 0 whatever was found.
    """
    record.provenance.setdefault("command_line", _command_line())
    if output is not None and output.suffix in RECORD_ENDINGS:
        if output.suffix == ".json":
            write_atomically(output, (record.dumps() + "\n").encode())
        else:
            from sipit.report import write_report

            write_report(output, [record])
    if as_json:
        sys.stdout.write(record.dumps() + "\n")
    else:
        show()
        if output is not None:
            sys.stderr.write(f"written: {output}\n")
    sys.stdout.flush()
    raise typer.Exit(record.verdict.exit_status if judged else 0)


def provenance(
    model: "LanguageModel | None" = None, *, seed: int | None = None, arithmetic: str | None = None
) -> dict[str, Any]:
    """What a record says about where it comes from; `arithmetic` is what really ran."""
    from sipit.capturing import versions

    data: dict[str, Any] = {"versions": versions(), "command_line": _command_line()}
    if model is not None:
        data |= {
            "model": model.name,
            "digest": model.digest,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "arithmetic": arithmetic or model.arithmetic,
        }
    return data | ({"seed": seed} if seed is not None else {})


_arguments: ContextVar[Sequence[str] | None] = ContextVar("arguments", default=None)


@contextmanager
def command_line(arguments: Sequence[str]) -> Generator[None]:
    """While it lasts, records say that these arguments made them; a command may run others."""
    token = _arguments.set(tuple(arguments))
    try:
        yield
    finally:
        _arguments.reset(token)


def _command_line() -> str:
    arguments = _arguments.get()
    return shlex.join(["sipit", *(sys.argv[1:] if arguments is None else arguments)])


@contextmanager
def progress(title: str) -> Generator[Callable[[int, int], None]]:
    """A progress bar on standard error; yields a function of (done, of)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class Clock:
    """Wall-clock seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start


def load(name: str, *, dtype: str, device: str, seed: int) -> "LanguageModel":
    """Loads the model of a command, with the libraries' own chatter kept off the terminal."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for chatter in ("torchao", "torch.utils._pytree", "bitsandbytes"):  # imported by transformers where installed
        getLogger(chatter).setLevel(ERROR)
    from sipit.models import load_model

    return load_model(name, dtype=dtype, device=device, seed=seed)
