"""From records to a document: the verdict of all of them in three sentences, and chapters in the order of a reader."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from proofs.evidence import Record
from sipit.report.chapters.audit import audit_chapter
from sipit.report.chapters.capture import capture_chapter
from sipit.report.chapters.certificates import certificates_chapters
from sipit.report.chapters.check import check_chapter
from sipit.report.chapters.collisions import collisions_chapter
from sipit.report.chapters.comparison import comparison_chapter
from sipit.report.chapters.fuzzing import fuzz_chapter
from sipit.report.chapters.generic_position import patterns_chapter
from sipit.report.chapters.installation import installation_chapter
from sipit.report.chapters.inversion import inversion_chapter
from sipit.report.chapters.leak import defences_chapter
from sipit.report.chapters.noise import bounded_noise_chapters, measured_noise_chapters
from sipit.report.chapters.other import generic_chapter
from sipit.report.chapters.partial_and_diagnosis import diagnosis_chapter, partial_chapter
from sipit.report.chapters.quantization import quantization_chapter
from sipit.report.chapters.rounding_leaks import leak_chapters
from sipit.report.chapters.separation import separation_chapter
from sipit.report.chapters.theorems import training_step_chapter, witness_chapter
from sipit.report.chapters.training import training_chapter
from sipit.report.chapters.verification import verification_chapter
from sipit.report.document import Chapter, Document, Figure, Sentence, Theme, Tone
from sipit.report.opening import opening
from sipit.report.reading import objects
from sipit.report.wording import count

_CHAPTERS: dict[str, Callable[[Record], Chapter]] = {
    "audit": audit_chapter,
    "capture": capture_chapter,
    "certify": separation_chapter,
    "check": check_chapter,
    "collide": collisions_chapter,
    "compare": comparison_chapter,
    "doctor": installation_chapter,
    "fuzz": fuzz_chapter,
    "invert": inversion_chapter,
    "leak": defences_chapter,
    "prove generic-position": patterns_chapter,
    "prove training-step": training_step_chapter,
    "prove witness": witness_chapter,
    "quantization": quantization_chapter,
    "train": training_chapter,
    "verify": verification_chapter,
}
_WORDS = {  # of one result, of several
    Tone.HOLDS: ("holds", "hold"),
    Tone.FAILS: ("fails", "fail"),
    Tone.OPEN: ("stays open", "stay open"),
    Tone.NEUTRAL: ("claims nothing", "claim nothing"),
}
_ORDER = list(Theme)


def document_of(records: Sequence[Record], files: Sequence[str] = ()) -> Document:
    """The document of one record or several.

    Args:
        files: where the records are, in the same order; without them commands name RECORD.json.
    """
    main = [main_chapter(record) for record in records]
    more = [chapter for record in records for chapter in _further_chapters(record)]
    more += certificates_chapters(records, files)
    chapters = sorted([*main, *more], key=lambda chapter: _ORDER.index(chapter.theme))  # stable
    tones = [chapter.badge.tone for chapter in main]
    if len(records) == 1:
        title, tone, headline = main[0].title, tones[0], main[0].headline
    else:
        title = "What was found"
        tone = next((tone for tone in (Tone.FAILS, Tone.OPEN, Tone.HOLDS) if tone in tones), Tone.NEUTRAL)
        parts = [count(tones.count(tone), *words) for tone, words in _WORDS.items() if tone in tones]
        headline = f"{count(len(records), 'result')}: {', '.join(parts)}."
    found = opening(records)
    if found is not None and len(records) > 1:
        tone, headline = main_chapter(found.record).badge.tone, found.headline
    verdict, figure = _verdict(chapters), None
    if found is None and len(records) == 1:
        blocks = [block for chapter in chapters for block in chapter.blocks]
        figure = next((block for block in blocks if isinstance(block, Figure)), None)
        chapters = [_without(chapter, figure) for chapter in chapters]
    return Document(title, tone, headline, verdict, tuple(chapters), found and found.picture, figure)


def _without(chapter: Chapter, figure: Figure | None) -> Chapter:
    return replace(chapter, blocks=tuple(block for block in chapter.blocks if block is not figure))


def chapters_of(record: Record) -> list[Chapter]:
    """All that a page says of one record, but for the commands that check its certificate again."""
    return [main_chapter(record), *_further_chapters(record)]


def main_chapter(record: Record) -> Chapter:
    """What a record is about."""
    if record.command == "invert" and objects(record.result.get("diagnosis")):
        return diagnosis_chapter(record)
    if record.command == "invert" and objects(record.result.get("partial")):
        return partial_chapter(record)
    return _CHAPTERS.get(record.command, generic_chapter)(record)


def _further_chapters(record: Record) -> list[Chapter]:
    """Sides of a record that have a place of their own on the page."""
    match record.command:
        case "certify":
            return bounded_noise_chapters(record)
        case "quantization":
            return [*measured_noise_chapters(record), *leak_chapters(record)]
        case _:
            return []


def _verdict(chapters: Sequence[Chapter]) -> tuple[Sentence, ...]:
    """Three sentences: what was proved, what was measured, what breaks or is open."""
    found = [chapter.findings for chapter in chapters]
    proved = [clause for one in found for clause in one.proved]
    bounded = [clause for one in found for clause in one.bounded]
    measured = [clause for one in found for clause in one.measured]
    broken = [clause for one in found for clause in one.broken]
    undecided = [f"open: {clause}" for one in found for clause in one.undecided]
    proofs = [*proved, *(f"bounded under rounding: {clause}" for clause in bounded)]
    worst = Tone.FAILS if broken else Tone.OPEN if undecided else Tone.NEUTRAL
    nothing = "Nothing that was looked at broke, and nothing was left open."
    return (
        Sentence("Proved", _sentences(proofs, "Nothing here is proved."), Tone.HOLDS if proofs else Tone.NEUTRAL),
        Sentence("Measured", _sentences(measured, "Nothing here is claimed by measurement alone."), Tone.NEUTRAL),
        Sentence("Breaks or is open", _sentences([*broken, *undecided], nothing), worst),
    )


def _sentences(clauses: Iterable[str], nothing: str) -> tuple[str, ...]:
    return tuple(f"{text[:1].upper()}{text[1:]}." for text in dict.fromkeys(clauses)) or (nothing,)
