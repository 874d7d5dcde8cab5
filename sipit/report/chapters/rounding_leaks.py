"""What leaks: how often a token can still be read when its state has fewer bits or more noise."""

from typing import Any

from proofs.evidence import Record
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.document import (
    Badge,
    Block,
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
from sipit.report.reading import objects, real
from sipit.report.wording import count, number, plain

M = Claim.MEASURED
_KINDS = (
    ("bits", "bits", "bits kept in a coordinate", "How much leaks: bits kept"),
    ("noise", "relative", "Gaussian noise over the norm of the state", "How much leaks: noise added"),
)


def leak_chapters(record: Record) -> list[Chapter]:
    """The chapter of the leak curves of a `quantization` record; none where it has none."""
    curves = objects(record.result.get("leaks"))
    blocks: list[Block] = []
    enough: float | None = None  # bits from which on every position is read at every layer
    for key, over, name, title in _KINDS:
        points = [_points(objects(row.get(key)), over) for row in curves]
        at = sorted({place for one in points for place in one})
        if len(at) < 2:
            continue
        layers = [plain(row.get("layer")) for row in curves]
        series = tuple(
            Series(f"layer {layer}", tuple(map(one.get, at))) for layer, one in zip(layers, points, strict=True)
        )
        caption = "Share of positions where the nearest token behind the true prefix is the true one"
        described = "; ".join(_described(layer, one) for layer, one in zip(layers, points, strict=True) if one)
        chart = ShareCurves(name, tuple(map(number, at)), series[:3])
        blocks.append(Figure(title, f"{caption}, at {count(len(at), 'level')}: {described}.", chart, M))
        columns = (Column(name, True), *(Column(f"layer {layer}", True, M) for layer in layers))
        rows = tuple((number(place), *(_share(one.get(place)) for one in points)) for place in at)
        blocks.append(Table(f"{title}: {caption.lower()}", columns, rows, folded=True))
        if key == "bits":
            failing = [place for one in points for place, share in one.items() if share < 1]
            enough = min((place for place in at if place > max(failing, default=-1.0)), default=None)
    if not blocks:
        return []
    subject = subject_of(record)
    read = f"every token looked at can be read from states of {subject} kept to {number(enough)} bits a coordinate"
    return [
        chapter(
            record,
            Theme.LEAKS,
            "What can still be read from damaged states",
            f"How much can be read from damaged states of {subject} was measured."
            if enough is None
            else f"{read[:1].upper()}{read[1:]} or more.",
            sentences=told(
                M,
                "States were given fewer bits, or Gaussian noise, and the nearest token of the vocabulary was looked "
                "up behind the true prefix: a curve that stays high means that hiding states this way hides little.",
            ),
            blocks=blocks,
            findings=Findings(measured=() if enough is None else (read,)),
            badge=Badge("measured", Tone.NEUTRAL),
        )
    ]


def _points(entries: list[dict[str, Any]], over: str) -> dict[float, float]:
    pairs = ((real(entry.get(over)), real(entry.get("recovered"))) for entry in entries)
    return {place: share for place, share in pairs if place is not None and share is not None and 0 <= share <= 1}


def _described(layer: str, points: dict[float, float]) -> str:
    return f"layer {layer} from {_share(points[min(points)])} at {number(min(points))} to " + (
        f"{_share(points[max(points)])} at {number(max(points))}"
    )


def _share(value: float | None) -> str:
    return number(None) if value is None else f"{100 * value:.0f} %"
