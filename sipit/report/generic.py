"""A plain view of any record: what a command shows until it has a chapter of its own, and fields it does not know."""

from collections.abc import Mapping
from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.document import Badge, Block, Chapter, Claim, Column, Fact, Facts, Section, Table, Tone
from sipit.report.provenance import environment, model_name, repeat
from sipit.report.reading import mapping, sequence
from sipit.report.wording import count, plain

ROWS = 200  # rows of a table that a page shows
_DEEPEST = 3  # sections inside sections; below, values go on one line
_PROVING = {"prove", "certify", "verify", "check"}  # commands whose numbers are not all measured


def generic_chapter(record: Record) -> Chapter:
    """The chapter of a command without one of its own."""
    subject = model_name(record)
    about = f" on {subject}" if subject else ""
    badge = Badge.of(record.verdict)
    measured = record.command.split(" ")[0] not in _PROVING
    sentences = {
        Tone.HOLDS: "What was claimed holds.",
        Tone.FAILS: "What was claimed fails.",
        Tone.OPEN: "What was claimed stays open.",
        Tone.NEUTRAL: "The work was done; nothing is claimed by it.",
    }
    return Chapter(
        title=f"{record.command}{about}",
        badge=badge,
        headline=f"{record.command}{about}: {badge.word}.",
        sentences=(sentences[badge.tone],),
        blocks=fields(record.result, measured=measured and record.verdict is not Verdict.DONE),
        repeat=repeat(record),
        environment=environment(record),
    )


def fields(data: Mapping[str, Any], *, measured: bool = False, depth: int = 0) -> tuple[Block, ...]:
    """Blocks that show every field of an object: values in a list, lists of objects as tables, objects as sections.

    With `measured` every number is called so; without it floats alone: what is certified is written as text or counted.
    """
    facts: list[Fact] = []
    blocks: list[Block] = []
    for key, value in data.items():
        label = key.replace("_", " ")
        if key == "certificate" and isinstance(value, dict):
            kind = value.get("kind", "certificate")
            facts.append(Fact(label, f"{plain(kind)}; it is in the record: sipit verify RECORD.json checks it again"))
        elif isinstance(value, dict) and value and depth < _DEEPEST:
            blocks.append(Section(label, fields(mapping(value), measured=measured, depth=depth + 1)))
        elif _is_table(value):
            blocks.append(table(label, sequence(value), measured=measured))
        else:
            facts.append(Fact(label, plain(value), _claim(value, measured)))
    return ((Facts(tuple(facts)), *blocks)) if facts else tuple(blocks)


def table(caption: str, entries: list[Any], *, measured: bool = False) -> Table:
    """A list of objects as a table with a column for every field that one of them has."""
    shown = [mapping(entry) for entry in entries[:ROWS]]
    names = list(dict.fromkeys(name for entry in shown for name in entry))
    numeric = {name for name in names if all(_is_number(entry.get(name, 0)) for entry in shown)}
    claims = {name: next(filter(None, (_claim(entry.get(name), measured) for entry in shown)), None) for name in names}
    return Table(
        caption=f"{caption} ({len(entries)})",
        columns=tuple(Column(name.replace("_", " "), name in numeric, claims[name]) for name in names),
        rows=tuple(tuple(plain(entry.get(name)) for name in names) for entry in shown),
        omitted=len(entries) - len(shown),
    )  # fmt: skip


def omission(block: Table) -> str:
    """What a page says of the rows that it leaves out."""
    return f"{count(block.omitted, 'more row')} in the record."


def _is_table(value: Any) -> bool:
    entries = sequence(value)
    return bool(entries) and all(isinstance(entry, dict) and entry for entry in entries)


def _claim(value: Any, measured: bool) -> Claim | None:
    return Claim.MEASURED if isinstance(value, float) or (measured and _is_number(value)) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
