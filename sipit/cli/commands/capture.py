"""`sipit capture`: the hidden states of prompts, to a file."""

from pathlib import Path
from typing import Annotated

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.cli.options import (
    Device,
    Dtype,
    Json,
    LayerName,
    Model,
    NoSpecialTokens,
    Observe,
    Prompts,
    Seed,
    Text,
    Top,
    chosen_prompts,
    parse_named_layers,
)
from sipit.cli.output import check_output, finish, load, progress, say
from sipit.observations.observation import Observation
from sipit.record import Stopwatch, provenance


def capture(
    model: Model,
    text: Text = None,
    prompts: Prompts = None,
    layer: LayerName = None,
    observe: Observe = None,
    top: Top = None,
    cached: Annotated[bool, typer.Option("--cached", help="One token at a time, with a cache.")] = False,
    batch: Annotated[int, typer.Option(help="Prompts that run together, padded to one length.")] = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="States file to write (.safetensors).")] = None,
    no_special_tokens: NoSpecialTokens = False,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Capture the hidden states of prompts at one layer, or what else is observed of a run, to a file.

    Example: sipit capture smollm2 --text "Hello world" --layer 15 -o states.safetensors
    """
    if output is None:
        raise InvalidInput("Expected a file for the states, but got none; give -o states.safetensors.")
    check_output(output, (".safetensors",))
    chosen, observed = chosen_prompts(text, prompts), Observation.of(observe, parse_named_layers(layer), top)
    watch = Stopwatch()
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    import sipit.states.capturing
    from sipit.states.files import write_states

    with progress("capturing") as report:
        states = sipit.states.capturing.capture(
            language_model,
            chosen,
            observe=observed,
            cached=cached,
            batch=batch,
            special_tokens=not no_special_tokens,
            progress=report,
        )
    write_states(output, states)
    refused = language_model.abilities.refused.get("padding on the right") if batch > 1 else None
    if refused is not None:
        say(f"each prompt ran alone: {refused}")
    lengths = [len(array) for array in states]
    record = Record(
        command="capture",
        verdict=Verdict.DONE,
        result={
            "files": [str(output)],
            "layer": states.layer,
            "observation": states.observation.to_json(),
            "prompts": len(states),
            "positions": sum(lengths),
            "lengths": lengths,
            "cached": cached,
            "batch": batch if refused is None else 1,
        },
        provenance=provenance(language_model, seed=seed, lengths=lengths),
        seconds=watch.seconds,
    )

    def show() -> None:
        typer.echo(f"{len(states)} prompts, {sum(lengths)} positions at {states.observation} of {language_model.name}")

    finish(record, as_json=as_json, output=output, show=show)
