"""`invert --diagnose`, whole: under which convention were the states captured? As a record."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.diagnosis.conventions import Diagnostician
from sipit.diagnosis.findings import Cause, Diagnosis
from sipit.models import LanguageModel
from sipit.models.network import Layer, Network
from sipit.noise.tolerance import Tolerance
from sipit.prefix.choice import arithmetic_of, single_opener
from sipit.record import Stages, Stopwatch, provenance, silent
from sipit.states.files import source_entry
from sipit.states.readers.contents import Source


def diagnosis_record(
    model: LanguageModel,
    arrays: Sequence[torch.Tensor],
    *,
    source: Source | None = None,
    claimed: Layer | None = None,
    known: tuple[int, ...] | None = None,
    seed: int = 0,
    stages: Stages = silent,
    watch: Stopwatch | None = None,
) -> Record:
    """Finds the convention of every tensor of states: the record of `sipit invert --diagnose`.

    Args:
        model: whose states they may be.
        arrays: floating-point values, each (T, d); rows may be zero or not finite.
        source: the file of another program that they come from.
        claimed: the layer they are said to come from, tried first.
        known: tokens in front of the first row; None tries none, and what the tokenizer puts in front.
        seed: of what was drawn before, for the record.
        stages: called as the work goes on, with how far it is.
        watch: where time is counted from.

    Raises:
        InvalidInput: another width, or no row.
    """
    watch = Stopwatch() if watch is None else watch
    with stages("diagnosing") as progress:
        diagnostician = Diagnostician(model, progress)
        found = [diagnostician.diagnose(rows, claimed=claimed, known=known) for rows in arrays]
    return Record(
        command="invert",
        verdict=Verdict.worst(diagnosis.verdict for diagnosis in found),
        result={
            "layer": claimed,
            "policy": "diagnose",
            "tolerance": _tolerance(found),
            "diagnosis": [diagnosis.to_json() | {"text": _text(model, diagnosis)} for diagnosis in found],
            **source_entry(source),
        },
        provenance=provenance(
            model,
            seed=seed,
            arithmetic=_arithmetic(diagnostician),
            lengths=[len(one.start.known) + one.first_run for one in found],
        ),
        seconds=watch.seconds,
    )


def _arithmetic(diagnostician: Diagnostician) -> str:
    """What really ran: the model at its sites, and the coarser arithmetics whose noise was measured."""
    network = Network(diagnostician.model, diagnostician.model.layers)
    coarser = dict.fromkeys(level.arithmetic for levels in diagnostician.coarser.values() for level in levels)
    return "; ".join([arithmetic_of(network, single_opener(network)), *(f"the noise of {one}" for one in coarser)])


def _tolerance(found: Sequence[Diagnosis]) -> dict[str, Any] | None:
    """The largest that rows were held against, and the arithmetic whose noise it comes from; None where none was."""
    held = [_held(one, one.tolerance) for one in found if one.tolerance is not None]
    return asdict(max(held, key=lambda one: one.value)) if held else None


def _held(one: Diagnosis, value: float) -> Tolerance:
    """What a prompt was held against: disguises are of plain distances and the model's own arithmetic."""
    if one.cause is Cause.DISGUISED:
        told = "the noise of this arithmetic on short prompts, in the relative distance, and the grid of the values"
        return Tolerance(value, "measured", told)
    told = f"the noise of {one.arithmetic} on short prompts, in the distance of directions"
    return Tolerance(value, "measured", told, damped=True)


def _text(model: LanguageModel, diagnosis: Diagnosis) -> str | None:
    return model.decode(list(diagnosis.token_ids)) if diagnosis.token_ids else None
