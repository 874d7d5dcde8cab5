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


def render(records: Sequence[Record], *, format: Literal["html", "md"], files: Sequence[str] = ()) -> str:
    """A page of one record or several.

    Args:
        records: at least one; chapters on one theme keep their order.
        format: `html` for one self-contained file, `md` for Markdown.
        files: where the records are, in the same order, for the commands that check certificates again.

    Raises:
        InvalidInput: no records, or one that no page can show.
    """
    if not records:
        raise InvalidInput("Expected at least one record, but got none; name a file written with -o FILE.json.")
    try:
        document = document_of(records, files)
        return render_html(document) if format == "html" else render_markdown(document)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # Records come from files: whatever one holds, a user is told in a sentence.
        commands = ", ".join(record.command for record in records)
        raise InvalidInput(
            f"Expected records as commands write them, but one of these ({commands}) cannot be shown "
            f"({type(error).__name__}); write it again with -o FILE.json."
        ) from error


def write_report(path: Path, records: Sequence[Record], files: Sequence[str] = ()) -> None:
    """Writes a page whole or not at all; its form follows the ending, .html or .md.

    Args:
        path: of the page.
        records: as for `render`.
        files: as for `render`.

    Raises:
        InvalidInput: another ending, no records, or a file that cannot be written.
    """
    if path.suffix not in {".html", ".md"}:
        raise InvalidInput(f"Expected a page ending in .html or .md, but got {path}; rename it.")
    page = render(records, format="html" if path.suffix == ".html" else "md", files=files)
    write_atomically(path, page.encode("utf-8", "backslashreplace"))
