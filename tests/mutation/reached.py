"""Which tests run which lines of a module: a mutant is shown to those alone that run what was changed."""

import json
import os
import select
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


class Reached:
    """A plugin of pytest: the lines of one module that each test runs, and how long each takes, written to a file.

    What runs while tests are collected or made ready (tables of a module, what a fixture keeps) counts for all of them.
    """

    def __init__(self, path: str, file: Path) -> None:
        self._path, self._file = path, file
        self._lines: dict[str, set[int]] = defaultdict(set)
        self._seconds: dict[str, float] = {}
        self._always: set[int] = set()
        self._now = self._always

    def begin(self) -> None:
        """Looks at all that runs from here on."""
        sys.settrace(self._enter)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line(frame, event, argument) if frame.f_code.co_filename == self._path else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._now.add(frame.f_lineno)
        return self._line

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        self._now = self._lines[item.nodeid]
        self.begin()  # a test before may have ended it
        try:
            return (yield)
        finally:
            self._now = self._always

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._seconds[report.nodeid] = report.duration

    def pytest_sessionfinish(self) -> None:
        tests = {name: [self._seconds[name], sorted(lines)] for name, lines in self._lines.items()}
        self._file.write_text(json.dumps({"always": sorted(self._always), "tests": tests}))


class Chosen:
    """A plugin of pytest: the tests that run what was changed, those that noticed most mutants first."""

    def __init__(self, reached: Mapping[str, Any]) -> None:
        self._reached = reached
        self._noticed: Counter[str] = Counter()
        self._chosen: dict[str, float] = {}
        self._told, self._tell = os.pipe()

    def begin(self) -> None:
        """There is nothing to begin."""

    def choose(self, changed: Set[int]) -> set[str]:
        """Takes the tests that run one of these lines; the files they are in."""
        always = not changed.isdisjoint(self._reached["always"])
        tests = self._reached["tests"].items()
        self._chosen = {name: seconds for name, (seconds, lines) in tests if always or not changed.isdisjoint(lines)}
        return {name.partition("::")[0] for name in self._chosen}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._chosen]
        items.sort(key=lambda item: (-self._noticed[item.nodeid], self._chosen[item.nodeid]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self._tell, f"{report.nodeid}\n".encode())

    def learn(self) -> str:
        """The test that noticed a mutant; "" where the collection failed, and none did."""
        names: list[str] = []
        while select.select([self._told], [], [], 0)[0]:
            names += os.read(self._told, 1 << 16).decode().splitlines()
        self._noticed.update(names)
        return names[0] if names else ""
