"""The command line: `sipit COMMAND [MODEL] [options]`.

Every command computes a record and hands it to `finish`. Nothing heavy is imported before a command runs, so that
`sipit --help` answers at once.
"""

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Generator
from importlib.metadata import version
from itertools import pairwise

import typer
from typer.exceptions import TyperException

from proofs.errors import SipitError
from sipit.cache import cache_folder, can_write
from sipit.cli.commands.audit import audit
from sipit.cli.commands.capture import capture
from sipit.cli.commands.certify import certify
from sipit.cli.commands.check import check
from sipit.cli.commands.collide import collide
from sipit.cli.commands.compare import compare
from sipit.cli.commands.demo import demo
from sipit.cli.commands.doctor import doctor
from sipit.cli.commands.download import download
from sipit.cli.commands.fuzz import fuzz
from sipit.cli.commands.invert import invert
from sipit.cli.commands.leak import leak
from sipit.cli.commands.prove import prove
from sipit.cli.commands.quantization import quantization
from sipit.cli.commands.report import report
from sipit.cli.commands.train import train
from sipit.cli.commands.verify import verify
from sipit.cli.output import FAULT, INTERRUPTED, MISUSE, abandon_streams, command_line, say
from sipit.cli.parsing import Command

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # a disk, a quota or a limit of files is full
GO_ON = frozenset({"invert", "collide", "quantization", "train", "certify", "leak"})  # keep what they have done
ANEW = frozenset({"--diagnose", "--positions", "--prefix", "--suffix", "--released"})  # but of these they keep nothing

app = typer.Typer(
    name="sipit",
    help="Verify, instead of assuming, that transformer language models are injective, and invert them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (
    demo, check, capture, invert, collide, quantization, compare, audit, leak, fuzz, train, report, certify, verify,
    doctor, download,
):  # fmt: skip
    app.command(cls=Command)(_command)
app.add_typer(prove, name="prove")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sipit {version('sipit')}")
        raise typer.Exit


@app.callback()
def _common(  # pyright: ignore[reportUnusedFunction] - typer calls it
    show_version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Verify, instead of assuming, that transformer language models are injective, and invert them."""


def run(arguments: list[str]) -> int:
    """Runs one command line; its exit status (0 yes, 1 no, 2 misuse, 3 undecided, 70 our fault, 130 interrupted)."""
    command = typer.main.get_command(app)
    try:
        # Not by calling `app`, which would answer a closed pipe and Ctrl-C by itself.
        # `run` goes along for `demo`, whose parts are commands.
        context = command.make_context("sipit", list(arguments), obj=run)
        with command_line(arguments), _quiet_libraries(), context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a fault of ours is shown whole
        if isinstance(error, KeyboardInterrupt | typer.Abort) or _ctrl_c.seen:
            return _interrupted(arguments, error)
        return _failed(error)
    return 0


class _CtrlC:
    """What Ctrl-C calls: it is seen as well where a library makes an error of its own of it, as some do at imports."""

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, _signal: int, _frame: object) -> None:
        self.seen = True
        raise KeyboardInterrupt


_ctrl_c = _CtrlC()


def _interrupted(arguments: list[str], stop: BaseException) -> int:
    # What keeps nothing of its work says so in the exception.
    kept = _keeps(arguments) and not (isinstance(stop, KeyboardInterrupt) and stop.args)
    goes_on = "goes on from what it has kept" if kept else "begins anew"
    say(f"sipit: interrupted; the same command {goes_on}.")
    return INTERRUPTED


def _failed(error: Exception) -> int:
    """Says what went wrong, in one sentence where that can be; the exit status."""
    if isinstance(error, SipitError):
        from sipit.installation.blame import with_version

        return _refuse(with_version(error))
    if isinstance(error, TyperException):
        return _refuse(_usage(error))
    if isinstance(error, BrokenPipeError):
        abandon_streams()  # the reader of the pipe has gone, and had what it wanted
        return 0
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        abandon_streams(sys.stdout)
        where = f" to {error.filename}" if error.filename else ""
        return _refuse(f"Expected room to write{where}, but got: {error.strerror}; free some and run it again.")
    return _unforeseen(error)


def _keeps(arguments: list[str]) -> bool:
    """Whether a command line that is interrupted has kept what it has done."""
    named = {argument.partition("=")[0] for argument in arguments}
    elsewhere = "--engine=ray" in arguments or ("--engine", "ray") in pairwise(arguments)
    anew = named & ANEW or (elsewhere and "invert" in arguments[:1])
    return bool({*arguments[:1]} & GO_ON) and not anew and (arguments[0] == "train" or _cache_takes_files())


def _cache_takes_files() -> bool:
    try:
        return can_write(cache_folder())
    except SipitError:
        return False


def _unforeseen(error: Exception) -> int:
    """What nobody meant to raise: one sentence where the environment is to blame, else what to report."""
    from sipit.installation.blame import environment_fault

    said = environment_fault(error)
    if said is not None:
        return _refuse(said)
    say("".join(traceback.format_exception(error)).rstrip())
    say("sipit: this is a fault of ours; please report the lines above with the output of sipit doctor --json.")
    return FAULT


@contextlib.contextmanager
def _quiet_libraries() -> Generator[None]:
    """Standard error is for progress and one sentence: what libraries warn about while they load is left out."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def _usage(error: TyperException) -> str:
    """What is wrong with a command line, as one sentence with the way to the help."""
    context = getattr(error, "ctx", None)
    path = "sipit" if context is None else context.command_path
    said = error.format_message() or str(error)
    said = said.replace("Value error, ", "").replace(". Did you mean", "; did you mean").rstrip(".? ")
    return f"{said} (see {path} --help)."


def _refuse(message: str) -> int:
    say(f"sipit: {' '.join(message.split())}")
    return MISUSE


def main() -> None:
    """The entry point of the command."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it lasts as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no such character still gets an answer
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, about themselves
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _ctrl_c)
    status = run(sys.argv[1:])
    # Where the last text that was executed was interrupted (a class that a library makes at its import), Python ends
    # by the signal, whatever was made of it since.
    exec("")
    sys.exit(status)
