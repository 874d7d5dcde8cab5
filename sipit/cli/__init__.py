"""The command line: `sipit COMMAND [MODEL] [options]`.

Every command computes a record and hands it to `finish`. Nothing heavy is imported before a command runs, so that
`sipit --help` answers at once.
"""

import os
import sys
from importlib.metadata import version

import typer
from typer.exceptions import TyperException

from proofs.errors import SipitError
from sipit.cli.capture import capture
from sipit.cli.certify import certify
from sipit.cli.check import check
from sipit.cli.collide import collide
from sipit.cli.demo import demo
from sipit.cli.download import download
from sipit.cli.fuzz import fuzz
from sipit.cli.invert import invert
from sipit.cli.output import command_line
from sipit.cli.prove import prove
from sipit.cli.quantization import quantization
from sipit.cli.report import report
from sipit.cli.train import train
from sipit.cli.verify import verify

MISUSE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="sipit",
    help="Verify, instead of assuming, that transformer language models are injective, and invert them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo)
app.command()(check)
app.command()(capture)
app.command()(invert)
app.command()(collide)
app.command()(quantization)
app.command()(fuzz)
app.command()(train)
app.command()(report)
app.command()(certify)
app.command()(verify)
app.command()(download)
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
    """Runs one command line; its exit status (0 yes, 1 no, 2 misuse, 3 undecided)."""
    try:
        with command_line(arguments):
            status = app(arguments, standalone_mode=False)
    except SipitError as error:
        return _refuse(str(error))
    except TyperException as error:
        return _refuse(f"{getattr(error, 'format_message', error.__str__)()} Try: sipit --help")
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("sipit: interrupted.\n")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of the pipe has gone
        return 0
    return int(status or 0)


def _refuse(message: str) -> int:
    sys.stderr.write(f"sipit: {' '.join(message.split())}\n")
    return MISUSE


def main() -> None:
    """The entry point of the command."""
    sys.exit(run(sys.argv[1:]))
