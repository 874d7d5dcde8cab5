"""How a command ends: its record goes to standard output or a file, its verdict becomes the exit status."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import typer

from proofs.arguments import path_of
from proofs.errors import InvalidInput
from proofs.evidence import Record, is_record, try_to_write, write_atomically
from proofs.network.tensor_file import read_header
from sipit.privacy.run_name import named_run

if TYPE_CHECKING:
    from rich.console import Console

    from sipit.models import LanguageModel

MISUSE = 2  # the exit statuses of commands that end without a record
FAULT = 70  # of ours; the number that BSD gave it
INTERRUPTED = 130
RECORD_ENDINGS = (".json", ".md", ".html")
_READ = (".json", ".safetensors")  # outputs that end like files which are read from folders
_OF_A_MODEL = re.compile(
    r"(?:.*config|tokenizer.*|special_tokens_map|added_tokens|vocab|.*\.index)\.json|(?:adapter_)?model.*\.safetensors"
)


def check_output(path: Path | None, endings: tuple[str, ...] = RECORD_ENDINGS) -> None:
    """Refuses an output file that could not be written, before anything is computed.

    Raises:
        InvalidInput: another ending, a name that no file can have, no such folder, one that takes no file, or a file
            that is read, by itself or from a folder, or belongs to a model.
    """
    if path is None:
        return
    path_of("the output", str(path))
    if path.suffix not in endings:
        raise InvalidInput(f"Expected an output file ending in {' or '.join(endings)}, but got {path}; rename it.")
    if not path.parent.is_dir() or path.is_dir():
        raise InvalidInput(f"Expected an output file in a folder that exists, but got {path}; make the folder first.")
    described = any((path.parent / name).is_file() for name in ("config.json", "adapter_config.json"))
    if (described and _OF_A_MODEL.fullmatch(path.name)) or (path.exists() and _named(path) > 1):
        raise InvalidInput(
            f"Expected a new output file, but {path} is read, or would be a part of a model; choose another name."
        )
    try_to_write(path)


def page_of(output: Path) -> Path:
    """Where the page of a command goes that always writes one: beside the record, if that is what is named."""
    return output.with_suffix(".html") if output.suffix == ".json" else output


def _named(path: Path) -> int:
    """How many arguments of the command line are a file, or a folder that it is read from; its output is among them."""
    given = _arguments.get()
    count = 0
    for argument in sys.argv[1:] if given is None else given:
        parts = {argument, argument.partition("=")[2], argument.removeprefix("-o"), named_run(argument)[0]}
        with suppress(OSError, ValueError):  # no name of a file
            count += any(_reads(part, path) for part in parts)
    return count


def _reads(name: str, path: Path) -> bool:
    """Whether an argument is a file, or a folder with it or with a link to it.

    What a command has written may lie in such a folder, and be written again: from it nobody reads a record, and a
    model is not read from a file of states.
    """
    if not os.path.isdir(name):
        return os.path.isfile(name) and os.path.samefile(path, name)
    inside = path.suffix in _READ and os.path.samefile(path.parent, name)
    links = [one.path for one in os.scandir(name) if one.is_symlink() and one.is_file()]
    return (inside and not _written(path)) or any(os.path.samefile(path, link) for link in links)


def _written(path: Path) -> bool:
    """Whether a file is a record, or states that `sipit capture` has written."""
    if path.suffix == ".json":
        return is_record(path)
    try:
        return "sipit" in read_header(path).metadata
    except InvalidInput:
        return False


def finish(
    record: Record, *, as_json: bool, output: Path | None, show: Callable[[], None], judged: bool = True
) -> NoReturn:
    """Prints and writes a record and ends the command; `show` prints the result for people.

    `judged` false ends with 0 whatever was found.
    """
    record.provenance.setdefault("command_line", _command_line())
    for line in record.provenance.get("warnings", []):
        say(f"warning: {line}")
    try:
        _print(record, as_json, show)
    finally:  # whichever of the two fails, the answer is in the other
        _write(record, output)
    if output is not None and not as_json:
        say(f"written: {output}")
    raise typer.Exit(record.verdict.exit_status if judged else 0)


def _print(record: Record, as_json: bool, show: Callable[[], None]) -> None:
    try:
        if as_json:
            sys.stdout.write(record.dumps(sys.stdout.encoding or "utf-8") + "\n")
        else:
            show()
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_streams()  # whoever read has seen enough; the verdict stands


def _write(record: Record, output: Path | None) -> None:
    if output is None or output.suffix not in RECORD_ENDINGS:
        return
    if output.suffix == ".json":
        write_atomically(output, (record.dumps() + "\n").encode())
    else:
        from sipit.report import write_report

        write_report(output, [record])


def say(line: str) -> None:
    """Writes a line on standard error, if anybody listens there; hidden characters are shown as signs."""
    _Forgiving(sys.stderr).write(f"{_shown(line)}\n")


def say_unused(beside: str, given: Mapping[str, Any]) -> None:
    """Says which options were given and change nothing."""
    named = [name for name, value in given.items() if value is not None and value is not False]
    if named:
        say(f"{', '.join(named)}: no effect beside {beside}")


def tell(lines: str) -> None:
    """Writes lines on standard output, where what stands in a file may not move the cursor or hide what follows."""
    typer.echo(_shown(lines))


def _shown(lines: str) -> str:
    if lines.isascii() and lines.isprintable():  # else pages need not be loaded for an error
        return lines
    from sipit.report.wording import visible

    return visible(lines, keep="\n\t")


def abandon_streams(*streams: TextIO) -> None:
    """Sends the rest of streams (by default both) nowhere, so that nothing fails again when Python ends."""
    for stream in streams or (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # one without a descriptor has nothing to fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Forgiving:
    """A stream beside the answer: where it is gone, with its terminal or its reader, the work is not lost for that."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._tried(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except OSError:
            abandon_streams(self._stream)
            return 0


def terminal() -> "Console":
    """Where tables are shown. A pipe whose reader has gone is an error here, not the end of Python."""
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Terminal(highlight=False)


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
    return shlex.join(["sipit", *map(as_text, sys.argv[1:] if arguments is None else arguments)])


def as_text(argument: str) -> str:
    """An argument as the UTF-8 that it is, where the locale knows no such bytes and Python has only let them pass."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        with suppress(UnicodeError):
            return os.fsencode(argument).decode()
    return argument


@contextmanager
def progress(title: str) -> Generator[Callable[[int, int], None]]:
    """A progress bar on standard error where that is a terminal; yields a function of (done, of)."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(highlight=False, file=cast("TextIO", _Forgiving(sys.stderr)))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def load(name: str, *, dtype: str, device: str, seed: int) -> "LanguageModel":
    """Loads the model of a command, without the library's progress bars; says what it was put together of."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    from sipit.models import load_model

    model = load_model(name, dtype=dtype, device=device, seed=seed)
    for line in model.assembly:
        say(f"{name}: {line}")
    return model
