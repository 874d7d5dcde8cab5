"""In which number format states were computed, where nobody says: each tensor on its own.

The container says little: numpy has no bfloat16, so half types come widened, and what runs in half types under autocast
comes in float32 that lies on no half grid. A manifest names the type, but not how a device multiplied: the factors of
tf32 are rounded as those of float16 are. So values on a coarser grid count as computed there
(`sipit.noise.tolerance`), and where no token fits but one is far nearer than chance, the half types are tried too.
Where values on a half grid could as well have been computed more exactly and rounded when they were stored, as caches
are, that is tried: what is known then is a box around the state, which tells more tokens apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from numerics.dtypes import name_of
from proofs.errors import InvalidInput, Unsupported
from sipit.inversion.decision import clearly_farther
from sipit.inversion.outcome import Inversion, Outcome
from sipit.inversion.verifier import TIE
from sipit.models import LanguageModel
from sipit.noise.number_grid import HALVES
from sipit.noise.tolerance import COARSE, Format, Tolerance, derive_tolerance, format_of
from sipit.states.files import States

_LARGEST_CLEAR_RESIDUAL = (
    0.5  # residual of the nearest token that stands clear: states of unrelated tokens lie about 1 apart
)
_LARGEST_CROWDED_RESIDUAL = 0.05  # the same where massive coordinates let no token stand clear

_MANY = 64  # coordinates other than zero that would all have to be rounded right by chance

Again = Callable[[int, Tolerance], Inversion]


def derive_each(model: LanguageModel, states: States) -> dict[Format, Tolerance]:
    """The tolerance of every format among some states, that of the first tensor first."""
    groups: dict[Format, list[torch.Tensor]] = {}
    for array in states:
        groups.setdefault(format_of(array, states.manifest), []).append(array)
    return {
        of: derive_tolerance(model, replace(states, arrays=tuple(arrays)), formats=of) for of, arrays in groups.items()
    }


def with_other_formats(
    model: LanguageModel, states: States, inversions: Sequence[Inversion], again: Again
) -> list[Inversion]:
    """The answers, those not found tried once more as computed in half types, and saying so.

    Those on a grid of few bits that several tokens fit are tried as what was computed, no more and no less, where the
    first row is met exactly: states of small whole numbers lie on such grids as well.

    Those in a half type that are not recovered, though they lie no farther off than storing them there moves them, are
    tried as computed in the model's own type and rounded.

    `again` inverts the tensor of a number with a tolerance.
    """
    answers = [_met_exactly(model, states, number, one, again) for number, one in enumerate(inversions)]
    if states.observation.plain and states.layer == 0:
        return answers  # nothing is computed
    return [_tried(model, states, number, one, again) for number, one in enumerate(answers)]


def _met_exactly(model: LanguageModel, states: States, number: int, found: Inversion, again: Again) -> Inversion:
    """The answer for boxed rows whose first lies in the middle of its box, taken as they are, if it is one token."""
    boxed, first = format_of(states[number], states.manifest).boxed, found.tokens[0]
    if not boxed or found.outcome is not Outcome.AMBIGUOUS or first.residual is None:
        return found
    if first.residual > TIE * first.tolerance**2 or torch.finfo(model.dtype).eps > COARSE:
        return found
    one = replace(states, arrays=(states[number],))
    try:
        tolerance = derive_tolerance(model, one, formats=Format(model.dtype, model.dtype))
    except (InvalidInput, Unsupported):
        return found
    other = again(number, tolerance)
    if other.outcome is not Outcome.RECOVERED:
        return found
    return replace(other, note=f"Not rounded when stored: all of it is met within {tolerance.value:.1e} as it stands.")


def _tried(model: LanguageModel, states: States, number: int, found: Inversion, again: Again) -> Inversion:
    computed, stored, boxed = format_of(states[number], states.manifest)
    if _only_rounded(model, states[number], Format(computed, stored, boxed), found):
        return _as_rounded(model, states, number, found, again)
    if not _nearly_found(found, boxed=boxed):
        return found
    coarser = [(name, of) for name, of in HALVES.items() if torch.finfo(of).eps > torch.finfo(computed).eps]
    said: list[str] = []
    for name, dtype in sorted(coarser, key=lambda one: torch.finfo(one[1]).eps):
        try:
            one = replace(states, arrays=(states[number],))
            tolerance = derive_tolerance(model, one, formats=Format(dtype, dtype if boxed else stored, boxed))
        except InvalidInput:
            said.append(f"{name} (its noise drowns what tells tokens apart)")
            continue
        except Unsupported:
            said.append(f"{name} (in which this model cannot be recomputed)")
            continue
        other = again(number, tolerance)
        if other.outcome is not Outcome.NOT_FOUND:
            note = (
                f"Nothing fits as computed in {name_of(computed)}; as computed in {name}, with the tolerance for that"
            )
            return replace(other, note=f"{note} ({tolerance.value:.1e}), this does.")
        said.append(name)
    tried = f" Tried as computed in {', '.join([name_of(computed), *said])}." if said else ""
    return replace(found, note=tried.strip() or None)


def _only_rounded(model: LanguageModel, rows: torch.Tensor, of: Format, found: Inversion) -> bool:
    """Whether half-type rows lie off the nearest tokens by no more than storing moves what was computed more exactly.

    What was computed in the half type lies farther off in some of many coordinates.
    """
    settled = [token for token in found.tokens if token.outcome in {Outcome.RECOVERED, Outcome.AMBIGUOUS}]
    residuals = [token.residual for token in settled if token.residual is not None]
    moved = torch.finfo(of.stored).eps / 2
    return (
        found.outcome is not Outcome.RECOVERED
        and of.computed == of.stored
        and not of.boxed
        and torch.finfo(model.dtype).eps < moved
        and int((rows != 0).sum(1).min()) >= _MANY
        and bool(residuals)
        and max(residuals) <= moved
    )


def _as_rounded(model: LanguageModel, states: States, number: int, found: Inversion, again: Again) -> Inversion:
    """The answer for rows computed in the model's type and rounded when stored, if all of it fits; else `found`."""
    one = replace(states, arrays=(states[number],))
    try:
        tolerance = derive_tolerance(model, one, formats=Format(model.dtype, model.dtype, boxed=True))
    except (InvalidInput, Unsupported):
        return found
    other = again(number, tolerance)
    if other.outcome not in {Outcome.RECOVERED, Outcome.AMBIGUOUS}:
        return found
    stored = name_of(format_of(states[number], states.manifest).stored)
    note = f"As computed in {name_of(model.dtype)} and rounded to {stored} when stored, all of it fits"
    return replace(other, note=f"{note} within {tolerance.value:.1e} of what would be stored alike.")


def _nearly_found(inversion: Inversion, *, boxed: bool) -> bool:
    """Whether the first row was met by no token, but by one much more nearly than chance lets it.

    Of boxed rows the first that was met by none: a box that was misread holds some of the rows nevertheless.
    """
    missed = [token for token in inversion.tokens if token.outcome is Outcome.NOT_FOUND]
    first = missed[0] if boxed and missed else inversion.tokens[0]
    if first.outcome is not Outcome.NOT_FOUND or first.residual is None:
        return False
    clear = first.margin is None or clearly_farther(first.margin, first.residual, 0.0)
    return first.residual <= (_LARGEST_CLEAR_RESIDUAL if clear else _LARGEST_CROWDED_RESIDUAL)
