"""`sipit report`: a page from stored records."""

from pathlib import Path
from typing import Annotated

import typer

from proofs.evidence import Record, read_record
from proofs.verdict import Verdict
from sipit.cli.options import Json
from sipit.cli.output import check_output, finish, page_of, tell
from sipit.record import Stopwatch, provenance


def report(
    files: Annotated[list[Path], typer.Argument(help="Records (.json), written by other commands with -o.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Page to write (.html, .md), or record (.json): then it is beside.")
    ] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Write one page from stored records; nothing is computed again.

    Example: sipit report invert.json check.json -o report.html
    """
    check_output(output)
    page = page_of(output)
    check_output(page)
    watch = Stopwatch()
    records = [read_record(path) for path in files]
    from sipit.report import write_report

    write_report(page, records, [str(path) for path in files])
    record = Record(
        command="report",
        verdict=Verdict.DONE,
        result={"files": [str(page)], "records": [str(path) for path in files]},
        provenance=provenance(),
        seconds=watch.seconds,
    )
    finish(
        record, as_json=as_json, output=None if output == page else output,
        show=lambda: tell(f"page: {page}"), judged=False,
    )  # fmt: skip
