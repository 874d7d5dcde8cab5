"""`sipit train`: a small transformer from scratch, with margins and collisions followed along the way."""

import shutil
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record
from sipit.cli.options import Device, Dtype, Json, Output, Seed, parse_layers
from sipit.cli.output import Clock, check_output, finish, load, progress, provenance
from sipit.models.names import BUILT_IN, TINY

if TYPE_CHECKING:
    from sipit.models import LanguageModel


class Rule(StrEnum):
    """How parameters are stepped."""

    SGD = "sgd"
    ADAMW = "adamw"


def train(
    model: Annotated[str, typer.Option(help="tiny-<family>, freshly drawn from --seed.")] = "tiny-gpt2",
    optimizer: Annotated[Rule, typer.Option(help="sgd (plain gradient steps) or adamw.")] = Rule.ADAMW,
    steps: Annotated[int, typer.Option(help="How many; a batch is 16 sequences of 64 bytes.")] = 1000,
    layers: Annotated[str | None, typer.Option(help="Blocks to follow, such as 1,2; default: every one.")] = None,
    rate: Annotated[float | None, typer.Option(help="Step size; default: 0.5 for sgd, 0.003 for adamw.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where checkpoint and model go; default: trained-OPTIMIZER, made if missing.")
    ] = None,
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train a small transformer from scratch, and follow how far apart the states of fixed prompts are.

    A run that was interrupted goes on where it stood when the same command is given again.

    Example: sipit train --optimizer sgd --steps 1000 -o sgd.html
    """
    check_output(output)
    clock = Clock()
    if not model.removeprefix(BUILT_IN).startswith(TINY):
        raise InvalidInput(f"Expected tiny-<family>, which is drawn afresh, but got --model {model}; name one.")
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    from sipit.claims.hypotheses import quoted_theorem
    from sipit.models.digest import digest_of_tensors
    from sipit.models.network import check_layer
    from sipit.training.trainer import RATES, Settings
    from sipit.training.trainer import train as run

    chosen = parse_layers(layers) if layers is not None else list(range(1, language_model.layers + 1))
    for one in chosen:
        check_layer(language_model, one)
    settings = Settings(
        model=model, digest=language_model.digest, optimizer=optimizer.value, steps=steps, layers=tuple(chosen),
        rate=RATES[optimizer.value] if rate is None else rate, seed=seed, dtype=dtype,
    )  # fmt: skip
    place = folder if folder is not None else Path(f"trained-{optimizer.value}")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"Expected a folder to write, but {place} is none: {error.strerror}.") from None
    with progress("training") as report:
        found = run(language_model, settings, place, report)
    digest = digest_of_tensors(language_model.module.config, language_model.module.named_parameters())
    files = [place / "checkpoint.safetensors", *_write_model(language_model, place / "model")]
    record = Record(
        command="train",
        verdict=found.verdict,
        result={"files": [str(path) for path in files], **found.to_json(),
                "theorem": quoted_theorem(language_model, optimizer.value)},
        provenance=provenance(language_model, seed=seed) | {"digest_of_trained": digest},
        seconds=clock.seconds,
    )  # fmt: skip
    finish(record, as_json=as_json, output=output, show=lambda: typer.echo("\n".join(_lines(record))))


def _write_model(model: "LanguageModel", folder: Path) -> list[Path]:
    """Writes the trained model as a folder that every command takes as MODEL, whole or not at all."""
    from sipit.cache import full_disk

    try:
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            whole = Path(temporary) / folder.name
            model.module.save_pretrained(whole)
            model.tokenizer.save_pretrained(whole)
            if folder.exists():
                shutil.rmtree(folder)
            whole.rename(folder)
    except full_disk() as error:
        raise InvalidInput(f"Expected room for the trained model, but {folder} cannot be written: {error}.") from None
    return [folder]


def _lines(record: Record) -> list[str]:
    result = record.result
    first, last = result["series"][1], result["series"][-1]
    lines = [f"{result['prompts']} prompts followed over {last['step']} steps: {record.verdict}"]
    lines += [f"  loss {first['loss']:.3f} at step {first['step']}, {last['loss']:.3f} at step {last['step']}"]
    for least in result["least"]:
        lines.append(
            f"  layer {least['layer']}: least distance {least['minimum_distance']:.4g} "
            f"(relative {least['relative_minimum']:.3g}) at step {least['step']}"
        )
    lines += [f"  layer {k['layer']}: {k['pairs']} pairs collide over the reals" for k in result["known_to_collide"]]
    return [*lines, f"  the trained model: {result['files'][-1]}"]
