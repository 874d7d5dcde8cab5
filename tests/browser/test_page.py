"""The page in a real browser: themes, widths, keyboard, touch, print, and what a screen reader gets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from proofs.evidence import Record
from sipit.report import write_report
from tests.sipit.report_pages import NASTY, nasty
from tests.sipit.report_records import stored_records

pytestmark = pytest.mark.browser
VIEWS = [(scheme, width) for scheme in ("light", "dark") for width in (1200, 400)]
HEIGHT = 900


@contextmanager
def opened(browser: Any, path: Path, *, scheme: str = "light", width: int = 1200, touch: bool = False) -> Iterator[Any]:
    """The page without a network; every complaint of the browser is a failure."""
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, offline=True, has_touch=touch
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("requestfailed", lambda request: complaints.append(f"request failed: {request.url}"))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert complaints == []


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.className")


def findings(page: Any) -> list[str]:
    """What axe-core finds, of every severity."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    return [f"{one['impact']} {one['id']}: {node['html'][:200]}" for one in violations for node in one["nodes"]]


@pytest.mark.parametrize(("scheme", "width"), VIEWS)
def test_axe_finds_nothing_and_nothing_is_cut_off(browser: Any, page_file: Path, scheme: str, width: int) -> None:
    with opened(browser, page_file, scheme=scheme, width=width) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 23, 28)") is (scheme == "dark")


def test_the_browser_sees_what_axe_is_for(browser: Any, tmp_path: Path) -> None:
    """Were axe not to run, or to find nothing ever, the test above would pass for nothing."""
    bad = tmp_path / "bad.html"
    bad.write_text('<!doctype html><title>x</title><p style="color:#eee;background:#fff">faint</p><svg role="img"/>')
    with opened(browser, bad) as page:
        assert any("color-contrast" in one for one in findings(page))
        assert any("svg-img-alt" in one for one in findings(page))


def test_the_verdict_is_three_sentences_above_everything_else(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file, width=400) as page:
        sentences = page.locator(".verdict dd").all_inner_texts()
        assert len(sentences) == 3 and all(text.endswith(".") for text in sentences)
        assert page.locator(".verdict dt").all_inner_texts() == ["Proved", "Measured", "Breaks or is open"]
        below = page.locator("article").first.bounding_box()["y"]
        assert page.locator(".verdict").bounding_box()["y"] < below
        themes = list(dict.fromkeys(page.locator("article > .theme").all_inner_texts()))
        assert themes == [
            "Assumptions", "Exact collisions", "Inversion", "Noise against margin", "Collisions", "Number formats",
            "Runs and states", "What leaks", "Training", "Installation", "Other work", "Certificates",
        ]  # fmt: skip


def test_the_keyboard_reaches_tokens_and_shows_their_evidence(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        page.keyboard.press("Tab")
        assert focused(page) == "skip"
        page.keyboard.press("Enter")  # behind the header
        for _ in range(200):
            if "tk" in focused(page).split():
                break
            page.keyboard.press("Tab")
        tip = page.locator(".tk:focus .tip")
        assert tip.is_visible()
        text = tip.inner_text()
        assert "position 0" in text and "residual" in text and "nearest rival" in text
        page.keyboard.press("Tab")
        assert "position 1" in page.locator(".tk:focus .tip").inner_text()
        assert page.locator(".tip:visible").count() == 1


def test_many_tokens_can_be_skipped(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        page.locator(".tokens .skip").first.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert "tk" not in focused(page).split()


def test_pointing_at_and_tapping_a_token_show_its_evidence(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        assert page.locator(".tip:visible").count() == 0
        page.locator(".tk").nth(2).hover()
        assert "position 2" in page.locator(".tip:visible").inner_text()
    with opened(browser, page_file, width=400, touch=True) as page:
        page.locator(".tk").nth(3).tap()
        tip = page.locator(".tk:focus .tip")
        assert "position 3" in tip.inner_text()
        box = tip.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 400 and box["y"] + box["height"] <= HEIGHT


def test_folded_tables_open_with_the_keyboard(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        details = page.locator("article details").first
        assert not details.locator("dl, table").first.is_visible()
        details.locator("summary").focus()
        page.keyboard.press("Enter")
        assert details.locator("dl, table").first.is_visible()


def test_print_shows_what_is_folded_and_hides_what_is_for_the_hand(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file, scheme="dark") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator(".hint:visible, .tip:visible, summary:visible, .skip:visible").count() == 0
        folded = page.locator("article details").first.locator("dl, table").first
        assert folded.is_visible()
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_every_figure_has_a_name_and_a_description(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        figures = page.get_by_role("img").all()
        assert len(figures) >= 8
        for figure in figures:
            assert figure.locator("title").text_content()
            assert len(figure.locator("desc").text_content()) > 20


def test_no_label_of_a_chart_lies_on_another(browser: Any, page_file: Path) -> None:
    """Axis labels of one chart, on a wide page and on a phone."""
    for width in (1200, 400):
        with opened(browser, page_file, width=width) as page:
            overlaps = page.evaluate("""() => [...document.querySelectorAll('svg.chart')].flatMap(chart =>
              ['x', 'y'].flatMap(axis => {
                const boxes = [...chart.querySelectorAll('text.' + axis)].map(text => text.getBoundingClientRect());
                return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => a.left < b.right && b.left < a.right
                  && a.top < b.bottom && b.top < a.bottom).map(() => chart.querySelector('title').textContent + axis));
              }))""")
            assert overlaps == []


def test_hostile_records_stay_text(browser: Any, tmp_path: Path) -> None:
    """Every text of every record replaced by markup, scripts and styles: nothing runs and nothing is asked for."""
    path = tmp_path / "hostile.html"
    for text in NASTY[:4]:
        records = [Record(one.command, one.verdict, nasty(one.result, text), nasty(one.provenance, text), one.seconds)
                   for one in stored_records()]  # fmt: skip
        write_report(path, records, [text] * len(records))
        with opened(browser, path, width=400) as page:
            assert page.evaluate("document.scripts.length") == 0
            assert page.locator("img, iframe, object, embed, form, [onerror], [onfocus], [autofocus]").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") == 400
            page.mouse.click(200, 300)
