"""The chapters of `prove witness` and `prove training-step`: exact computations on small networks."""

import re
from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, told
from sipit.report.document import Block, Chapter, Claim, Column, Fact, Facts, Findings, Section, Table, Theme
from sipit.report.generic import ROWS, fields
from sipit.report.reading import integer, mapping, objects, sequence, string, without
from sipit.report.wording import count, plain

P = Claim.PROVED
_COUNTS = {
    "pairs": "ordered pairs of different prompts",
    "in_gap": "pairs that the printed proof does not cover",
    "zero_as_printed": "pairs with equal states, witness as printed",
    "zero_repaired": "pairs with equal states, witness repaired",
    "undecided": "undecided",
    "against_criterion": "pairs against the criterion",
}
_KEPT = (
    "So a step maps no set of positive measure of {what} to a null set: what holds for almost all of them before the "
    "step holds for almost all after it."
)
_LAW = re.compile(
    r"every absolutely continuous law(?: of (parameters and state(?: with positive second moments)?))? to"
)


def witness_chapter(record: Record) -> Chapter:
    """The chapter of a `prove witness` record."""
    result = record.result
    pairs, printed, repaired, left = (
        integer(result.get(name)) or 0 for name in ("pairs", "zero_as_printed", "zero_repaired", "undecided")
    )
    all_pairs = f"all {count(pairs, 'ordered pair')} of small prompts"
    fails = f"the witness as printed in the paper gives equal states on {count(printed, 'pair')}" if printed else ""
    proved = record.verdict is Verdict.PROVED
    headline = {
        Verdict.PROVED: f"The repaired witness tells {all_pairs} apart",
        Verdict.REFUTED: "The repaired witness is not enough",
    }.get(record.verdict, f"It stays open whether the repaired witness tells {all_pairs} apart")
    blocks: list[Block] = [Facts(tuple(Fact(label, plain(integer(result.get(name))), P)
                                       for name, label in _COUNTS.items()))]  # fmt: skip
    examples = [pair for pair in map(sequence, sequence(result.get("examples"))) if len(pair) == 2]
    if examples:
        rows = tuple((plain(first), plain(second)) for first, second in examples[:ROWS])
        caption = "Pairs of prompts (as token ids) with equal states under the witness as printed"
        blocks.append(Table(caption, (Column("first"), Column("second")), rows))
    blocks += hypotheses(result.get("hypotheses"))
    blocks += _rest(result, {*_COUNTS, "statement", "examples", "hypotheses"})
    return chapter(
        record,
        Theme.EXACT,
        "The witness of the theorem",
        f"{headline}; {fails}." if fails else f"{headline}.",
        sentences=told(P, string(result.get("statement")) or "")
        + told(None, "A witness is one set of parameters under which prompts have different states; with analyticity "
                     "it proves that they have for almost all parameters."),
        blocks=blocks,
        findings=Findings(
            proved=(f"a repaired witness tells {all_pairs} apart",) if proved else (),
            broken=tuple(filter(None, (fails, f"the repaired witness fails on {repaired}" if repaired else ""))),
            undecided=(f"{count(left, 'pair')} of the witness",) if left else (),
        ),
    )  # fmt: skip


def training_step_chapter(record: Record) -> Chapter:
    """The chapter of a `prove training-step` record."""
    result = record.result
    step = f"one step of {plain(result.get('optimizer'))} at rate {plain(result.get('rate'))}"
    size = f"a network of {count(integer(result.get('parameters')) or 0, 'parameter')}"
    proved = record.verdict is Verdict.PROVED
    statement = string(result.get("statement")) or ""
    law = _LAW.search(statement)
    batch = mapping(mapping(result.get("batch")).get("determinant"))
    one = mapping(result.get("determinant"))
    facts = [
        Fact("parameters", plain(result.get("parameters"))),
        Fact("rate", plain(result.get("rate"))),
        Fact("optimizer", plain(result.get("optimizer"))),
        Fact("determinant, one sample", _ball(one), P),
        Fact("determinant, a batch", _ball(batch), P),
    ]
    opened = objects(result.get("open"))
    blocks: list[Block] = [Facts(tuple(facts))]
    for caption, lines in (("What else follows", objects(result.get("follows"))), ("What stays open", opened)):
        if lines:
            rows = tuple((plain(line.get("statement")), plain(line.get("reason"))) for line in lines[:ROWS])
            blocks.append(Table(caption, (Column("statement"), Column("reason")), rows))
    blocks += hypotheses(result.get("hypotheses"))
    known = {"parameters", "rate", "optimizer", "determinant", "batch", "follows", "open", "hypotheses", "statement"}
    blocks += _rest(result, known)
    clause = f"the Jacobian of {step} on {size} does not vanish identically"
    left = f"whether {clause.replace('does not vanish', 'vanishes')}"
    return chapter(
        record,
        Theme.EXACT,
        "A training step",
        f"{clause[:1].upper()}{clause[1:]}." if proved else f"It stays open {left}.",
        sentences=told(P if proved else None, statement)
        + told(None, _KEPT.format(what=law[1] or "parameters") if proved and law else ""),
        blocks=blocks,
        findings=Findings(proved=(clause,)) if proved else Findings(undecided=(left,)),
    )  # fmt: skip


def hypotheses(found: Any) -> list[Block]:
    """The hypotheses that a theorem rests on, and which of them were checked."""
    rows = tuple((plain(entry.get("hypothesis")), "yes" if entry.get("checked") is True else "no")
                 for entry in objects(found)[:ROWS])  # fmt: skip
    columns = (Column("hypothesis"), Column("checked by machine"))
    return [Table("What it rests on", columns, rows)] if rows else []


def _ball(determinant: dict[str, Any]) -> str:
    text = plain(determinant.get("midpoint"))
    written = re.fullmatch(r"(-?[0-9]+\.[0-9]{0,12})[0-9]*(e[+-]?[0-9]+)?", text)
    shown = text if written is None else f"{written[1]}…{written[2] or ''}"
    return f"{shown}, to within {plain(determinant.get('radius'))}"


def _rest(result: dict[str, Any], known: set[str]) -> list[Block]:
    rest = fields(without(result, known))
    return [Section("The rest of the record", rest, folded=True)] if rest else []
