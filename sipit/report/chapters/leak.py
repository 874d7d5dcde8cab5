"""The chapter of `leak`: what an attacker reads behind each defence, against what the defence costs, as curves."""

from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
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
    Series,
    ShareCurves,
    Table,
    Theme,
    Tone,
)
from sipit.report.generic import ROWS, rest
from sipit.report.reading import integer, mapping, objects, real, sequence, string, without
from sipit.report.wording import count, number, plain

M = Claim.MEASURED


def defences_chapter(record: Record) -> Chapter:
    """The chapter of a `leak` record."""
    curves = objects(record.result.get("curves"))
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in curves:
        groups.setdefault((plain(one.get("defence")), plain(one.get("layer"))), []).append(one)
    figures = [figure for name, found in groups.items() for figure in _figure(*name, found)]
    whole = [one for one in curves if one.get("recovered_tokens") == one.get("tokens")]
    attacker = mapping(curves[0].get("attacker")) if curves else {}
    every = "the whole vocabulary" if attacker.get("exhausted") is True else (
        f"a shortlist of {plain(attacker.get('candidates'))} tokens that holds the true one")  # fmt: skip
    known = "the defence, its parameters" if attacker.get("told_changes_of_other_prompts") is not True else (
        "how other prompts were changed (mean and variance of each coordinate), not by which defence")  # fmt: skip
    blocks: list[Block] = [
        *figures[:1],
        *told(
            M,
            f"The attacker is told {known}, and the tokens before, and tries {every}.",
            "What it costs is how far the model's own predictions move when the released states go on through it.",
        ),
        *figures[1:],
        _table(curves),
        *rest(without(record.result, {"curves"})),
    ]
    of = f"{len(whole)} of {count(len(curves), 'strength')} of defences"
    said = f"behind {of} every token that went into {subject_of(record)} is read"
    why = string(record.result.get("reason"))
    left = f"how often whole prompts of {subject_of(record)} are read" + (f", since {why}" if why else "")
    return chapter(
        record,
        Theme.LEAKS,
        "What defences hide, and what they cost",
        f"{said[:1].upper()}{said[1:]}.",
        blocks=blocks,
        findings=Findings(
            measured=(said,) if curves else (), undecided=() if record.verdict is Verdict.DONE else (left,)
        ),
        badge=Badge("measured", Tone.NEUTRAL) if record.verdict is Verdict.DONE else None,
    )


def _share(part: Any, whole: Any) -> float | None:
    over, under = integer(part), integer(whole)
    return over / under if over is not None and under else None


def _figure(defence: str, layer: str, found: list[dict[str, Any]]) -> list[Block]:
    points = sorted(
        ((at, one) for one in found if (at := real(one.get("strength"))) is not None), key=lambda pair: pair[0]
    )
    if len(points) < 2:
        return []
    series = (
        Series("tokens read", tuple(_share(one.get("recovered_tokens"), one.get("tokens")) for _, one in points)),
        Series("prompts read", tuple(_share(one.get("recovered_prompts"), one.get("prompts")) for _, one in points)),
        Series("same prediction", tuple(real(one.get("same_top1")) for _, one in points)),
    )
    described = "; ".join(
        f"at {number(at)} {plain(one.get('recovered_tokens'))} of {plain(one.get('tokens'))} tokens"
        for at, one in points
    )
    chart = ShareCurves("strength", tuple(number(at) for at, _ in points), series)
    return [Figure(f"{defence}, layer {layer}", f"Read: {described}.", chart, M)]


def _table(curves: list[dict[str, Any]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in curves[:ROWS]:
        kl = mapping(one.get("kl"))
        low_high = [number(real(end)) for end in sequence(one.get("interval"))]
        rows.append((
            plain(one.get("defence")), plain(one.get("strength")), plain(one.get("layer")),
            f"{plain(one.get('recovered_tokens'))} of {plain(one.get('tokens'))}",
            f"{plain(one.get('recovered_prompts'))} of {plain(one.get('prompts'))}", " to ".join(low_high),
            plain(one.get("ambiguous")), plain(one.get("wrong")), number(real(one.get("error_bound"))),
            number(real(kl.get("mean"))),
            number(real(kl.get("p99"))),
            number(real(one.get("same_top1"))),
        ))  # fmt: skip
    columns = (
        Column("defence"), Column("strength", True), Column("layer", True), Column("tokens read", claim=M),
        Column("prompts read", claim=M), Column("rate of prompts (95 %)", claim=M), Column("ambiguous", True, M),
        Column("wrong", True, M), Column("share wrong, bound", True, M), Column("KL, mean (nats)", True, M),
        Column("KL, p99", True, M),
        Column("same prediction", True, M),
    )  # fmt: skip
    return Table("Every defence and strength", columns, tuple(rows), omitted=len(curves) - len(rows))
