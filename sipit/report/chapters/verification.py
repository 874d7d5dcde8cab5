"""The chapter of `verify`: what the kernel says of a certificate."""

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.claims.paths import in_short
from sipit.report.chapter import chapter, told
from sipit.report.chapters.certificates import proves
from sipit.report.document import Chapter, Claim, Column, Findings, Table, Theme
from sipit.report.generic import ROWS, fields
from sipit.report.reading import mapping, sequence, string, without
from sipit.report.wording import plain

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
    derived, other = (map(str, sequence(result.get(name))) for name in ("derived", "not_vouched_for"))
    paths = tuple((plain(path),) for path in in_short(other, derived)[:ROWS])
    blocks = list(fields(without(result, {"reason", "of", "claim", "verdict", "facts", "derived", "not_vouched_for"})))
    if paths:
        blocks.append(Table("Not vouched for: fields of the record that were not derived", (Column("path"),), paths))
    open_ = Findings(undecided=(f"what the certificate in {file} shows, of which not all is checked",))
    refutes = result.get("verdict") == Verdict.REFUTED
    shown, proved = (statement.rstrip("."),), proves(result.get("kind"), mapping(result.get("facts")), refutes=refutes)
    findings = {
        Verdict.ACCEPTED: Findings(proved=shown) if proved else Findings(undecided=shown),
        Verdict.REJECTED: Findings(broken=(f"the record of {of} in {file} was rejected",)),
    }
    return chapter(
        record,
        Theme.CERTIFICATES,
        f"A certificate of {of}, checked again",
        f"{outcome}: {plain(result.get('reason'))}.",
        sentences=told(Claim.PROVED if record.verdict is Verdict.ACCEPTED and proved else None, statement),
        blocks=blocks,
        findings=findings.get(record.verdict, open_),
    )
