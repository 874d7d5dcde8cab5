"""What `mkdocs.yml` needs beyond its plugins: executed notebooks, help of commands, formulas as MathML, no network.

Notebooks are kept without outputs and run when the site is built; a cell that fails ends the build.
"""

import html
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import MarkdownExporter

CELL_SECONDS = 300
ELSEWHERE = re.compile(r"<(?:script|img|iframe)\b[^>]*\bsrc=.?https?:[^>]*>|<link\b[^>]*stylesheet[^>]*https?:[^>]*>")
FORMULA = re.compile(r'<(span|div) class="arithmatex">(?:\\\((.*?)\\\)|\\\[(.*?)\\\])</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Puts a page in the place of every notebook, which stays beside it for download, and adds generated pages."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        for made in _executed(file, config):
            files.append(made)
    files.append(File.generated(config, "reference/command-line.md", content=_command_line()))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation names notebooks; what it shows are the pages made of them."""
    config["nav"] = _renamed(config["nav"])
    return config


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Ends the build where a page would load anything from elsewhere."""
    if found := ELSEWHERE.search(output):
        raise PluginError(f"Expected a page that loads nothing from elsewhere, but {page.file.src_uri} has {found[0]}")
    return output


def on_page_content(page_html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML, which browsers show without a script."""

    def formula(match: re.Match[str]) -> str:
        source = html.unescape(match[2] or match[3])
        written = convert(source, display="inline" if match[2] else "block")
        if "\\" in re.sub(r"<annotation.*?</annotation>", "", written):
            raise PluginError(f"Expected TeX that can be shown, but {page.file.src_uri} has {source!r}; rewrite it.")
        return written

    return FORMULA.sub(formula, page_html)


def _renamed(entry: Any) -> Any:
    if isinstance(entry, list):
        return [_renamed(part) for part in entry]
    if isinstance(entry, dict):
        return {title: _renamed(part) for title, part in entry.items()}
    return entry.replace(".ipynb", ".md")


def _executed(file: File, config: MkDocsConfig) -> Iterator[File]:
    notebook = nbformat.reads(file.content_string, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": folder}})
        client.extra_arguments = ["--Application.log_level=40"]  # the kernel warns of its local sockets
        try:
            client.execute()
        except CellExecutionError as error:
            raise PluginError(f"{file.src_uri} failed: {error}") from None
    for cell in notebook.cells:  # what libraries log is no part of the page
        cell["outputs"] = [one for one in cell.get("outputs", []) if one.get("name") != "stderr"]
    name = file.src_uri.removesuffix(".ipynb")
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"unique_key": name.rpartition("/")[2]})
    link = f"[Download this notebook]({name.rpartition('/')[2]}.ipynb)\n"
    yield File.generated(config, f"{name}.md", content=f"{text}\n{link}")
    for output, content in resources.get("outputs", {}).items():
        yield File.generated(config, f"{name.rpartition('/')[0]}/{output}", content=content)


def _command_line() -> str:
    """Every command's `--help`, as it prints it."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from sipit.cli import app

    def sections(command: Any, names: list[str]) -> Iterator[str]:
        shown = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "100"}).output.strip()
        yield f"## {' '.join(['sipit', *names])}\n\n```text\n{shown}\n```\n"
        for part, child in getattr(command, "commands", {}).items():
            yield from sections(child, [*names, part])

    head = "# Command line\n\nEvery command's `--help`. What the exit status says: [records](records.md).\n\n"
    return head + "\n".join(sections(get_command(app), []))
