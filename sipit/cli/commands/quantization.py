"""`sipit quantization`: where each number format voids or breaks the guarantees."""

from typing import Annotated, Any

import typer

from sipit.cli.options import Device, Dtype, Json, Model, NoSpecialTokens, Output, Prompts, Seed, parse_layers
from sipit.cli.output import check_output, finish, load, progress, say, terminal
from sipit.record import Stopwatch


def quantization(
    model: Model,
    formats: Annotated[str | None, typer.Option(help="Names between commas; default: all (or a few, --quick).")] = None,
    prompts: Prompts = None,
    no_special_tokens: NoSpecialTokens = False,
    layers: Annotated[
        str | None, typer.Option(help="Blocks 1…L, such as 1,15,30; default: first, half, last (--quick: no last).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few prompts, formats and candidates.")] = False,
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare rounding noise with margins, layer by layer and format by format, and see what really breaks.

    Stopped work is resumed by the same command: finished formats are kept in the cache.

    Example: sipit quantization smollm2 --quick -o report.html
    """
    check_output(output)
    watch = Stopwatch()
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    from sipit.prompts.reading import read_prompts, tokenize
    from sipit.quantization.record import quantization_record
    from sipit.quantization.study import extent_of

    ids = None
    if prompts is not None:
        ids = tokenize(language_model, read_prompts(prompts), special_tokens=not no_special_tokens)
    record = quantization_record(
        language_model,
        None if formats is None else [name.strip() for name in formats.split(",")],
        prompts=ids,
        layers=None if layers is None else parse_layers(layers),
        quick=quick,
        seed=seed,
        stages=progress,
        watch=watch,
    )
    used, most = record.result["prompts"], extent_of(quick).length  # the record has the longest of those looked at
    if ids is not None and (len(ids) > used or max(map(len, ids)) > most):
        say(f"looked at the first {used} different ones of {len(ids)} prompts, and of each at {most} tokens at most")
    finish(record, as_json=as_json, output=output, show=lambda: _show(record.result))


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
