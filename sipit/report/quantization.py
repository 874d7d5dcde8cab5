"""The chapter of `quantization`: formats against layers, noise against margin, what leaks, what counting forces."""

from collections.abc import Mapping
from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.document import (
    Badge,
    Block,
    Cell,
    Chapter,
    Claim,
    Column,
    Figure,
    Literal,
    LogCurves,
    Paragraph,
    Section,
    Series,
    Table,
    Tone,
)
from sipit.report.generic import fields
from sipit.report.provenance import environment, model_name, repeat
from sipit.report.reading import integer, mapping, objects, real, sequence, string, without
from sipit.report.wording import count, number, plain

M = Claim.MEASURED
_SHOWN = {"formats", "layers", "margins", "leaks", "counting", "crossed", "places"}
_OUTCOMES = ("recovered", "ambiguous", "not_found", "undecided", "wrong")
_DRAWN = ("bf16", "int8", "int4")  # whose noise is drawn beside the margins, where they ran
_SUBJECTS = {
    "weights": "Weights rounded, arithmetic in float32",
    "both": "Weights and activations rounded",
    "states": "States rounded when they leave",
}
_THEOREMS = {
    "weights": "The map stays real-analytic, but its parameters are one grid point: the almost-sure theorem is silent.",
    "both": "Every operation is rounded: the map is no longer analytic, and its image is finite.",
    "states": "The states are finitely many, so collisions must exist among long enough prompts.",
}


def quantization_chapter(record: Record) -> Chapter:
    """The chapter of a `quantization` record."""
    result = record.result
    ran = [one for one in objects(result.get("formats")) if one.get("reason") is None]
    missing = [one for one in objects(result.get("formats")) if one.get("reason") is not None]
    blocks: list[Block] = []
    for subject, title in _SUBJECTS.items():
        own = [one for one in ran if one.get("subject") == subject]
        if own:
            blocks.append(Section(title, (Paragraph(_THEOREMS[subject]), _matrix(result, own), _outcomes(own))))
    figure = _noise_figure(result, ran)
    blocks += [figure] if figure is not None else []
    blocks += _leaks(result)
    blocks += _crossed(result)
    blocks += [_breaking(ran)]
    blocks += _counting(result)
    if missing:
        rows = tuple((plain(one.get("format")), plain(one.get("reason"))) for one in missing)
        blocks.append(Table("Formats that do not run here", (Column("format"), Column("reason")), rows))
    arithmetic = tuple((plain(one.get("format")), plain(one.get("arithmetic"))) for one in ran)
    blocks.append(Table("The arithmetic that really ran", (Column("format"), Column("arithmetic")), arithmetic, True))
    blocks.append(Section("What was looked at", fields(without(result, _SHOWN), measured=False)))
    subject = model_name(record)
    return Chapter(
        title="Number formats" + (f": {subject}" if subject else ""),
        badge=Badge.of(record.verdict),
        headline=_headline(record, len(ran)),
        sentences=_sentences(result, ran),
        blocks=tuple(blocks),
        repeat=repeat(record),
        environment=environment(record),
    )


def _headline(record: Record, ran: int) -> str:
    match record.verdict:
        case Verdict.HELD:
            return (
                f"In all of {count(ran, 'number format')} the noise stays below half the margin wherever it was seen."
            )
        case Verdict.VOID:
            return f"Of {count(ran, 'number format')}, some have more noise than half the margin at some layer."
        case _:
            return "No number format ran."


def _sentences(result: Mapping[str, Any], ran: list[dict[str, Any]]) -> tuple[str, ...]:
    held = [plain(one.get("format")) for one in ran if one.get("first_layer_void") is None]
    wrong = sum(integer(one.get("wrong")) or 0 for one in ran)
    degenerate = [plain(one.get("format")) for one in ran if one.get("degenerate") is True]
    places = count(len(objects(result.get("places"))), "position")
    whole = (
        "the whole vocabulary" if result.get("whole_vocabulary") is True else f"{plain(result.get('scanned'))} tokens"
    )
    found = [
        f"The guarantee held at every layer, at {places}, in: {', '.join(held) or 'none'}.",
        f"Margins are over {whole} in float32; noise is the distance from the same model in float64.",
        f"Prompts that came back with a wrong token: {wrong or 'none'}.",
    ]
    if degenerate:
        found.append(
            f"The stored weights already lie on the grid of {', '.join(degenerate)}: nothing was tested there."
        )
    return tuple(found)


def _matrix(result: Mapping[str, Any], formats: list[dict[str, Any]]) -> Table:
    layers = [integer(layer) for layer in sequence(result.get("layers"))]
    columns = [Column("format")]
    for layer in layers:
        columns += [Column(f"layer {layer}"), Column("noise", True, M), Column("margin", True, M)]
    columns.append(Column("first layer void", True, M))
    rows: list[tuple[Cell, ...]] = []
    for one in formats:
        at = {integer(layer.get("layer")): layer for layer in objects(one.get("layers"))}
        cells: list[Cell] = [_name(one)]
        for layer in layers:
            found = mapping(at.get(layer))
            held = found.get("guarantee") == "held"
            cells += [Badge("held" if held else "void", Tone.HOLDS if held else Tone.FAILS)]
            cells += [number(found.get("noise")), number(found.get("margin"))]
        void = one.get("first_layer_void")
        rows.append((*cells, "none" if void is None else plain(void)))
    return Table("Relative noise against the relative step margin where their quotient is worst",
                 tuple(columns), tuple(rows))  # fmt: skip


