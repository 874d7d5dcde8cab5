"""`invert`, whole: the record of an inversion, of whole prompts or from a part of their states.

states     checked against the model
tolerance  derived from measured noise, unless it is given
policy     prepared: probes are read from the cache, or trained
search     draft, verify, repair, every prompt (`sipit.inversion.search`)
record     outcome, tokens, and what was tested
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.formal.names import named
from proofs.verdict import Verdict
from sipit.inversion.inverter import Inverter, open_inverter
from sipit.inversion.outcome import Inversion, Outcome
from sipit.inversion.partial import PartialInversion, invert_rows
from sipit.inversion.placing import Places, agreed, alike, placed
from sipit.inversion.routes import RouteInverter
from sipit.models import LanguageModel
from sipit.noise.tolerance import Tolerance
from sipit.record import Progress, Stages, Stopwatch, provenance, silent
from sipit.states.files import States, source_entry, stored_truth

Elsewhere = Callable[[Inverter, States, Progress], list[Inversion]]  # who else inverts states, such as a cluster
GLIMPSE_ROWS, GLIMPSE_NUMBERS = 10, 24  # of a prompt's states that a record keeps, for the picture of it


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
        policy: as for `sipit.invert`.
        tolerance: as for `sipit.invert`.
        full_margin: as for `sipit.invert`.
        rivals: as for `sipit.invert`.
        budget: as for `sipit.invert`.
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
            "theorems": named(_shown(inverter, inversions)),
            **source_entry(states.source),
        },
        provenance=provenance(model, seed=seed, arithmetic=inverter.arithmetic, lengths=map(len, states)),
        seconds=watch.seconds,
    )


def _shown(inverter: Inverter | RouteInverter, inversions: Sequence[Inversion]) -> Iterator[str]:
    """What a proof assistant has proved of what came out, by name: of ids of experts, and of boxes, nothing.

    A token that later states told from its rivals was not accepted by the rule alone.
    """
    if isinstance(inverter, RouteInverter) or any(
        one.boxed for one in (inverter.tolerance, *inverter.tolerances.values())
    ):
        return
    ruled = [
        [token.outcome is Outcome.RECOVERED and not token.told_apart_later for token in inversion.tokens]
        for inversion in inversions
    ]
    if any(map(any, ruled)):
        yield "decision"
    if inversions and all(map(all, ruled)) and all(one.outcome is Outcome.RECOVERED for one in inversions):
        yield "inversion"


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
    used (`sipit.inversion.placing`).

    Args:
        model: as for `inversion_record`.
        states: as for `inversion_record`.
        truth: as for `inversion_record`.
        budget: as for `inversion_record`.
        seed: as for `inversion_record`.
        stages: as for `inversion_record`.
        watch: as for `inversion_record`.
        positions: where the rows stand, or which of them to use; `last` for the last alone, None for all of them.
        prefix: known tokens in front.
        suffix: known tokens at the end.
        tolerance: relative residual that a true prompt may have; None derives it from measured noise.

    Raises:
        InvalidInput: states that cannot be this model's, positions or tokens out of range, or known tokens that
            contradict each other.
        Unsupported: the model has no such tensor, or gives its tokens other states when it is run in parts.
    """
    watch = Stopwatch() if watch is None else watch
    truth = stored_truth(model, states) if truth is None else truth
    found: list[PartialInversion] = []
    with stages("searching") as progress:
        for number, rows in enumerate(states):
            there = placed(model, states, number, positions, prefix, truth[number] if truth is not None else None)
            end = there.at[-1] + 1
            known = agreed(model, prefix, dict(zip(range(end - len(suffix), end), suffix, strict=True)), "--suffix")
            part = replace(states, arrays=(rows[there.chosen],), source=None)
            inversion = invert_rows(model, part, there.at, known, tolerance=tolerance, budget=budget, progress=progress)
            found.append(inversion if there.truth is None else _compared(model, inversion, there.truth))
    return Record(
        command="invert",
        verdict=Verdict.worst(inversion.outcome.verdict for inversion in found),
        result={
            "layer": states.layer,
            "observation": states.observation.to_json(),
            "policy": "partial",
            "tolerance": asdict(max((one.tolerance for one in found), key=lambda one: one.value)),
            "partial": [inversion.to_json() for inversion in found],
            **source_entry(states.source),
        },
        provenance=provenance(
            model,
            seed=seed,
            arithmetic="; ".join(dict.fromkeys(one.arithmetic for one in found)),
            lengths=[len(one.nearest_token_ids) for one in found],
        ),
        seconds=watch.seconds,
    )


def _compared(model: LanguageModel, inversion: PartialInversion, truth: Sequence[int]) -> PartialInversion:
    """The same, with whether it agrees with the true tokens; what is not settled does not, as in `matches_truth`."""
    nearest = alike(model, truth, inversion.nearest_token_ids)
    settled = None not in inversion.token_ids
    return replace(inversion, matches_truth=nearest and settled, nearest_matches_truth=nearest)
