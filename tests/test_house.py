"""The house: modules that stay small, folders with few doors, and no circle of imports anywhere."""

import ast
import io
import re
import tokenize
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.mutation.quick import QUICK

ROOT = Path(__file__).parents[1]
PACKAGES = ("proofs", "numerics", "sipit")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
LINES = 400
NAMES = {"sipit": 22, "numerics": 8}  # modules and folders at the top of a package
PAIRS = 135  # folders of `sipit`, or single files at its top, of which one imports from the other


@cache
def imported(path: Path) -> set[str]:
    """The modules of the project that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{one.name}" for one in node.names}
            found |= names & MODULES.keys() or {node.module}
    return found & MODULES.keys()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_long(package: str) -> None:
    long = {name: lines for name, path in MODULES.items() if name.split(".")[0] == package
            and (lines := len(path.read_text(encoding="utf-8").splitlines())) > LINES}  # fmt: skip
    assert long == {}


@pytest.mark.parametrize("package", NAMES)
def test_the_top_of_a_package_has_few_names(package: str) -> None:
    names = {name.split(".")[1] for name in MODULES if name.startswith(f"{package}.")} - {"__main__"}
    assert len(names) <= NAMES[package], sorted(names)


def test_rooms_import_from_few_others() -> None:
    rooms = {(name.split(".")[1], other.split(".")[1]) for name, path in MODULES.items() for other in imported(path)
             if name.startswith("sipit.") and other.startswith("sipit.")}  # fmt: skip
    assert len({(one, other) for one, other in rooms if one != other}) <= PAIRS


def lines_of_code(path: Path) -> int:
    """Without blank lines, comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    written = {
        line for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in silent
        for line in range(token.start[0], token.end[0] + 1)
    }  # fmt: skip
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            written -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(written)


def parameters(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """Of a function; of a class those of its `__init__`, or its fields."""
    if isinstance(node, ast.ClassDef):
        fields = {
            one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        }
        made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        return fields.union(*map(parameters, made))
    every = node.args
    stars = {f"*{every.vararg.arg}"} if every.vararg else set[str]()
    stars |= {f"**{every.kwarg.arg}"} if every.kwarg else set[str]()
    return stars | {one.arg for one in (*every.posonlyargs, *every.args, *every.kwonlyargs)}


def test_the_kernel_is_read_in_a_day() -> None:
    """What `CONTRIBUTING.md` says of it, to a hundred lines or so."""
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for folder in ("kernel", "recomputed"):
        stated = re.search(rf"\| `proofs/{folder}/` \| ([\d,]+) \|", told)
        assert stated is not None
        found = sum(map(lines_of_code, (ROOT / "proofs" / folder).rglob("*.py")))
        assert abs(found - int(stated[1].replace(",", ""))) < 50
        assert folder != "kernel" or found < 3000


def test_no_circle_of_imports() -> None:
    tuple(TopologicalSorter({name: imported(path) - {name} for name, path in MODULES.items()}).static_order())


def test_no_module_has_the_name_of_a_function_of_its_package() -> None:
    clashes = set[str]()
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name not in {"proofs.operations"}:  # whose names are modules, and meant
            tree = ast.parse(path.read_text(encoding="utf-8"))
            own = {one.asname or one.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                   for one in node.names}  # fmt: skip
            own |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
            clashes |= {f"{name}.{one}" for one in own} & MODULES.keys()
    assert clashes == set()


@pytest.mark.parametrize("page", ["docs/architecture.md", "tests/README.md"])
def test_pages_about_the_house_name_what_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/.-]+(?:/|\.py|\.v|\.md))`", text))
    # In a cell with several files the folder is written once.
    known = {path.name for folder in ("tests", *PACKAGES, "docs") for path in (ROOT / folder).rglob("*")}
    missing = {one for one in named if not ((ROOT / one).exists() or (ROOT / "tests" / one).exists() or one in known)}
    assert missing == set()


def test_the_architecture_page_has_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {
        path.name for package in PACKAGES for path in (ROOT / package).iterdir() if (path / "__init__.py").exists()
    }
    assert {room for room in rooms if f"| `{room}` |" not in text} == set()


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_describe_parameters_by_their_names(name: str) -> None:
    """The site is built strictly: an entry under `Args:` that is no parameter ends it."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            listed = re.search(r"^Args:\n((?: .*\n?|\n)+)", ast.get_docstring(node) or "", re.MULTILINE)
            described = set(re.findall(r"^    (\S.*?):", listed[1], re.MULTILINE)) if listed else set[str]()
            assert described <= parameters(node), node.name


def test_no_test_file_imports_from_another() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    assert {path.name for path, text in texts.items() if re.search(r"^from tests\.[\w.]*\btest_", text, re.M)} == set()


def test_every_module_of_the_checker_is_mutated() -> None:
    checker = [path for folder in ("kernel", "recomputed") for path in (ROOT / "proofs" / folder).rglob("*.py")]
    modules = {path.relative_to(ROOT).as_posix() for path in [*checker, ROOT / "proofs/door.py"]}
    assert {path for path in modules if not path.endswith("__init__.py")} <= set(QUICK)
    named = {name.partition("::")[0] for names in QUICK.values() for name in names.split()}
    assert all((ROOT / f"tests/proofs/{name}.py").is_file() for name in named)


def test_free_memory_is_asked_in_one_place():
    """Places that ask the system by themselves answer differently where a control group allows less."""
    words = ("virtual_memory", "SC_AVPHYS_PAGES", "MemAvailable")
    texts = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    assert {name for name, text in texts.items() if any(word in text for word in words)} == {"sipit.memory"}
