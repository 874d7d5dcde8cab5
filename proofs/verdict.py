"""The verdicts of every command, and the exit status each one stands for."""

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """What a command found; `exit_status` is 0 for yes, 1 for no, 3 for undecided."""

    PROVED = "proved"
    ACCEPTED = "accepted"
    RECOVERED = "recovered"
    SEPARATED = "separated"
    HELD = "held"
    DONE = "done"
    OK = "ok"
    ROUNDING = "rounding"
    REFUTED = "refuted"
    REJECTED = "rejected"
    COLLISION = "collision"
    NOT_FOUND = "not_found"
    VOID = "void"
    BROKEN = "broken"
    NOT_ROUNDING = "not_rounding"
    UNDECIDED = "undecided"
    AMBIGUOUS = "ambiguous"
    BUDGET_EXHAUSTED = "budget_exhausted"
    DEGRADED = "degraded"
    ACCEPTED_SAMPLED = "accepted_sampled"

    @property
    def exit_status(self) -> int:
        """0 where the claim holds, 1 where it fails, 3 where it stays open (2 is misuse and has no verdict)."""
        if self in _HOLDS:
            return 0
        return 1 if self in _FAILS else 3

    @classmethod
    def worst(cls, verdicts: Iterable["Verdict"]) -> "Verdict":
        """The verdict over several subjects: the first failure if there is one, else the first open one.

        Raises:
            ValueError: no verdict was given.
        """
        ranked = sorted(verdicts, key=lambda verdict: _SEVERITY[verdict.exit_status], reverse=True)
        if not ranked:
            raise ValueError("Expected at least one verdict, but got none.")
        return ranked[0]


_HOLDS = {
    Verdict.PROVED, Verdict.ACCEPTED, Verdict.RECOVERED, Verdict.SEPARATED, Verdict.HELD, Verdict.DONE, Verdict.OK,
    Verdict.ROUNDING,
}  # fmt: skip
_FAILS = {
    Verdict.REFUTED, Verdict.REJECTED, Verdict.COLLISION, Verdict.NOT_FOUND, Verdict.VOID, Verdict.BROKEN,
    Verdict.NOT_ROUNDING,
}  # fmt: skip
_SEVERITY = {0: 0, 3: 1, 1: 2}
