"""The first screen of a page on which a prompt came back: that prompt, token by token, and what is said of all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofs.evidence import Record
from sipit.report.chapter import subject_of
from sipit.report.chapters.positions import Position, read_positions
from sipit.report.document import Picture, ReadBack, Token
from sipit.report.observed import observed
from sipit.report.reading import integer, mapping, objects, real, sequence
from sipit.report.wording import count, number, plain

SHOWN = 10  # tokens
NUMBERS = 24  # of each state


@dataclass(frozen=True, slots=True)
class Opening:
    """One sentence and the picture under it, of which record."""

    record: Record
    headline: str
    picture: Picture


def opening(records: Sequence[Record]) -> Opening | None:
    """The first prompt of the records that was recovered, and is not known to be wrong; None where there is none."""
    for record in records:
        prompts = objects(record.result.get("prompts")) if record.command == "invert" else []
        back = [at for at, prompt in enumerate(prompts) if _is_back(prompt)]
        if back:
            return Opening(record, _headline(record, prompts, back), _picture(record, prompts[back[0]], back[0]))
    return None


def _is_back(prompt: Mapping[str, Any]) -> bool:
    positions = read_positions(prompt)
    whole = bool(positions) and all(position.resolved for position in positions)
    return whole and prompt.get("outcome") == "recovered" and prompt.get("matches_truth") is not False


def _headline(record: Record, prompts: Sequence[Mapping[str, Any]], back: Sequence[int]) -> str:
    who = "The prompt" if len(prompts) == 1 else f"{len(back)} of {len(prompts)} prompts"
    if len(back) == len(prompts) > 1:
        who = f"All {len(prompts)} prompts"
    return f"{who} came back from the {observed(record.result).of_all} of {subject_of(record)}, token for token."


def _picture(record: Record, prompt: Mapping[str, Any], at: int) -> Picture:
    positions = read_positions(prompt)
    states = _states(mapping(record.result.get("glimpse")), at)
    shown = positions[: min(SHOWN, len(states) or SHOWN)]
    seen = observed(record.result)
    level = real(mapping(record.result.get("tolerance")).get("value"))
    more = len(positions) - len(shown)
    note = [f"A token fits below {number(level)}, the tolerance (shaded)."] if level else []
    if states:
        width = plain(mapping(record.result.get("glimpse")).get("width"))
        note.insert(0, f"Shown are {len(states[0])} of {width} numbers of each token's {seen.of_one}{seen.at}.")
    note += [f"{count(more, 'token')} more below."] if more else []
    return Picture(
        caption=f"Each token, the {seen.of_one} that it was read from, and how much farther the next best token is",
        head=seen.of_one,
        note=" ".join(note),
        rows=tuple(_row(position, states[number_of] if states else ()) for number_of, position in enumerate(shown)),
        level=level if level is not None and level > 0 and math.isfinite(level) else None,
        more=more,
    )


def _row(position: Position, state: tuple[float, ...]) -> ReadBack:
    token = Token(position.index, position.shown, position.badge, ())
    return ReadBack(token, state, position.residual, position.margin)


def _states(glimpse: Mapping[str, Any], at: int) -> list[tuple[float, ...]]:
    """Some numbers of the first states of a prompt; none where the record has not those of this one."""
    if integer(glimpse.get("prompt")) != at:
        return []
    read = [[real(value) for value in sequence(row)[:NUMBERS]] for row in sequence(glimpse.get("rows"))[:SHOWN]]
    known = [tuple(value for value in row if value is not None and math.isfinite(value)) for row in read]
    return known if known and known[0] and len({*map(len, known)}) == 1 else []
