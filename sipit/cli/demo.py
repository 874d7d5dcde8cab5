"""`sipit demo`: the main job in one go on the embedded model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofs.evidence import Record, write_atomically
from proofs.verdict import Verdict
from sipit.cli.invert import inversion_record, show_inversions
from sipit.cli.options import Json
from sipit.cli.output import Clock, check_output, finish, load, progress, provenance

if TYPE_CHECKING:
    from sipit.models import LanguageModel

LENGTH = 64  # tokens of each prompt


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Page to write (.html or .md).")] = Path("report.html"),
    quick: Annotated[bool, typer.Option("--quick", help="Two short prompts instead of eight.")] = False,
    as_json: Json = False,
) -> None:
    """Check a real model's assumptions, recover real text from its states, and write a page of it.

    Example: sipit demo -o report.html
    """
    check_output(output, (".html", ".md"))
    clock = Clock()
    from sipit.checking import check_model

    model = load("smollm2", dtype="float32", device="cpu", seed=0)
    sys.stderr.write("checking the assumptions of the theorems\n")
    records = {
        "check": check_model("smollm2", layer=None),
        "invert": _invert(model, output, count=2 if quick else 8, length=LENGTH // 4 if quick else LENGTH),
    }
    files = [output, output.with_suffix(".states.safetensors")]
    for name, record in records.items():
        files.append(output.with_suffix(f".{name}.json"))
        write_atomically(files[-1], (record.dumps() + "\n").encode())
    from sipit.report import write_report

    write_report(output, [records["invert"], records["check"]])  # the main job first
    record = Record(
        command="demo",
        verdict=Verdict.DONE,
        result={
            "files": [str(path) for path in files],
            "verdicts": {name: part.verdict.value for name, part in records.items()},
        },
        provenance=provenance(model, seed=0),
        seconds=clock.seconds,
    )
    finish(record, as_json=as_json, output=None, show=lambda: typer.echo(f"page: {output}"), judged=False)


def _invert(model: "LanguageModel", output: Path, *, count: int, length: int) -> Record:
    """Inverts states that were captured otherwise than they are recomputed: with a cache, token by token."""
    from sipit.capturing import capture
    from sipit.corpus import section_prompts
    from sipit.inversion import Inverter
    from sipit.states import read_states, write_states

    clock = Clock()
    layer = model.layers // 2
    truth = section_prompts(model, count=count, length=length)
    path = output.with_suffix(".states.safetensors")
    with progress("capturing token by token") as report:
        write_states(path, capture(model, truth, layer=layer, cached=True, progress=report))
    observed = read_states(path)
    with progress("preparing (once per model and layer)") as report:
        inverter = Inverter.open(model, observed, progress=report)
    with progress("inverting") as report:
        inversions = inverter.invert_all(observed, truth=truth, progress=report)
    show_inversions(inversions)
    return inversion_record(inverter, inversions, policy="draft", seed=0, seconds=clock.seconds)
