"""What a page is made of, before it is Markdown or HTML.

Every block is a value without markup. Text in it may come from a model or a file and is never trusted: the renderers
escape all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from proofs.verdict import Verdict


class Claim(StrEnum):
    """What stands behind a number; the three are never mixed."""

    PROVED = "proved"
    BOUNDED = "bounded"
    MEASURED = "measured"

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return _MEANINGS[self]


_MEANINGS = {
    Claim.PROVED: "it holds over the real numbers, by a certificate or an exact computation",
    Claim.BOUNDED: "it holds under rounding, by an error bound",
    Claim.MEASURED: "it was observed on these inputs and in this arithmetic, and says nothing of others",
}


class Theme(StrEnum):
    """What a chapter is about; a page has them in this order, whatever the order of the records."""

    ASSUMPTIONS = "Assumptions"
    EXACT = "Exact collisions"
    INVERSION = "Inversion"
    NOISE = "Noise against margin"
    COLLISIONS = "Collisions"
    FORMATS = "Number formats"
    RUNS = "Runs and states"
    LEAKS = "What leaks"
    TRAINING = "Training"
    INSTALLATION = "Installation"
    OTHER = "Other work"
    CERTIFICATES = "Certificates"


class Tone(StrEnum):
    """How a finding stands; each has a sign and words of its own, so that colour is never alone."""

    HOLDS = "holds"
    FAILS = "fails"
    OPEN = "open"
    NEUTRAL = "neutral"

    @property
    def sign(self) -> str:
        """The sign beside the word."""
        return {"holds": "✓", "fails": "✗", "open": "?", "neutral": "•"}[self.value]


@dataclass(frozen=True, slots=True)
class Badge:
    """A finding in one or two words."""

    word: str
    tone: Tone

    @classmethod
    def of(cls, verdict: Verdict, about: str = "") -> "Badge":
        """The badge of a verdict, with what it is about; `done` claims nothing."""
        tones = {0: Tone.HOLDS, 1: Tone.FAILS, 3: Tone.OPEN}
        tone = Tone.NEUTRAL if verdict is Verdict.DONE else tones[verdict.exit_status]
        word = verdict.value.replace("_", " ")
        return cls(f"{word}: {about}" if about else word, tone)


@dataclass(frozen=True, slots=True)
class Literal:
    """Text of a model: spaces and invisible characters in it are made visible."""

    text: str


Cell = str | Literal | Badge


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text to be read or copied as it is; `caption` says what it is."""

    caption: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command line to be copied; `caption` says what it does."""

    caption: str
    line: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One value with its name."""

    label: str
    value: Cell
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """A list of values with their names."""

    items: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a table's column."""

    name: str
    numeric: bool = False
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads. `folded` tables open on demand on a screen; `omitted` rows are in the record alone."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """One position of a recovered prompt; `text` is None where nothing was accepted."""

    position: int
    text: str | None
    badge: Badge
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A recovered prompt, token by token."""

    caption: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class ReadBack:
    """One token beside the state that it was read from.

    `state` has some of the state's numbers (none where the record keeps none); `near` is how far the token's own state
    is from it, `far` how far the next best token's.
    """

    token: Token
    state: tuple[float, ...]
    near: float | None
    far: float | None


@dataclass(frozen=True, slots=True)
class Picture:
    """A prompt that came back, row by row; `more` tokens follow. `level` is the distance that is within the noise.

    `head` is what the states are.
    """

    caption: str
    head: str
    note: str
    rows: tuple[ReadBack, ...]
    level: float | None
    more: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """Values over integers (positions, layers); None where there is none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """A threshold in a chart; `good` says whether the values below it are the good ones."""

    name: str
    value: float
    good: bool = True


@dataclass(frozen=True, slots=True)
class LogPlot:
    """Series over the integers from 0, on a logarithmic scale; `holes` are the places to mark as empty."""

    over: str
    series: tuple[Series, ...]
    level: Level | None = None
    holes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LogRanges:
    """For every row the ranges of the series, side by side on one logarithmic scale.

    `series` has their lower ends, `ends` the upper ones.
    """

    rows: tuple[str, ...]
    series: tuple[Series, ...]
    ends: tuple[Series, ...]
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class LogCurves:
    """Series over increasing numbers `at` (training steps), joined by lines, on a logarithmic scale."""

    over: str
    at: tuple[float, ...]
    series: tuple[Series, ...]
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class ShareCurves:
    """Series of shares from 0 to 1 over named levels `at` that stand at equal distances, joined by lines."""

    over: str
    at: tuple[str, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Multiples of what is expected, row by row over the integers from 0; None is beyond all. Above 1 is too much.

    A value stands for `each` integers, of which it is the largest.
    """

    over: str
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    each: int = 1


Chart = LogPlot | LogRanges | LogCurves | ShareCurves | HeatMap


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart; `description` says in words what it shows."""

    title: str
    description: str
    chart: Chart
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a heading; `folded` ones open on demand on a screen."""

    title: str
    blocks: "tuple[Block, ...]"
    badge: Badge | None = None
    folded: bool = False


Block = Paragraph | Verbatim | Command | Facts | Table | Tokens | Figure | Section


@dataclass(frozen=True, slots=True)
class Findings:
    """What a chapter adds to the verdict of its page, as clauses that go on a sentence; what adds nothing is empty."""

    proved: tuple[str, ...] = ()
    bounded: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chapter:
    """The view of one side of a record: what was found, in plain sentences, the evidence, and how to repeat it."""

    theme: Theme
    title: str
    badge: Badge
    headline: str
    sentences: tuple[Paragraph, ...]
    blocks: tuple[Block, ...]
    findings: Findings
    repeat: str = ""
    environment: Facts = field(default_factory=lambda: Facts(()))


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of the verdict, clause by clause, with the word that it is listed under."""

    head: str
    clauses: tuple[str, ...]
    tone: Tone

    @property
    def text(self) -> str:
        """The clauses in a row."""
        return " ".join(self.clauses)


@dataclass(frozen=True, slots=True)
class Document:
    """A page: a picture, the verdict (what was proved, what was measured, what breaks or is open), the chapters.

    `picture` is of a prompt that came back, `figure` any other chart.
    """

    title: str
    tone: Tone
    headline: str
    verdict: tuple[Sentence, ...]
    chapters: tuple[Chapter, ...]
    picture: Picture | None = None
    figure: Figure | None = None


def claims_of(document: Document) -> tuple[Claim, ...]:
    """The claims that the numbers of a document make, strongest first."""
    first = () if document.figure is None else (document.figure,)
    shown = [first, *((*chapter.sentences, *chapter.blocks) for chapter in document.chapters)]
    used = {claim for blocks in shown for claim in _claims(blocks)}
    return tuple(claim for claim in Claim if claim in used)


def _claims(blocks: tuple[Block, ...]) -> Iterator[Claim]:
    for block in blocks:
        match block:
            case Section():
                yield from _claims(block.blocks)
            case Facts():
                yield from (fact.claim for fact in block.items if fact.claim is not None)
            case Table():
                yield from (column.claim for column in block.columns if column.claim is not None)
            case Paragraph(claim=claim) | Figure(claim=claim) if claim is not None:
                yield claim
            case _:
                pass
