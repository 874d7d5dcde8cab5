"""`sipit collide`: the closest pairs and all collisions among many prompts."""

from contextlib import AbstractContextManager, ExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.cli.options import (
    Address,
    Device,
    Dtype,
    Engine,
    Json,
    Model,
    Output,
    Seed,
    Where,
    check_engine,
    parse_layers,
)
from sipit.cli.output import Clock, check_output, finish, load, progress, provenance

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
        str,
        typer.Option(help="Prompt file (one per line), folder of texts, builtin, datasets:NAME or random:LENGTH."),
    ] = "builtin",
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
    clock = Clock()
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    from sipit.collisions.causes import StandAlone
    from sipit.collisions.examination import batch_for, examine, layers_json, state_folder, stored_states
    from sipit.collisions.findings import LOCAL
    from sipit.memory import peak_memory
    from sipit.models.network import check_layer
    from sipit.prompts.corpora import read_corpus

    chosen = _layers(layers, language_model.layers)
    for layer in chosen:
        check_layer(language_model, layer)
    corpus = read_corpus(language_model, prompts, window=window, limit=limit, seed=seed)
    batch = batch_for(language_model, corpus.prompts, memory)
    seconds: dict[str, float] = {"loading": round(clock.seconds, 1)}
    with ExitStack() as stack:
        folder = stack.enter_context(state_folder(language_model, corpus.prompts, chosen, batch))
        cluster = stack.enter_context(_opened(address)) if engine is Engine.RAY else None
        with progress("states") as report:
            states = (
                stored_states(language_model, corpus, chosen, folder, batch, report)
                if cluster is None
                else cluster.states(language_model, corpus, chosen, folder, batch, seed=seed, progress=report)
            )
        seconds["states"] = round(clock.seconds, 1)
        alone = StandAlone.of(language_model)
        examined = []
        with progress("layers") as report:
            for done, layer in enumerate(chosen, start=1):
                examined.append(
                    examine(
                        alone, corpus, states[layer], layer=layer, threshold=threshold, seed=seed, listed=listed,
                        search=cluster or LOCAL,
                    )
                )  # fmt: skip
                report(done, len(chosen))
        seconds["layers"] = round(clock.seconds, 1)
        result: dict[str, Any] = layers_json(language_model, corpus, examined)
        if search:
            from sipit.collisions.hunts import hunt

            with progress("searches") as report:
                result["searches"] = hunt(
                    alone, corpus, examined, [one.value for one in dict.fromkeys(search)], folder=folder,
                    threshold=threshold, seed=seed, memory=memory, listed=listed, progress=report,
                )  # fmt: skip
        seconds["searches"] = round(clock.seconds, 1)
    record = Record(
        command="collide",
        verdict=Verdict.worst([one.verdict for one in examined]),
        result=result,
        provenance=provenance(language_model, seed=seed)
        | {"engine": engine.value, "window": window, "elapsed_seconds": seconds, "peak_memory_gib": peak_memory()},
        seconds=clock.seconds,
    )
    finish(record, as_json=as_json, output=output, show=lambda: typer.echo("\n".join(_lines(record))))


def _opened(address: str | None) -> AbstractContextManager["Cluster"]:
    from sipit.cluster.states import open_cluster

    return open_cluster(address)


def _check(threshold: float | None, listed: int, memory: float, engine: Engine, address: str | None) -> None:
    if threshold is not None and not 0 <= threshold < float("inf"):
        raise InvalidInput(f"Expected a threshold that is finite and not negative, but got {threshold}; change it.")
    if listed < 1 or not 0 < memory < float("inf"):
        raise InvalidInput(f"Expected at least one pair and some memory, but got {listed=}, {memory=}; raise them.")
    check_engine(engine, address)


def _layers(names: str | None, blocks: int) -> list[int]:
    return sorted({1, max(1, blocks // 2), blocks}) if names is None else parse_layers(names)


def _lines(record: Record) -> list[str]:
    result = record.result
    lines = [f"{result['prompts']} prompts, {result['pairs']} pairs: {record.verdict}"]
    for layer in result["layers"]:
        outside, known = layer["outside"], layer["known_to_collide"]
        least = outside["minimum_distance"]
        lines.append(
            f"  layer {layer['layer']}: {known['pairs']} pairs collide over the reals, "
            f"{outside['below_threshold']} others within {layer['threshold']:.3g}; "
            f"least distance of the others {'none' if least is None else format(least, '.9g')}"
        )
    causes: dict[str, int] = {}
    for hit in result["collisions"]:
        causes[hit["cause"]] = causes.get(hit["cause"], 0) + 1
    lines += [f"  {number} listed: {cause}" for cause, number in causes.items()]
    for name, found in result.get("searches", {}).items():
        lines.append(f"  {name}: {found['summary']}")
    return lines
