"""`sipit train`: a small transformer from scratch, with margins and collisions followed along the way."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record
from sipit.cli.options import Device, Dtype, Json, Output, Seed, parse_layers
from sipit.cli.output import check_output, finish, load, progress, tell
from sipit.models.names import TINY, chosen, drawn_family
from sipit.record import Stopwatch

DEFAULT = "tiny-gpt2"


class Rule(StrEnum):
    """How parameters are stepped."""

    SGD = "sgd"
    ADAMW = "adamw"


def train(
    model: Annotated[
        str | None, typer.Option(help=f"tiny-<family>, freshly drawn from --seed; default: {DEFAULT}.")
    ] = None,
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

    The same command continues an interrupted run where it stopped.

    Example: sipit train --optimizer sgd --steps 1000 -o sgd.html
    """
    check_output(output)
    watch = Stopwatch()
    name = chosen(DEFAULT) if model is None else model
    family = drawn_family(name)
    if family is None:
        raise InvalidInput(f"Expected tiny-<family>, which is drawn afresh, but got --model {name}; name one.")
    language_model = load(name, dtype=dtype, device=device, seed=seed)
    from numerics.dtypes import name_of
    from sipit.models.layers import check_numbers
    from sipit.training.record import training_record
    from sipit.training.trainer import RATES, Settings

    followed = parse_layers(layers) if layers is not None else list(range(1, language_model.layers + 1))
    check_numbers(language_model, followed)
    settings = Settings(
        model=f"{TINY}{family}", digest=language_model.digest, optimizer=optimizer.value, steps=steps,
        layers=tuple(followed), rate=RATES[optimizer.value] if rate is None else rate, seed=seed,
        dtype=name_of(language_model.dtype),
    )  # fmt: skip
    place = folder if folder is not None else Path(f"trained-{optimizer.value}")
    record = training_record(language_model, settings, place, stages=progress, watch=watch)
    finish(record, as_json=as_json, output=output, show=lambda: tell("\n".join(_lines(record))))


def _lines(record: Record) -> list[str]:
    from sipit.report.wording import count

    result = record.result
    first, last = result["series"][1], result["series"][-1]
    lines = [f"{count(result['prompts'], 'prompt')} followed over {count(last['step'], 'step')}: {record.verdict}"]
    lines += [f"  loss {first['loss']:.3f} at step {first['step']}, {last['loss']:.3f} at step {last['step']}"]
    for least in result["least"]:
        lines.append(
            f"  layer {least['layer']}: least distance {least['minimum_distance']:.4g} "
            f"(relative {least['relative_minimum']:.3g}) at step {least['step']}"
        )
    lines += [
        f"  layer {k['layer']}: {count(k['pairs'], 'pair')} known to collide over the reals"
        for k in result["known_to_collide"]
    ]
    return [*lines, f"  the trained model: {result['files'][-1]}"]
