"""`sipit collide`: the closest pairs and all collisions among many prompts."""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record
from sipit.cli.options import (
    Address,
    Device,
    Dtype,
    Engine,
    Json,
    Model,
    NoSpecialTokens,
    Output,
    Seed,
    Where,
    check_engine,
    parse_layers,
)
from sipit.cli.output import check_output, finish, load, progress, tell
from sipit.record import Stopwatch

if TYPE_CHECKING:
    from sipit.cluster.states import Cluster


class Search(StrEnum):
    """Searches that go looking for collisions, beside the corpus."""

    CONTINUATIONS = "continuations"
    COLLAPSE = "collapse"
    SWAPS = "swaps"


def collide(
    model: Model,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Prompt file (one per line), folder of texts, datasets:NAME, random:LENGTH, or builtin, the default."
        ),
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Blocks 0…L, such as 1,15,30; default: first, half, last.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many different prompts.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Absolute L2 at or below which a pair is a hit; default: from measured noise.")
    ] = None,
    window: Annotated[int, typer.Option(help="Tokens of a window of text; every prefix is a prompt.")] = 32,
    search: Annotated[
        list[Search] | None, typer.Option(help="Go looking as well: continuations, collapse or swaps; repeatable.")
    ] = None,
    listed: Annotated[int, typer.Option(help="Pairs a layer to run again alone, explain and list.")] = 100,
    memory: Annotated[float, typer.Option(help="GiB that the work may take.")] = 4.0,
    no_special_tokens: NoSpecialTokens = False,
    engine: Where = Engine.LOCAL,
    address: Address = None,
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find the closest pairs and all collisions among the states of many prompts, exactly, and explain each.

    Stopped work is resumed by the same command: states are kept in the cache until it is done.

    Example: sipit collide smollm2 --prompts builtin --layers 1,15,30 --limit 100000 -o record.json
    """
    check_output(output)
    _check(threshold, listed, memory, engine, address)
    watch = Stopwatch()
    from sipit.prompts.corpora import BUILTIN, check_extent, check_named, check_no_text

    check_named(prompts)
    check_no_text(output, prompts)
    check_extent(window, limit)
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    from sipit.collisions.record import HERE, collision_record

    with _cluster(address) if engine is Engine.RAY else nullcontext(HERE) as where:
        record = collision_record(
            language_model,
            BUILTIN if prompts is None else prompts,
            layers=None if layers is None else parse_layers(layers),
            limit=limit,
            threshold=threshold,
            window=window,
            searches=[one.value for one in dict.fromkeys(search or ())],
            listed=listed,
            memory=memory,
            special_tokens=not no_special_tokens,
            engine=where,
            seed=seed,
            stages=progress,
            watch=watch,
        )
    finish(record, as_json=as_json, output=output, show=lambda: tell("\n".join(_lines(record))))


def _cluster(address: str | None) -> AbstractContextManager["Cluster"]:
    from sipit.cluster.states import open_cluster

    return open_cluster(address)


def _check(threshold: float | None, listed: int, memory: float, engine: Engine, address: str | None) -> None:
    if threshold is not None and not 0 <= threshold < float("inf"):
        raise InvalidInput(f"Expected a threshold that is finite and not negative, but got {threshold}; change it.")
    if listed < 1 or not 0 < memory < float("inf"):
        raise InvalidInput(f"Expected at least one pair and some memory, but got {listed=}, {memory=}; raise them.")
    check_engine(engine, address)


def _lines(record: Record) -> list[str]:
    from sipit.report.wording import count

    result = record.result
    lines = [f"{count(result['prompts'], 'prompt')}, {count(result['pairs'], 'pair')}: {record.verdict}"]
    for layer in result["layers"]:
        outside, known = layer["outside"], layer["known_to_collide"]
        least = outside["minimum_distance"]
        lines.append(
            f"  layer {layer['layer']}: {count(known['pairs'], 'pair')} known to collide over the reals, "
            f"{count(outside['below_threshold'], 'other')} within {layer['threshold']:.3g}; "
            f"least distance of the others {'none' if least is None else format(least, '.9g')}"
        )
    causes: dict[str, int] = {}
    for hit in result["collisions"]:
        causes[hit["cause"]] = causes.get(hit["cause"], 0) + 1
    lines += [f"  {number} listed: {cause}" for cause, number in causes.items()]
    for name, found in result.get("searches", {}).items():
        lines.append(f"  {name}: {found['summary']}")
    return lines
