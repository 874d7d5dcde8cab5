"""Results in a notebook: the chapter of the page, its rows as a table, its first figure.

    record            as it is
    anything else     by its `to_record`

`proofs.showing` asks for these, so that whatever is a result has them.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from proofs.errors import MissingResource
from proofs.evidence import Record
from sipit.report.document import Block, Chapter, Document, Facts, Figure, Section, Tone
from sipit.report.html import render_fragment
from sipit.report.opening import opening
from sipit.report.page import chapters_of
from sipit.report.reading import mapping, objects, sequence

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

# Where a record has its rows; of any other the values at its top are one row.
_ROWS = ("prompts", "partial", "layers", "formats", "curves", "checks", "uncertified", "collisions", "failures")


def html(result: Any) -> str:
    """The chapters of a result as one element that stands by itself on someone else's page."""
    record = record_of(result)
    found = opening([record])
    chapters = tuple(chapters_of(record))
    return render_fragment(Document("", Tone.NEUTRAL, "", (), chapters, found and found.picture))


def dataframe(result: Any) -> Any:
    """The rows of a result as a `pandas.DataFrame`: tokens of an inversion, layers of a comparison, and so on.

    Raises:
        MissingResource: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError:
        way = "run: pip install 'sipit[notebook]'"
        raise MissingResource(f"Expected pandas for a table, but it is not installed; {way}.") from None
    return pandas.DataFrame(rows_of(record_of(result)))


def plot(result: Any) -> "Drawing":
    """The first figure of a result; what has none shows its facts."""
    from sipit.report.drawing import draw_facts, draw_figure

    chapters = chapters_of(record_of(result))
    figures = [figure for chapter in chapters for figure in _figures(chapter.blocks)]
    return draw_figure(figures[0]) if figures else draw_facts(chapters[0].headline, _facts(chapters[0]))


def record_of(result: Any) -> Record:
    """The record of a result."""
    return result if isinstance(result, Record) else result.to_record()


def rows_of(record: Record) -> list[dict[str, Any]]:
    """The rows of a record, each a flat object; of an inversion one for every position of every prompt."""
    result = record.result
    if record.command == "invert" and objects(result.get("prompts")):
        return [row for number, prompt in enumerate(objects(result["prompts"])) for row in _tokens(number, prompt)]
    for name in _ROWS:
        if objects(result.get(name)):
            return [_flat(entry) for entry in objects(result[name])]
    return [_flat({"verdict": record.verdict.value} | {k: v for k, v in result.items() if k != "certificate"})]


def _tokens(number: int, prompt: Mapping[str, Any]) -> list[dict[str, Any]]:
    pieces = sequence(prompt.get("pieces"))
    return [
        {"prompt": number, "text": pieces[at] if at < len(pieces) else None} | _flat(token)
        for at, token in enumerate(objects(prompt.get("tokens")))
    ]


def _flat(entry: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """An object whose objects are written by dotted names; lists stay as they are."""
    row: dict[str, Any] = {}
    for name, value in entry.items():
        row |= _flat(mapping(value), f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return row


def _figures(blocks: tuple[Block, ...]) -> list[Figure]:
    inner = [_figures(block.blocks) if isinstance(block, Section) else [block] for block in blocks]
    return [block for blocks_of in inner for block in blocks_of if isinstance(block, Figure)]


def _facts(chapter: Chapter) -> list[tuple[str, str]]:
    facts = [fact for block in chapter.blocks if isinstance(block, Facts) for fact in block.items]
    return [
        (fact.label, fact.value if isinstance(fact.value, str) else getattr(fact.value, "word", "")) for fact in facts
    ]
