"""The chapter of commands without one of their own."""

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, told
from sipit.report.document import Badge, Chapter, Findings, Theme, Tone
from sipit.report.generic import fields
from sipit.report.provenance import model_name

_PROVING = {"prove", "certify", "verify", "check"}  # commands whose numbers are not all measured


def generic_chapter(record: Record) -> Chapter:
    """The chapter of a command without one of its own."""
    about = record.command + (f" on {model_name(record)}" if model_name(record) else "")
    badge = Badge.of(record.verdict)
    proving = record.command.split(" ")[0] in _PROVING
    sentences = {
        Tone.HOLDS: "What was claimed holds.",
        Tone.FAILS: "What was claimed fails.",
        Tone.OPEN: "What was claimed stays open.",
        Tone.NEUTRAL: "The work was done; nothing is claimed by it.",
    }
    clause = (f"{about} ({badge.word})",)
    findings = {
        Tone.HOLDS: Findings(proved=clause) if proving else Findings(measured=clause),
        Tone.FAILS: Findings(broken=clause),
        Tone.OPEN: Findings(undecided=clause),
        Tone.NEUTRAL: Findings(),
    }
    return chapter(
        record,
        Theme.OTHER,
        record.command or "A record without a command",
        f"{about}: {badge.word}.",
        sentences=told(None, sentences[badge.tone]),
        blocks=fields(record.result, measured=not proving and record.verdict is not Verdict.DONE),
        findings=findings[badge.tone],
    )
