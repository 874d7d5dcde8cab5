"""In which number format states were computed, where nobody says: each tensor on its own.

The container says little: numpy has no bfloat16, so half types come widened, and what runs in half types under autocast
comes in float32 that lies on no half grid. A manifest names the type, but not how a device multiplied: the factors of
tf32 are rounded as those of float16 are. So values on a coarser grid count as computed there
(`sipit.noise.tolerance`), and where no token fits but one is far nearer than chance, the half types are tried too.
Where values on a half grid could as well have been computed more exactly and rounded when they were stored, as caches
are, that is tried: what is known then is a box around the state, which tells more tokens apart. That box is the one of
values rounded to the nearest, if the answer shows that they were; else it is twice as large.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import torch

from numerics.dtypes import name_of
from numerics.grids import moved_by
from proofs.errors import InvalidInput, Unsupported
from sipit.inversion.decision import clearly_farther
from sipit.inversion.outcome import Inversion, Outcome
from sipit.inversion.rounding import shown_to_the_nearest
from sipit.inversion.verifier import TIE
from sipit.inversion.withheld import withheld
from sipit.models import LanguageModel
from sipit.noise.distances import damping
from sipit.noise.number_grid import HALVES
from sipit.noise.stored_steps import ANYHOW, NEAREST
from sipit.noise.tolerance import COARSE, Format, Tolerance, derive_tolerance, format_of
from sipit.observations.top import stored_values
from sipit.states.files import States

_LARGEST_CLEAR_RESIDUAL = (
    0.5  # residual of the nearest token that stands clear: states of unrelated tokens lie about 1 apart
)
_LARGEST_CROWDED_RESIDUAL = 0.05  # the same where massive coordinates let no token stand clear

_MANY = 64  # coordinates other than zero that would all have to be rounded right by chance

_NOT_SHOWN = "Not shown to have been rounded to the nearest when stored: values may have moved by a whole step."
_NOT_TRIED = (
    "Not shown to have been rounded to the nearest when stored, and the time budget ended before it was known what "
    "fits if values moved by a whole step; raise --budget."
)
_IF_NEAREST = "fits if values were rounded to the nearest when stored; the budget ended before others were tried"

FITS = frozenset({Outcome.RECOVERED, Outcome.AMBIGUOUS})


class Answered(Protocol):
    """An answer for a prompt, from all of its states or from some."""

    @property
    def outcome(self) -> Outcome:
        """What it comes to."""
        ...


Answer = TypeVar("Answer", bound=Answered)
Again = Callable[[int, Tolerance, float], Inversion]
Retry = Callable[[Tolerance], Inversion]


def derive_each(model: LanguageModel, states: States) -> dict[Format, Tolerance]:
    """The tolerance of every format among some states, that of the first tensor first."""
    groups: dict[Format, list[torch.Tensor]] = {}
    for array in states:
        groups.setdefault(format_of(array, states), []).append(array)
    return {
        of: derive_tolerance(model, replace(states, arrays=tuple(arrays)), formats=of) for of, arrays in groups.items()
    }


def with_other_formats(
    model: LanguageModel,
    states: States,
    inversions: Sequence[Inversion],
    allowed: Sequence[Tolerance],
    again: Again,
) -> list[Inversion]:
    """The answers, those that are not recovered tried in other formats that their values allow, and saying so.

    Those on a grid of few bits that do not show that they were rounded to the nearest are tried as rounded anyhow;
    where several tokens fit and the first row is met exactly, as what was computed, no more and no less: states of
    small whole numbers lie on such grids as well. Those in a half type that lie no farther off than storing them
    there moves them are tried as computed in the model's own type and rounded. Those that are not found are tried as
    computed in half types.

    `allowed` are the tolerances that they were found with; `again` inverts the tensor of a number with another, of
    whose budget so many seconds are used. The work of an answer is that of all tries.
    """

    def tried(number: int, found: Inversion) -> Inversion:
        alone, tolerance = replace(states, arrays=(states[number],)), allowed[number]
        shown = shown_to_the_nearest(found, alone[0], tolerance, alone.observation.top)
        if found.outcome is Outcome.RECOVERED and (shown or not tolerance.boxed):
            return found
        tries = [found]

        def retry(other: Tolerance) -> Inversion:
            tries.append(again(number, other, tries[-1].seconds))
            return tries[-1]

        return _with_work_of(tries, _otherwise(model, alone, found, shown, retry))

    return [tried(number, found) for number, found in enumerate(inversions)]


def _with_work_of(tries: Sequence[Inversion], answer: Inversion) -> Inversion:
    """The answer with the work of all tries, of which each counts its seconds from where the one before ended."""
    return replace(
        answer,
        forward_passes=sum(one.forward_passes for one in tries),
        token_positions=sum(one.token_positions for one in tries),
        candidates_tested=sum(one.candidates_tested for one in tries),
        seconds=tries[-1].seconds,
    )


def _otherwise(model: LanguageModel, alone: States, found: Inversion, shown: bool, again: Retry) -> Inversion:
    """The answer for one tensor in the first other format that gives a better one.

    `shown`: whether the answer shows that its rows were rounded to the nearest.
    """
    of = format_of(alone[0], alone)
    if of.boxed:
        found = found if shown else _however_rounded(model, alone, of, found, again)
        if found.outcome is Outcome.RECOVERED:
            return found
    if _met_exactly(model, of, found):
        return _as_computed(model, alone, found, again)
    if alone.observation.plain and alone.layer == 0:
        return found  # nothing is computed
    if _only_rounded(model, alone, of, found):
        return _as_rounded(model, alone, of, found, again)
    if not _nearly_found(found, boxed=bool(of.boxed)):
        return found
    other, tried = in_half_types(model, alone, of, again)
    return _noted(found if other is None else other, tried)


def _met_exactly(model: LanguageModel, of: Format, found: Inversion) -> bool:
    """Whether the first of boxed rows that several tokens fit lies in the middle of its box."""
    first = found.tokens[0]
    # Inside a box the verifier's residual is TIE * tolerance * (distance from the middle), so that it is at most
    # TIE * tolerance^2 just where that distance is within the tolerance.
    return (
        of.boxed > 0
        and found.outcome is Outcome.AMBIGUOUS
        and first.residual is not None
        and first.residual <= TIE * first.tolerance**2
        and torch.finfo(model.dtype).eps <= COARSE
    )


def _however_rounded(model: LanguageModel, alone: States, of: Format, found: Inversion, again: Retry) -> Inversion:
    """The answer for boxed rows that does not show that they were rounded to the nearest, in the larger box.

    Where the time ends before that is done, what was found stays, but for tokens that the larger box might not name.
    """
    named = any(token.outcome is Outcome.RECOVERED for token in found.tokens)
    if not named and not _nearly_found(found, boxed=True):
        return found
    retried = retried_as(model, alone, of._replace(boxed=ANYHOW), again)
    if retried is None:
        return found
    _, larger = retried
    if larger.outcome is Outcome.BUDGET_EXHAUSTED:
        return _noted(withheld(found, larger, _IF_NEAREST), _NOT_TRIED)
    return found if larger.token_ids == found.token_ids else _noted(larger, _NOT_SHOWN)


def _noted(inversion: Inversion, note: str) -> Inversion:
    """The same answer with one more sentence beside it."""
    return replace(inversion, note=" ".join(filter(None, (inversion.note, note))) or None)


def _as_computed(model: LanguageModel, alone: States, found: Inversion, again: Retry) -> Inversion:
    """The answer for rows taken as they are, if it is one token everywhere; else `found`."""
    retried = retried_as(model, alone, Format(model.dtype, model.dtype), again)
    if retried is None or retried[1].outcome is not Outcome.RECOVERED:
        return found
    tolerance, other = retried
    return _noted(other, f"Not rounded when stored: all of it is met within {tolerance.value:.1e} as it stands.")


def retried_as(
    model: LanguageModel, alone: States, of: Format, again: Callable[[Tolerance], Answer], *, damped: bool | None = None
) -> tuple[Tolerance, Answer] | None:
    """The tolerance of a format and the answer with it; None where there is none."""
    try:
        tolerance = derive_tolerance(model, alone, damped=damped, formats=of)
    except (InvalidInput, Unsupported):
        return None
    return tolerance, again(tolerance)


def in_half_types(
    model: LanguageModel, alone: States, of: Format, again: Callable[[Tolerance], Answer], *, damped: bool | None = None
) -> tuple[Answer | None, str]:
    """The answer for rows as computed in a coarser half type (None: nothing fits in one), and what was tried in words.

    `damped` is as for `derive_tolerance`.
    """
    coarser = [(name, half) for name, half in HALVES.items() if torch.finfo(half).eps > torch.finfo(of.computed).eps]
    said: list[str] = []
    for name, dtype in sorted(coarser, key=lambda one: torch.finfo(one[1]).eps):
        other_format = of._replace(computed=dtype, stored=dtype if of.boxed else of.stored)
        try:
            tolerance = derive_tolerance(model, alone, damped=damped, formats=other_format)
        except InvalidInput:
            said.append(f"{name} (its noise drowns what tells tokens apart)")
            continue
        except Unsupported:
            said.append(f"{name} (in which this model cannot be recomputed)")
            continue
        other = again(tolerance)
        if other.outcome in FITS:
            first = f"Nothing fits as computed in {name_of(of.computed)}"
            return other, (
                f"{first}; as computed in {name}, with the tolerance for that ({tolerance.value:.1e}), this does."
            )
        ended = other.outcome is Outcome.BUDGET_EXHAUSTED
        said.append(f"{name} (the time budget ended)" if ended else name)
    return None, f"Tried as computed in {', '.join([name_of(of.computed), *said])}." if said else ""


def perhaps_rounded(model: LanguageModel, states: States, of: Format) -> bool:
    """Whether half-type rows of so many coordinates may have been computed in the model's own type.

    Of the largest log-probabilities a row holds few, and all rows are counted together.
    """
    top = states.observation.top
    stored = (stored_values(states[0], top) != 0).sum(1)
    return (
        of.computed == of.stored
        and not of.boxed
        and torch.finfo(model.dtype).eps < torch.finfo(of.stored).eps / 2
        and int(stored.min() if top is None else stored.sum()) >= _MANY
    )


def _only_rounded(model: LanguageModel, alone: States, of: Format, found: Inversion) -> bool:
    """Whether half-type rows lie off the nearest tokens by no more than storing moves what was computed more exactly.

    What was computed in the half type lies farther off in some of many coordinates.
    """
    if found.outcome is Outcome.RECOVERED or not perhaps_rounded(model, alone, of):
        return False
    settled = [token for token in found.tokens if token.outcome in FITS]
    off = [(token.position, token.residual) for token in settled if token.residual is not None]
    rows = alone[0]  # with what fills them up, as residuals are
    moved = torch.maximum(moved_by(of.stored, rows), moved_by(of.stored, rows, damping(rows.double())))
    return bool(off) and all(residual <= float(moved[position]) for position, residual in off)


def _as_rounded(model: LanguageModel, alone: States, of: Format, found: Inversion, again: Retry) -> Inversion:
    """The answer for rows computed in the model's type and rounded when stored, if all of it fits; else `found`."""
    rounded = Format(model.dtype, model.dtype, boxed=NEAREST)
    retried = retried_as(model, alone, rounded, again)
    if retried is None:
        return found
    tolerance, other = retried
    if not shown_to_the_nearest(other, alone[0], tolerance, alone.observation.top):
        other = _however_rounded(model, alone, rounded, other, again)
    return _noted(other, fits_as_rounded(model, of, tolerance)) if other.outcome in FITS else found


