"""`sipit invert`: the prompts from their states."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofs.errors import InvalidInput
from sipit.cli.inversions import show_diagnosis, show_inversions, show_partial
from sipit.cli.options import (
    Address,
    Device,
    Dtype,
    Engine,
    Json,
    LayerName,
    Model,
    NoSpecialTokens,
    Observe,
    Output,
    Prompts,
    Seed,
    Text,
    Top,
    Where,
    check_engine,
    chosen_prompts,
    parse_named_layers,
    parse_positions,
    parse_tokens,
    parse_tolerance,
)
from sipit.cli.output import check_output, finish, load, progress, say, say_unused
from sipit.observations.observation import Observation
from sipit.record import Stopwatch

if TYPE_CHECKING:
    from sipit.inversion.record import Elsewhere
    from sipit.models import LanguageModel
    from sipit.models.network import Layer
    from sipit.states.files import FileStates, States

    Layers = Layer | tuple[Layer, ...] | None


def invert(
    model: Model,
    states: Annotated[
        Path | None,
        typer.Option(help="States file to invert, ours or of another program (docs: own states), or a folder of them."),
    ] = None,
    text: Text = None,
    prompts: Prompts = None,
    layer: LayerName = None,
    observe: Observe = None,
    top: Top = None,
    policy: Annotated[
        str, typer.Option(help="Order of the candidates: draft, gradient, nearest or exhaustive.")
    ] = "draft",
    tolerance: Annotated[str, typer.Option(help="Largest relative residual, or auto: from measured noise.")] = "auto",
    margin: Annotated[
        str, typer.Option(help="Rivals that matter (auto), 16 at every position (rivals), or the vocabulary (full).")
    ] = "auto",
    budget: Annotated[float, typer.Option(help="Seconds per prompt.")] = 600.0,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Find the convention of foreign states: place, offset, scale, rounding.")
    ] = False,
    prefix: Annotated[
        str | None, typer.Option(help="Tokens in front of the first row: text, or ids such as [1,2,3].")
    ] = None,
    suffix: Annotated[str | None, typer.Option(help="The last tokens: text, or ids such as [1,2,3].")] = None,
    positions: Annotated[
        str | None,
        typer.Option(help="Where the rows stand: all, last, or such as 0,3,5; tokens between are searched."),
    ] = None,
    engine: Where = Engine.LOCAL,
    address: Address = None,
    no_special_tokens: NoSpecialTokens = False,
    output: Output = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Recover the prompts from hidden states, or keys, values, …; with --text or --prompts alone, capture them first.

    Stopped work on whole prompts is resumed by the same command: what was found is kept in the cache until it is done
    (not with --engine ray).

    Example: sipit invert smollm2 --text "The quick brown fox" --layer 15
    """
    check_output(output)
    if margin not in {"auto", "rivals", "full"}:
        raise InvalidInput(f"Expected --margin auto, rivals or full, but got {margin!r}; choose one of them.")
    check_engine(engine, address)
    if engine is Engine.RAY and (diagnose or prefix is not None or suffix is not None or positions is not None):
        raise InvalidInput(
            "Expected whole prompts for --engine ray, but got a diagnosis or a part; leave --engine out."
        )
    if diagnose and not Observation.of(observe).plain:
        raise InvalidInput(f"Expected rows of the residual stream to --diagnose, but got {observe}; leave it away.")
    bound = parse_tolerance(tolerance)
    from sipit.inversion.policies import check_policy

    check_policy(policy)
    search = {"--policy": policy != "draft", "--margin": margin != "auto"}
    whole = {
        "--suffix": suffix,
        "--positions": positions,
        "--top": top,
        "--tolerance": bound,
        "--budget": budget != 600,
    }
    if diagnose:
        say_unused("--diagnose", search | whole)
    elif prefix is not None or suffix is not None or positions is not None:
        say_unused("a part of a prompt", search)
    if states is text is prompts is None:
        raise InvalidInput("Expected --states, --text or --prompts, but got none of them; give one.")
    truth = None if text is prompts is None else chosen_prompts(text, prompts)
    chosen = parse_named_layers(layer)
    watch = Stopwatch()
    if dtype == "auto" and states is not None:
        from sipit.noise.tolerance import computed_type

        dtype, why = computed_type(states, layer=chosen, observe=observe, top=top)
        say(f"computes in {dtype}: {why}")
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    from sipit.prompts.reading import tokenize

    special = not no_special_tokens
    ids = None if truth is None else tokenize(language_model, truth, special_tokens=special)
    if diagnose:
        from sipit.diagnosis.record import diagnosis_record

        known = parse_tokens(language_model, prefix, "--prefix", special_tokens=special)
        found = _looked_at(language_model, states, ids, chosen)
        record = diagnosis_record(
            language_model,
            found.arrays,
            source=found.source,
            claimed=found.observation.layer,
            known=known,
            seed=seed,
            stages=progress,
            watch=watch,
        )
        _say_source(found)
        finish(record, as_json=as_json, output=output, show=lambda: show_diagnosis(record.result))
    observed = _observed(language_model, states, ids, chosen, observe, top)
    if prefix is not None or suffix is not None or positions is not None:
        from sipit.inversion.record import partial_record

        known = parse_tokens(language_model, prefix, "--prefix", special_tokens=special) or ()
        if states is None and any(tuple(one[: len(known)]) != known for one in ids or ()):
            raise InvalidInput(
                f"Expected the first tokens of every prompt as --prefix, but {list(known)} are those of another; "
                "correct them."
            )
        record = partial_record(
            language_model,
            observed,
            truth=ids,
            positions=parse_positions(positions),
            prefix=known,
            suffix=parse_tokens(language_model, suffix, "--suffix", special_tokens=special, end="behind") or (),
            tolerance=bound,
            budget=budget,
            seed=seed,
            stages=progress,
            watch=watch,
        )
        _say_source(observed)
        finish(record, as_json=as_json, output=output, show=lambda: show_partial(record.result))
    from sipit.inversion.record import inversion_record
    from sipit.inversion.search import RIVALS
    from sipit.states.files import stored_truth

    stored = stored_truth(language_model, observed) if ids is None else None
    ids = ids if stored is None else [list(one) for one in stored]
    with _cluster(address, policy, seed, ids) if engine is Engine.RAY else nullcontext() as elsewhere:
        record = inversion_record(
            language_model,
            observed,
            truth=ids,
            policy=policy,
            tolerance=bound,
            full_margin=margin == "full",
            rivals=RIVALS if margin == "rivals" else None,
            budget=budget,
            elsewhere=elsewhere,
            seed=seed,
            stages=progress,
            watch=watch,
        )
    _say_source(observed)
    for way in record.result["tolerance"]["left_out"]:
        say(f"left out of the tolerance: {way}")
    finish(record, as_json=as_json, output=output, show=lambda: show_inversions(record.result))


