"""The positions of one inversion, as far as the record tells them, and the figure that compares prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sipit.report.document import Badge, Cell, Claim, Figure, Level, Literal, LogRanges, Series, Tone
from sipit.report.reading import integer, objects, real, sequence, string, without
from sipit.report.wording import number, plain

SERIES = ("residual", "nearest rival", "nearest candidate, not accepted")
_BADGES = {
    "recovered": Badge("recovered", Tone.HOLDS),
    "ambiguous": Badge("ambiguous", Tone.OPEN),
    "not_found": Badge("not found", Tone.FAILS),
    "budget_exhausted": Badge("budget exhausted", Tone.OPEN),
}
_KNOWN = {"position", "token_id", "outcome", "residual", "margin", "tolerance", "rivals_tested", "candidates_tested"}


@dataclass(frozen=True, slots=True)
class Position:
    """One position: what was accepted there, how near it was, and what else was near.

    `piece` is the text of the accepted token; it is None where nothing was accepted, whatever the record has there.
    """

    index: int
    token_id: int | None
    piece: str | None
    badge: Badge
    residual: float | None
    margin: float | None
    tolerance: float | None
    rivals_tested: int
    candidates_tested: int
    alternatives: tuple[str, ...]

    @property
    def resolved(self) -> bool:
        """Whether a token was accepted."""
        return self.token_id is not None

    @property
    def shown(self) -> str | None:
        """The text of the token, or its id where the record has no text; None where nothing was accepted."""
        if self.token_id is None:
            return None
        return self.piece if self.piece is not None else f"[{self.token_id}]"

    @property
    def cell(self) -> Cell:
        """The token in a table."""
        return Literal(self.shown) if self.shown is not None else "unresolved"


def read_positions(prompt: Mapping[str, Any]) -> list[Position]:
    """The positions of one entry of `prompts`: as many as it has token ids, or results where it has no ids."""
    results = objects(prompt.get("tokens"))
    ids = sequence(prompt.get("token_ids")) or [result.get("token_id") for result in results]
    pieces = sequence(prompt.get("pieces"))
    by_position = {integer(result.get("position")): result for result in results}
    return [
        _position(
            index,
            integer(token),
            string(pieces[index]) if index < len(pieces) else None,
            by_position.get(index, {}),
            [entry for entry in objects(prompt.get("alternatives")) if entry.get("position") == index],
        )
        for index, token in enumerate(ids)
    ]


def _position(
    index: int, token: int | None, piece: str | None, result: Mapping[str, Any], alternatives: list[dict[str, Any]]
) -> Position:
    outcome = plain(result.get("outcome"))
    badge = _BADGES.get(outcome, Badge(outcome if result else "no evidence", Tone.NEUTRAL))
    extra = tuple(
        f"{key.replace('_', ' ')}: {plain(value)}" for key, value in without(result, _KNOWN).items() if value != 0
    )
    return Position(
        index=index,
        token_id=token,
        piece=piece if token is not None else None,
        badge=badge,
        residual=real(result.get("residual")),
        margin=real(result.get("margin")),
        tolerance=real(result.get("tolerance")),
        rivals_tested=integer(result.get("rivals_tested")) or 0,
        candidates_tested=integer(result.get("candidates_tested")) or 0,
        alternatives=(*map(_alternative, alternatives), *extra),
    )


def _alternative(entry: Mapping[str, Any]) -> str:
    """The reason, then the tokens by id, with their text where the record has it."""
    pieces = sequence(entry.get("pieces"))
    ids = sequence(entry.get("token_ids"))
    named = [
        f"{plain(token)} “{pieces[at]}”" if at < len(pieces) and string(pieces[at]) is not None else plain(token)
        for at, token in enumerate(ids)
    ]
    reason = plain(entry.get("reason"))
    return f"{reason}: {', '.join(named)}" if named else reason


def series(positions: Sequence[Position]) -> tuple[Series, Series, Series]:
    """Residuals of accepted tokens, distances of nearest rivals, residuals of candidates that were not accepted."""
    return (
        Series(SERIES[0], tuple(position.residual if position.resolved else None for position in positions)),
        Series(SERIES[1], tuple(position.margin for position in positions)),
        Series(SERIES[2], tuple(None if position.resolved else position.residual for position in positions)),
    )


def overview(read: Sequence[Sequence[Position]], shown: Sequence[int], level: float | None) -> tuple[Figure, ...]:
    """One figure over the prompts shown: the ranges of the three series; none where there is nothing to draw."""
    ranges = [[_range(one.values) for one in series(read[at])] for at in shown]
    if not any(low is not None for row in ranges for low, _ in row):
        return ()
    lows = tuple(Series(name, tuple(row[at][0] for row in ranges)) for at, name in enumerate(SERIES))
    highs = tuple(Series(name, tuple(row[at][1] for row in ranges)) for at, name in enumerate(SERIES))
    worst = [value for value in highs[0].values if value is not None]
    near = [value for value in lows[1].values if value is not None]
    parts = [f"{len(shown)} prompts" if len(shown) == len(read) else f"{len(shown)} of {len(read)} prompts"]
    if worst:
        parts.append(f"residuals of accepted tokens up to {number(max(worst))}")
    if level is not None:
        parts.append(f"tolerance {number(level)}")
    if near:
        parts.append(f"nearest rivals from {number(min(near))}")
    figure = Figure(
        title="The gap between accepted tokens and their rivals, prompt by prompt",
        description=f"Ranges of relative L2 distances to what was observed: {'; '.join(parts)}.",
        chart=LogRanges(
            rows=tuple(f"prompt {at}" for at in shown),
            series=lows,
            ends=highs,
            level=Level("tolerance", level) if level is not None and level > 0 else None,
        ),
        claim=Claim.MEASURED,
    )
    return (figure,)


def _range(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (None, None)
