"""What a diagnosis comes to: its cause, where and how the rows were explained, and the findings in words."""

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from proofs.verdict import Verdict
from sipit.diagnosis.padding import PaddingFound
from sipit.diagnosis.sites import Site
from sipit.diagnosis.walk import Start

TOO_LITTLE = "too few to tell"  # in the reason why a disguise stays
CUT_SHORT = "that were tried"  # the same, where not all tokens were
NOT_ALONE = "no prompt alone fits"  # the same, where several do, or none beyond the first rows


class Cause(StrEnum):
    """What a diagnosis comes to."""

    PLAIN = "plain"
    CONVENTION = "other_convention"
    ROUNDING = "rounding"
    DISGUISED = "disguised"
    UNEXPLAINED = "unexplained"
    FOREIGN = "no_convention_fits"

    @property
    def explanation(self) -> str:
        """One sentence for people."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Cause.PLAIN: "Plain states of this model, as captured here, up to the noise of this arithmetic.",
    Cause.CONVENTION: "The states follow another convention than the one named; recomputed under it, they agree.",
    Cause.ROUNDING: "The states are those of this model, in a coarser arithmetic or number format.",
    Cause.DISGUISED: "The states were disguised on purpose; with that undone, they are those of this model.",
    Cause.UNEXPLAINED: "Something like this model, but no arithmetic tried explains the distances that are left.",
    Cause.FOREIGN: "No convention tried fits: another model, an unknown convention, or rounding too coarse to tell.",
}


@dataclass(frozen=True, slots=True)
class Tried:
    """A convention that was walked: the median and the largest distance of directions over the first rows."""

    site: str
    start: Start
    skipped: int
    median: float
    largest: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows from number `row` on that are those of a run of their own, which begins at `start`."""

    row: int
    start: Start
    token_ids: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """The finding in words."""
        place = f"position ids go on at {self.start.shift}" if self.start.shift else "position ids begin anew"
        return f"Rows from {self.row} on are those of a run that does not see the rows before; {place}."


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found for one tensor of states.

    `verified` rows (from row `skipped` on, `rows` in all) are recomputed within `tolerance`; `token_ids` are theirs,
    classes of identical embedding rows by their smallest id (`shared`: some token has such a class). `consistent` rows
    lie within the tolerance of their nearest token, where others may lie too: they bear out the cause, and no token.
    `chunks` are runs of their own behind the first; `order` are the numbers of the verified rows in the order of the
    prompt, where it is not theirs. `factor` is the constant that the observed values are multiplied by, None where the
    rows have one each. `disguise` was undone, `coordinates` say of every observed one which it is, and
    `open_disguises` why others were not.
    """

    cause: Cause
    rows: int
    site: Site | None = None
    start: Start = field(default_factory=Start)
    skipped: int = 0
    verified: int = 0
    consistent: int = 0
    factor: float | None = None
    stored: str | None = None
    arithmetic: str | None = None
    tolerance: float | None = None
    largest_residual: float | None = None
    smallest_margin: float | None = None
    token_ids: tuple[int, ...] = ()
    shared: bool = False
    padding: PaddingFound | None = None
    chunks: tuple[Chunk, ...] = ()
    order: tuple[int, ...] | None = None
    disguise: str | None = None
    coordinates: tuple[int, ...] | None = None
    open_disguises: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()

    @property
    def left_open(self) -> bool:
        """Whether a disguise leaves too little to tell, not all that it may hide was tried, or it began to fit."""
        return any(why in reason for why in (TOO_LITTLE, CUT_SHORT, NOT_ALONE) for reason in self.open_disguises)

    @property
    def complete(self) -> bool:
        """Whether every row is explained: a verified token's, or padding."""
        padded = self.padding.rows if self.padding is not None else 0
        return self.site is not None and self.verified > 0 and self.verified + padded == self.rows

    @property
    def verdict(self) -> Verdict:
        """`recovered` where every row is explained, else `undecided`: not every candidate was tested."""
        if not self.complete:
            return Verdict.UNDECIDED
        return Verdict.AMBIGUOUS if self.shared else Verdict.RECOVERED

    @property
    def first_run(self) -> int:
        """How many of the verified rows are those of the first run: `chunks` are runs of their own behind it."""
        return min([self.verified, *(chunk.row - self.skipped for chunk in self.chunks)])

    def between(self, ends: PaddingFound) -> "Diagnosis":
        """The same of these rows between empty ones: whatever numbers a row is moved together."""
        front = ends.front
        return replace(
            self,
            rows=self.rows + ends.rows,
            skipped=self.skipped + front,
            padding=ends.around(self.padding),
            chunks=tuple(replace(chunk, row=chunk.row + front) for chunk in self.chunks),
            order=None if self.order is None else tuple(row + front for row in self.order),
            tried=tuple(replace(one, skipped=one.skipped + front) for one in self.tried),
        )

    def sentences(self) -> list[str]:
        """The findings in words, only what was verified."""
        found = [self.cause.explanation]
        if self.site is not None and self.consistent:
            explained = self.consistent + (self.padding.rows if self.padding is not None else 0)
            if explained < self.rows:
                found.append(f"That is so of {explained} of {self.rows} rows; the others are not explained.")
            found.append(f"Place: {self.site}.")
            if self.start.known:
                found.append(
                    f"The first row stands behind the tokens {list(self.start.known)}, whose rows are missing."
                )
            if self.disguise is not None:
                found.append(f"Disguise: {self.disguise}.")
            if self.order is not None:
                rising = list(self.order) == sorted(self.order)
                said = "Not all rows are of the prompt" if rising else "The rows are out of order"
                found.append(f"{said}; that of the prompt is {list(self.order)}.")
            found += [chunk.sentence for chunk in self.chunks]
            if self.start.shift:
                found.append(f"Position ids start at {self.start.shift}.")
            if self.factor is None:
                found.append("Every row has a factor of its own, such as rows divided by their norms.")
            elif self.factor != 1.0:
                found.append(f"All values are multiplied by {self.factor:.6g}.")
            if self.cause is Cause.ROUNDING and self.arithmetic is not None:
                found.append(f"The distance left is within the noise of: {self.arithmetic}.")
            if self.verified:
                which = "" if self.order is not None else f", from row {self.skipped} on"
                found.append(
                    f"{self.verified} of {self.rows} rows verified{which}; "
                    f"largest residual {self.largest_residual:.1e}, tolerance {self.tolerance:.1e}."
                )
            if self.consistent > self.verified:
                found.append(
                    f"{self.consistent} of {self.rows} rows lie within {self.tolerance:.1e} of some token's state; "
                    f"from row {self.skipped + self.verified} on, others are as near, and none is named."
                )
        found += self.open_disguises
        if self.stored is not None:
            found.append(f"The values lie on the grid of {self.stored}.")
        if self.padding is not None:
            found.append(self.padding.sentence)
        return found

    def to_json(self) -> dict[str, Any]:
        """The entry of a record."""
        site = (
            None
            if self.site is None
            else {"layer": self.site.layer, "name": self.site.name, "normed": self.site.name == "normed"}
        )
        return {
            **asdict(self),
            "cause": self.cause.value,
            "site": site,
            "place": None if self.site is None else str(self.site),
            "complete": self.complete,
            "sentences": self.sentences(),
        }
