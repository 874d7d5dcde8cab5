"""The chapter of `train`: how far apart the states of fixed prompts are, step by step, drawn as curves."""

from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.document import (
    Block,
    Cell,
    Chapter,
    Claim,
    Column,
    Figure,
    Findings,
    LogCurves,
    Paragraph,
    Section,
    Series,
    Table,
    Theme,
)
from sipit.report.generic import ROWS, fields
from sipit.report.reading import integer, mapping, objects, real, string, without
from sipit.report.wording import count, number, plain

M = Claim.MEASURED
DRAWN = 3  # curves of a figure; more cannot be told apart
_SHOWN = {"series", "least", "prompts", "pairs", "theorem", "known_to_collide"}
_CURVES = (
    ("Least distance between two prompts", "minimum_distance", "absolute L2"),
    ("Least distance over the larger norm of its pair", "relative_minimum", "a number without unit"),
    ("Co-Lipschitz estimate (edit distance)", "edit", "absolute L2 a token"),
    ("Co-Lipschitz estimate (Hamming distance)", "hamming", "absolute L2 a token"),
)


def training_chapter(record: Record) -> Chapter:
    """The chapter of a `train` record."""
    result = record.result
    series = objects(result.get("series"))
    layers = sorted({layer for entry in series for row in objects(entry.get("layers"))
                     if (layer := integer(row.get("layer"))) is not None})  # fmt: skip
    blocks: list[Block] = [_figure("Loss of the batches (mean since the last measurement)", "nats a token", series,
                                   {"loss": [real(entry.get("loss")) for entry in series]})]  # fmt: skip
    drawn = layers if len(layers) <= DRAWN else [layers[0], layers[len(layers) // 2], layers[-1]]
    for title, name, unit in _CURVES:
        curves = {f"layer {layer}": [_value(entry, layer, name) for entry in series] for layer in drawn}
        blocks.append(_figure(title, unit, series, curves))
    blocks += [_table(layer, series) for layer in layers]
    blocks += _theorem(mapping(result.get("theorem")))
    blocks.append(Section("The run", fields(without(result, _SHOWN), measured=None)))
    return chapter(
        record,
        Theme.TRAINING,
        "Along training",
        _headline(record, len(series)),
        sentences=_sentences(result),
        blocks=blocks,
        findings=_findings(record),
    )


def _findings(record: Record) -> Findings:
    prompts = count(integer(record.result.get("prompts")) or 0, "prompt")
    match record.verdict:
        case Verdict.SEPARATED:
            return Findings(measured=(f"{prompts} stayed apart while {subject_of(record)} was trained",))
        case Verdict.COLLISION:
            return Findings(broken=(f"some of {prompts} collide while {subject_of(record)} is trained",))
        case _:
            return Findings(undecided=(f"whether {prompts} stay apart while {subject_of(record)} is trained",))


def _headline(record: Record, measured: int) -> str:
    prompts = count(integer(record.result.get("prompts")) or 0, "prompt")
    match record.verdict:
        case Verdict.SEPARATED:
            return f"{prompts} stayed apart at every followed layer, in all {measured} measurements along training."
        case Verdict.COLLISION:
            return f"Some of {prompts} collide along training."
        case _:
            return f"Some of {prompts} came so close along training that rounding could hide a collision."


def _sentences(result: dict[str, Any]) -> list[Paragraph]:
    found = [
        f"Layer {plain(least.get('layer'))}: the least distance of the run is {number(least.get('minimum_distance'))} "
        f"(relative {number(least.get('relative_minimum'))}), at step {plain(least.get('step'))}."
        for least in objects(result.get("least"))
    ]
    collide = [
        f"Layer {plain(known.get('layer'))}: {count(integer(known.get('pairs')) or 0, 'pair is', 'pairs are')} known "
        "to collide for every value of the parameters, before, along and after training, and set apart; families are "
        "shown at two short lengths, and believed of others."
        for known in objects(result.get("known_to_collide"))
    ]
    null = Paragraph("A trained checkpoint is one point of a null set: the theorem is silent about it.")
    return [*told(M, *found), *told(None, *collide), null]


def _value(entry: dict[str, Any], layer: int, name: str) -> float | None:
    row = next((row for row in objects(entry.get("layers")) if row.get("layer") == layer), {})
    return real(row.get(name)) if name in row else real(mapping(row.get("co_lipschitz")).get(name))


def _figure(title: str, unit: str, series: list[dict[str, Any]], curves: dict[str, list[float | None]]) -> Figure:
    at = tuple(real(entry.get("step")) or 0.0 for entry in series)
    parts: list[str] = []
    for name, values in curves.items():
        known = [value for value in values if value is not None]
        if known:
            parts.append(f"{name} from {number(known[0])} to {number(known[-1])}, least {number(min(known))}")
    return Figure(
        title=title,
        description=f"In {unit}, over {count(len(at), 'measurement')}: {'; '.join(parts) or 'nothing known'}.",
        chart=LogCurves("training step", at, tuple(Series(name, tuple(values)) for name, values in curves.items())),
        claim=M,
    )


def _table(layer: int, series: list[dict[str, Any]]) -> Table:
    names = ("minimum_distance", "relative_minimum", "edit", "hamming", "median_norm", "noise", "bit_identical",
             "within_noise")  # fmt: skip
    heads = ("least distance", "relative", "co-Lipschitz, edit", "Hamming", "median norm", "noise (relative)",
             "bit-identical", "within noise")  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for entry in series[:ROWS]:
        step = integer(entry.get("step"))
        rows.append((plain(step), number(real(entry.get("loss"))), *(number(_value(entry, layer, n)) for n in names)))
    columns = (Column("step", True), Column("loss", True, M), *(Column(head, True, M) for head in heads))
    return Table(f"Layer {layer}, step by step", columns, tuple(rows), folded=True, omitted=len(series) - len(rows))


def _theorem(quoted: dict[str, Any]) -> list[Block]:
    if not quoted:
        return []
    rows: list[tuple[Cell, ...]] = []
    for entry in objects(quoted.get("hypotheses")):
        checked = entry.get("checked") is True
        held = "not checked" if not checked else "holds" if entry.get("holds") is not False else "does not hold"
        rows.append((plain(entry.get("hypothesis")), "yes" if checked else "no", held))
    blocks: list[Block] = [
        Paragraph(string(quoted.get("statement")) or ""),
        Paragraph(f"What it says of this run: {plain(quoted.get('says_of_this_run'))}"),
        Table("Its hypotheses", (Column("hypothesis"), Column("checked"), Column("found")), tuple(rows)),
    ]
    return [Section("The theorem, and what it does not say", tuple(blocks))]
