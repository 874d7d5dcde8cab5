"""Where a record comes from, and how to repeat it."""

import shlex

from proofs.evidence import Record
from sipit.report.document import Fact, Facts
from sipit.report.reading import mapping, sequence, string
from sipit.report.wording import number, plain


def repeat(record: Record) -> str:
    """The command line that made the record; the bare command where the record does not say."""
    line = record.provenance.get("command_line")
    if isinstance(line, str) and line:
        return line
    if sequence(line):
        return shlex.join(plain(part) for part in sequence(line))
    return shlex.join(part for part in ("sipit", *record.command.split(), model_name(record)) if part)


def model_name(record: Record) -> str:
    """The model that a record is about, or nothing."""
    model = record.provenance.get("model")
    return string(model) or string(mapping(model).get("name")) or ""


def environment(record: Record) -> Facts:
    """Model, digest, arithmetic, seed, versions and time of a record."""
    facts: list[Fact] = []
    for key, value in record.provenance.items():
        if key == "command_line":
            continue
        text = ", ".join(f"{name} {plain(of)}" for name, of in mapping(value).items()) or plain(value)
        facts.append(Fact(key.replace("_", " "), text))
    facts.append(Fact("seconds (wall clock)", number(record.seconds)))
    return Facts(tuple(facts))