@contextmanager
def _cluster(address: str | None, policy: str, seed: int, truth: list[list[int]] | None) -> "Generator[Elsewhere]":
    """Who inverts the states on Ray."""
    from sipit.cluster.inversions import invert_on_cluster
    from sipit.cluster.states import open_cluster

    with open_cluster(address) as cluster:
        yield lambda inverter, states, progress: invert_on_cluster(
            cluster, inverter, states, policy=policy, seed=seed, truth=truth, progress=progress
        )


def _looked_at(
    model: "LanguageModel", path: Path | None, truth: list[list[int]] | None, layer: "Layers"
) -> "FileStates":
    """The states of a file, as they are, or those of prompts, with the layer that they are said to be of, if any.

    Raises:
        InvalidInput: they say of themselves that they are something else than rows of the stream.
    """
    from sipit.diagnosis.sites import READ
    from sipit.states.files import FileStates, look_into

    named = Observation.of(None, layer[0] if isinstance(layer, tuple) else layer)
    if path is None:
        return FileStates(_captured(model, truth, layer).arrays, named)
    found = look_into(path, layer=layer, model=model)
    said = found.manifest
    if said is not None and (said.fingerprint is not None or not {*said.observed.sites} <= READ):
        what = said.observed.words if said.fingerprint is None else "fingerprints of states, which can be audited"
        raise InvalidInput(
            f"Expected rows of the stream or of its halves to --diagnose, but {path} holds {what}; leave --diagnose "
            "away."
        )
    return replace(found, observation=named) if named.layers else found


def _observed(
    model: "LanguageModel", path: Path | None, truth: list[list[int]] | None, layer: "Layers", observe: str | None,
    top: int | None,
) -> "States":  # fmt: skip
    """What the file holds, or what one ordinary forward of each prompt shows."""
    from sipit.states.files import read_states

    if path is None:
        return _captured(model, truth, layer, observe, top)
    states = read_states(path, layer=layer, observe=observe, top=top, model=model)
    states = states.beside(model) if states.observation.per_head else states  # rows are counted below
    if truth is not None and [len(ids) for ids in truth] != [len(array) for array in states]:
        raise InvalidInput(
            f"Expected as many prompts of the same lengths as there are states in {path}, but the prompts beside them "
            "differ; check that both belong together."
        )
    return states


def _captured(
    model: "LanguageModel", truth: list[list[int]] | None, layer: "Layers", observe: str | None = None,
    top: int | None = None,
) -> "States":  # fmt: skip
    from sipit.states.capturing import capture

    if truth is None:
        raise InvalidInput("Expected states or prompts, but got neither; give --states, --text or --prompts.")
    return capture(model, truth, layer=layer, observe=observe, top=top)


def _say_source(states: "States | FileStates") -> None:
    if states.source is not None:
        say(states.source.sentence)
