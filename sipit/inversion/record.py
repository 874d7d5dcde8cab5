"""`invert`, whole: the record of an inversion, of whole prompts or from a part of their states.

states     checked against the model
tolerance  derived from measured noise, unless it is given
policy     prepared: probes are read from the cache, or trained
search     draft, verify, repair, every prompt (`sipit.inversion.search`)
record     outcome, tokens, and what was tested
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import torch

from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.formal.names import named
from proofs.verdict import Verdict
from sipit.inversion.inverter import Inverter, open_inverter
from sipit.inversion.outcome import Inversion, Outcome
from sipit.inversion.partial import PartialInversion, invert_rows
from sipit.models import LanguageModel
from sipit.noise.tolerance import Tolerance
from sipit.record import Progress, Stages, Stopwatch, provenance, silent
from sipit.states.files import States, source_entry, stored_truth

Elsewhere = Callable[[Inverter, States, Progress], list[Inversion]]  # who else inverts states, such as a cluster
GLIMPSE_ROWS, GLIMPSE_NUMBERS = 10, 24  # of a prompt's states that a record keeps, for the picture of it
Places = Sequence[int] | Literal["last"] | None


def inversion_record(
    model: LanguageModel,
    states: States,
    *,
    truth: Sequence[Sequence[int]] | None = None,
    policy: str = "draft",
    tolerance: float | Tolerance | None = None,
    full_margin: bool = False,
    rivals: int | None = None,
    budget: float = 600.0,
    elsewhere: Elsewhere | None = None,
    seed: int = 0,
    stages: Stages = silent,
    watch: Stopwatch | None = None,
) -> Record:
    """Recovers the prompts from their states: the record of `sipit invert`.

    Interrupted work is kept in the cache, and the same call continues it.

    Args:
        model: whose states they are.
        states: one (T, d) tensor per prompt.
        truth: the true token ids, to compare with; by default those that another program stored beside the states.
        policy, tolerance, full_margin, rivals, budget: as for `sipit.invert`.
        elsewhere: who inverts, if not this process; it is given the states as the model has them.
        seed: of what was drawn before, for the record.
        stages: called as the work goes on, with how far it is.
        watch: where time is counted from.

    Raises:
        InvalidInput: states that cannot be this model's, or an argument out of range.
        Unsupported: the model has no such tensor, or gives its tokens other states when it is run in parts.
    """
    watch = Stopwatch() if watch is None else watch
    truth = stored_truth(model, states) if truth is None else truth
    states = states.beside(model)
    with stages("preparing") as progress:
        inverter = open_inverter(
            model,
            states,
            policy=policy,
            tolerance=tolerance,
            full_margin=full_margin,
            rivals=rivals,
            budget=budget,
            progress=progress,
        )
    with stages("inverting") as progress:
        if elsewhere is None:
            inversions = inverter.invert_all(states, truth=truth, resume=True, progress=progress)
        elif isinstance(inverter, Inverter):
            inversions = elsewhere(inverter, states, progress)
        else:
            raise InvalidInput(f"Expected states to --engine ray, but got {states.observation}; leave --engine out.")
    return Record(
        command="invert",
        verdict=Verdict.worst(inversion.verdict for inversion in inversions),
        result={
            "layer": states.layer,
            "observation": states.observation.to_json(),
            "policy": policy if isinstance(inverter, Inverter) else "exhaustive",
            "tolerance": asdict(inverter.tolerance),
            "prompts": [inversion.to_json() for inversion in inversions],
            **_glimpse(states, inversions),
            "theorems": named(["decision", "inversion"]),
            **source_entry(states.source),
        },
        provenance=provenance(model, seed=seed, arithmetic=inverter.arithmetic, lengths=map(len, states)),
        seconds=watch.seconds,
    )


def _glimpse(states: States, inversions: Sequence[Inversion]) -> dict[str, Any]:
    """Some numbers of the states of the first prompt that was recovered, for the picture of it; {} where none was."""
    back = [number for number, inversion in enumerate(inversions) if inversion.outcome is Outcome.RECOVERED]
    if not back:
        return {}
    shown = states[back[0]][:GLIMPSE_ROWS, :GLIMPSE_NUMBERS].double()
    rows = [[float(f"{value:.3g}") for value in row] for row in shown.tolist()]
    return {"glimpse": {"prompt": back[0], "width": states[back[0]].shape[1], "rows": rows}}


def partial_record(
    model: LanguageModel,
    states: States,
    *,
    truth: Sequence[Sequence[int]] | None = None,
    positions: Places = None,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
    tolerance: float | None = None,
    budget: float = 600.0,
    seed: int = 0,
    stages: Stages = silent,
    watch: Stopwatch | None = None,
) -> Record:
    """The nearest prompts to a part of their states: the record of `sipit invert --positions …`.

    The rows of a prompt are all of its states, or those from the prefix on; of these, the rows at the positions are
    used. They are all where there is a true token for each row and the first are those of the prefix.

    Args:
        model, states, truth, budget, seed, stages, watch: as for `inversion_record`.
        positions: where the rows stand, or which of them to use; `last` for the last alone, None for all of them.
        prefix: known tokens in front.
        suffix: known tokens at the end.
        tolerance: relative residual that a true prompt may have; None derives it from measured noise.

    Raises:
        InvalidInput: states that cannot be this model's, or positions or tokens out of range.
        Unsupported: the model has no such tensor, or gives its tokens other states when it is run in parts.
    """
    watch = Stopwatch() if watch is None else watch
    truth = stored_truth(model, states) if truth is None else truth
    found: list[PartialInversion] = []
    with stages("searching") as progress:
        for number, rows in enumerate(states):
            whole, begin = truth[number] if truth is not None else None, len(prefix)
            if whole is not None and len(rows) == len(whole):  # an id for every row: of the prompt, or of its end
                begin = 0 if _alike(model, whole[: len(prefix)], prefix) else begin
                whole = whole if begin == 0 else (*prefix, *whole)
            at, chosen = _placed(positions, begin, len(rows), len(prefix))
            if not at:
                raise InvalidInput(
                    f"Expected a row behind the prefix of {len(prefix)} tokens, but prompt {number} has {len(rows)} "
                    "rows from position 0 on; shorten --prefix, or say with --positions where the rows stand."
                )
            end = at[-1] + 1
            known = dict(enumerate(prefix)) | dict(zip(range(end - len(suffix), end), suffix, strict=True))
            part = replace(states, arrays=(rows[chosen],), source=None)
            inversion = invert_rows(model, part, at, known, tolerance=tolerance, budget=budget, progress=progress)
            found.append(inversion if whole is None else _compared(model, inversion, whole[:end]))
    return Record(
        command="invert",
        verdict=Verdict.worst(inversion.outcome.verdict for inversion in found),
        result={
            "layer": states.layer,
            "observation": states.observation.to_json(),
            "policy": "partial",
            "partial": [inversion.to_json() for inversion in found],
            **source_entry(states.source),
        },
        provenance=provenance(model, seed=seed, lengths=[len(one.nearest_token_ids) for one in found]),
        seconds=watch.seconds,
    )


def _compared(model: LanguageModel, inversion: PartialInversion, truth: Sequence[int]) -> PartialInversion:
    """The same, with whether it agrees with the true tokens."""
    return replace(inversion, matches_truth=_alike(model, truth, inversion.nearest_token_ids))


def _alike(model: LanguageModel, some: Sequence[int], others: Sequence[int]) -> bool:
    """Whether tokens are the same, class by class."""
    one, other = (model.token_classes[torch.tensor(list(ids), dtype=torch.long)].tolist() for ids in (some, others))
    return one == other


def _placed(positions: Places, begin: int, rows: int, known: int) -> tuple[list[int], list[int]]:
    """Positions in the prompt, and the indices of their rows, of which `rows` stand from `begin` on.

    Without names those behind the known prefix. As many names as rows place the rows; fewer choose among them.
    """
    everything = list(range(max(begin, known), begin + rows))
    if positions is None or positions == "last":
        named = everything[-1:] if positions == "last" else everything
        return named, [position - begin for position in named]
    named = list(positions)
    if len(named) == rows:
        return named, list(range(rows))
    if not all(begin <= position < begin + rows for position in named):
        written = ",".join(map(str, named))
        raise InvalidInput(
            f"Expected one position for each of {rows} rows, or some of {begin} to {begin + rows - 1}, but got "
            f"{written}; correct them."
        )
    return named, [position - begin for position in named]
