"""A document as Markdown (GitHub's flavour), for terminals, reviews and issues."""

import re
from collections.abc import Iterator

from sipit.report.document import (
    Badge,
    Block,
    Cell,
    Chapter,
    Claim,
    Column,
    Command,
    Document,
    Fact,
    Facts,
    Figure,
    Literal,
    Paragraph,
    Picture,
    Section,
    Table,
    Tokens,
    Verbatim,
    claims_of,
)
from sipit.report.generic import omission
from sipit.report.wording import number, visible

_SPECIAL = re.compile(r"([\\`*_\[\]~#$])")
_BEGINS = re.compile(r"(?:[-+](?= |$)|[-=]+(?= *$)|[0-9]{1,9}[.)](?= |$))")  # a list, a rule or a heading
_LINKED = (  # by GitHub, without any mark
    (re.compile(r"(?i)\b(www)\."), r"\1&#46;"),
    (re.compile("://"), "&#58;//"),
    (re.compile(r"@(?=\w)"), "@&#8203;"),  # names are looked for in what was rendered: something has to stand between
)
_FENCE = re.compile(r"`{3,}")


def render_markdown(document: Document) -> str:
    """The document as Markdown; no text in it is taken as markup."""
    return "\n\n".join(_lines(document)) + "\n"


def escape(text: str) -> str:
    """Text on one line that Markdown shows as it is, in a table too."""
    shown = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _SPECIAL.sub(r"\\\1", shown)
    for mark, kept in _LINKED:
        shown = mark.sub(kept, shown)
    # An entity and no backslash: whether a table is cut at `\\|` differs from program to program.
    return shown.replace("|", "&#124;")


def at_start(text: str) -> str:
    """The same where a line or an entry of a list begins with it: some marks mean something there alone."""
    shown = escape(text)
    if shown.startswith(" "):
        return f"&#32;{shown[1:]}"  # four would make code of it
    begins = _BEGINS.match(shown)
    return shown if begins is None else f"{shown[: begins.end() - 1]}\\{shown[begins.end() - 1 :]}"


def _lines(document: Document) -> Iterator[str]:
    yield f"# {escape(document.title)}"
    yield f"**{escape(document.headline)}**"
    yield "\n".join(f"- **{sentence.head}:** {escape(sentence.text)}" for sentence in document.verdict)
    if document.picture is not None:
        yield from _picture(document.picture)
    if document.figure is not None:
        yield from _block(document.figure, 2)
    for chapter in document.chapters:
        yield from _chapter(chapter, alone=len(document.chapters) == 1)
    used = claims_of(document)
    if used:
        yield "## How to read the numbers"
        yield "\n".join(f"- *{claim.value}*: {claim.meaning}." for claim in used)


def _chapter(chapter: Chapter, *, alone: bool) -> Iterator[str]:
    yield f"## {escape(chapter.title)} — {_badge(chapter.badge)}"
    if not alone:
        yield f"**{escape(chapter.headline)}**"
    for block in (*chapter.sentences, *chapter.blocks):
        yield from _block(block, 3)
    if chapter.repeat:
        yield "### How to repeat it"
        yield _fenced(chapter.repeat)
        yield _facts(chapter.environment)


def _picture(picture: Picture) -> Iterator[str]:
    yield f"{at_start(picture.caption)}:"
    yield _table(
        Table(
            picture.caption,
            (
                Column("token"),
                Column("misses its state by", True, Claim.MEASURED),
                Column("next best", True, Claim.MEASURED),
            ),
            tuple(
                (
                    Literal(row.token.text) if row.token.text is not None else row.token.badge,
                    number(row.near),
                    number(row.far),
                )
                for row in picture.rows
            ),
        )
    )
    yield at_start(picture.note)


def _block(block: Block, level: int) -> Iterator[str]:
    match block:
        case Paragraph():
            yield at_start(block.text) + _claim(block.claim)
        case Verbatim():
            yield f"{at_start(block.caption)}:"
            yield _fenced(block.text)
        case Command():
            yield f"{at_start(block.caption)}:"
            yield _fenced(block.line)
        case Facts():
            yield _facts(block)
        case Table():
            yield f"**{escape(block.caption)}**"
            yield _table(block)
            if block.omitted:
                yield f"*{omission(block)}*"
        case Tokens():
            yield f"{at_start(block.caption)}:"
            yield _fenced("".join(token.text if token.text is not None else f"⟦{token.position}: {token.badge.word}⟧"
                                  for token in block.tokens))  # fmt: skip
        case Figure():
            yield f"**{escape(block.title)}**{_claim(block.claim)}: {escape(block.description)}"
        case Section():
            badge = f" — {_badge(block.badge)}" if block.badge is not None else ""
            yield f"{'#' * min(level, 6)} {escape(block.title)}{badge}"
            for inner in block.blocks:
                yield from _block(inner, level + 1)


def _facts(facts: Facts) -> str:
    return "\n".join(f"- {_fact(fact)}" for fact in facts.items)


def _fact(fact: Fact) -> str:
    return f"{at_start(fact.label)}: {_cell(fact.value)}{_claim(fact.claim)}"


def _table(table: Table) -> str:
    heads = [escape(column.name) + _claim(column.claim) for column in table.columns]
    rule = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def _cell(cell: Cell) -> str:
    match cell:
        case Badge():
            return _badge(cell)
        case Literal():
            return escape(cell.text.replace(" ", "␣"))
        case str():
            return escape(cell)


def _badge(badge: Badge) -> str:
    return f"{badge.tone.sign} {escape(badge.word)}"


def _claim(claim: Claim | None) -> str:
    return f" *({claim.value})*" if claim is not None else ""


def _fenced(text: str) -> str:
    """A block of text as it is; the fence is longer than any in the text."""
    shown = visible(text, keep="\n")
    longest = max((len(run) for run in _FENCE.findall(shown)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}text\n{shown}\n{fence}"
