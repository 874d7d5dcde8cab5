"""What every chapter has in common: a title with its subject, the badge of its record, and how to repeat it."""

from collections.abc import Sequence

from proofs.evidence import Record
from sipit.report.document import Badge, Block, Chapter, Claim, Findings, Paragraph, Theme
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
        findings: what it adds to the verdict of the page; nothing by default.
        badge: by default that of the record's verdict.
        found: what that verdict is about, in a few words beside it.
    """
    subject = model_name(record)
    return Chapter(
        theme=theme,
        title=about + (f": {subject}" if subject else ""),
        badge=badge or Badge.of(record.verdict, found),
        headline=headline,
        sentences=tuple(sentence for sentence in sentences if sentence.text),
        blocks=tuple(blocks),
        findings=findings or Findings(),
        repeat=repeat(record),
        environment=environment(record),
    )


def subject_of(record: Record) -> str:
    """The model of a record, in a sentence."""
    return model_name(record) or "the model"


def told(claim: Claim | None, *sentences: str) -> list[Paragraph]:
    """Sentences that rest on one kind of evidence; empty ones are left out."""
    return [Paragraph(sentence, claim) for sentence in sentences if sentence]
