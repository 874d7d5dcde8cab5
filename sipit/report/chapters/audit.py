"""The chapter of `audit`: prompt by prompt whether its states are what they are said to be, and what is noticed."""

from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.chapters.maps import maps
from sipit.report.document import (
    Badge,
    Block,
    Cell,
    Chapter,
    Claim,
    Column,
    Figure,
    Findings,
    Series,
    ShareCurves,
    Table,
    Theme,
    Tone,
)
from sipit.report.generic import ROWS, rest
from sipit.report.reading import mapping, objects, real, sequence, without
from sipit.report.wording import count, do, number, plain

M = Claim.MEASURED
_TONES = {"consistent": Tone.HOLDS, "inconsistent": Tone.FAILS, "undecided": Tone.OPEN}
_SHOWN = {"prompts", "power", "false_alarms", "map"}


def audit_chapter(record: Record) -> Chapter:
    """The chapter of an `audit` record."""
    result = record.result
    prompts = objects(result.get("prompts"))
    rate = number(real(result.get("false_alarm_rate")))
    blocks: list[Block] = [
        *_map(mapping(result.get("map")), len(prompts)),
        *told(
            M, f"Of honest prompts a share of {rate} is called inconsistent, whatever their number of rows; the "
            "threshold is that of captures that differ by rounding alone."
        ),
        _answers(prompts),
        *_power(objects(result.get("power")), objects(result.get("false_alarms"))),
        *rest(without(result, _SHOWN)),
    ]  # fmt: skip
    bad = [place for place, one in enumerate(prompts) if one.get("answer") == "inconsistent"]
    what = f"the states of {count(len(prompts), 'prompt')} under {subject_of(record)}"
    match record.verdict:
        case Verdict.HELD:
            headline, found = f"Nothing speaks against these being {what}.", f"nothing speaks against {what}"
            findings = Findings(measured=(found,))
        case Verdict.REFUTED:
            differ = f"{count(len(bad), 'prompt')} {do(len(bad), 'differ')}"
            headline = f"These are not {what}: {differ}, the first is number {min(bad, default=0)}."
            findings = Findings(broken=(f"what is said to be {what} is not",))
        case _:
            why = plain(result.get("reason")) if result.get("reason") else ""
            headline = f"Whether these are {what} stays open{why and f': {why}'}."
            findings = Findings(undecided=(f"whether these are {what}",))
    return chapter(
        record,
        Theme.RUNS,
        "Are the states what they are said to be",
        headline,
        blocks=blocks,
        findings=findings,
    )


def _map(drawn: dict[str, Any], prompts: int) -> list[Block]:
    """Along the rows how large scores are for what they may be, of the prompts where they are the largest."""
    rows = [sequence(row) for row in sequence(drawn.get("ratios"))]
    if not any(value != 0 for row in rows for value in row):
        return []  # bit for bit what was recomputed, or no map
    names = list(map(plain, sequence(drawn.get("prompts"))))
    left = f" They are of the {len(rows)} of {prompts} prompts with the largest scores." if len(rows) < prompts else ""
    title = "Row by row, prompts downwards: the score over what it may be"
    return maps(title, drawn, names, "a prompt", left)


def _answers(prompts: list[dict[str, Any]]) -> Table:
    columns = (Column("prompt", True), Column("answer"), Column("rows", True), Column("score", True, M),
               Column("at most", True, M), Column("first bad row", True), Column("why open"))  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for place, one in enumerate(prompts[:ROWS]):
        answer = plain(one.get("answer"))
        rows.append((
            str(place), Badge(answer, _TONES.get(answer, Tone.NEUTRAL)), plain(one.get("rows")),
            number(real(one.get("score"))), number(real(one.get("threshold"))),
            plain(one.get("first_bad_row")), plain(one.get("reason")),
        ))  # fmt: skip
    return Table("Prompt by prompt", columns, tuple(rows), omitted=len(prompts) - len(rows))


def _power(power: list[dict[str, Any]], honest: list[dict[str, Any]]) -> list[Block]:
    """What is noticed at which rate of false alarms: the three that are noticed least as curves, all as a table."""
    known = [one for one in power if objects(one.get("curve"))]
    if not known:
        return []
    curves: dict[str, dict[float | None, float | None]] = {}
    for one in known:
        points = objects(one.get("curve"))
        curves[plain(one.get("alternative"))] = {real(p.get("rate")): real(p.get("detected")) for p in points}
    rates = sorted({rate for curve in curves.values() for rate in curve if rate is not None})
    least = sorted(curves, key=lambda name: sum(share or 0.0 for share in curves[name].values()))[:3]
    series = tuple(Series(name, tuple(map(curves[name].get, rates))) for name in least)
    said = "; ".join(f"{name}: {number(curves[name].get(rates[0]))} at {number(rates[0])}" for name in least)
    chart = ShareCurves("false alarms of honest prompts", tuple(map(number, rates)), series)
    columns = (Column("noticed", True, M), Column("of prompts", True), Column("interval (95 %)"),
               Column("share by its first rows", claim=M))  # fmt: skip
    noticed = [(plain(one.get("alternative")), *_noticed(one), plain(one.get("reason"))) for one in power]
    alarms = [(plain(one.get("way")), *_noticed(one)) for one in honest]
    found: list[Block] = [
        Figure("What is noticed least", f"Share that is noticed, by rate of false alarms. {said}.", chart, M),
        Table("What the audit notices at its own rate",
              (Column("alternative"), *columns, Column("not tried because")), tuple(noticed)),
    ]  # fmt: skip
    return [*found, Table("Honest states that it called inconsistent", (Column("way"), *columns), tuple(alarms))]


def _noticed(one: dict[str, Any]) -> tuple[str, ...]:
    ends = " to ".join(number(real(end)) for end in sequence(one.get("interval")))
    parts = objects(one.get("by_rows"))
    shares = ", ".join(f"{number(real(part.get('detected')))} by {plain(part.get('rows'))}" for part in parts)
    return plain(one.get("detected")), plain(one.get("prompts")), ends, shares
