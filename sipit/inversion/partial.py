"""Prompts from a part of what an inversion needs: some rows, some tokens, noisy states, or the last state alone.

Let rows be observed at positions p1 < p2 < … . By causality h at p_i depends on the tokens up to p_i alone, so the
tokens between two observed rows are one segment, and a segment is searched behind the tokens settled before it:

    no unknown token          its residual is computed
    one                       the probe's order, then the whole vocabulary: the normal rule
    several, a small space    every combination: exact
    several, a large space    coordinate search: replace one token at a time by every token of the vocabulary, keep a
                              few best prompts, start again elsewhere when nothing improves, until the budget ends

The answer is the nearest prompt, with its residual and the nearest alternatives, and is always marked as what it is.
`recovered` is said only where every segment was settled by the normal rule or by searching its whole space.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from proofs.errors import InvalidInput
from sipit.inversion.budget import check_budget
from sipit.inversion.formats import (
    FITS,
    fits_as_rounded,
    in_half_types,
    nearer_than_chance,
    perhaps_rounded,
    retried_as,
)
from sipit.inversion.outcome import Outcome, or_several, overall
from sipit.inversion.partial_search import CLASS, Segment, SegmentSearch
from sipit.inversion.placeless import not_shown
from sipit.inversion.prefixes import expect_prefixes_as_alone
from sipit.models import LanguageModel
from sipit.models.length import whole_length
from sipit.noise.stored_steps import ANYHOW, box_around
from sipit.noise.tolerance import Format, Tolerance, derive_tolerance, format_of
from sipit.observations.network import observed_network
from sipit.observations.observation import Observation
from sipit.record import Progress
from sipit.states.files import States


@dataclass(frozen=True, slots=True)
class PartialInversion:
    """The nearest prompt: its tokens are verified only as far as the segments say so.

    `given` are the positions of the tokens that were known; `budget` (null in a record where it has no end) and
    `seconds` are of the wall clock. `matches_truth` is of the tokens that were settled, `nearest_matches_truth` of the
    nearest prompt, verified or not. `note` says in which other number formats the rows were tried, or what they cannot
    show.
    """

    outcome: Outcome
    nearest_token_ids: list[int]
    nearest_text: str
    segments: list[Segment]
    given: list[int]
    budget: float
    seconds: float
    tolerance: Tolerance
    arithmetic: str
    matches_truth: bool | None = None
    nearest_matches_truth: bool | None = None
    note: str | None = None

    @property
    def token_ids(self) -> list[int | None]:
        """The whole prompt: tokens that were given or settled; None where one is only the nearest."""
        settled = {place for one in self.segments if _certain([one]) for place in range(one.first, one.last + 1)}
        settled.update(self.given)
        return [token if place in settled else None for place, token in enumerate(self.nearest_token_ids)]

    @property
    def tested(self) -> int:
        """Prompts that were run and compared, in the number format of the answer."""
        return sum(segment.tested for segment in self.segments)

    def to_json(self) -> dict[str, Any]:
        """The entry of a record."""
        explanation = EXPLANATIONS[self.outcome]
        first, *others = self.segments
        far = first.residual is None or first.residual > UNRELATED
        if others and first.outcome is Outcome.NOT_FOUND and far:
            explanation = or_several(explanation)
        explanation = " ".join(filter(None, (explanation, self.note)))
        budget = self.budget if math.isfinite(self.budget) else None
        return {
            **asdict(self), "budget": budget, "token_ids": self.token_ids, "tested": self.tested,
            "explanation": explanation,
        }  # fmt: skip


UNRELATED = 0.5  # a residual from which on the nearest prompt has nothing to do with a row
EXPLANATIONS = {
    Outcome.RECOVERED: "Every unknown token was settled by the normal rule or by searching its whole space.",
    Outcome.AMBIGUOUS: "The nearest prompt fits, but another is not clearly farther, or not all were tested: it is not "
    "verified.",
    Outcome.NOT_FOUND: "Nothing in a space that was searched whole fits; the nearest prompt is given, not verified.",
    Outcome.BUDGET_EXHAUSTED: "The budget ended; the nearest prompt found is given, not verified.",
}


def invert_partial(
    model: LanguageModel,
    rows: torch.Tensor,
    *,
    layer: Any = None,
    observe: str | Observation | None = None,
    positions: Sequence[int] | None = None,
    known: Mapping[int, int] | None = None,
    tolerance: float | None = None,
    budget: float = 600.0,
    progress: Progress | None = None,
) -> PartialInversion:
    """The nearest prompt to states observed at some of its positions.

    Args:
        model: whose states they are.
        rows: the observed states, shape (n, d).
        layer: where they were captured; several where that is observed.
        observe: which tensors they are, as for `capture`; the residual stream by default.
        positions: where the rows stand in the prompt, ascending; the prompt ends at the last. Default: 0 … n-1.
        known: tokens that are known, by position.
        tolerance: relative residual that a true prompt may have; None derives it from measured noise.
        budget: wall-clock seconds.
        progress: called with (positions settled, positions in all).

    Raises:
        InvalidInput: states that cannot be this model's, or positions or tokens out of range.
        Unsupported: the model has no such tensor, or gives its tokens other states when it is run in parts.
    """
    at = list(range(len(rows))) if positions is None else list(positions)
    states = States(arrays=(rows,), observation=Observation.of(observe, layer))
    return invert_rows(model, states, at, dict(known or {}), tolerance=tolerance, budget=budget, progress=progress)


def invert_rows(
    model: LanguageModel,
    states: States,
    at: list[int],
    given: dict[int, int],
    *,
    tolerance: float | None,
    budget: float,
    progress: Progress | None,
) -> PartialInversion:
    """As `invert_partial`, of the states of one prompt, with what is told of them beside their values.

    `at` are the positions of their rows, `given` the known tokens.
    """
    states = states.beside(model)
    if states.observation.discrete:
        raise InvalidInput(
            f"Expected states of which a part may do, but got {states.observation}; give the rows of all positions."
        )
    states.check(model)
    (rows,) = states
    _check(model, rows, at, given)
    check_budget(budget)
    allowed, of = Tolerance.asked(tolerance), format_of(rows, states)
    asked = allowed is not None
    if allowed is None:
        allowed = derive_tolerance(model, states, damped=False, formats=of)
    started = time.monotonic()

    def search(tolerance: Tolerance) -> PartialInversion:
        return _searched(model, states, at, given, tolerance, budget, started, progress)

    found = search(allowed)
    return found if asked else _in_other_formats(model, states, of, found, search)


def _searched(
    model: LanguageModel, states: States, at: list[int], given: dict[int, int], allowed: Tolerance, budget: float,
    started: float, progress: Progress | None,
) -> PartialInversion:  # fmt: skip
    """The nearest prompt, held against one tolerance; the budget counts from when the first try `started`."""
    (rows,) = states
    within = ANYHOW if allowed.boxed else 0  # a few rows do not say how they were rounded
    box = box_around(rows, within, states.observation.top)
    prompt: list[int] = []
    segments: list[Segment] = []
    with whole_length(at[-1] + 1):
        network = observed_network(model, states.observation)
        search = SegmentSearch(network, allowed, started + budget, segments=len(at))
        for number, (row, position) in enumerate(zip(rows, at, strict=True)):
            fixed = [given.get(index) for index in range(len(prompt), position + 1)]
            found = search.segment(prompt, fixed, row, box.at(number))
            segments.append(found if _certain(segments) else _conditional(found))
            if segments[-1].outcome is Outcome.NOT_FOUND:
                expect_prefixes_as_alone(network, prompt, at[-1] + 1, allowed.value)
            prompt += segments[-1].token_ids
            if progress is not None:
                progress(len(prompt), at[-1] + 1)
        outcome = overall(segment.outcome for segment in segments)
        unseen = any(place not in at for place in given)
        note = not_shown(network, allowed.value, unseen=unseen) if outcome is Outcome.RECOVERED else None
    return PartialInversion(
        outcome=outcome,
        nearest_token_ids=prompt,
        nearest_text=model.decode(prompt),
        segments=segments,
        given=sorted(given),
        budget=budget,
        seconds=time.monotonic() - started,
        tolerance=allowed,
        arithmetic=search.arithmetic,
        note=note,
    )


def _in_other_formats(
    model: LanguageModel,
    states: States,
    of: Format,
    found: PartialInversion,
    again: Callable[[Tolerance], PartialInversion],
) -> PartialInversion:
    """The answer, one that is not found tried in the other formats that `sipit.inversion.formats` tries, saying so.

    Where tokens were given, a coarser format does not tell them from others, and what fits in one is no answer alone.
    """
    if not _nearly_found(found, boxed=bool(of.boxed)) or (states.observation.plain and states.layer == 0):
        return found
    tries: list[PartialInversion] = []

    def retry(tolerance: Tolerance) -> PartialInversion:
        tries.append(again(tolerance))
        return tries[-1]

    other, note = _as_rounded(model, states, of, retry)
    if other is None:
        other, note = in_half_types(model, states, of, retry, damped=False)
    if other is None:
        ended = any(one.outcome is Outcome.BUDGET_EXHAUSTED for one in tries)
        outcome = Outcome.BUDGET_EXHAUSTED if ended else found.outcome
        return replace(found, outcome=outcome, seconds=(tries or [found])[-1].seconds, note=note or None)
    if found.given:
        other = replace(other, outcome=Outcome.AMBIGUOUS)
        note += " Or a token that was given is not the true one."
    return replace(other, note=" ".join(filter(None, (other.note, note))))


def _as_rounded(
    model: LanguageModel, states: States, of: Format, again: Callable[[Tolerance], PartialInversion]
) -> tuple[PartialInversion | None, str]:
    """The answer for half-type rows as computed in the model's own type (None: nothing fits so), and that in words."""
    if not perhaps_rounded(model, states, of):
        return None, ""
    retried = retried_as(model, states, Format(model.dtype, model.dtype, boxed=ANYHOW), again, damped=False)
    if retried is None or retried[1].outcome not in FITS:
        return None, ""
    return retried[1], fits_as_rounded(model, of, retried[0])


