"""The text that every Python installation carries: sections about the language, then docstrings of its library."""

import ast
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from sipit.prompts.builtin_text import sections

_SKIPPED = {"test", "tests", "site-packages", "dist-packages", "__pycache__", "idlelib", "lib2to3"}


def builtin_documents() -> Iterator[str]:
    """`pydoc_data.topics` as one document, then one a module of the standard library, in the order of module names."""
    yield "\n".join(sections())
    for path in _modules(Path(sysconfig.get_path("stdlib"))):
        found = "\n".join(_docstrings(path))
        if found:
            yield found


def _modules(library: Path) -> list[Path]:
    """The Python files of the standard library, sorted by module name; nothing is imported."""
    named: dict[str, Path] = {}
    for path in library.rglob("*.py"):
        parts = path.relative_to(library).with_suffix("").parts
        if parts[0] in sys.stdlib_module_names and not _SKIPPED & {*parts}:
            named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return [named[name] for name in sorted(named)]


def _docstrings(path: Path) -> Iterator[str]:
    """The docstrings of a module, its classes and functions, in the order of the source."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # a template, or a file for another version
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
    for node in sorted(nodes, key=lambda node: getattr(node, "lineno", 0)):
        text = ast.get_docstring(node)
        if text:
            yield text
