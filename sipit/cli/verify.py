"""`sipit verify`: re-checks the certificate in a record with the kernel, without torch."""

from pathlib import Path
from typing import Annotated

import typer

from sipit.cli.options import Json, Output
from sipit.cli.output import check_output, finish


def verify(
    file: Annotated[Path, typer.Argument(help="A record with a certificate, written with -o FILE.json.")],
    model: Annotated[
        str | None, typer.Option(help="Where the weights of a claim about weights are; default: found by their digest.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Of a certificate with many steps, how many to check again (default: all); "
            "of a margin over a vocabulary, how many tokens to confirm in Arb (default: 64)."
        ),
    ] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Re-check the proof or certificate in a record, whatever its verdict says.

    Example: sipit verify record.json
    """
    check_output(output)
    from sipit.verifying import verify_record

    record = verify_record(file, model=model, steps=steps)
    finish(
        record, as_json=as_json, output=output, show=lambda: typer.echo(f"{record.verdict}: {record.result['reason']}")
    )
