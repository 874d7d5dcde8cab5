"""Compiles the theories of this folder and the checker extracted from them.

`make formal` runs it; what every theorem rests on is held against `assumptions.txt`. It needs Coq with the mathematical
components (Debian's packages, below), Python's standard library and nothing else; what is compiled lies in
`build/formal`. Exit status 1: a theory holds something unproved, or a theorem rests on something that is not written
down, or the other way round; 2: a program or a library is missing, or a theory does not compile.

    python3 proofs/formal/build.py             compile and compare
    python3 proofs/formal/build.py --renew     compile and write `assumptions.txt`
    python3 proofs/formal/build.py --installed whether all that is needed is there
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "build" / "formal"
LIST = HERE / "assumptions.txt"
STAMP = OUT / "made-of.txt"  # the digest of every source that the programs were compiled from
PACKAGES = (
    "coq libcoq-mathcomp-algebra libcoq-mathcomp-zify libcoq-mathcomp-algebra-tactics libcoq-mathcomp-analysis "
    "ocaml-nox ocaml-findlib libzarith-ocaml-dev"
)
VERSION = "8.16"
PARTS = {
    "bounds_checker": ("checker.mli", "checker.ml", "main.ml"),
    "row_numbering": ("numbering.mli", "numbering.ml", "rows.ml"),
}
PROGRAMS = ("coqc", "coq_makefile", "make", "ocamlfind", "ocamlopt")
LIBRARIES = ("ssreflect", "algebra", "zify", "algebra_tactics", "analysis")
COMMENT = re.compile(r"\(\*|\*\)")
STATED = re.compile(r"^\s*(?:#\[[^]]*\]\s*)?(Theorem|Lemma|Corollary|Proposition|Fact|Remark)\s+([\w']+)", re.M)
# What would let a statement through without a proof, wherever it stands.
UNPROVED = re.compile(
    r"\b(Admitted|admit|give_up|Axioms?|Conjectures?|Parameters?|bypass_check|Declare Module|"
    r"Unset (Guard|Positivity|Universe) Checking|Obligation Tactic)\b"
)
MARK = "rests on: "
NOTHING = "nothing"


class Failure(Exception):
    """A sentence for people, and the exit status."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


def without_comments(text: str) -> str:
    """A theory without its comments, which nest."""
    kept, depth, last = [], 0, 0
    for found in COMMENT.finditer(text):
        if depth == 0:
            kept.append(text[last : found.start()])
        depth = depth + 1 if found[0] == "(*" else max(0, depth - 1)
        last = found.end()
    return "".join([*kept, text[last:]])


def theories() -> list[str]:
    """The names of the theories, in the order of `_CoqProject`; every file of the folder must stand there."""
    listed = [line[:-2] for line in (HERE / "_CoqProject").read_text().split() if line.endswith(".v")]
    kept = {path.stem for path in HERE.glob("*.v")}
    if set(listed) != kept:
        raise Failure(f"Expected _CoqProject to name every theory, but it differs in {sorted(set(listed) ^ kept)}.", 2)
    return listed


def statements() -> list[tuple[str, str]]:
    """Every statement: its word (Theorem, Lemma, …) and `Theory.name`; no theory may hold anything unproved."""
    found: list[tuple[str, str]] = []
    for theory in theories():
        text = without_comments((HERE / f"{theory}.v").read_text())
        unproved = UNPROVED.search(text)
        if unproved:
            raise Failure(f"Expected proofs alone in {theory}.v, but it holds the word {unproved[0]!r}.", 1)
        found += [(word, f"{theory}.{name}") for word, name in STATED.findall(text)]
    return found