def fits_as_rounded(model: LanguageModel, of: Format, tolerance: Tolerance) -> str:
    """That rows fit as computed in the model's own type and rounded when stored, in words."""
    return (
        f"As computed in {name_of(model.dtype)} and rounded to {name_of(of.stored)} when stored, all of it fits within "
        f"{tolerance.value:.1e} of what would be stored alike."
    )


def _nearly_found(inversion: Inversion, *, boxed: bool) -> bool:
    """Whether no token fits the first row, but one comes much nearer to it than chance would bring one.

    Of boxed rows the first that no token fits counts: a box that was misread holds some of the rows nevertheless.
    """
    missed = [token for token in inversion.tokens if token.outcome is Outcome.NOT_FOUND]
    first = missed[0] if boxed and missed else inversion.tokens[0]
    if first.outcome is not Outcome.NOT_FOUND or first.residual is None:
        return False
    return nearer_than_chance(first.residual, first.margin)


def nearer_than_chance(residual: float, margin: float | None) -> bool:
    """Whether the nearest candidate comes much nearer than chance would bring one; `margin` is that of the next."""
    clear = margin is None or clearly_farther(margin, residual, 0.0)
    return residual <= (_LARGEST_CLEAR_RESIDUAL if clear else _LARGEST_CROWDED_RESIDUAL)
