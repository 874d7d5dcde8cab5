"""Noise against margin, layer by layer: bounded by `certify` for given prompts, measured by `quantization`."""

from collections.abc import Mapping, Sequence
from typing import Any

from proofs.evidence import Record
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.document import (
    Badge,
    Block,
    Cell,
    Chapter,
    Claim,
    Column,
    Figure,
    Findings,
    LogCurves,
    Series,
    Table,
    Theme,
    Tone,
)
from sipit.report.generic import ROWS
from sipit.report.reading import integer, mapping, objects, real
from sipit.report.wording import count, number, plain

_WHY = "A state can be told from its nearest rival while the noise stays below half the margin between the two."
_FIGURES = (  # three curves at most: more cannot be told apart
    ("Noise against margin: the formats of everyday runs", ("float32", "bfloat16")),
    ("Noise against margin: two runs that are both called float64", ("float64", "float64, cast-free")),
)
_DRAWN = ("bf16", "int8", "int4")  # whose noise is drawn beside the margins, where they ran


def bounded_noise_chapters(record: Record) -> list[Chapter]:
    """The chapter of the noise budget of a `certify` record; none where there is no budget."""
    budget = mapping(record.result.get("noise_budget"))
    layers = objects(budget.get("layers"))
    if not layers:
        return []
    prompts = count(integer(budget.get("prompts")) or 0, "prompt")
    names = list(dict.fromkeys(name for entry in layers for name in mapping(entry.get("noise"))))
    found = {name: [_below(entry, name) for entry in layers] for name in names}
    below = [_named(name) for name, seen in found.items() if all(seen)]
    above = [_named(name) for name, seen in found.items() if False in seen]
    left = [_named(name) for name in names if _named(name) not in {*below, *above}]
    at = list(dict.fromkeys(plain(entry.get("layer")) for entry in (layers[0], layers[-1])))
    where = f"layer{'s' if len(at) > 1 else ''} {' to '.join(at)}"
    about = f"half the certified distance between the states of {prompts} of {subject_of(record)} at {where}"
    badge = Badge("above half the margin", Tone.FAILS) if above else Badge("below half the margin", Tone.HOLDS)
    badge = Badge("open", Tone.OPEN) if left and not above else badge
    return [
        chapter(
            record,
            Theme.NOISE,
            "Rounding noise, bounded",
            f"Rounding stays below {about} in: {', '.join(below) or 'none'}.",
            sentences=told(
                Claim.BOUNDED,
                "Noise: the largest error of the last state over the prompts, each bounded by the distance to the "
                "middle of an enclosure plus its radius. Margin: the least certified distance (absolute L2).",
                f"Not below half the margin at some layer: {', '.join(above)}." if above else "",
            )
            + told(None, _WHY),
            blocks=_budget(layers, names),
            findings=Findings(
                bounded=(f"rounding in {', '.join(below)} stays below {about}",) if below else (),
                broken=(f"rounding in {', '.join(above)} is not below {about}",) if above else (),
                undecided=(f"whether rounding in {', '.join(left)} stays below {about}",) if left else (),
            ),
            badge=badge,
        )
    ]


def _named(name: str) -> str:
    """`float64, cast-free` as one word of a list."""
    kind, _, how = name.partition(", ")
    return f"{kind} ({how})" if how else kind


def _below(entry: Mapping[str, Any], name: str) -> bool | None:
    """Whether the noise at a layer is below half the margin; None where one of them is not known."""
    noise, margin = real(mapping(entry.get("noise")).get(name)), real(entry.get("margin"))
    return None if noise is None or margin is None else 2 * noise < margin


def _budget(layers: list[dict[str, Any]], names: list[str]) -> list[Block]:
    at = tuple(float(integer(entry.get("layer")) or 0) for entry in layers)
    margin = tuple(real(entry.get("margin")) for entry in layers)
    noise = {name: tuple(real(mapping(entry.get("noise")).get(name)) for entry in layers) for name in names}
    blocks: list[Block] = []
    for title, drawn in _FIGURES if len(layers) > 1 else ():
        curves = {"margin": margin, **{name: noise[name] for name in drawn if name in noise}}
        blocks.append(_figure(title, "In absolute L2", at, curves, Claim.BOUNDED))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (plain(entry.get("layer")), number(margin[place]), number(real(entry.get("largest_state"))),
         *(number(noise[name][place]) for name in names))
        for place, entry in enumerate(layers[:ROWS])
    )  # fmt: skip
    columns = (
        Column("layer", True), Column("margin", True, Claim.PROVED), Column("largest state", True, Claim.MEASURED),
        *(Column(f"noise, {name}", True, Claim.BOUNDED) for name in names),
    )  # fmt: skip
    return [*blocks, Table("Noise against margin", columns, rows, len(rows) > 8, omitted=len(layers) - len(rows))]


def measured_noise_chapters(record: Record) -> list[Chapter]:
    """The chapter of the margins of a `quantization` record; none where fewer than two layers were looked at."""
    margins = objects(record.result.get("margins"))
    ran = [one for one in objects(record.result.get("formats")) if one.get("reason") is None]
    if len(margins) < 2:
        return []
    at = tuple(float(integer(row.get("layer")) or 0) for row in margins)
    curves = {
        "margin at position 0": tuple(real(row.get("first_position")) for row in margins),
        "margin at later positions": tuple(real(row.get("later_positions")) for row in margins),
    }
    figures: list[Block] = []
    for one in [one for one in ran if one.get("format") in _DRAWN] or ran[:1]:
        noise = {integer(layer.get("layer")): real(layer.get("noise")) for layer in objects(one.get("layers"))}
        name = plain(one.get("format"))
        drawn = {**curves, f"noise, {name}": tuple(noise.get(int(layer)) for layer in at)}
        title = f"Noise against margin: {name}"
        figures.append(_figure(title, "Relative to the norm of the state", at, drawn, Claim.MEASURED))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (plain(row.get("layer")), number(row.get("first_position")), number(row.get("later_positions")))
        for row in margins[:ROWS]
    )
    columns = (Column("layer", True), Column("position 0", True, Claim.MEASURED),
               Column("later positions", True, Claim.MEASURED))  # fmt: skip
    caption = "Least margin between a true token and its nearest rival, relative to the norm of the state"
    return [
        chapter(
            record,
            Theme.NOISE,
            "Rounding noise, measured",
            f"Noise and margin of {subject_of(record)} were measured at {count(len(margins), 'layer')}.",
            sentences=told(
                Claim.MEASURED,
                "Noise: how far the state in a number format is from that of the same model in float64. Margin: how "
                "far the nearest state of another token at the same position is.",
            )
            + told(None, _WHY),
            blocks=[*figures, Table(caption, columns, rows, folded=True, omitted=len(margins) - len(rows))],
            badge=Badge("measured", Tone.NEUTRAL),
        )
    ]


def _figure(
    title: str, unit: str, at: Sequence[float], curves: Mapping[str, Sequence[float | None]], claim: Claim
) -> Figure:
    parts: list[str] = []
    for name, values in curves.items():
        known = [value for value in values if value is not None]
        if known:
            parts.append(f"{name} from {number(min(known))} to {number(max(known))}")
    series = tuple(Series(name, tuple(values)) for name, values in curves.items())
    described = f"{unit}, over {count(len(at), 'layer')}: {'; '.join(parts) or 'nothing known'}."
    return Figure(title, described, LogCurves("layer", tuple(at), series), claim)
