"""Where a record comes from, how to repeat it, and how to check its certificate again."""

import shlex
from collections.abc import Mapping
from typing import Any

from proofs.evidence import Record
from sipit.report.document import Fact, Facts
from sipit.report.reading import mapping, sequence, string
from sipit.report.wording import number, plain

# Those that take MODEL as argument.
_ON_A_MODEL = {
    "audit", "capture", "certify", "check", "collide", "doctor", "fuzz", "invert", "leak", "quantization",
}  # fmt: skip


def repeat(record: Record) -> str:
    """The command line that made the record; where the record does not say, the command as far as it is known.

    Empty for what a call in Python returned and says nothing of: no command line repeats that.
    Only a single command of this program is shown, quoted anew: a page is read, and its commands are copied.
    """
    if not record.provenance:
        return ""
    line = record.provenance.get("command_line")
    try:
        words = shlex.split(line) if isinstance(line, str) else [plain(word) for word in sequence(line)]
    except ValueError:  # a quotation without an end
        words = []
    if len(words) > 1 and words[0] == "sipit":
        return shlex.join(words)
    model = model_name(record) if record.command in _ON_A_MODEL else ""
    return shlex.join(part for part in ("sipit", *record.command.split(), model) if part)


def recheck(record: Record, file: str) -> str:
    """The command that checks the certificate of a record again; `file` is where the record is."""
    known = model_name(record) if record.command == "certify" else ""  # its weights are not in the record
    return shlex.join(["sipit", "verify", file, *(["--model", known] if known else [])])


def model_name(record: Record) -> str:
    """The model that a record is about, or nothing."""
    model = record.provenance.get("model")
    return string(model) or string(mapping(model).get("name")) or ""


def abilities(found: Mapping[str, Any]) -> list[Fact]:
    """What the body of a model was found to understand, and what was not used, with the reasons."""
    memory = mapping(found.get("memory"))
    understood = [
        f"{name} ({plain(argument)})"
        for name, argument in (
            ("a memory", memory.get("argument")),
            ("a mask", found.get("mask")),
            ("positions", found.get("positions")),
        )
        if argument is not None
    ]
    understood += [f"padding on the {plain(side)}" for side in sequence(found.get("padding"))]
    understood += ["packed candidates"] if found.get("packing") is True else []
    facts = [Fact("the body understands", ", ".join(understood) or "token ids alone")]
    return facts + [Fact("not used", plain(reason)) for reason in mapping(found.get("refused")).values()]


def environment(record: Record) -> Facts:
    """Model, digest, arithmetic, seed, versions and time of a record."""
    facts: list[Fact] = []
    for key, value in record.provenance.items():
        if key == "command_line" or value is None:
            continue
        if key == "abilities":
            facts += abilities(mapping(value))
            continue
        text = ", ".join(f"{name} {plain(of)}" for name, of in mapping(value).items()) or plain(value)
        facts.append(Fact(key.replace("_", " "), text))
    if record.provenance:  # else nobody has looked at a clock
        facts.append(Fact("seconds (wall clock)", number(record.seconds)))
    return Facts(tuple(facts))
