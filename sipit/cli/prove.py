"""`sipit prove`: the theorems of the paper, checked by machine on small networks."""

from typing import Annotated

import typer

from sipit.cli.options import Json, Output
from sipit.cli.output import check_output, finish

prove = typer.Typer(help="Check a theorem by machine on small networks.", no_args_is_help=True, rich_markup_mode=None)


@prove.command("witness")
def witness(
    vocabulary: Annotated[int, typer.Option(help="Number of tokens.")] = 3,
    context: Annotated[int, typer.Option(help="Largest number of tokens of a prompt.")] = 3,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Try the published witness, as printed and as repaired, on every ordered pair of prompts.

    Example: sipit prove witness --vocabulary 3 --context 3
    """
    check_output(output)
    from sipit.proving import prove_witness

    record = prove_witness(vocabulary=vocabulary, context=context)
    finish(
        record, as_json=as_json, output=output,
        show=lambda: typer.echo(f"{record.verdict}: {record.result['statement']}"),
    )  # fmt: skip
