"""The chapters of commands without one of their own, of `verify` and of `fuzz`."""

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.document import (
    Badge,
    Block,
    Chapter,
    Claim,
    Column,
    Command,
    Fact,
    Facts,
    Findings,
    Table,
    Theme,
    Tone,
)
from sipit.report.generic import ROWS, fields
from sipit.report.provenance import model_name
from sipit.report.reading import integer, objects, sequence, string, without
from sipit.report.wording import count, plain

M = Claim.MEASURED
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


_OUTCOMES = {
    Verdict.ACCEPTED: "accepted",
    Verdict.ACCEPTED_SAMPLED: "accepted on a sample of its steps",
    Verdict.UNDECIDED: "left open",
}


def verification_chapter(record: Record) -> Chapter:
    """The chapter of a `verify` record: what the small kernel says of a certificate."""
    result = record.result
    of, file = plain(result.get("of")), plain(record.provenance.get("file"))
    statement = string(result.get("claim")) or ""
    outcome = f"The record of {of} in {file} was {_OUTCOMES.get(record.verdict, 'rejected')}"
    paths = tuple((plain(path),) for path in sequence(result.get("not_vouched_for"))[:ROWS])
    blocks = list(fields(without(result, {"reason", "of", "claim", "facts", "derived", "not_vouched_for"})))
    if paths:
        blocks.append(Table("Not vouched for: fields of the record that were not derived", (Column("path"),), paths))
    open_ = Findings(undecided=(f"what the certificate in {file} shows, of which not all is checked",))
    findings = {
        Verdict.ACCEPTED: Findings(proved=(statement.rstrip("."),)),
        Verdict.REJECTED: Findings(broken=(f"the record of {of} in {file} was rejected",)),
    }
    return chapter(
        record,
        Theme.CERTIFICATES,
        f"A certificate of {of}, checked again",
        f"{outcome}: {plain(result.get('reason'))}.",
        sentences=told(Claim.PROVED if record.verdict is Verdict.ACCEPTED else None, statement),
        blocks=blocks,
        findings=findings.get(record.verdict, open_),
    )


def fuzz_chapter(record: Record) -> Chapter:
    """The chapter of a `fuzz` record: how many prompts were tried, and the shortest that do not come back."""
    result, subject = record.result, subject_of(record)
    tried = count(integer(result.get("examples")) or 0, "prompt")
    failures = objects(result.get("failures"))
    at = f"layer {plain(result.get('layer'))}" if result.get("layer") != "all" else "every layer"
    blocks: list[Block] = []
    for failure in failures[:ROWS]:
        blocks += [
            Facts(
                (
                    Fact("how it fails", Badge(plain(failure.get("class")).replace("_", " "), Tone.FAILS)),
                    Fact("shortest prompt found, as token ids", plain(failure.get("token_ids")), M),
                    Fact("layer", plain(failure.get("layer"))),
                    Fact("what happens", plain(failure.get("detail"))),
                )
            ),
            Command("The command that repeats it", plain(failure.get("command"))),
        ]
    rest = fields(without(result, {"failures", "examples", "layer"}))
    held = f"All of {tried} that were drawn came back from the states at {at} of {subject}"
    failed = f"{count(len(failures), 'class', 'classes')} of prompts do not come back from the states of {subject}"
    return chapter(
        record,
        Theme.INVERSION,
        "Looking for a prompt that does not come back",
        f"{failed}, of {tried} that were drawn." if failures else f"{held}.",
        sentences=told(
            M, "Prompts are drawn by Hypothesis and inverted; one that fails is made as short as it will go."
        ),
        blocks=[*blocks, *rest],
        findings=Findings(broken=(f"{failed} (fuzzing)",))
        if failures
        else Findings(measured=(f"{tried} drawn by fuzzing came back from the states at {at} of {subject}",)),
    )
