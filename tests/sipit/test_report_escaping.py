"""Whatever text a model or a file holds, it stays text on the page; whatever a record lacks, there is a page."""

import copy
import json
import re
import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markupsafe import Markup

from proofs.errors import InvalidInput
from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report import render
from sipit.report.chart import HEIGHT, draw
from sipit.report.document import HeatMap, Level, LogCurves, LogPlot, LogRanges, Series, ShareCurves
from sipit.report.html import render_html
from sipit.report.markdown import at_start, escape
from sipit.report.page import document_of
from sipit.report.wording import is_hidden, number, plain, sign_of, visible
from tests.sipit.report_pages import NASTY, Page, inversion_record, nasty, prompt_entry
from tests.sipit.report_records import stored_records

MORE = settings(max_examples=50, deadline=None, derandomize=True)
ANY_TEXT = st.one_of(
    st.sampled_from(NASTY), st.text(max_size=12), st.text(alphabet="<>&\"'|`\\\n\t *_[]#", max_size=12)
)
HARMLESS = {
    "html", "head", "meta", "title", "link", "style", "body", "a", "header", "p", "strong", "span", "main", "section",
    "h1", "h2", "h3", "h4", "h5", "h6", "article", "div", "nav", "ol", "li", "dl", "dt", "dd", "pre", "code", "figure",
    "figcaption", "svg", "desc", "rect", "circle", "line", "text", "details", "summary", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "footer", "br", "i", "b", "ul",
}  # fmt: skip


def shown(text: str) -> str:
    """What is left to read of a text: its hidden characters by their signs."""
    return "".join(sign_of(character) if is_hidden(character) else character for character in text)


def assert_harmless(page: Page) -> None:
    assert not {character for character in page.source if is_hidden(character)} - {"\n"}
    for tag, attributes in page.elements:
        assert tag in HARMLESS
        assert not any(name.startswith("on") or name in {"src", "style", "autofocus"} for name in attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:"))


@MORE
@given(st.lists(ANY_TEXT, min_size=1, max_size=4), ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_text_never_becomes_markup_and_can_be_read_back(pieces: list[str], reason: str, name: str, line: str):
    entry = prompt_entry([*pieces, None], outcome="not_found", explanation=reason)
    entry["alternatives"] = [{"position": len(pieces), "token_ids": [1], "reason": reason}]
    entry[name] = {name: [{name: reason}]}
    record = inversion_record(
        entry, verdict=Verdict.NOT_FOUND, model=name, command_line=["sipit", "invert", line], note=line
    )
    page = render([record, record], format="html")
    page.encode("utf-8")
    read = Page(page)
    assert_harmless(read)
    assert read.tokens == [*map(shown, pieces), "✗"] * 2
    assert shown(reason) in read.text
    assert shown(line) in read.text
    assert shown(shlex.join(["sipit", "invert", line])) in read.text


@MORE
@given(st.text(max_size=40))
def test_no_invisible_character_reaches_a_page(text: str):
    record = Record("later", Verdict.HELD, {text: text, "rows": [{text: text}]}, {text: text})
    for form in ("html", "md"):
        hidden = {character for character in render([record], format=form) if is_hidden(character)}
        assert hidden <= {"\n"}


@MORE
@given(st.lists(ANY_TEXT, min_size=1, max_size=4), ANY_TEXT)
def test_markdown_tables_keep_their_columns(pieces: list[str], reason: str):
    entry = prompt_entry([*pieces, None], outcome="ambiguous")
    entry["alternatives"] = [{"position": 0, "token_ids": [1, 2], "pieces": ["|", reason], "reason": reason}]
    record = inversion_record(entry, entry, verdict=Verdict.AMBIGUOUS)
    page = re.sub(r"^(`{3,})text\n.*?^\1$", "", render([record], format="md"), flags=re.M | re.S)
    tables = re.findall(r"(?:^\|.*\n)+", page, flags=re.M)
    assert len(tables) == 3
    for table in tables:
        assert len({row.count("|") for row in table.splitlines()}) == 1
    assert page.count("|") == sum(table.count("|") for table in tables)


@MORE
@given(ANY_TEXT)
def test_a_fence_holds_what_is_in_it(text: str):
    page = render([inversion_record(prompt_entry([text, "end"]))], format="md")
    fence = re.search(r"token by token:\n\n(`+)text\n(.*?)\n\1\n", page, flags=re.S)
    assert fence is not None
    assert fence[2].endswith("end")
    assert fence[1] not in fence[2]


@MORE
@given(ANY_TEXT)
def test_markdown_escapes_on_one_line(text: str):
    escaped = escape(text)
    assert "\n" not in escaped and "|" not in escaped and "<" not in escaped
    assert re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]$]", escaped) is None


