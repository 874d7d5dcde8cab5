"""`sipit prove`: the theorems of the paper, checked by machine on small networks."""

from typing import Annotated

import typer

from sipit.cli.options import Json, Output, Seed
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


@prove.command("training-step")
def training_step(
    model: Annotated[
        str, typer.Option(help="tiny-<family>: its class, with one block and three tokens.")
    ] = "tiny-gpt2",
    width: Annotated[int, typer.Option(help="Of the states.")] = 4,
    rate: Annotated[str, typer.Option(help="The step size, exactly: a rational.")] = "1/10",
    optimizer: Annotated[
        str, typer.Option(help="gd, weight-decay, clip-value, sign, heavy-ball, adam or adamw.")
    ] = "gd",
    output: Output = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Certify that the Jacobian determinant of an optimizer step does not vanish identically.

    Example: sipit prove training-step --rate 1/10
    """
    check_output(output)
    from sipit.proving import prove_training_step

    record = prove_training_step(model=model, width=width, rate=rate, optimizer=optimizer, seed=seed)

    def show() -> None:
        result = record.result
        lines = [f"{record.verdict}: {result['statement']}"]
        lines += [f"  determinant, one sample: {result['determinant']['midpoint']}"]
        lines += [f"  open: {line['statement']} ({line['reason']})" for line in result["open"]]
        typer.echo("\n".join(lines))

    finish(record, as_json=as_json, output=output, show=show)
