"""`--share I/N`: runs the I-th of N parts of the tests, so that a limited time covers all of them in turn."""

import hashlib

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", default=None, metavar="I/N", help="run the I-th of N parts of the tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    share = config.getoption("--share")
    if share is None:
        return
    wanted, parts = map(int, share.split("/"))
    chosen = {item for item in items if int(hashlib.sha256(item.nodeid.encode()).hexdigest(), 16) % parts == wanted}
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]
