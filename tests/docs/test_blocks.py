"""Every Python and shell block of the pages runs, and prints what the page says."""

import doctest
import importlib
import json
import re
import shlex
from contextlib import ExitStack
from unittest.mock import patch

import pytest
from typer.main import get_command

from numerics.formats import FORMATS
from numerics.graphs.operators.rules import RULES
from proofs.kernel.lemmas.table import LEMMAS
from proofs.operations import REGISTRY
from sipit.cli import app
from sipit.observations.observation import KINDS
from sipit.observations.sites import FINDERS
from tests.docs.blocks import PAGES, ROOT, command_lines, language_of, mark_of, name_of, parsed, run_page

INDENTED = re.compile(r"\n\n {4,}(?:[$] )?(?:sipit|python|pip|make) ")
FOUND = {page: list(parsed(page)) for page in PAGES}
EXAMPLES = [pytest.param(example, id=f"{name_of(page)}:{example.line}") for page in PAGES for example in FOUND[page]]
KEPT = [example for example in EXAMPLES if language_of(example.values[0]) != "text"]
pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """A folder of its own, and tables that no page changes for the next test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    with ExitStack() as stack:
        for table in (FORMATS, RULES, REGISTRY, LEMMAS, KINDS, FINDERS):
            stack.enter_context(patch.dict(table))
        yield


@pages
def test_quick_blocks_run(page):
    run_page(page, slow=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(mark_of(example) == "slow" for example in FOUND[page])],
    ids=name_of,
)
def test_all_blocks_run(page):
    assert run_page(page, slow=True)


@pytest.mark.parametrize("example", [e for e in KEPT if (mark_of(e.values[0]) or "").startswith("not run")])
def test_blocks_that_need_what_is_not_here(example):
    pytest.skip(mark_of(example))


@pytest.mark.parametrize("example", KEPT)
def test_blocks_are_well_formed(example):
    """Python compiles, and every `sipit` line names a command and options that there are, also where it is not run."""
    if language_of(example) == "python":
        compile(example.parsed, example.path, "exec")
        return
    for line, _ in command_lines(example):
        words = shlex.split(line, comments=True)
        if words[0].endswith("sipit"):
            _parse(get_command(app), "sipit", words[1:])


def _parse(command, name, words):
    context = command.make_context(name, list(words), resilient_parsing=False)
    if getattr(command, "commands", None):
        rest = [*getattr(context, "_protected_args", []), *context.args]
        child, found, words = command.resolve_command(context, rest)
        assert found is not None, f"no command {child} of {name}"
        _parse(found, child, words)


@pages
def test_commands_stand_in_fenced_blocks_with_a_language(page):
    text = page.read_text()
    assert not INDENTED.search(text), "an indented block is not run: fence it"
    languages = re.findall(r"^```([^\n`]*)\n(?:.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert {*languages} <= {"python", "shell", "text", "json", "yaml", "toml"}


def test_a_wrong_block_fails(tmp_path):
    page = tmp_path / "page.md"
    for block in ("```python\n1 / 0\n```", "```shell\nsipit verify nothing.json\n```", "```shell\nfalse\n```",
                  "```python\nprint(1)\n```\n\n```text\n2\n```"):  # fmt: skip
        page.write_text(block + "\n")
        with pytest.raises((AssertionError, ZeroDivisionError)):
            run_page(page, slow=False)


@pytest.mark.parametrize("notebook", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(notebook):
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.parametrize("name", ["numerics.pairs.search", "numerics.pairs.bit_identity"])
def test_examples_of_the_reference(name):
    assert doctest.testmod(importlib.import_module(name)).attempted
    assert not doctest.testmod(importlib.import_module(name)).failed
