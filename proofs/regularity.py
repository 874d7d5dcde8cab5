"""How smooth a function is proved to be, and what is known of its values."""

from dataclasses import dataclass
from functools import total_ordering
from typing import Any

from proofs.arithmetic.bounds import EVERYTHING, Interval

_NAMES = ("constant", "polynomial", "analytic", "C", "discontinuous", "unproved")


@total_ordering
@dataclass(frozen=True, slots=True)
class Regularity:
    """A class of functions; a greater one is less regular, and a composition has the greatest of its parts.

    `discontinuous` says that a part may jump; `unproved` that an operation is unknown or a condition is open.
    """

    level: int
    smoothness: int = 0

    def __lt__(self, other: "Regularity") -> bool:
        return (self.level, -self.smoothness) < (other.level, -other.smoothness)

    def __str__(self) -> str:
        return f"C{self.smoothness}" if self.level == 3 else _NAMES[self.level]

    @classmethod
    def parse(cls, name: Any) -> "Regularity | None":
        """The class of that name, or None."""
        if not isinstance(name, str):
            return None
        if name[:1] == "C" and name[1:].isdecimal() and len(name) < 8:
            return cls(3, int(name[1:]))
        return cls(_NAMES.index(name)) if name in _NAMES and name != "C" else None


CONSTANT = Regularity(0)
POLYNOMIAL = Regularity(1)
ANALYTIC = Regularity(2)
CONTINUOUS = Regularity(3, 0)
DISCONTINUOUS = Regularity(4)
UNPROVED = Regularity(5)


def smooth(order: int) -> Regularity:
    """C^order, piecewise analytic."""
    return Regularity(3, order)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Where a tensor holds -inf for every parameter value: a truth value per entry of a small broadcast shape."""

    shape: tuple[int, ...]
    excluded: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What is proved of one node: its class, bounds on its finite entries, and which entries are -inf."""

    regularity: Regularity
    bounds: Interval = EVERYTHING
    excluded: Pattern | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A side condition of a lemma at one node."""

    node: int
    statement: str
    discharged: bool
    reason: str = ""
