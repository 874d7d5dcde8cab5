"""`sipit demo`: the main job in one go on the embedded model.

Every part is a command of its own, run here as a user would type it: each record on the page names the command that
repeats it.
"""

import json
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofs.evidence import Record, read_record, write_atomically
from proofs.verdict import Verdict
from sipit.cli.options import Json, Seed
from sipit.cli.output import FAULT, INTERRUPTED, MISUSE, check_output, finish, load, page_of, say, tell
from sipit.models.names import chosen
from sipit.record import Stopwatch, provenance

if TYPE_CHECKING:
    from sipit.models import LanguageModel

Run = Callable[[list[str]], int]  # a command line; its exit status

MODEL, SMALL = "smollm2", "tiny-llama"  # converting the first to a format and scanning its vocabulary take minutes
SENTENCES = ("The cat sat.", "The dog sat.", "A cat sat.")  # their distances are certified: the cost grows with length


def demo(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Page to write (.html, .md), or record (.json): then it is beside.")
    ] = Path("report.html"),
    quick: Annotated[bool, typer.Option("--quick", help="Smaller settings: about a minute instead of a few.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Check a real model's assumptions, recover text from its states, search collisions, round, prove; write a page.

    Example: sipit demo -o report.html
    """
    check_output(output)
    page = page_of(output)
    check_output(page)
    watch = Stopwatch()
    from sipit.models.loading import embedded_once

    context.with_resource(embedded_once())
    model = load(chosen(MODEL), dtype="float32", device="cpu", seed=seed)
    files = [page, *_write_prompts(model, page, *((2, 16) if quick else (8, 32)))]
    parts = _parts(page, model.layers // 2, seed=seed, quick=quick)
    written: list[Path] = []
    for number, command in enumerate(parts, start=1):
        say(f"{number} of {len(parts)}: {shlex.join(['sipit', *command])}")
        _run(command, context.obj, as_json=as_json)
        written.append(Path(command[command.index("-o") + 1]))
    files += written
    names = [path for path in written if path.suffix == ".json"]
    records = [read_record(path) for path in names]
    from sipit.report import write_report

    write_report(page, records, [str(path) for path in names])
    record = Record(
        command="demo",
        verdict=Verdict.DONE,
        result={
            "files": [str(path) for path in files],
            "verdicts": {part.command: part.verdict.value for part in records},
        },
        provenance=provenance(model, seed=seed),
        seconds=watch.seconds,
    )
    finish(
        record, as_json=as_json, output=None if output == page else output,
        show=lambda: tell(f"page: {page}"), judged=False,
    )  # fmt: skip


def _parts(page: Path, half: int, *, seed: int, quick: bool) -> list[list[str]]:
    """The commands, in the order of the page; each names the file it writes behind -o."""

    def name(ending: str) -> str:
        return str(page.with_suffix(f".{ending}"))

    states, prompts = name("states.safetensors"), name("prompts.jsonl")
    few = "2" if quick else "3"
    model, small = chosen(MODEL), chosen(SMALL)
    drawn = ["--seed", str(seed)] if seed else []
    parts = [
        ["check", model, "-o", name("check.json")],
        ["prove", "generic-position", "--positions", "rope", "--context", "2", *drawn, "-o", name("patterns.json")],
        ["prove", "witness", "--vocabulary", few, "--context", few, "-o", name("witness.json")],
        # Captured otherwise than it is recomputed: with a cache, token by token.
        ["capture", model, "--prompts", prompts, "--layer", str(half), "--cached", "-o", states],
        ["invert", model, "--states", states, "--prompts", prompts, *drawn, "-o", name("invert.json")],
        ["collide", model, "--limit", "64" if quick else "500", "--layers", str(half), *drawn,
         "-o", name("collide.json")],
        ["quantization", *([small] if quick else [model, "--layers", str(half)]), "--quick",
         "--formats", "bf16,int4-states", *drawn, "-o", name("quantization.json")],
    ]  # fmt: skip
    certify = ["certify", model, "--prompts", name("sentences.txt"), "--layer", "1", "-o", name("certify.json")]
    return parts if quick else [*parts, certify]


def _write_prompts(model: "LanguageModel", page: Path, count: int, length: int) -> list[Path]:
    """Writes the prompts to invert, and the sentences whose distances are certified, beside the page."""
    from sipit.prompts.builtin_text import section_prompts

    prompts, sentences = page.with_suffix(".prompts.jsonl"), page.with_suffix(".sentences.txt")
    lines = [
        json.dumps({"token_ids": ids}) for ids in section_prompts(model, count=count, length=length, headings=False)
    ]
    write_atomically(prompts, ("\n".join(lines) + "\n").encode())
    write_atomically(sentences, ("\n".join(SENTENCES) + "\n").encode())
    return [prompts, sentences]


def _run(command: list[str], run: Run, *, as_json: bool) -> None:
    """Runs one part; what it finds is no failure of the demo, but a part that could not run ends it.

    Raises:
        typer.Exit: the part ended with misuse or a fault, or was interrupted; it has said so itself.
    """
    if as_json:
        with redirect_stdout(sys.stderr):
            status = run(command)
    else:
        status = run(command)
    if status in {MISUSE, FAULT, INTERRUPTED}:
        raise typer.Exit(status)
