"""`sipit fuzz`: Hypothesis looks for a prompt that does not come back."""

from pathlib import Path
from typing import Annotated, Any

import typer

from proofs.errors import InvalidInput
from sipit.cli.options import Device, Dtype, Json, LayerName, Model, Output, Seed, parse_layer
from sipit.cli.output import check_output, finish, load, progress, tell
from sipit.record import Stopwatch


def fuzz(
    model: Model,
    layer: LayerName = None,
    all_layers: Annotated[bool, typer.Option("--all-layers", help="Draw the layer too.")] = False,
    examples: Annotated[int, typer.Option(help="Prompts to draw.")] = 200,
    longest: Annotated[int, typer.Option(help="Tokens of a prompt at most.")] = 16,
    policy: Annotated[
        str, typer.Option(help="Order of the candidates: draft, gradient, nearest or exhaustive.")
    ] = "draft",
    keep: Annotated[
        Path | None, typer.Option(help="Folder of the failures; default: fuzz/ in the cache folder.")
    ] = None,
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Look for a prompt that does not come back from its states, shrink it, and print the command that repeats it.

    Failures of earlier runs are kept and tried first. Needs the extra sipit[fuzz].

    Example: sipit fuzz tiny-llama --examples 500
    """
    check_output(output)
    watch = Stopwatch()
    chosen = parse_layer(layer)
    if all_layers and chosen is not None:
        raise InvalidInput(f"Expected --layer or --all-layers, but got both, with --layer {layer}; leave one away.")
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    from sipit.fuzzing import fuzzing_record
    from sipit.models.network import check_layer

    at = None if all_layers and chosen is None else language_model.layers // 2 if chosen is None else chosen
    if at is not None:
        check_layer(language_model, at)
    record = fuzzing_record(
        language_model,
        layer=at,
        examples=examples,
        longest=longest,
        policy=policy,
        keep=None if keep is None else _made(keep),
        options=[model, "--seed", str(seed), "--dtype", dtype, "--device", device],
        seed=seed,
        stages=progress,
        watch=watch,
    )
    finish(record, as_json=as_json, output=output, show=lambda: _show(record.result))


def _show(result: dict[str, Any]) -> None:
    """Prints how many prompts came back, and of each class of failure one that did not."""
    from sipit.report.wording import count

    failures = result["failures"]
    tell(f"{count(result['examples'], 'prompt')} inverted: {count(len(failures), 'class', 'classes')} of failure")
    for failure in failures:
        tell(f"{failure['class']}: {failure['token_ids']} ({failure['detail']})\n  {failure['command']}")


def _made(folder: Path) -> Path:
    """The folder of --keep, made before the work begins."""
    from sipit.cache import can_write

    if not can_write(folder):
        raise InvalidInput(f"Expected a folder that can be written, but got --keep {folder}; choose another.")
    return folder
