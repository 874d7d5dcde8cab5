"""`sipit doctor`: what this installation can do."""

from typing import TYPE_CHECKING, Annotated

import typer

from proofs.evidence import Record
from sipit.cli.options import Device, Dtype, Json, Output, Seed
from sipit.cli.output import check_output, finish, progress, terminal
from sipit.record import Stopwatch, provenance

if TYPE_CHECKING:
    from sipit.installation import Examination


def doctor(
    model: Annotated[
        str | None, typer.Argument(help="Whose states make the round trip: as for other commands; default: a tiny one.")
    ] = None,
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Try what this installation can do: libraries, devices, a model's body, a verified round trip.

    Example: sipit doctor smollm2
    """
    check_output(output)
    watch = Stopwatch()
    from sipit.installation import examine

    with progress("examining"):
        examination = examine(model, dtype=dtype, device=device, seed=seed)
    # Where torch is broken there is no model, and nothing here may ask torch for anything.
    tried = examination.model
    record = Record(
        command="doctor",
        verdict=examination.verdict,
        result=examination.to_json(),
        provenance=provenance(tried, seed=seed) | ({} if tried is not None else {"versions": examination.versions}),
        seconds=watch.seconds,
    )
    finish(record, as_json=as_json, output=output, show=lambda: _show(examination))


def _show(examination: "Examination") -> None:
    """Prints one line for each check, and below it what to do."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")
    for check in examination.checks:
        table.add_row(check.status.value, Text(check.name), Text(check.detail))
        if check.remedy is not None:
            table.add_row("", "", Text(f"→ {check.remedy}"))
    console = terminal()
    console.print(table)
    console.print(f"\n{examination.verdict.value}", style="bold")