@MORE
@given(ANY_TEXT | st.text(alphabet="-+=0123.): w@a", max_size=8))
def test_a_line_of_markdown_is_its_text_and_nothing_else(text: str):
    """Lists, rules, headings and code begin where a line does, and GitHub makes links of bare addresses and names."""
    for line in (at_start(text), f"- {at_start(text)}: x", f"before\n\n{at_start(text)}\n\nafter"):
        tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(line)
        assert {token.tag for token in tokens} <= {"", "p", *(("ul", "li") if line.startswith("- ") else ())}
        assert [token.type for token in tokens].count("bullet_list_open") == line.startswith("- ")
        children = [child for token in tokens for child in token.children or []]
        assert {child.type for child in children} <= {"text", "text_special"}
        read = "".join(child.content for child in children).replace("@\u200b", "@")
        assert visible(text).strip(" ") in read
    assert not re.search(r"(?i)\bwww\.|://|@\w", escape(text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([10**400, -1.0, 0, "recovered", 1e-320])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = {
    "invert": ["layer", "policy", "tolerance", "prompts"],
    "check": ["regularity", "obstructions", "witness", "conditions", "idealisations", "structural_collisions",
              "duplicate_embeddings", "layer"],
    "capture": ["files", "layer", "prompts", "positions", "cached"],
    "collide": ["layers", "collisions", "bound", "certificate"],
}  # fmt: skip
PARTS = ["value", "kind", "outcome", "token_ids", "text", "tokens", "pieces", "alternatives", "position", "token_id",
         "residual", "margin", "rivals_tested", "matches_truth", "discharged", "open", "groups", "rows",
         "reason"]  # fmt: skip
PART = st.dictionaries(
    st.sampled_from(PARTS), JSON | st.lists(st.dictionaries(st.sampled_from(PARTS), JSON), max_size=3)
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Records of the right schema with fields that are missing, odd or of another type."""
    command = draw(st.sampled_from([*FIELDS, "prove witness", ""]))
    names = st.sampled_from(FIELDS.get(command, ["pairs"]))
    result = draw(st.dictionaries(names, JSON | PART | st.lists(PART, max_size=3), max_size=6))
    provenance = draw(st.dictionaries(st.sampled_from(["model", "command_line", "versions", "seed", "dtype"]), JSON))
    return Record(command, draw(st.sampled_from(list(Verdict))), result, provenance, draw(st.floats()))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(records(), min_size=1, max_size=2))
def test_any_record_makes_a_page(found: list[Record]):
    read = Page(render(found, format="html"))
    assert_harmless(read)
    for record in found:
        assert record.verdict.value.replace("_", " ") in read.text
    assert render(found, format="md").startswith("# ")


ODD = JSON | st.sampled_from([10**30, -1, 1e308, [], {}, [[]], [{}], "", *NASTY])


@st.composite
def damaged(draw: st.DrawFn) -> Record:
    """A real record in which some fields, at any depth, are gone or something else."""
    record = draw(st.sampled_from(stored_records()))
    result = json.loads(json.dumps(record.result))
    for _ in range(draw(st.integers(1, 4))):
        _damage(draw, result)
    return Record(record.command, draw(st.sampled_from([record.verdict, *Verdict])), result, record.provenance, 1.0)


def _damage(draw: st.DrawFn, value: Any) -> None:
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return None
    key = draw(st.sampled_from(keys))
    if isinstance(value[key], dict | list) and value[key] and draw(st.integers(0, 3)):
        return _damage(draw, value[key])
    if draw(st.booleans()):
        value[key] = copy.deepcopy(draw(ODD))  # what is drawn is shared, and may be damaged in its turn
    else:
        del value[key]
    return None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(damaged())
def test_any_damaged_record_makes_a_page(record: Record):
    document = document_of([record], ["x.json"])  # not render, which turns a failure into a sentence
    read = Page(render_html(document))
    assert_harmless(read)
    assert record.verdict.value.replace("_", " ") in read.text


CURVE = (Series("a", (1.0, 2.0)),)
CHARTS = {
    "plot": lambda text: LogPlot(text, (Series(text, (1.0, 2.0)),), Level(text, 1.5)),
    "ranges": lambda text: LogRanges((text, text), CURVE, CURVE, Level(text, 1.5)),
    "curves": lambda text: LogCurves(text, (1.0, 2.0), (Series(text, (1.0, 2.0)),), Level(text, 1.5)),
    "shares": lambda text: ShareCurves(text, (text, text), (Series(text, (0.5, 0.6)),)),
    "heat": lambda text: HeatMap(text, (text, text), ((1.0,), (0.5,))),
}


@pytest.mark.parametrize("kind", CHARTS)
@given(ANY_TEXT)
def test_text_in_a_chart_can_be_seen(kind: str, text: str):
    drawn = draw(CHARTS[kind](text), name="x", title=text, description=text)
    assert not any(map(is_hidden, drawn))
    assert Markup.escape(visible(text)) in drawn


@pytest.mark.parametrize("text", NASTY)
def test_no_text_of_any_record_becomes_markup(text: str):
    records = [Record(one.command, one.verdict, nasty(one.result, text), nasty(one.provenance, text), one.seconds)
               for one in stored_records()]  # fmt: skip
    assert_harmless(Page(render(records, format="html", files=[text] * len(records))))
    assert render(records, format="md").startswith("# ")


def test_a_record_that_no_page_can_show_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise TypeError("unexpected")

    monkeypatch.setattr("sipit.report.document_of", broken)
    with pytest.raises(InvalidInput, match=r"one of these \(check\) cannot be shown \(TypeError\); write it again"):
        render([Record("check", Verdict.PROVED, {}, {})], format="html")


@MORE
@given(
    st.lists(st.none() | st.floats() | st.sampled_from([0.0, 5e-324, 1.7e308]), min_size=1, max_size=8),
    st.none() | st.floats(min_value=5e-324, allow_infinity=False),
)
def test_charts_stay_inside_their_frame(values: list[float | None], level: float | None):
    threshold = Level("tolerance", level) if level is not None else None
    one = Series("one", tuple(values))
    rows = tuple(map(str, range(len(values))))
    shares = Series("share", tuple(None if value is None else 0.5 for value in values))
    for chart in (
        LogPlot("position", (one, one), threshold, (0,)), LogRanges(rows, (one,), (one,), threshold),
        ShareCurves("bits", rows, (shares,)), HeatMap("position", rows, tuple(one.values for _ in rows)),
    ):  # fmt: skip
        drawn = draw(chart, name="f", title="t", description="d")
        Page(drawn)
        assert all(0 <= float(at) <= 100 for at in re.findall(r'(?:x|x1|x2|cx)="([-\d.e+]+)%"', drawn))
        limit = max(HEIGHT, 30 * len(rows)) + 40
        assert all(0 <= float(at) <= limit for at in re.findall(r'(?:y|y1|y2|cy)="([-\d.e+]+)"', drawn))


def test_numbers_keep_three_digits():
    values = [1.9068e-7, 3.55e-5, 0.22826, 0.5, 2.25, 12345.678, 1e-320, 0, 0.0, 17, None, True, "x", -0.00123]
    expected = ["1.91e-7", "3.55e-5", "0.228", "0.5", "2.25", "1.23e4", "1.00e-320", "0", "0", "17", "–", "yes", "x",
                "-1.23e-3"]  # fmt: skip
    assert list(map(number, values)) == expected


def test_values_are_abridged_not_dropped():
    assert plain("x" * 5000).endswith("… (1000 characters more)")
    assert plain(list(range(100))).endswith("63, … (36 more)")
    assert plain([[[[[1, 2]]]]]) == "((((2 entries))))"
    assert plain(10**5000) == "an integer of 16610 bits"
