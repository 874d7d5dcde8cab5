"""`sipit invert --diagnose`: the record and the lines of a diagnosis."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.cli.output import Clock, as_text, progress, provenance

if TYPE_CHECKING:
    from sipit.models import LanguageModel
    from sipit.models.network import Layer


def diagnosed(
    model: "LanguageModel",
    path: Path | None,
    token_ids: list[list[int]] | None,
    layer: "Layer | None",
    prefix: str | None,
    clock: Clock,
    *,
    seed: int,
) -> tuple[Record, Callable[[], None]]:
    """The record of a diagnosis of the states of a file, or of those captured from prompts, and what shows it."""
    from sipit.diagnosis.conventions import Diagnostician
    from sipit.states.capturing import capture
    from sipit.states.files import read_arrays

    known = parse_tokens(model, prefix, "--prefix")
    claimed = layer
    if path is not None:
        arrays, manifest = read_arrays(path)
        claimed = layer if layer is not None or manifest is None else manifest.layer
    elif token_ids is not None:
        arrays = capture(model, token_ids, layer=layer).arrays
    else:
        raise InvalidInput("Expected states or prompts, but got neither; give --states, --text or --prompts.")
    with progress("diagnosing") as report:
        diagnostician = Diagnostician(model, report)
        found = [diagnostician.diagnose(rows, claimed=claimed, known=known) for rows in arrays]
    entries: list[dict[str, Any]] = [
        diagnosis.to_json() | {"text": model.decode(list(diagnosis.token_ids)) if diagnosis.token_ids else None}
        for diagnosis in found
    ]
    record = Record(
        command="invert",
        verdict=Verdict.worst(diagnosis.verdict for diagnosis in found),
        result={"layer": claimed, "policy": "diagnose", "diagnosis": entries},
        provenance=provenance(model, seed=seed),
        seconds=clock.seconds,
    )

    def show() -> None:
        for number, (diagnosis, entry) in enumerate(zip(found, entries, strict=True)):
            typer.echo(f"prompt {number}: {diagnosis.cause.value.replace('_', ' ')}")
            for sentence in diagnosis.sentences():
                typer.echo(f"  {sentence}")
            if entry["text"] is not None:
                typer.echo(f"  {entry['text']!r}")

    return record, show


def parse_tokens(
    model: "LanguageModel", text: str | None, option: str, *, special_tokens: bool = True
) -> tuple[int, ...] | None:
    """The token ids of an option: text, or a list of ids in brackets; None where it was not given.

    Raises:
        InvalidInput: ids that are none of the model's, or text where there is no tokenizer.
    """
    from sipit.prompts.reading import tokenize

    if text is None:
        return None
    if not text.startswith("["):
        return tuple(tokenize(model, [as_text(text)], special_tokens=special_tokens)[0])
    try:
        ids: Any = json.loads(text)
    except ValueError:
        raise InvalidInput(f"Expected text or ids such as [1,2,3], but got {option} {text!r}; correct it.") from None
    return tuple(tokenize(model, [ids])[0])
