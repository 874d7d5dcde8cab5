"""The chapter of `compare`: where two runs part, drawn as a map of layers and positions."""

from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, told
from sipit.report.chapters.maps import maps
from sipit.report.document import (
    Block,
    Chapter,
    Claim,
    Column,
    Figure,
    Findings,
    LogCurves,
    Section,
    Series,
    Table,
    Theme,
)
from sipit.report.generic import fields, rest
from sipit.report.reading import integer, mapping, objects, real, string, without
from sipit.report.wording import number, plain

M = Claim.MEASURED
_RARER = "; for each prompt that is rarer than one of these runs, and the tail of the fit is believed"
_SHOWN = {"kind", "reason", "layers", "map", "runs", "first_divergence"}


def comparison_chapter(record: Record) -> Chapter:
    """The chapter of a `compare` record."""
    result = record.result
    layers = objects(result.get("layers"))
    names = [plain(entry.get("layer")) for entry in layers]
    reason = string(result.get("reason")) or "the record does not say why"
    alarms = number(real(result.get("false_alarm_rate")))
    calibration = mapping(result.get("calibration"))
    threshold = (
        f"The threshold is fitted to runs that differ by rounding alone, so that of comparisons of such a share of "
        f"{alarms} is called more{_RARER if calibration.get('extrapolated') else ''}."
    )
    drawn = mapping(result.get("map"))
    title = f"Where they part: prompt {plain(drawn.get('prompt'))}, layers downwards"
    blocks: list[Block] = [
        *maps(title, drawn, names, "a layer"),
        *told(
            M,
            f"{reason[:1].upper()}{reason[1:]}.",
            threshold if calibration else "",
        ),
        *_distances(layers, names),
    ]
    blocks += [
        Section(f"{'First' if place == 0 else 'Second'} run", fields(run, measured=None), folded=True)
        for place, run in enumerate(objects(result.get("runs")))
    ]
    blocks += rest(without(result, _SHOWN))
    return chapter(
        record,
        Theme.RUNS,
        "Rounding, or not",
        _headline(record, mapping(result.get("first_divergence"))),
        blocks=blocks,
        findings=_findings(record, reason),
    )


def _headline(record: Record, first: dict[str, Any]) -> str:
    match record.verdict:
        case Verdict.ROUNDING:
            return "The two runs differ by rounding, and by nothing else that was seen."
        case Verdict.NOT_ROUNDING:
            place = f"layer {plain(first.get('layer'))}, position {plain(first.get('position'))}"
            return f"The two runs differ by more than rounding, first at {place}."
        case _:
            return "Whether the two runs differ by more than rounding stays open."


def _findings(record: Record, reason: str) -> Findings:
    match record.verdict:
        case Verdict.ROUNDING:
            return Findings(measured=(reason,))
        case Verdict.NOT_ROUNDING:
            return Findings(broken=(reason,))
        case _:
            return Findings(undecided=(reason,))


def _distances(layers: list[dict[str, Any]], names: list[str]) -> list[Block]:
    distance = tuple(real(entry.get("distance")) for entry in layers)
    expected = tuple(real(entry.get("expected")) for entry in layers)
    if not layers:
        return []
    rows = tuple((name, number(d), number(e)) for name, d, e in zip(names, distance, expected, strict=True))
    at = tuple(layer for entry in layers if (layer := integer(entry.get("layer"))) is not None)
    figure: list[Block] = []
    if len(at) == len(layers) > 2 and list(at) == sorted({*at}):
        known = [value for value in distance if value is not None]
        said = f"Largest distances from {number(min(known))} to {number(max(known))}." if known else "None is known."
        series = (Series("distance", distance), Series("what rounding explains", expected))
        figure = [Figure("Layer by layer (relative, damped)", said, LogCurves("layer", at, series), M)]
    columns = (Column("layer", True), Column("distance", True, M), Column("what rounding explains", True, M))
    return [*figure, Table("The largest for what is expected, layer by layer", columns, rows, folded=True)]
