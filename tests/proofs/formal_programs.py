"""The programs that were extracted from their proofs, where `make formal` has compiled them for these theories."""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from proofs.formal import build
from proofs.formal.entries import Entries, last_states
from proofs.network.graph import Graph

SOURCES = build.HERE
WRONG_TYPE = "the type is not the one that follows"
CHECKER, NUMBERING = build.OUT / "bounds_checker", build.OUT / "row_numbering"


def missing(program: Path, names: Iterable[str]) -> str:
    """Why a program cannot be run; nothing where it can."""
    if not program.exists():
        return f"{program.name} has not been compiled here: make formal"
    made_of = build.STAMP.read_text().splitlines() if build.STAMP.exists() else []
    for name in names:
        if f"{build.digest(SOURCES / name)} {name}" not in made_of:
            return f"{program.name} is not that of this {name}: make formal"
    return ""


NO_CHECKER = missing(CHECKER, [*(path.name for path in SOURCES.glob("*.v")), "main.ml"])
NO_NUMBERING = missing(NUMBERING, ("Lookup.v", "ValueNumbering.v", "ExtractNumbers.v", "rows.ml"))


def judged(texts: Sequence[str], *options: str) -> list[str]:
    """The checker's answers, one for every network."""
    done = subprocess.run([str(CHECKER), *options], input="".join(texts), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def refusals(texts: Sequence[str]) -> tuple[list[str], int]:
    """What the checker refuses of networks, and how many nodes it did not get to.

    A node that a mask makes unproved may be of a wrong type, on which the kernel's lemma says nothing. Where nothing is
    claimed of it either, the checker ends there without an objection, and what stands behind it is not judged.

    Args:
        texts: the nodes of a network each, a line a node.
    """
    answers = judged([f"network {number}\n{text}" for number, text in enumerate(texts)])
    assert len(answers) == len(texts)
    refused: list[str] = []
    unjudged = 0
    for answer, text in zip(answers, texts, strict=True):
        word, _, place, *reason = answer.replace(":", "").split(" ", 3)
        nodes = text.splitlines()
        if word == "accepted":
            assert int(place) == len(nodes)
        elif " ".join(reason) == WRONG_TYPE and nodes[int(place)].endswith("; nothing"):
            unjudged += len(nodes) - int(place)
        else:
            refused.append(answer)
    return refused, unjudged


def numbered(lines: Sequence[str]) -> list[int]:
    """The numbers of rows."""
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run([str(NUMBERING)], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def equated(first: tuple[Graph, Any], second: tuple[Graph, Any]) -> list[bool]:
    """Whether both last states have equal numbers: products as mixtures, and as quotients of sums."""
    found = []
    for mixtures in (True, False):
        rows = Entries(mixtures=mixtures)
        states = last_states([first, second], rows)
        numbers = numbered(rows.lines)
        one, other = ([numbers[place] for place in places] for places in states)
        found.append(one == other)
    return found
