"""`sipit fuzz`: Hypothesis looks for a prompt that does not come back."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.cli.options import Device, Dtype, Json, LayerName, Model, Output, Seed, parse_layer
from sipit.cli.output import Clock, check_output, finish, load, progress, provenance


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
    clock = Clock()
    chosen = parse_layer(layer)
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    from sipit import fuzzing
    from sipit.cache import cache_folder, can_write
    from sipit.models.network import check_layer

    at = None if all_layers and chosen is None else language_model.layers // 2 if chosen is None else chosen
    if at is not None:
        check_layer(language_model, at)
    folder = cache_folder() / "fuzz" if keep is None else _made(keep)
    name = f"{language_model.digest[:16]}-{str(language_model.dtype).removeprefix('torch.')}"
    fuzzer = fuzzing.Fuzzer(language_model, policy=policy)
    with progress("fuzzing") as report:
        found = fuzzing.fuzz(
            fuzzer,
            layer=at,
            examples=examples,
            seed=seed,
            longest=longest,
            known=fuzzing.kept_examples(folder, name=name, layer=at),
            progress=report,
        )
    options = [model, "--seed", str(seed), "--dtype", dtype, "--device", device]
    if found.failures and keep is None and not can_write(folder):
        folder = Path(tempfile.mkdtemp(prefix="sipit-fuzz-"))  # what was found is not lost with the cache
    files: list[str] = []
    failures: list[dict[str, object]] = []
    for failure in found.failures:
        path = fuzzing.keep_failure(failure, folder, name=name)
        files.append(str(path))
        failures.append(
            {
                "class": failure.kind.value,
                "command": fuzzing.command_of(failure, path, options=options),
                "token_ids": list(failure.example.token_ids),
                "layer": failure.example.layer,
                "cached": failure.example.cached,
                "detail": failure.detail,
            }
        )
    record = Record(
        command="fuzz",
        verdict=Verdict.VOID if failures else Verdict.HELD,
        result={
            "layer": "all" if at is None else at,
            "asked": examples,
            "examples": found.examples,
            "failures": failures,
            "files": files,
        },
        provenance=provenance(language_model, seed=seed),
        seconds=clock.seconds,
    )

    def show() -> None:
        typer.echo(f"{found.examples} prompts inverted: {len(failures)} classes of failure")
        for failure in failures:
            typer.echo(f"{failure['class']}: {failure['token_ids']} ({failure['detail']})\n  {failure['command']}")

    finish(record, as_json=as_json, output=output, show=show)


def _made(folder: Path) -> Path:
    """The folder of --keep, made before the work begins."""
    from sipit.cache import can_write

    if not can_write(folder):
        raise InvalidInput(f"Expected a folder that can be written, but got --keep {folder}; choose another.")
    return folder
