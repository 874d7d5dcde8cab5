"""`sipit audit`: are these the states of these prompts, under this model and number format?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from proofs.errors import InvalidInput
from sipit.cli.options import Device, Json, LayerName, Model, NoSpecialTokens, Output, parse_layer
from sipit.cli.output import check_output, finish, load, progress, say, tell
from sipit.record import Stopwatch


def audit(
    model: Model,
    states: Annotated[Path, typer.Option(help="States file, or a folder of them; states or fingerprints.")],
    prompts: Annotated[Path, typer.Option(help="Prompt file of the same prompts, or a folder of them.")],
    layer: LayerName = None,
    rate: Annotated[float, typer.Option(help="Of false alarms, for each prompt.")] = 0.01,
    fingerprint: Annotated[
        int | None, typer.Option(help="Foreign states are so many projections of every row, drawn with --seed.")
    ] = None,
    runs: Annotated[
        int, typer.Option(help="Held-out prompts that the threshold is measured on; more speak of rarer rates.")
    ] = 24,
    power: Annotated[bool, typer.Option("--power", help="Measure as well what the audit would notice.")] = False,
    no_special_tokens: NoSpecialTokens = False,
    output: Output = None,
    device: Device = "cpu",
    dtype: Annotated[
        str | None, typer.Option(help="The type that is claimed, or auto; default: the manifest's, else float32.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of tiny models and of foreign fingerprints; default: that of the manifest's, else 0."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Audit states: are they of these prompts under this model and format, at a stated rate of false alarms?

    Example: sipit audit smollm2 --states states.safetensors --prompts prompts.txt --layer 15
    """
    check_output(output)
    watch = Stopwatch()
    from sipit.noise.tolerance import computed_type
    from sipit.privacy.record import audit_record
    from sipit.prompts.reading import read_prompts, tokenize
    from sipit.states.files import manifest_of, read_states
    from sipit.states.readers.containers import files_in
    from sipit.states.readers.reading import states_in

    named = files_in(prompts, (".txt", ".jsonl")) if prompts.is_dir() else [prompts]
    if not named:
        raise InvalidInput(
            f"Expected prompt files (.txt, .jsonl) in {prompts}, but there are none; name another folder."
        )
    texts = [prompt for path in named for prompt in read_prompts(path)]
    place, manifest = parse_layer(layer), manifest_of(states)
    if dtype == "auto":
        dtype, why = computed_type(states, layer=place, projected=fingerprint is not None)
        say(f"claimed: computed in {dtype}, because {why}")
    claimed = dtype or (manifest.dtype if manifest is not None else "float32")
    kept = None if manifest is None else manifest.fingerprint
    if seed is None:
        seed = 0 if kept is None else kept[1]
    elif kept is not None and seed != kept[1]:
        raise InvalidInput(
            f"Expected --seed {kept[1]}, with which the manifest says they were drawn, but got {seed}; leave it away."
        )
    loaded = load(model, dtype=claimed, device=device, seed=seed)
    record = audit_record(
        loaded,
        read_states(states, layer=place, model=loaded),
        tokenize(loaded, texts, special_tokens=not no_special_tokens),
        rate=rate,
        fingerprint=None if fingerprint is None else (fingerprint, seed),
        runs=runs,
        power=power,
        files=[*(states_in(states) if states.is_dir() else [states]), *named],
        seed=seed,
        stages=progress,
        watch=watch,
    )
    finish(record, as_json=as_json, output=output, show=lambda: _show(record.result))


def _show(result: dict[str, Any]) -> None:
    from sipit.report.wording import count

    for number, one in enumerate(result["prompts"]):
        score = float("inf") if one["score"] is None else one["score"]
        said = one["reason"] or f"score {score:.3g} of at most {one['threshold']:.3g}"
        bad = "" if one["first_bad_row"] is None else f", first at row {one['first_bad_row']}"
        tell(f"prompt {number}: {one['answer']} ({count(one['rows'], 'row')}; {said}{bad})")
    tell(f"false alarms: {result['false_alarm_rate']} of prompts")
    if result["reason"]:
        tell(f"undecided: {result['reason']}")
    for one in result["false_alarms"] or ():
        tell("  honest, {way}: {detected} of {prompts} called inconsistent".format(**one))
    for one in result["power"] or ():
        tell(f"  {one['alternative']}: {one.get('reason') or '{detected} of {prompts} noticed'.format(**one)}")
