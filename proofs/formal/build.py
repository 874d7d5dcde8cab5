"""Compiles the theories of this folder, and holds what every theorem rests on against `assumptions.txt`.

`make formal` runs it. It needs Coq with the mathematical components (Debian's packages, below), Python's standard
library and nothing else; what is compiled lies in `build/formal`. Exit status 1: a theorem rests on something that is
not written down, or the other way round; 2: a program or a library is missing, or a theory does not compile.

    python3 proofs/formal/build.py             compile and compare
    python3 proofs/formal/build.py --renew     compile and write `assumptions.txt`
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "build" / "formal"
LIST = HERE / "assumptions.txt"
PACKAGES = (
    "coq libcoq-mathcomp-algebra libcoq-mathcomp-zify libcoq-mathcomp-algebra-tactics libcoq-mathcomp-analysis "
    "ocaml-nox ocaml-findlib libzarith-ocaml-dev"
)
VERSION = "8.16"
PROGRAMS = ("coqc", "coq_makefile", "make", "ocamlfind", "ocamlopt")
LIBRARIES = ("ssreflect", "algebra", "zify", "algebra_tactics", "analysis")
COMMENT = re.compile(r"\(\*|\*\)")
STATED = re.compile(r"^\s*(?:#\[[^]]*\]\s*)?(?:Theorem|Lemma|Corollary|Proposition|Fact|Remark)\s+([\w']+)", re.M)
# What would let a statement through without a proof, wherever it stands.
UNPROVED = re.compile(
    r"\b(Admitted|admit|give_up|Axioms?|Conjectures?|Parameters?|bypass_check|Declare Module|"
    r"Unset (Guard|Positivity|Universe) Checking|Obligation Tactic)\b"
)
MARK = "theorem: "


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


def statements() -> list[str]:
    """Every lemma and theorem, `Theory.name`, read off the theories, none of which may take anything unproved."""
    found: list[str] = []
    for theory in theories():
        text = without_comments((HERE / f"{theory}.v").read_text())
        unproved = UNPROVED.search(text)
        if unproved:
            raise Failure(f"Expected proofs alone in {theory}.v, but it holds the word {unproved[0]!r}.", 1)
        found += [f"{theory}.{name}" for name in STATED.findall(text)]
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
    """Compiles what has changed, in `build/formal`, so that nothing is written beside the sources."""
    OUT.mkdir(parents=True, exist_ok=True)
    for path in (HERE / "_CoqProject", *HERE.glob("*.v")):
        copy = OUT / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)
    for copy in OUT.glob("*.v"):
        if not (HERE / copy.name).exists():
            copy.unlink()
    run(["coq_makefile", "-f", "_CoqProject", "-o", "Makefile.coq"])
    run(["make", "--no-print-directory", "-f", "Makefile.coq"])


def run(command: Sequence[str]) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(command, cwd=OUT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise Failure(f"Expected {command[0]} to succeed, but its exit status is {done.returncode}; see above.", 2)
    return done.stdout


def assumptions(names: Sequence[str]) -> Iterator[str]:
    """One line for every statement: what it rests on beyond the logic itself."""
    asked = "".join(f'Goal True. idtac "{MARK}{name}". Abort. Print Assumptions {name}.\n' for name in names)
    (OUT / "Asked.vf").write_text(f"From Sipit Require {' '.join(theories())}.\n{asked}")
    shutil.copyfile(OUT / "Asked.vf", OUT / "Asked.v")
    try:
        printed = run(["coqc", "-Q", ".", "Sipit", "Asked.v"])
    finally:
        for path in (*OUT.glob("Asked.*"), *OUT.glob(".Asked.*")):
            path.unlink()
    parts = printed.split(MARK)[1:]
    if len(parts) != len(names):
        raise Failure(f"Expected the assumptions of {len(names)} statements, but {len(parts)} were printed.", 2)
    for part in parts:
        name, _, rest = part.partition("\n")
        if rest.strip() == "Closed under the global context":
            yield f"{name}: nothing"
        else:
            # An axiom starts a line; its type may go on in lines that are indented.
            axioms = sorted(re.findall(r"^(\S+)(?: |$)", rest.partition("Axioms:")[2], re.M))
            if not axioms:
                raise Failure(f"Expected axioms by name under {name}, but got {rest.strip()[:80]!r}.", 2)
            yield f"{name}: {', '.join(axioms)}"


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
    if arguments not in ([], ["--renew"]):
        raise Failure("Expected no argument or --renew.", 2)
    expect_installed()
    names = statements()
    compile_theories()
    found = list(assumptions(names))
    if arguments:
        LIST.write_text("".join(f"{line}\n" for line in found))
    compare(found)
    closed = sum(line.endswith(": nothing") for line in found)
    sys.stdout.write(
        f"{len(found)} lemmas and theorems proved: {closed} rest on nothing, the others on the axioms of {LIST.name}\n"
    )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failure as failure:
        sys.stderr.write(f"{failure}\n")
        sys.exit(failure.status)
