"""The chapter of `capture`: which states were written, and of what."""

from proofs.evidence import Record
from sipit.report.chapter import chapter, told
from sipit.report.document import Chapter, Theme
from sipit.report.generic import fields
from sipit.report.provenance import model_name
from sipit.report.reading import integer, mapping, sequence
from sipit.report.wording import count, plain


def capture_chapter(record: Record) -> Chapter:
    """The chapter of a `capture` record."""
    result = record.result
    prompts, positions = integer(result.get("prompts")), integer(result.get("positions"))
    subject = f" of {model_name(record)}" if model_name(record) else ""
    seen = sequence(mapping(result.get("observation")).get("sites")) or ["residual"]
    kind = "hidden states" if list(map(plain, seen)) == ["residual"] else ", ".join(map(plain, seen))
    kind = "fingerprints of hidden states" if result.get("fingerprint") is not None else kind
    what = kind.capitalize() if prompts is None else f"The {kind} of {count(prompts, 'prompt')}"
    where = "" if result.get("layer") is None else f" at layer {plain(result.get('layer'))}"
    files = ", ".join(plain(name) for name in sequence(result.get("files")))
    how = "token by token with a cache" if result.get("cached") is True else "by ordinary forward passes"
    return chapter(
        record,
        Theme.OTHER,
        "Captured states",
        f"{what}{where}{subject} were captured.",
        sentences=told(
            None,
            f"They were taken {how}" + ("." if positions is None else f", {count(positions, 'position')} in all."),
            f"They are in {files or 'a file that the record does not name'}.",
        ),
        blocks=fields(result),
    )
