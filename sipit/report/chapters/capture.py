"""The chapter of `capture`: which states were written, and of what."""

from proofs.evidence import Record
from sipit.report.chapter import chapter, told
from sipit.report.document import Chapter, Theme
from sipit.report.generic import fields
from sipit.report.observed import observed
from sipit.report.provenance import model_name
from sipit.report.reading import integer, sequence
from sipit.report.wording import count, plain


def capture_chapter(record: Record) -> Chapter:
    """The chapter of a `capture` record."""
    result = record.result
    prompts, positions = integer(result.get("prompts")), integer(result.get("positions"))
    subject = f" of {model_name(record)}" if model_name(record) else ""
    seen = observed(result)
    kind = f"fingerprints of {seen.of_all}" if result.get("fingerprint") is not None else seen.of_all
    what = kind.capitalize() if prompts is None else f"The {kind} of {count(prompts, 'prompt')}"
    files = ", ".join(plain(name) for name in sequence(result.get("files")))
    how = "token by token with a cache" if result.get("cached") is True else "by ordinary forward passes"
    return chapter(
        record,
        Theme.OTHER,
        "Captured states",
        f"{what}{seen.at}{subject} were captured.",
        sentences=told(
            None,
            f"They were taken {how}" + ("." if positions is None else f", {count(positions, 'position')} in all."),
            f"They are in {files or 'a file that the record does not name'}.",
        ),
        blocks=fields(result),
    )
