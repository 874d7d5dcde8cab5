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
    parse_several,
)
from sipit.cli.output import check_output, finish, load, progress, say, tell
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
    fingerprint: Annotated[
        int | None, typer.Option(help="Write so many random projections of every row (4…64), drawn with --seed.")
    ] = None,
    no_special_tokens: NoSpecialTokens = False,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Capture the hidden states of prompts at one layer (or 1,15,30, or all), or what else is observed, to a file.

    Example: sipit capture smollm2 --text "Hello world" --layer 15 -o states.safetensors
    """
    if output is None:
        raise InvalidInput("Expected a file for the states, but got none; give -o states.safetensors.")
    check_output(output, (".safetensors",))
    chosen = chosen_prompts(text, prompts)
    observe = None if Observation.of(observe).plain else observe  # which is the default
    several = observe is None and layer is not None and (layer == "all" or "," in layer)  # for `sipit compare`
    if fingerprint is not None and (several or observe is not None):
        raise InvalidInput("Expected fingerprints of the residual stream at one layer, but got more; name one layer.")
    if top is not None and several:
        raise InvalidInput("Expected --top beside --observe logprobs, but got layers of residual; leave one away.")
    observed = None if several else Observation.of(observe, parse_named_layers(layer), top)
    watch = Stopwatch()
    language_model = load(model, dtype=dtype, device=device, seed=seed)
    from sipit.privacy.fingerprint import fingerprinted
    from sipit.prompts.reading import tokenize
    from sipit.states.capturing import capture as capture_one
    from sipit.states.files import write_states
    from sipit.states.layered import capture_layers, write_layers

    ids = tokenize(language_model, chosen, special_tokens=not no_special_tokens)
    groups = list[tuple[int, bool]]()

    def ran(prompts: int, together: bool) -> None:
        groups.append((prompts, together))

    with progress("capturing") as report:
        if observed is None:
            layers = parse_several(layer or "all", language_model.layers)
            stacks = capture_layers(language_model, ids, layers, cached=cached, batch=batch, progress=report, ran=ran)
            place, seen, lengths = layers, None, [stack.shape[1] for stack in stacks.stacks]
            write_layers(output, stacks)
        else:
            states = capture_one(
                language_model, ids, observe=observed, cached=cached, batch=batch, progress=report, ran=ran
            )
            place, seen, lengths = states.layer, states.observation, list(map(len, states))
            write_states(output, states if fingerprint is None else fingerprinted(states, fingerprint, seed))
    alone = sum(count for count, together in groups if not together)
    if alone:
        refused = language_model.abilities.refused.get("padding on the right")
        why = refused or "in one run with others their states would be others"
        say(f"{'each prompt' if alone == len(ids) else f'{alone} of {len(ids)} prompts'} ran alone: {why}")
    record = Record(
        command="capture",
        verdict=Verdict.DONE,
        result={
            "files": [str(output)],
            "layer": place,
            "observation": seen and seen.to_json(),
            "prompts": len(lengths),
            "positions": sum(lengths),
            "lengths": lengths,
            "cached": cached,
            "fingerprint": fingerprint,
            "batch": max(count if together else 1 for count, together in groups),  # that ran together, at most
            "alone": alone,
        },
        provenance=provenance(language_model, seed=seed, lengths=lengths),
        seconds=watch.seconds,
    )

    def show() -> None:
        from sipit.report.wording import count

        where = f"layers {','.join(map(str, place))}" if seen is None else str(seen)
        tell(f"{count(len(lengths), 'prompt')}, {count(sum(lengths), 'position')} at {where} of {language_model.name}")

    finish(record, as_json=as_json, output=output, show=show)
