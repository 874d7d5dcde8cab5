"""A document as one HTML file: no script, no request, style and figures inside.

The template escapes all text by itself; what is made here (`Markup`) is made from escaped parts.
"""

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import count as count_from
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sipit.report.chart import draw
from sipit.report.document import Badge, Block, Cell, Claim, Document, Figure, Literal, claims_of
from sipit.report.generic import omission
from sipit.report.picture import gap, strip
from sipit.report.wording import is_hidden, number, sign_of

_HIDDEN = Markup('<span class="sign">{}</span>')
_SPACE = Markup("<i> </i>")  # the shortest element there is: a page has thousands


def render_html(document: Document) -> str:
    """The document as a page that works offline, on a phone, in print, in light and dark."""
    template = _environment().get_template("page.html.j2")
    return template.render(document=document, claims=claims_of(document), **_drawn_with(""))


_cells = count_from(1)


def render_fragment(document: Document) -> str:
    """The chapters of a document for a page of someone else's, such as a notebook; their style reaches nothing else."""
    scope = f"sipit-{next(_cells)}"  # ids too are shared with everything on that page
    style = (files("sipit.report") / "templates" / "style.css").read_text(encoding="utf-8")
    # Nested rules: what is said of the whole page is said of this element.
    for whole in (":root {", "\nbody {", "html {"):
        style = style.replace(whole, whole[: len(whole) - len(whole.lstrip())] + "& {")
    template = _environment().get_template("fragment.html.j2")
    return template.render(document=document, scope=scope, style=Markup(style), **_drawn_with(f"{scope}-"))


def _drawn_with(prefix: str) -> dict[str, Any]:
    """What the templates draw with; the ids of an SVG are shared with the whole page."""
    numbers = count_from(1)

    def drawn(figure: Figure) -> Markup:
        name = f"{prefix}f{next(numbers)}"
        return draw(figure.chart, name=name, title=figure.title, description=figure.description)

    return {"drawn": drawn, "unique": lambda: f"{prefix}t{next(numbers)}", "strip": strip, "gap": gap,
            "measured": Claim.MEASURED}  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sipit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(kind=kind, marked=marked, literal=literal, omission=omission, short=number)
    return environment


def kind(block: Block | Cell) -> str:
    """The name under which the template knows a block or a cell."""
    match block:
        case str():
            return "text"
        case Badge():
            return "badge"
        case Literal():
            return "literal"
        case _:
            return type(block).__name__.lower()


def marked(text: str) -> Markup:
    """Text with its hidden characters shown by their signs."""
    return Markup("").join(_parts(text))


def literal(text: str, *, closing: bool = True) -> Markup:
    """Text of a model: spaces get a dot that is drawn but not copied, and line ends are shown and kept.

    Without `closing` a line end at the very end is shown alone: the break then belongs behind the element.
    """
    parts = list(_parts(text, line_ends=True))
    if not closing and text.endswith("\n"):
        parts = parts[:-2]  # the break, and the empty run behind it
    return Markup("").join(part for piece in parts for part in (_spaced(piece) if type(piece) is str else [piece]))


def _spaced(text: str) -> Iterator[str]:
    for index, part in enumerate(text.split(" ")):
        if index:
            yield _SPACE
        yield part


def _parts(text: str, *, line_ends: bool = False) -> Iterator[str]:
    """Runs of plain text, still to be escaped, and signs as markup."""
    run = ""
    for character in text:
        if not is_hidden(character):
            run += character
            continue
        yield run
        run = ""
        yield _HIDDEN.format(sign_of(character))
        if character == "\n" and line_ends:
            yield Markup("<br>")
    yield run
