"""What every chapter has in common: a title with its subject, the badge of its record, and how to repeat it."""

from collections.abc import Sequence
from dataclasses import replace

from proofs.evidence import Record
from sipit.report.document import Badge, Block, Chapter, Claim, Findings, Paragraph, Theme, Tone
from sipit.report.provenance import environment, model_name, repeat


def chapter(
    record: Record,
    theme: Theme,
    about: str,
    headline: str,
    *,
    sentences: Sequence[Paragraph] = (),
    blocks: Sequence[Block] = (),
    findings: Findings | None = None,
    badge: Badge | None = None,
    found: str = "",
) -> Chapter:
    """A chapter of a record.

    Args:
        about: the title without its subject, which is the model of the record.
        headline: what was found, in one sentence.
        findings: what it adds to the verdict of the page. Where they name nothing that broke or is open, and the badge
            says that something does, it is the title.
        badge: by default that of the record's verdict.
        found: what that verdict is about, in a few words beside it.
    """
    subject = model_name(record)
    title = about + (f": {subject}" if subject else "")
    badge = badge or Badge.of(record.verdict, found)
    return Chapter(
        theme=theme,
        title=title,
        badge=badge,
        headline=headline,
        sentences=tuple(sentence for sentence in sentences if sentence.text),
        blocks=tuple(blocks),
        findings=_borne_out(findings or Findings(), badge, title),
        repeat=repeat(record),
        environment=environment(record),
    )


def _borne_out(findings: Findings, badge: Badge, title: str) -> Findings:
    """The findings, which never say that nothing broke or is left open beside a badge that says otherwise."""
    clause = (f"{title} ({badge.word})",)
    if badge.tone is Tone.FAILS and not findings.broken:
        return replace(findings, broken=clause)
    if badge.tone is Tone.OPEN and not findings.undecided:
        return replace(findings, undecided=clause)
    return findings


def subject_of(record: Record) -> str:
    """The model of a record, in a sentence."""
    return model_name(record) or "the model"


def told(claim: Claim | None, *sentences: str) -> list[Paragraph]:
    """Sentences that rest on one kind of evidence; empty ones are left out."""
    return [Paragraph(sentence, claim) for sentence in sentences if sentence]