def _outcomes(formats: list[dict[str, Any]]) -> Table:
    columns = (
        Column("format"), Column("prompts", True), *(Column(name.replace("_", " "), True, M) for name in _OUTCOMES),
        Column("collisions", True, M), Column("within noise", True, M),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in formats:
        near = sum(integer(layer.get("below_noise")) or 0 for layer in objects(one.get("layers")))
        counts = (number(one.get(name)) for name in ("prompts", *_OUTCOMES, "collisions"))
        rows.append((_name(one), *counts, str(near)))
    caption = "Inversions by the model that has the states, over all layers looked at, and pairs of states"
    return Table(caption, columns, tuple(rows))


def _name(one: Mapping[str, Any]) -> str:
    return plain(one.get("format")) + (" (degenerate)" if one.get("degenerate") is True else "")


def _noise_figure(result: Mapping[str, Any], ran: list[dict[str, Any]]) -> Figure | None:
    margins = objects(result.get("margins"))
    if len(margins) < 2:
        return None
    at = tuple(float(integer(row.get("layer")) or 0) for row in margins)
    series = [Series("margin, later positions", tuple(real(row.get("later_positions")) for row in margins))]
    drawn = [one for one in ran if one.get("format") in _DRAWN][:2] or ran[:2]
    for one in drawn:
        noise = {integer(layer.get("layer")): real(layer.get("noise")) for layer in objects(one.get("layers"))}
        series.append(Series(f"noise, {plain(one.get('format'))}", tuple(noise.get(int(layer)) for layer in at)))
    parts = []
    for one in series:
        known = [value for value in one.values if value is not None]
        parts.append(f"{one.name} from {number(min(known, default=None))} to {number(max(known, default=None))}")
    return Figure(
        title="Noise against margin, layer by layer",
        description=f"Relative to the norm of the state, over {count(len(at), 'layer')}: {'; '.join(parts)}.",
        chart=LogCurves("layer", at, tuple(series)),
        claim=M,
    )


def _leaks(result: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for key, over, name, title in (
        ("bits", "bits", "bits kept in a coordinate", "How much leaks: bits kept"),
        ("noise", "relative", "Gaussian noise over the norm of the state", "How much leaks: noise added"),
    ):
        curves = objects(result.get("leaks"))
        points = [{real(at.get(over)): real(at.get("recovered")) for at in objects(row.get(key))} for row in curves]
        at = sorted({place for one in points for place in one if place is not None})
        if len(at) < 2:
            continue
        columns = (Column(name, True), *(Column(f"layer {plain(row.get('layer'))}", True, M) for row in curves))
        rows = tuple((number(place), *(number(one.get(place)) for one in points)) for place in at)
        caption = f"{title}: share of positions where the nearest token behind the true prefix is the true one"
        blocks.append(
            Figure(
                title=title,
                description=f"{caption}, at {count(len(at), 'level')}; the table below has the values.",
                chart=LogCurves(
                    name,
                    tuple(at),
                    tuple(
                        Series(f"layer {plain(row.get('layer'))}", tuple(one.get(place) for place in at))
                        for row, one in zip(curves, points, strict=True)
                    ),
                ),
                claim=M,
            )
        )
        blocks.append(Table(caption, columns, rows, folded=True))
    return [Section("How much leaks", tuple(blocks))] if blocks else []


def _crossed(result: Mapping[str, Any]) -> list[Block]:
    found = objects(result.get("crossed"))
    if not found:
        return []
    columns = (Column("states from"), Column("inverted with"), Column("tolerance", True, M),
               *(Column(name.replace("_", " "), True, M) for name in _OUTCOMES))  # fmt: skip
    rows = tuple(
        (plain(row.get("source")), plain(row.get("target")), number(row.get("tolerance")),
         *(number(row.get(name)) for name in _OUTCOMES))
        for row in found
    )  # fmt: skip
    caption = f"States of one format inverted with another, at layer {plain(found[0].get('layer'))}"
    return [Table(caption, columns, rows)]


def _breaking(ran: list[dict[str, Any]]) -> Table:
    columns = (Column("format"), Column("layer", True), Column("noise", True, M), Column("margin", True, M),
               Column("position", True), Column("token", True), Column("rival", True),
               Column("closest prompts"))  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in ran:
        for layer in objects(one.get("layers")):
            if layer.get("layer") != one.get("first_layer_void"):
                continue
            breaking = mapping(layer.get("counterexample"))
            closest = " / ".join(string(text) or "" for text in sequence(layer.get("closest")))
            cells = (plain(breaking.get(key)) for key in ("position", "token", "rival"))
            rows.append((_name(one), plain(layer.get("layer")), number(breaking.get("noise")),
                         number(breaking.get("margin")), *cells, Literal(closest)))  # fmt: skip
    return Table("What voids the guarantee first: a true token, and the rival within twice the noise", columns,
                 tuple(rows))  # fmt: skip


def _counting(result: Mapping[str, Any]) -> list[Block]:
    rows = tuple(
        (plain(row.get("format")), number(row.get("bits")), number(row.get("length")),
         "yes" if row.get("in_context") is True else "no")
        for row in objects(result.get("counting"))
    )  # fmt: skip
    columns = (Column("format"), Column("bits", True), Column("tokens", True, Claim.PROVED), Column("within context"))
    caption = "Counting: two different prompts of at most so many tokens must share a stored state"
    return [Table(caption, columns, rows)] if rows else []
