"""`--share I/N`: runs the I-th of N parts of the tests, so that a limited time covers all of them in turn.

A run of a share that is ended by SIGTERM, as `timeout` does, names the tests that it did not reach.
"""

import hashlib
import os
import signal
from collections.abc import Sequence
from typing import Any

import pytest

ENDED = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", default=None, metavar="I/N", help="run the I-th of N parts of the tests")


@pytest.hookimpl(trylast=True)  # when marks and names have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    moving = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if moving:
        raise pytest.UsageError(f"expected names that are the same in every run, but got {moving[0]}; give it an id")
    share = config.getoption("--share")
    if share is None:
        return
    wanted, parts = map(int, share.split("/"))
    chosen = {item for item in items if int(hashlib.sha256(item.nodeid.encode()).hexdigest(), 16) % parts == wanted}
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]
    config.stash[ENDED] = set()
    _name_what_is_left(config, [item.nodeid for item in items])


def pytest_runtest_teardown(item: pytest.Item) -> None:
    if ENDED in item.config.stash:
        item.config.stash[ENDED].add(item.nodeid)


def _name_what_is_left(config: pytest.Config, names: Sequence[str]) -> None:
    """At SIGTERM, which processes that a test has forked get as well: those end without a word."""
    process = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() == process:
            left = [name for name in names if name not in config.stash[ENDED]]
            capture: Any = config.pluginmanager.getplugin("capturemanager")
            capture.suspend_global_capture()  # this may be in the middle of a test
            terminal = config.get_terminal_writer()
            terminal.line(f"\n{len(names) - len(left)} of {len(names)} tests of this share ended in time; not these:")
            for name in left:
                terminal.line(name)
            terminal.flush()
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
