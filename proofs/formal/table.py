"""Writes docs/theorem-list.md: every theorem of the theories with its file, its line and what it rests on.

python3 proofs/formal/table.py
"""

from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "theorem-list.md"
INTRODUCTION = """# Every theorem, with its file and line

What `make formal` proves ([how](theorems.md#under-a-proof-assistant)). *Rests on* is what Coq prints: nothing, or
axioms of its real numbers: *dedekind* for the two that define them (`sig_forall_dec`, `sig_not_dec`), *classic* for
excluded middle, *choice* for `epsilon_statement`, *extensionality* of functions. Lemmas are not listed; what a theory
rests on as a whole is in `proofs/formal/assumptions.txt`. Written by `python3 proofs/formal/table.py`.
"""
SHORT = {
    "ClassicalDedekindReals.sig_forall_dec": "dedekind", "ClassicalDedekindReals.sig_not_dec": "dedekind",
    "Classical_Prop.classic": "classic", "Epsilon.epsilon_statement": "choice",
    "FunctionalExtensionality.functional_extensionality_dep": "extensionality",
}  # fmt: skip


def page() -> str:
    """The page, from the theories and the file of assumptions."""
    return "\n".join([INTRODUCTION, "| theorem | file | rests on |", "|---|---|---|", *_rows(), ""])


def _rows() -> Iterator[str]:
    for line in (HERE / "assumptions.txt").read_text().splitlines():
        name, _, rests = line.partition(": ")
        if not name.endswith(", all of it"):
            theory, _, theorem = name.partition(".")
            short = dict.fromkeys(SHORT.get(axiom, axiom) for axiom in rests.split(", "))
            place = f"`proofs/formal/{theory}.v`, line {_line(HERE / f'{theory}.v', theorem)}"
            yield f"| `{name}` | {place} | {', '.join(short)} |"


def _line(theory: Path, theorem: str) -> int:
    """The line on which a theorem is stated."""
    starts = tuple(f"{word} {theorem}{end}" for word in ("Theorem", "Corollary") for end in (" ", ":"))
    lines = theory.read_text().splitlines()
    return next(n for n, line in enumerate(lines, start=1) if f"{line.strip()} ".startswith(starts))


if __name__ == "__main__":
    PAGE.write_text(page())
