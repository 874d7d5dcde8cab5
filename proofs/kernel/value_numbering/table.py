"""The table of numbers: a value is named by the operation that makes it and the numbers of what it is made from.

Two lookups of one key give one number, so that equal numbers are equal tensors, whatever the parameters: by induction,
since a key holds everything that the tensor is a function of, its shape included. Nothing is said of different
numbers. Constants are keyed by their entries, and known constants are worked out exactly.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from proofs.errors import Unsupported
from proofs.network.graph import Graph

Shape: TypeAlias = tuple[int, ...]
MASKED = float("-inf")
LARGEST_TABLE = 2**22  # entries of keys; half a gigabyte


class TooMany(Unsupported):
    """A network has more values, or longer ones, than there is room for; a prover may do without, or pass this on."""

    def __init__(self) -> None:
        super().__init__(
            f"Expected a network whose values are told apart by {LARGEST_TABLE} entries, but it has more; take fewer "
            "layers, shorter prompts or a smaller configuration."
        )


@dataclass(frozen=True, slots=True)
class Known:
    """A constant tensor; one entry stands for all where they are equal."""

    kind: str
    shape: Shape
    values: tuple[Any, ...]

    @property
    def only(self) -> Any:
        """The entry, where all are equal, else None."""
        return self.values[0] if len(self.values) == 1 else None


class Table:
    """Numbers by key, and what is known of some of them.

    Attributes:
        known: the constants.
        shifted: (base, constant) of what is the sum of both.
        weight: (base, constant, row) of the weight of a softmax whose score is base + constant (0: none) in that row.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self.known: dict[int, Known] = {}
        self.shifted: dict[int, tuple[int, int]] = {}
        self.weight: dict[int, tuple[int, int, int]] = {}
        self._graphs: list[Graph] = []
        self._entries = 0
        self._zero: set[int] = set()  # constants that are 0 or -inf in every entry
        self._masked: set[int] = set()

    def spend(self, entries: int) -> None:
        """Counts what is written down: TooMany beyond what there is room and time for."""
        self._entries += entries
        if self._entries > LARGEST_TABLE:
            raise TooMany

    def of(self, *key: Hashable) -> int:
        """The number of a value by its key; 1 and above."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers) + 1
            last = key[-1]  # what may be long stands there
            self.spend(len(key) + (len(last) if isinstance(last, frozenset | tuple) else 0))
        return number

    def fresh(self) -> int:
        """A number that nothing else has."""
        return self.of("fresh", len(self._numbers))

    def number_of(self, graph: Graph) -> int:
        """Which graph it is, for what is known of a graph alone."""
        for number, known in enumerate(self._graphs):
            if known is graph:
                return number
        self._graphs.append(graph)
        return len(self._graphs) - 1

    def constant(self, kind: str, shape: Shape, values: tuple[Any, ...]) -> int:
        """The number of a constant."""
        if len(values) > 1 and all(value == values[0] for value in values):
            values = values[:1]
        number = self.of("constant", kind, shape, values)
        if number not in self.known:
            known = self.known[number] = Known(kind, shape, values)
            if kind != "boolean" and known.only == 0:
                self._zero.add(number)
            elif known.only == MASKED:
                self._masked.add(number)
        return number

    def is_zero(self, number: int) -> bool:
        """Whether a value is the constant 0."""
        return number in self._zero

    def is_masked(self, number: int) -> bool:
        """Whether a value is -inf in every entry."""
        return number in self._masked

    def shift(self, base: int, by: int) -> int:
        """base + a constant of its shape."""
        if self.is_zero(by):
            return base
        number = self.of("shift", base, by)
        self.shifted.setdefault(number, (base, by))
        return number

    def weigh(self, score: int, row: int) -> int:
        """The weight of a score in the softmax of a row."""
        number = self.of("weight", score, row)
        base, by = self.shifted.get(score, (score, 0))
        self.weight.setdefault(number, (base, by, row))
        return number


def exactly(value: Any) -> Any:
    """An entry as a Fraction where it is a real number; -inf, integers and truth values as they are."""
    return value if isinstance(value, bool | float) else Fraction(value)
