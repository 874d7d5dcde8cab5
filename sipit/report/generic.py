"""Fields as they are: how a page shows what no chapter knows."""

from collections.abc import Mapping
from typing import Any

from sipit.report.document import Block, Claim, Column, Fact, Facts, Section, Table
from sipit.report.reading import mapping, sequence
from sipit.report.wording import count, plain

ROWS = 200  # rows of a table that a page shows
_DEEPEST = 3  # sections inside sections; below, values go on one line


def fields(data: Mapping[str, Any], *, measured: bool | None = False, depth: int = 0) -> tuple[Block, ...]:
    """Blocks that show every field of an object: values in a list, lists of objects as tables, objects as sections.

    With `measured` every number is called so; without it floats alone: what is certified is written as text or counted.
    None calls none so: the fields are settings. Certificates are left out, for they have a chapter of their own.
    """
    facts: list[Fact] = []
    blocks: list[Block] = []
    for key, value in data.items():
        label = key.replace("_", " ")
        if key == "certificate" and isinstance(value, dict):
            continue
        if isinstance(value, dict) and value and depth < _DEEPEST:
            blocks.append(Section(label, fields(mapping(value), measured=measured, depth=depth + 1)))
        elif _is_table(value):
            blocks.append(table(label, sequence(value), measured=measured))
        else:
            facts.append(Fact(label, plain(value), _claim(value, measured)))
    return ((Facts(tuple(facts)), *blocks)) if facts else tuple(blocks)


def rest(data: Mapping[str, Any]) -> tuple[Block, ...]:
    """What a chapter shows of the fields that it has no picture for, settings and the like: folded; none, if empty."""
    blocks = fields(data, measured=None)
    return (Section("The rest of the record", blocks, folded=True),) if blocks else ()


def idealised(result: Mapping[str, Any]) -> tuple[Block, ...]:
    """How the network that a proof is about differs from the library's code, if it does."""
    lines = tuple((plain(line),) for line in sequence(result.get("idealisations"))[:ROWS])
    return (Table("What the proof idealises", (Column("idealisation"),), lines),) if lines else ()


def table(caption: str, entries: list[Any], *, measured: bool | None = False) -> Table:
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


def _claim(value: Any, measured: bool | None) -> Claim | None:
    if measured is None:
        return None
    return Claim.MEASURED if isinstance(value, float) or (measured and _is_number(value)) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
