"""The code blocks of a Markdown page as a reader would run them: in order, in one empty folder.

Python blocks share one namespace. Shell blocks run line by line, `sipit` in this process; a line that ends otherwise
than with status 0 says so in a comment (`# exit status 1`). A text block is compared with what the block before it
printed, line by line; … stands for anything. A comment above a block takes it out of the quick run, or of every run:

    <!-- slow -->
    <!-- not run: needs a GPU -->
"""

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sybil import Document, Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parents[2]
PAGES = tuple(sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")}))
MARK = re.compile(r"<!--\s*(slow|not run: [^>]+?)\s*-->\s*\Z")
STATUS = re.compile(r"#.*\bexit status (\d)")


def name_of(page: Path) -> str:
    """The path of a page from the top, as the name of its tests."""
    return page.relative_to(ROOT).as_posix()


def parsed(page: Path) -> Document:
    """A page with the blocks that are run or compared."""
    parsers = [
        CodeBlockParser("python", _python),
        CodeBlockParser("shell", _shell),
        CodeBlockParser("text", _compared),
    ]
    return Sybil(parsers).parse(page)


def mark_of(example: Example) -> str | None:
    """`slow`, `not run: …`, or None where a block runs always."""
    found = MARK.search(example.document.text[: example.start])
    return found[1] if found else None


def language_of(example: Example) -> str:
    """python, shell or text."""
    return str(example.region.lexemes["arguments"])


def command_lines(example: Example) -> Iterator[tuple[str, int]]:
    """The lines of a shell block, continued ones joined, with the exit status that each announces."""
    for line in example.parsed.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            status = STATUS.search(line)
            yield line.strip(), int(status[1]) if status else 0


def run_page(page: Path, *, slow: bool) -> int:
    """Runs the blocks of a page in the current folder, and says how many."""
    count = 0
    taken = False  # whether the last block that is no text was run
    for example in parsed(page):
        if language_of(example) == "text":
            if taken:
                example.evaluate()
            continue
        mark = mark_of(example)
        taken = mark is None or (slow and mark == "slow")
        if taken:
            example.evaluate()
            count += 1
    return count


def _python(example: Example) -> None:
    with _heard(example):
        PythonEvaluator()(example)


def _shell(example: Example) -> None:
    from sipit.cli import run

    with _heard(example):
        for line, expected in command_lines(example):
            words = shlex.split(line, comments=True)
            if Path(words[0]).name == "sipit":
                status = run(words[1:])
            else:
                status = subprocess.run(["bash", "-c", line], check=False).returncode
            assert status == expected, f"{line} ended with status {status}, not {expected}"


@contextlib.contextmanager
def _heard(example: Example) -> Iterator[None]:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        yield
    example.namespace["printed"] = stream.getvalue()


def _compared(example: Example) -> None:
    printed = " ".join(example.namespace.get("printed", "").split())
    for line in example.parsed.splitlines():
        wanted = ".*?".join(re.escape(" ".join(part.split())) for part in line.split("…"))
        assert re.search(wanted, printed), f"{line!r} was not printed, but {printed!r}"
