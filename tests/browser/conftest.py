"""A real headless Chromium for the page; where there is none, tests are skipped, or fail if one is demanded."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipit.report import write_report
from tests.browser.chromium import FLAGS, find
from tests.sipit.report_records import FOLDER, stored_records

DEMANDED = "SIPIT_BROWSER"  # set to `required` where a missing browser is a failure, as in continuous integration


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The browser, closed behind the module: its event loop must not outlive it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("the extra sipit[browser] is not installed")
    found = find()
    if found is None:
        _missing("there is no Chromium on PATH or in the cache; `make browser-test` unpacks one")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found.path, args=[*FLAGS], env=found.environment)
        yield started
        started.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one small record of every command."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, stored_records(), [file.name for file in sorted(FOLDER.glob("*.json"))])
    return path


def _missing(reason: str) -> None:
    if os.environ.get(DEMANDED) == "required":
        pytest.fail(f"A browser is demanded, but {reason}.")
    pytest.skip(reason)
