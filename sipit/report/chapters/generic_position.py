"""The chapter of `prove generic-position`: what collides exactly, what floats report there, and for whom it holds."""

from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, told
from sipit.report.chapters.theorems import hypotheses
from sipit.report.document import (
    Badge,
    Block,
    Chapter,
    Claim,
    Column,
    Fact,
    Facts,
    Findings,
    Paragraph,
    Section,
    Table,
    Theme,
    Tone,
)
from sipit.report.generic import ROWS, fields
from sipit.report.provenance import model_name
from sipit.report.reading import integer, mapping, objects, sequence, string, without
from sipit.report.wording import count, do, number, plain

_COUNTS = {
    "classes": "patterns of pairs of prompts",
    "certified": "differ for almost every parameter",
    "collisions_proved": "collide for every parameter",
    "undecided": "undecided",
}
_SHOWN = {*_COUNTS, "statement", "collisions", "collisions_undecided", "open", "rounding", "rounding_of_runs", "scope",
          "hypotheses"}  # fmt: skip


def patterns_chapter(record: Record) -> Chapter:
    """The chapter of a `prove generic-position` record."""
    result = record.result
    facts = [Fact(label, plain(integer(result.get(name))), None if name == "undecided" else Claim.PROVED)
             for name, label in _COUNTS.items()]  # fmt: skip
    if result.get("collisions_undecided") is not None:
        facts.append(Fact("why not all collisions were looked for", plain(result.get("collisions_undecided"))))
    blocks: list[Block] = [Facts(tuple(facts))]
    collisions = objects(result.get("collisions"))
    if collisions:
        rows = tuple((_prompt(c.get("first")), _prompt(c.get("second")), plain(c.get("family"))) for c in collisions)
        columns = (Column("first"), Column("second"), Column("why, for every parameter", claim=Claim.PROVED))
        blocks.append(Table("Patterns that collide exactly (letters stand for any tokens)", columns, rows[:ROWS],
                            folded=len(rows) > 20, omitted=max(0, len(rows) - ROWS)))  # fmt: skip
    blocks += _rounding(result)
    left = [(_prompt(pair[0]), _prompt(pair[1])) for pair in map(sequence, sequence(result.get("open")))
            if len(pair) == 2]  # fmt: skip
    if left:
        blocks.append(Table("Undecided", (Column("first"), Column("second")), tuple(left[:ROWS]),
                            omitted=max(0, len(left) - ROWS)))  # fmt: skip
    scope = tuple((plain(name), plain(text)) for name, text in mapping(result.get("scope")).items())
    blocks.append(Table("For whom the pairs that differ do so", (Column("what"), Column("reach")), scope))
    blocks += hypotheses(result.get("hypotheses"))
    blocks.append(Section("The rest of the record", fields(without(result, _SHOWN)), folded=True))
    return chapter(
        record,
        Theme.EXACT,
        "Which pairs of prompts differ, and which always collide",
        _headline(record.verdict),
        sentences=told(Claim.PROVED, string(result.get("statement")) or ""),
        blocks=blocks,
        findings=_findings(record),
        found=_found(record),
    )


def _found(record: Record) -> str:
    """What the verdict is about."""
    name = {Verdict.PROVED: "certified", Verdict.REFUTED: "collisions_proved"}.get(record.verdict, "undecided")
    found = integer(record.result.get(name))
    kind = "exact collisions: " if record.verdict is Verdict.REFUTED else ""
    return "" if found is None else f"{kind}{count(found, 'pattern')}"


def _findings(record: Record) -> Findings:
    certified, collide, left = (
        integer(record.result.get(name)) or 0 for name in ("certified", "collisions_proved", "undecided")
    )
    about = f" ({model_name(record)})" if model_name(record) else ""
    differ = f"{count(certified, 'pattern')} of prompt pairs {do(certified, 'differ')}"
    equal = f"{count(collide, 'pattern')} of prompt pairs {do(collide, 'collide')}"
    return Findings(
        proved=(f"{differ} for almost every parameter value{about}",) if certified else (),
        broken=(f"{equal} for every parameter value{about}",) if collide else (),
        undecided=(f"{count(left, 'pattern')} of prompt pairs{about}",) if left else (),
    )


def _headline(verdict: Verdict) -> str:
    match verdict:
        case Verdict.PROVED:
            return "All patterns of prompt pairs differ for almost every parameter."
        case Verdict.REFUTED:
            return "Some pairs of prompts collide for every parameter; all else is listed."
        case _:
            return "Some patterns of prompt pairs are undecided."


def _prompt(tokens: Any) -> str:
    """Prompts as words over letters; the reserved token 0 is written BOS."""
    letters = [integer(token) for token in sequence(tokens)]
    return " ".join("?" if n is None else "BOS" if n == 0 else chr(96 + n) if n < 27 else str(n) for n in letters)


def _rounding(result: dict[str, Any]) -> list[Block]:
    """Exact collisions beside what each arithmetic reports of them."""
    pairs, runs = objects(result.get("rounding")), objects(result.get("rounding_of_runs"))
    if not pairs and not runs:
        return []
    found = [r for r in (*pairs, *runs) if (r.get("distance") or r.get("largest")) and r.get("dtype") != "float64"]
    kinds = sorted({f"{r.get('dtype')} with {r.get('attention')} attention" for r in found})
    blocks: list[Block] = [
        Paragraph(
            "Over the reals each of these pairs has one state. "
            + (f"A distance is reported by {' and '.join(kinds)}: rounding hides the collision, and a test in floats "
               "alone would call such a pair separated. One that reports 0 agrees with the reals, unknowingly."
               if kinds else "None of the floating-point runs reports a distance here."),
            Claim.MEASURED,
        )
    ]  # fmt: skip
    if pairs:
        columns = (Column("first"), Column("second"), Column("over the reals", True, Claim.PROVED),
                   Column("arithmetic"), Column("attention"), Column("reported distance", True, Claim.MEASURED),
                   Column("norm", True, Claim.MEASURED))  # fmt: skip
        rows = tuple((_prompt(r.get("first")), _prompt(r.get("second")), "0", plain(r.get("dtype")),
                      plain(r.get("attention")), number(r.get("distance")), number(r.get("norm")))
                     for r in pairs)  # fmt: skip
        blocks.append(Table("Pairs that collide exactly, in floats", columns, rows))
    if runs:
        columns = (Column("runs of one token, lengths"), Column("over the reals", True, Claim.PROVED),
                   Column("arithmetic"), Column("attention"), Column("tokens tried", True),
                   Column("reported apart", True, Claim.MEASURED), Column("largest distance", True, Claim.MEASURED),
                   Column("at token", True))  # fmt: skip
        rows = tuple((" and ".join(plain(n) for n in sequence(r.get("lengths"))), "0", plain(r.get("dtype")),
                      plain(r.get("attention")), plain(r.get("tokens")), plain(r.get("apart")),
                      number(r.get("largest")), plain(r.get("at_token"))) for r in runs)  # fmt: skip
        blocks.append(Table("Runs of every byte in two lengths, in floats", columns, rows))
    title = f"Rounding hides exact collisions ({count(len(pairs) + len(runs), 'measurement')})"
    return [Section(title, tuple(blocks), Badge("rounding", Tone.FAILS) if found else None)]
