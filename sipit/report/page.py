"""From records to a document: a chapter for each, and the verdict of all of them at the top."""

from collections import Counter
from collections.abc import Callable, Sequence

from proofs.evidence import Record
from sipit.report.capture import capture_chapter
from sipit.report.check import check_chapter
from sipit.report.document import Chapter, Document, Tone
from sipit.report.generic import generic_chapter
from sipit.report.inversion import inversion_chapter
from sipit.report.wording import count

CHAPTERS: dict[str, Callable[[Record], Chapter]] = {
    "capture": capture_chapter,
    "check": check_chapter,
    "invert": inversion_chapter,
}


def document_of(records: Sequence[Record]) -> Document:
    """The document of one record or several."""
    chapters = tuple(CHAPTERS.get(record.command, generic_chapter)(record) for record in records)
    if len(chapters) == 1:
        (only,) = chapters
        return Document(only.title, only.headline, only.sentences, chapters)
    tones = Counter(chapter.badge.tone for chapter in chapters)
    words = {Tone.HOLDS: "hold", Tone.FAILS: "fail", Tone.OPEN: "stay open", Tone.NEUTRAL: "claim nothing"}
    parts = [f"{tones[tone]} {word}" for tone, word in words.items() if tones[tone]]
    return Document(
        title="What was found",
        headline=f"{count(len(chapters), 'result')}: {', '.join(parts)}.",
        sentences=(),
        chapters=chapters,
    )
