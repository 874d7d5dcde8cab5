"""What an inversion answers: four outcomes, token by token and for the whole prompt.

Nothing here is ever a guess: a token that was not verified alone has no id, and its position stays.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from proofs.evidence import Record
from proofs.showing import Shown
from proofs.verdict import Verdict
from sipit.inversion.decision import Condition
from sipit.models import LanguageModel


class Outcome(StrEnum):
    """How the search at a position, or for a prompt, ended; each has its own explanation."""

    RECOVERED = "recovered"
    AMBIGUOUS = "ambiguous"
    NOT_FOUND = "not_found"
    BUDGET_EXHAUSTED = "budget_exhausted"

    @property
    def explanation(self) -> str:
        """One sentence for people."""
        return _EXPLANATIONS[self]

    @property
    def verdict(self) -> Verdict:
        """The verdict that this outcome stands for."""
        return Verdict(self.value)


_EXPLANATIONS = {
    Outcome.RECOVERED: "One token fits within the tolerance, and every rival tested is clearly farther.",
    Outcome.AMBIGUOUS: "A token fits, but another fits too or is not more than twice as far; or it stands behind a "
    "position that is unresolved.",
    Outcome.NOT_FOUND: "No token of the whole vocabulary fits within the tolerance: as they stand, these are the "
    "states of no prompt of this model and layer.",
    Outcome.BUDGET_EXHAUSTED: "The time budget ended before a token was found; raise --budget.",
}


def or_several(explanation: str) -> str:
    """An explanation that goes on with how else several rows may be meant."""
    return (
        f"{explanation.removesuffix('.')}; if each row is the last state of a prompt of its own, store them as "
        "(N, 1, d), and say where they stand (--positions) and what is known in front (--prefix)."
    )


def or_behind(explanation: str) -> str:
    """An explanation that goes on with how else a single row may be meant."""
    return (
        f"{explanation.removesuffix('.')}; if the row stands behind others, as a step of a generation does, store all "
        "rows of the prompt as one (T, d), or say what is in front (--prefix)."
    )


def overall(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of a whole from those of its parts: one not found decides, then not reached, then ambiguous."""
    found = set(outcomes)
    order = (Outcome.NOT_FOUND, Outcome.BUDGET_EXHAUSTED, Outcome.AMBIGUOUS)
    return next((outcome for outcome in order if outcome in found), Outcome.RECOVERED)


@dataclass(frozen=True, slots=True)
class TokenResult:
    """The answer at one position.

    `residual` is the relative L2 distance |F(v) - h| / |h| of the nearest candidate, `margin` that of the nearest
    tested rival of another class (None where none was tested), `tolerance` the residual that was allowed there. Of the
    rivals tested, `told_apart_later` lie nearer than that and were struck out by the states of later positions.
    `condition` says why the rule cannot err there (`sipit.inversion.decision`); None where the truth is not given,
    or neither condition is known to hold.
    """

    position: int
    token_id: int | None
    outcome: Outcome
    residual: float | None
    margin: float | None
    tolerance: float
    rivals_tested: int
    candidates_tested: int
    told_apart_later: int = 0
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """Tokens that stay possible at a position, or the nearest ones that did not fit, with the reason."""

    position: int
    token_ids: list[int]
    reason: str


@dataclass(frozen=True, slots=True)
class Inversion(Shown):
    """The answer for one prompt. `token_ids` has one entry per position: an id, or None where it is unresolved.

    Tokens with identical embedding rows are one class, written by its smallest id; all members are then listed in
    `alternatives` and the outcome is ambiguous. `text` is None where a position is unresolved;
    `text_is_prompt` says whether the tokenizer makes the same ids of it again (None without one). `note` says in which
    other number formats the states were tried, or what they cannot show. `forward_passes` are runs of the model,
    `token_positions` the tokens pushed through blocks in them; these, `candidates_tested` and `seconds` are of all
    formats that were tried. `pieces` has the text of every token, None where there is none. `likeliest` are whole
    prompts that fit, where many do and a language model orders them: ids, and the logarithm of their probability.
    `working_text` is no answer: what the nearest tokens spell, as far as they were taken, where they are not verified.
    """

    outcome: Outcome
    token_ids: list[int | None]
    text: str | None
    alternatives: list[Alternative]
    tokens: list[TokenResult]
    forward_passes: int
    token_positions: int
    candidates_tested: int
    seconds: float
    matches_truth: bool | None = None
    text_is_prompt: bool | None = None
    note: str | None = None
    pieces: list[str | None] = field(default_factory=list[str | None])
    likeliest: tuple[tuple[list[int], float], ...] = ()
    working_text: str | None = None

    @property
    def verdict(self) -> Verdict:
        """What the outcome stands for."""
        return self.outcome.verdict

    @property
    def explanation(self) -> str:
        """The outcome in words, how else the rows may be meant, and what else was tried."""
        if self.note:
            return f"{self.outcome.explanation} {self.note}"
        if not self._fits_nowhere:
            return self.outcome.explanation
        return (or_several if len(self.tokens) > 1 else or_behind)(self.outcome.explanation)

    @property
    def _fits_nowhere(self) -> bool:
        """Whether no token comes near the first row, and nothing else is told of it, such as a layer."""
        told = sum(alternative.position == 0 for alternative in self.alternatives)
        return bool(self.tokens) and self.tokens[0].outcome is Outcome.NOT_FOUND and told < 2

    @property
    def largest_residual(self) -> float | None:
        """The largest relative residual over the positions tested."""
        return max((token.residual for token in self.tokens if token.residual is not None), default=None)

    @property
    def smallest_margin(self) -> float | None:
        """The smallest relative distance of a tested rival."""
        return min((token.margin for token in self.tokens if token.margin is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        """The entry of a record's `prompts`."""
        entry = asdict(self)
        for name in ("likeliest", "working_text"):
            if not entry[name]:
                del entry[name]
        return {
            **entry,
            "explanation": self.explanation,
            "largest_residual": self.largest_residual,
            "smallest_margin": self.smallest_margin,
        }

    def to_record(self) -> Record:
        """The record of this prompt alone; where its states come from is not in it."""
        return Record("invert", self.verdict, {"prompts": [self.to_json()]})


def matches_truth(model: LanguageModel, inversion: Inversion, truth: Sequence[int]) -> bool:
    """Whether every position was resolved, and to the class of the true token; the lengths must agree."""
    if len(inversion.token_ids) != len(truth) or None in inversion.token_ids:
        return False
    classes = model.token_classes
    return all(int(classes[token]) == found for token, found in zip(truth, inversion.token_ids, strict=True))