def _nearly_found(found: PartialInversion, *, boxed: bool) -> bool:
    """Whether nothing fits the first row, or any of boxed ones, but a prompt comes much nearer than chance does."""
    missed = next((one for one in found.segments if one.outcome is Outcome.NOT_FOUND), None)
    if missed is None or missed.residual is None or not (boxed or missed is found.segments[0]):
        return False
    return nearer_than_chance(missed.residual, missed.alternatives[0][1] if missed.alternatives else None)


def _check(model: LanguageModel, rows: torch.Tensor, at: list[int], known: dict[int, int]) -> None:
    ascending = all(a < b for a, b in zip([-1, *at], at, strict=False))
    if len(at) != len(rows) or not ascending:
        raise InvalidInput(
            f"Expected one position for each of {len(rows)} rows, ascending from 0, but got {at}; correct them."
        )
    if model.limit is not None and at[-1] >= model.limit:
        raise InvalidInput(f"Expected positions below {model.limit}, the context, but got {at[-1]}; correct them.")
    begin = min(known, default=0)
    if begin < 0 and all(place in known for place in range(begin, at[-1] + 1)):  # the end, as --suffix has it
        raise InvalidInput(
            f"Expected a prompt that is longer than its end, but --suffix has {at[-1] + 1 - begin} tokens and the "
            f"prompt {at[-1] + 1}; shorten it."
        )
    for position, token in known.items():
        if not 0 <= position <= at[-1] or not 0 <= token < model.vocabulary_size:
            raise InvalidInput(
                f"Expected known tokens of the vocabulary up to position {at[-1]}, but got token {token} at "
                f"{position}; leave it away."
            )


def _certain(segments: Sequence[Segment]) -> bool:
    return all(segment.outcome is Outcome.RECOVERED or segment.reason == CLASS for segment in segments)


def _conditional(segment: Segment) -> Segment:
    """Behind tokens that are not verified nothing is: neither that a token fits, nor that none does."""
    if segment.outcome is Outcome.BUDGET_EXHAUSTED:
        return segment
    return replace(segment, outcome=Outcome.AMBIGUOUS, reason=f"conditional on earlier tokens; {segment.reason}")