def expect_installed() -> None:
    """Ends where a program or a library is missing, or where Coq is of another version."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing:
        where = subprocess.run(["coqc", "-where"], check=True, capture_output=True, text=True).stdout.strip()
        folder = Path(where, "user-contrib", "mathcomp")
        missing = [f"mathcomp {name}" for name in LIBRARIES if not (folder / name).is_dir()]
        version = subprocess.run(["coqc", "-print-version"], check=True, capture_output=True, text=True).stdout
        if not version.startswith(VERSION):
            raise Failure(f"Expected Coq {VERSION}, as Debian 12 has it, but got {version.split()[0]}.", 2)
    if missing:
        raise Failure(
            f"Expected Coq and its libraries, but there is no {', '.join(missing)}; on Debian: apt install {PACKAGES}",
            2,
        )


def compile_theories() -> None:
    """Compiles what has changed, in `build/formal`, so that nothing is written beside the sources.

    From here on, and where a theory does not compile for good, the programs are not those of any sources.
    """
    OUT.mkdir(parents=True, exist_ok=True)
    STAMP.unlink(missing_ok=True)
    for path in (HERE / "_CoqProject", *HERE.glob("*.ml"), *HERE.glob("*.v")):
        copy = OUT / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)
    for copy in OUT.glob("*.v"):
        if not (HERE / copy.name).exists():
            copy.unlink()
    run(["coq_makefile", "-f", "_CoqProject", "-o", "Makefile.coq"])
    run(["make", "--no-print-directory", "-f", "Makefile.coq"])


def compile_programs() -> None:
    """Makes programs in `build/formal` of what was extracted and of its readers."""
    for name, parts in PARTS.items():
        program, files = OUT / name, [OUT / part for part in parts]
        if not program.exists() or program.stat().st_mtime < max(part.stat().st_mtime for part in files):
            run(["ocamlfind", "ocamlopt", "-package", "zarith,str", "-linkpkg", "-w", "-a", *parts, "-o", name])
    sources = sorted(path.name for ending in ("*.v", "*.ml") for path in HERE.glob(ending))
    STAMP.write_text("".join(f"{digest(OUT / name)} {name}\n" for name in sources))


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(command: Sequence[str]) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(command, cwd=OUT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise Failure(f"Expected {command[0]} to succeed, but its exit status is {done.returncode}; see above.", 2)
    return done.stdout


def assumptions(stated: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What statements rest on beyond the logic itself, a line each: every theory as a whole, then its theorems.

    A theory as a whole is all its lemmas and theorems in one term. Where that rests on nothing, so does each of them,
    and none is asked for: with real numbers in reach an answer takes a second.
    """
    chosen = [name for word, name in stated if word in ("Theorem", "Corollary")]
    asked: dict[str, str] = {}
    for theory in theories():
        terms = [f"@{name}" for _, name in stated if name.startswith(f"{theory}.")]
        if terms:
            asked[theory] = f"Definition everything := ({', '.join([*terms, 'tt'])})."
    whole = dict(zip(asked, _printed([(text, "everything") for text in asked.values()]), strict=True))
    theorems = [name for name in chosen if whole[name.partition(".")[0]] != NOTHING]
    single = dict(zip(theorems, _printed([("", name) for name in theorems]), strict=True))
    for theory, rests in whole.items():
        yield f"{theory}, all of it: {rests}"
        yield from (f"{name}: {single.get(name, NOTHING)}" for name in chosen if name.startswith(f"{theory}."))


def _printed(questions: Sequence[tuple[str, str]]) -> list[str]:
    """The answers of Coq: what each constant, defined by a text or known, rests on."""
    lines = [f"From Sipit Require {' '.join(theories())}."]
    for index, (text, name) in enumerate(questions):
        lines.append(
            f'Module M{index}. {text} Goal True. idtac "{MARK}". Abort. Print Assumptions {name}. End M{index}.'
        )
    path = OUT / "Asked.v"
    path.write_text("\n".join(lines) + "\n")
    try:
        printed = run(["coqc", "-Q", ".", "Sipit", path.name])
    finally:
        for made in (*OUT.glob("Asked.*"), *OUT.glob(".Asked.*")):
            made.unlink()
    parts = printed.split(MARK)[1:]
    if len(parts) != len(questions):
        raise Failure(f"Expected {len(questions)} answers about axioms, but {len(parts)} were printed.", 2)
    return [_axioms(part) for part in parts]


def _axioms(printed: str) -> str:
    if "Closed under the global context" in printed:
        return NOTHING
    # An axiom starts a line; its type may go on in lines that are indented.
    axioms = sorted(re.findall(r"^(\S+)(?: |$)", printed.partition("Axioms:")[2], re.M))
    if not axioms:
        raise Failure(f"Expected axioms by name, but got {printed.strip()[:80]!r}.", 2)
    return ", ".join(axioms)


def compare(found: Sequence[str]) -> None:
    """Ends where what the theorems rest on is not what is written down."""
    written = LIST.read_text().splitlines() if LIST.exists() else []
    for line in found:
        if line not in written:
            raise Failure(f"Expected what {LIST.name} says, but now: {line}. If that is meant: --renew.", 1)
    if len(written) != len(found):
        gone = sorted({line.partition(":")[0] for line in written} - {line.partition(":")[0] for line in found})
        raise Failure(f"Expected the statements of {LIST.name}, but these are gone: {', '.join(gone)}.", 1)


def main(arguments: Sequence[str]) -> None:
    """Everything in order."""
    if arguments not in ([], ["--renew"], ["--installed"]):
        raise Failure("Expected no argument, --renew or --installed.", 2)
    expect_installed()
    if arguments == ["--installed"]:
        return
    stated = statements()
    compile_theories()
    compile_programs()
    found = list(assumptions(stated))
    if arguments:
        LIST.write_text("".join(f"{line}\n" for line in found))
    compare(found)
    theorems = [line for line in found if ", all of it: " not in line]
    closed = sum(line.endswith(f": {NOTHING}") for line in theorems)
    sys.stdout.write(
        f"{len(stated)} statements proved, {len(theorems)} of them theorems: {closed} rest on nothing, the others on "
        f"the axioms of {LIST.name}\n"
    )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failure as failure:
        sys.stderr.write(f"{failure}\n")
        sys.exit(failure.status)
