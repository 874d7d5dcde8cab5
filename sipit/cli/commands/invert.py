"""`sipit invert`: the prompts from their states."""

from pathlib import Path
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
    LayerName,
    Model,
    NoSpecialTokens,
    Output,
    Prompts,
    Seed,
    Text,
    Where,
    check_engine,
    chosen_prompts,
    parse_layer,
)
from sipit.cli.output import Clock, check_output, finish, load, progress, provenance, say, terminal

if TYPE_CHECKING:
    from sipit.inversion.inverter import Inverter
    from sipit.inversion.outcome import Inversion
    from sipit.models import LanguageModel
    from sipit.states.files import States


def invert(
    model: Model,
    states: Annotated[
        Path | None, typer.Option(help="States file (.safetensors) to invert, or a folder of them.")
    ] = None,
    text: Text = None,
    prompts: Prompts = None,
    layer: LayerName = None,
    policy: Annotated[
        str, typer.Option(help="Order of the candidates: draft, gradient, nearest or exhaustive.")
    ] = "draft",
    tolerance: Annotated[str, typer.Option(help="Largest relative residual, or auto: from measured noise.")] = "auto",
    margin: Annotated[str, typer.Option(help="Test some rivals, or the full vocabulary.")] = "rivals",
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
    """Recover the prompts from hidden states; with --text or --prompts alone, capture them first.

    Stopped work is resumed by the same command: what was found is kept in the cache until it is done.

    Example: sipit invert smollm2 --text "The quick brown fox" --layer 15
    """
    check_output(output)
    if margin not in {"rivals", "full"}:
        raise InvalidInput(f"Expected --margin rivals or full, but got {margin!r}; choose one of them.")
    check_engine(engine, address)
    if engine is Engine.RAY and (diagnose or prefix is not None or suffix is not None or positions is not None):
        raise InvalidInput(
            "Expected whole prompts for --engine ray, but got a diagnosis or a part; leave --engine out."
        )
    bound = _parse_tolerance(tolerance)
    truth = None if states is not None and prompts is None and text is None else chosen_prompts(text, prompts)
    clock = Clock()
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    from sipit.inversion.inverter import Inverter
    from sipit.prompts.reading import tokenize

    truth_ids = None
    if truth is not None:
        truth_ids = tokenize(language_model, truth, special_tokens=not no_special_tokens)
    if diagnose:
        from sipit.cli.diagnosis import diagnosed

        record, show = diagnosed(language_model, states, truth_ids, parse_layer(layer), prefix, clock, seed=seed)
        finish(record, as_json=as_json, output=output, show=show)
    observed = _observed(language_model, states, truth_ids, parse_layer(layer))
    if prefix is not None or suffix is not None or positions is not None:
        from sipit.cli.partial import partial

        record, show = partial(
            language_model, observed, truth_ids, prefix, suffix, positions, bound, budget, clock, seed=seed
        )
        finish(record, as_json=as_json, output=output, show=show)
    with progress("preparing") as report:
        inverter = Inverter.open(
            language_model,
            observed,
            policy=policy,
            tolerance=bound,
            full_margin=margin == "full",
            budget=budget,
            progress=report,
        )
    with progress("inverting") as report:
        if engine is Engine.RAY:
            from sipit.cluster.inversions import invert_on_cluster
            from sipit.cluster.states import open_cluster

            with open_cluster(address) as cluster:
                inversions = invert_on_cluster(
                    cluster, inverter, observed, policy=policy, seed=seed, truth=truth_ids, progress=report
                )
        else:
            inversions = inverter.invert_all(observed, truth=truth_ids, resume=True, progress=report)
    record = inversion_record(inverter, inversions, policy=policy, seed=seed, seconds=clock.seconds)
    for way in inverter.tolerance.left_out:
        say(f"left out of the tolerance: {way}")
    finish(record, as_json=as_json, output=output, show=lambda: show_inversions(inversions))


def inversion_record(
    inverter: "Inverter", inversions: "list[Inversion]", *, policy: str, seed: int, seconds: float
) -> Record:
    """The record of an `invert` command."""
    from dataclasses import asdict

    from proofs.formal.names import named

    model = inverter.network.model
    prompts: list[dict[str, Any]] = []
    for inversion in inversions:
        pieces = [None if token is None else model.decode([token]) for token in inversion.token_ids]
        prompts.append(inversion.to_json() | {"pieces": pieces})
    return Record(
        command="invert",
        verdict=Verdict.worst(inversion.outcome.verdict for inversion in inversions),
        result={
            "layer": inverter.network.layer,
            "policy": policy,
            "tolerance": asdict(inverter.tolerance),
            "prompts": prompts,
            "theorems": named(["decision", "inversion"]),
        },
        provenance=provenance(model, seed=seed, arithmetic=inverter.arithmetic),
        seconds=seconds,
    )


def show_inversions(inversions: "list[Inversion]") -> None:
    """Prints the answers for people: one panel per prompt, the text first."""
    from rich.text import Text as Styled

    console = terminal()
    for number, inversion in enumerate(inversions):
        known = sum(token is not None for token in inversion.token_ids)
        console.print(Styled(f"prompt {number}: {inversion.outcome.value}", style="bold"))
        console.print(Styled(f"  {inversion.outcome.explanation}"))
        if inversion.text is not None:
            console.print(Styled(f"  {inversion.text!r}"))
        console.print(
            f"  {known} of {len(inversion.token_ids)} tokens · largest residual {_number(inversion.largest_residual)}"
            f" · nearest rival {_number(inversion.smallest_margin)} · {inversion.forward_passes} forward passes"
            f" · {inversion.candidates_tested} candidates · {inversion.seconds:.1f} s",
            markup=False,
        )
        for alternative in inversion.alternatives[:8]:
            listed = f": {alternative.token_ids}" if alternative.token_ids else ""
            console.print(f"  position {alternative.position}: {alternative.reason}{listed}", markup=False)
        if inversion.matches_truth is not None:
            console.print(f"  agrees with the true prompt: {'yes' if inversion.matches_truth else 'no'}")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.1e}"


def _parse_tolerance(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"Expected --tolerance auto or a number, but got {text!r}; give one of them.") from None


def _observed(model: "LanguageModel", path: Path | None, truth: list[list[int]] | None, layer: Any) -> "States":
    """The states of the file, or those of the prompts, captured by one ordinary forward each."""
    from sipit.states.capturing import capture
    from sipit.states.files import read_states

    if path is None:
        if truth is None:
            raise InvalidInput("Expected states or prompts, but got neither; give --states, --text or --prompts.")
        return capture(model, truth, layer=layer)
    states = read_states(path, layer=layer)
    if truth is not None and [len(ids) for ids in truth] != [len(array) for array in states]:
        raise InvalidInput(
            f"Expected as many prompts of the same lengths as there are states in {path}, but the prompts beside them "
            "differ; check that both belong together."
        )
    return states
