"""The chapter of `certify`: the bound and what it is of, and the pairs without one."""

import math
import re
from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.claims.fields import EQUAL
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.document import Block, Cell, Chapter, Claim, Column, Fact, Facts, Findings, Literal, Table, Theme
from sipit.report.generic import ROWS, idealised
from sipit.report.reading import integer, objects, sequence, string
from sipit.report.wording import NONE, count, do, plain


def separation_chapter(record: Record) -> Chapter:
    """The chapter of a `certify` record."""
    result = record.result
    blocks: list[Block] = [_facts(result)]
    pairs = objects(result.get("uncertified"))
    if pairs:
        blocks.append(_uncertified(pairs))
    blocks += idealised(result)
    return chapter(
        record,
        Theme.CERTIFICATES,
        "Certified distances",
        _headline(record),
        sentences=told(Claim.PROVED, string(result.get("statement")) or ""),
        blocks=blocks,
        findings=_findings(record),
    )


def _counted(result: dict[str, Any]) -> tuple[int, int, int, int]:
    """How many pairs there are, how many are certified to be apart, equal, and open; more than a record lists."""
    certified, pairs = (integer(result.get(name)) or 0 for name in ("certified", "pairs"))
    listed = sum(pair.get("reason") == EQUAL for pair in objects(result.get("uncertified")))
    tokens = sum(math.comb(len(sequence(group)), 2) for group in sequence(result.get("duplicates")))
    equal = max(listed, tokens)  # of a vocabulary the record lists groups of tokens, and not all of their pairs
    return pairs, certified, equal, max(0, pairs - certified - equal)


def _findings(record: Record) -> Findings:
    pairs, certified, equal, left = _counted(record.result)
    of = f"of prompts of {subject_of(record)} at layer {plain(record.result.get('layer'))}"
    least = _decimal(record.result.get("minimum_lower_bound"))
    bound = "" if least == NONE else f", by at least {least} (L2)"
    done = f"the states {of} are apart in {certified} of {count(pairs, 'pair')}{bound}"
    same = f"{count(equal, 'pair')} {of} {do(equal, 'have', 'has')} equal states over the reals"
    return Findings(
        proved=(done,) if certified else (),
        broken=(same,) if equal else (),
        undecided=(f"{count(left, 'pair')} {of} without a certified distance",) if left else (),
    )


def _decimal(value: Any) -> str:
    """A bound is a decimal string; digits are cut off, never rounded up, so that what is shown is a bound still."""
    found = re.fullmatch(r"([0-9]+\.[0-9]{2})[0-9]*(?:e([+-]?[0-9]{1,6}))?", plain(value))
    if found is None:
        return plain(value)
    return found[1] if int(found[2] or 0) == 0 else f"{found[1]}e{int(found[2])}"


def _headline(record: Record) -> str:
    pairs, certified, equal, left = _counted(record.result)
    if record.verdict is Verdict.SEPARATED:
        return f"{count(pairs, 'pair')} of prompts: all are certified to be apart."
    collide = record.verdict is Verdict.COLLISION
    parts = [f"{equal} {do(equal, 'are', 'is')} equal"] if equal or collide else []
    parts += [f"{left} {do(left, 'stay')} open"] if left or not collide else []
    return f"{certified} of {count(pairs, 'pair')} are certified to be apart, {' and '.join(parts)}."


def _facts(result: dict[str, Any]) -> Facts:
    tokens = integer(result.get("tokens"))
    prompts = sequence(result.get("prompts"))
    facts = [
        Fact("layer (blocks passed, before the final norm)", plain(result.get("layer"))),
        Fact("prompts", plain(len(prompts)))
        if tokens is None
        else Fact("prompts", f"a prefix of {count(len(sequence(result.get('prefix'))), 'token')}, followed by each of "
                             f"{count(tokens, 'token')}"),
        Fact("pairs", plain(result.get("pairs"))),
        Fact("certified", plain(result.get("certified")), Claim.PROVED),
        Fact("least distance, at least (L2)", plain(result.get("minimum_lower_bound")), Claim.PROVED),
        Fact("of prompts number" if tokens is None else "of tokens", plain(result.get("closest"))),
        Fact("bits after the point", plain(result.get("bits"))),
    ]  # fmt: skip
    for text in sequence(result.get("closest_text")):
        facts.append(Fact("written", Literal(plain(text))))
    if result.get("reason") is not None:
        facts.append(Fact("why nothing is certified", plain(result.get("reason"))))
    if result.get("collisions_undecided") is not None:
        told = plain(result.get("collisions_undecided"))
        facts.append(Fact("why it was not told whether open pairs are equal", told))
    if result.get("matches") is not None:
        facts.append(Fact("the observed state can be of prompts number", plain(result.get("matches")), Claim.PROVED))
    return Facts(tuple(facts))


def _uncertified(pairs: list[dict[str, Any]]) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (plain(pair.get("first")), plain(pair.get("second")), plain(pair.get("reason")), plain(pair.get("family")))
        for pair in pairs[:ROWS]
    )
    columns = (Column("first", True), Column("second", True), Column("reason"), Column("family"))
    return Table("Pairs without a bound", columns, rows, omitted=len(pairs) - len(rows))
