"""Pages of stored records, as Markdown or one self-contained HTML file. A page is a view: it recomputes nothing.

records -> chapters (one file per command) -> document -> Markdown or HTML
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from proofs.errors import InvalidInput
from proofs.evidence import Record, write_atomically
from sipit.report.html import render_html
from sipit.report.markdown import render_markdown
from sipit.report.page import document_of

__all__ = ["render", "write_report"]


def render(records: Sequence[Record], *, format: Literal["html", "md"]) -> str:
    """A page of one record or several.

    Args:
        records: at least one, in the order of the page.
        format: `html` for one self-contained file, `md` for Markdown.

    Raises:
        InvalidInput: no records.
    """
    if not records:
        raise InvalidInput("Expected at least one record, but got none; name a file written with -o FILE.json.")
    document = document_of(records)
    return render_html(document) if format == "html" else render_markdown(document)


def write_report(path: Path, records: Sequence[Record]) -> None:
    """Writes a page whole or not at all; its form follows the ending, .html or .md.

    Raises:
        InvalidInput: another ending, no records, or a file that cannot be written.
    """
    if path.suffix not in {".html", ".md"}:
        raise InvalidInput(f"Expected a page ending in .html or .md, but got {path}; rename it.")
    page = render(records, format="html" if path.suffix == ".html" else "md")
    write_atomically(path, page.encode("utf-8"))
