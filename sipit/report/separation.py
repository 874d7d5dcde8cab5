"""The chapter of `certify`: the bound and what it is of, the pairs without one, and noise against margin by layer."""

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
    Fact,
    Facts,
    Figure,
    LogCurves,
    Paragraph,
    Section,
    Series,
    Table,
)
from sipit.report.generic import ROWS
from sipit.report.provenance import environment, model_name, repeat
from sipit.report.reading import integer, mapping, objects, real, sequence, string
from sipit.report.wording import count, number, plain

_FIGURES = (  # three curves at most: more cannot be told apart
    ("Noise against margin: the formats of everyday runs", ("float32", "bfloat16")),
    ("Noise against margin: two runs that are both called float64", ("float64", "float64, cast-free")),
)


def separation_chapter(record: Record) -> Chapter:
    """The chapter of a `certify` record."""
    result = record.result
    subject = model_name(record)
    blocks: list[Block] = [_facts(result)]
    pairs = objects(result.get("uncertified"))
    if pairs:
        blocks.append(_uncertified(pairs))
    layers = objects(mapping(result.get("noise_budget")).get("layers"))
    if layers:
        prompts = integer(mapping(result.get("noise_budget")).get("prompts")) or 0
        blocks.append(Section("Noise against margin, layer by layer", _budget(layers, prompts)))
    return Chapter(
        title="Certified distances" + (f": {subject}" if subject else ""),
        badge=Badge.of(record.verdict),
        headline=_headline(record),
        sentences=(
            string(result.get("statement")) or "The record states no claim.",
            "The certificate is in the record: sipit verify RECORD.json checks it again with another arithmetic.",
        ),
        blocks=tuple(blocks),
        repeat=repeat(record),
        environment=environment(record),
    )


def _headline(record: Record) -> str:
    certified, pairs = (integer(record.result.get(name)) or 0 for name in ("certified", "pairs"))
    match record.verdict:
        case Verdict.SEPARATED:
            return f"{count(pairs, 'pair')} of prompts: all are certified to be apart."
        case Verdict.COLLISION:
            return f"{certified} of {count(pairs, 'pair')} are certified to be apart; others are equal."
        case _:
            return f"{certified} of {count(pairs, 'pair')} are certified to be apart; others stay open."


def _facts(result: dict[str, Any]) -> Facts:
    prompts = sequence(result.get("prompts"))
    return Facts(
        (
            Fact("layer (blocks passed, before the final norm)", plain(result.get("layer"))),
            Fact("prompts", plain(len(prompts))),
            Fact("pairs", plain(result.get("pairs"))),
            Fact("certified", plain(result.get("certified")), Claim.PROVED),
            Fact("least distance, at least (L2)", plain(result.get("minimum_lower_bound")), Claim.PROVED),
            Fact("of prompts number", plain(result.get("closest"))),
            Fact("bits after the point", plain(result.get("bits"))),
        )
    )


def _uncertified(pairs: list[dict[str, Any]]) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (plain(pair.get("first")), plain(pair.get("second")), plain(pair.get("reason")), plain(pair.get("family")))
        for pair in pairs[:ROWS]
    )
    columns = (Column("first", True), Column("second", True), Column("reason"), Column("family"))
    return Table("Pairs without a bound", columns, rows, omitted=len(pairs) - len(rows))


def _budget(layers: list[dict[str, Any]], prompts: int) -> tuple[Block, ...]:
    at = tuple(float(integer(entry.get("layer")) or 0) for entry in layers)
    margin = tuple(real(entry.get("margin")) for entry in layers)
    names = list(dict.fromkeys(name for entry in layers for name in mapping(entry.get("noise"))))
    noise = {name: tuple(real(mapping(entry.get("noise")).get(name)) for entry in layers) for name in names}
    blocks: list[Block] = [
        Paragraph(
            f"The largest error of the last state over {count(prompts, 'prompt')}, each bounded by the distance to the "
            "enclosure's middle plus its radius; and the least certified distance of the same prompts (absolute L2).",
            Claim.BOUNDED,
        )
    ]
    for title, drawn in _FIGURES:
        curves = {"margin": margin, **{name: noise[name] for name in drawn if name in noise}}
        blocks.append(Figure(title, _described(curves), LogCurves(
            "layer", at, tuple(Series(name, values) for name, values in curves.items())), Claim.BOUNDED))  # fmt: skip
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (plain(entry.get("layer")), number(margin[place]), number(real(entry.get("largest_state"))),
         *(number(noise[name][place]) for name in names))
        for place, entry in enumerate(layers)
    )  # fmt: skip
    columns = (
        Column("layer", True), Column("margin", True, Claim.PROVED), Column("largest state", True, Claim.MEASURED),
        *(Column(name, True, Claim.BOUNDED) for name in names),
    )  # fmt: skip
    return (*blocks, Table("Noise against margin", columns, rows, folded=True))


def _described(curves: dict[str, tuple[float | None, ...]]) -> str:
    parts: list[str] = []
    for name, values in curves.items():
        known = [value for value in values if value is not None]
        if known:
            parts.append(f"{name} from {number(known[0])} to {number(known[-1])}")
    return f"Over the layers: {'; '.join(parts) or 'nothing known'}."
