"""`sipit quantization`: where each number format voids or breaks the guarantees."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record
from sipit.cli.options import Device, Json, Model, Output, Prompts, Seed, parse_layers
from sipit.cli.output import Clock, check_output, finish, load, progress, provenance, terminal

if TYPE_CHECKING:
    from sipit.models import LanguageModel
    from sipit.quantization import Extent

QUICK_FORMATS = "float32,bf16,fp16,int8,int4,nf4,Q4_1,int8-states,int4-states"


def quantization(
    model: Model,
    formats: Annotated[str | None, typer.Option(help="Names between commas; default: all (or a few, --quick).")] = None,
    prompts: Prompts = None,
    layers: Annotated[
        str | None, typer.Option(help="Blocks 1…L, such as 1,15,30; default: first, half, last (--quick: no last).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few prompts, formats and candidates.")] = False,
    output: Output = None,
    device: Device = "cpu",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare rounding noise with margins, layer by layer and format by format, and see what really breaks.

    Stopped work is resumed by the same command: finished formats are kept in the cache.

    Example: sipit quantization smollm2 --quick -o report.html
    """
    check_output(output)
    clock = Clock()
    language_model = load(model, dtype="float32", device=device, seed=seed)
    from numerics.formats import FORMATS
    from sipit.quantization import QUICK, Extent, Study, chosen_formats, findings, verdict_of

    names = formats.split(",") if formats is not None else QUICK_FORMATS.split(",") if quick else list(FORMATS)
    chosen = chosen_formats([name.strip() for name in names])
    extent = QUICK if quick else Extent()
    depth = language_model.layers
    usual = {1, max(1, depth // 2)} if quick else {1, max(1, depth // 2), depth}
    at = parse_layers(layers) if layers is not None else sorted(usual)
    if not at or at[0] < 1 or at[-1] > depth:
        raise InvalidInput(f"Expected layers 1…{depth} of {language_model.name}, but got --layers {layers}.")
    with progress("preparing") as report:
        study = Study.open(
            language_model, _prompts(language_model, prompts, extent, seed), layers=at, extent=extent, seed=seed,
            progress=report,
        )  # fmt: skip
    measured: list[dict[str, Any]] = []
    with progress("formats") as report:
        for number_format in chosen:
            measured.append(study.measured(number_format))
            report(len(measured), len(chosen))
    with progress("scanning the vocabulary") as report:
        result = findings(study, measured, report)
    with progress("formats crossed") as report:
        result["crossed"] = study.crossed([number_format.name for number_format in chosen], report)
    record = Record(
        command="quantization",
        verdict=verdict_of(result),
        result=result,
        provenance=provenance(
            language_model, seed=seed, arithmetic="; ".join(("each format names its own", *language_model.assembly))
        ),
        seconds=clock.seconds,
    )
    finish(record, as_json=as_json, output=output, show=lambda: _show(result))


def _prompts(model: "LanguageModel", path: Path | None, extent: "Extent", seed: int) -> list[list[int]]:
    """Prompts of equal length: from a file, else from built-in text, else at random."""
    import torch

    from sipit.prompts.builtin_text import random_tokens, section_prompts
    from sipit.prompts.reading import read_prompts, tokenize

    if path is not None:
        read = [ids[: extent.length] for ids in tokenize(model, read_prompts(path))]
        return read[: extent.prompts]
    found = section_prompts(model, count=extent.prompts, length=extent.length)
    if found:
        return found
    generator = torch.Generator().manual_seed(seed)
    return random_tokens(model, (extent.prompts, extent.length), generator=generator).tolist()


def _show(result: dict[str, Any]) -> None:
    """Prints one line for each format."""
    from rich.markup import escape
    from rich.table import Table

    heads = ("format", "rounds", "recovered", "wrong", "ambiguous", "not found", "undecided", "collisions", "void from")
    table = Table(*heads, box=None)
    for one in result["formats"]:
        if one["reason"] is not None:
            table.add_row(one["format"], one["subject"], escape(one["reason"]))  # it may name an extra in brackets
            continue
        void = one["first_layer_void"]
        counts = (one[key] for key in ("wrong", "ambiguous", "not_found", "undecided", "collisions"))
        name = one["format"] + (" (degenerate)" if one["degenerate"] else "")
        recovered = f"{one['recovered']} of {one['prompts']}"
        table.add_row(name, one["subject"], recovered, *map(str, counts), "-" if void is None else f"layer {void}")
    terminal().print(table)
