"""From records to a document: a chapter for each, and the verdict of all of them at the top."""

from collections.abc import Callable, Sequence

from proofs.evidence import Record
from sipit.report.capture import capture_chapter
from sipit.report.check import check_chapter
from sipit.report.collisions import collisions_chapter
from sipit.report.document import Chapter, Document, Tone
from sipit.report.generic import generic_chapter
from sipit.report.inversion import inversion_chapter
from sipit.report.patterns import patterns_chapter
from sipit.report.quantization import quantization_chapter
from sipit.report.separation import separation_chapter
from sipit.report.training import training_chapter
from sipit.report.wording import count

CHAPTERS: dict[str, Callable[[Record], Chapter]] = {
    "capture": capture_chapter,
    "certify": separation_chapter,
    "check": check_chapter,
    "collide": collisions_chapter,
    "invert": inversion_chapter,
    "prove generic-position": patterns_chapter,
    "quantization": quantization_chapter,
    "train": training_chapter,
}


_WORDS = {  # of one result, of several
    Tone.HOLDS: ("holds", "hold"),
    Tone.FAILS: ("fails", "fail"),
    Tone.OPEN: ("stays open", "stay open"),
    Tone.NEUTRAL: ("claims nothing", "claim nothing"),
}


def document_of(records: Sequence[Record]) -> Document:
    """The document of one record or several."""
    chapters = tuple(CHAPTERS.get(record.command, generic_chapter)(record) for record in records)
    if len(chapters) == 1:
        (only,) = chapters
        return Document(only.title, only.badge.tone, only.headline, only.sentences, chapters)
    titles = {tone: [chapter.title for chapter in chapters if chapter.badge.tone is tone] for tone in _WORDS}
    parts = [count(len(named), *_WORDS[tone]) for tone, named in titles.items() if named]
    return Document(
        title="What was found",
        tone=next((tone for tone in (Tone.FAILS, Tone.OPEN, Tone.HOLDS) if titles[tone]), Tone.NEUTRAL),
        headline=f"{count(len(chapters), 'result')}: {', '.join(parts)}.",
        sentences=tuple(f"What {_WORDS[tone][0]}: {'; '.join(named)}." for tone, named in titles.items() if named),
        chapters=chapters,
    )
