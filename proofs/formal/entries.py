"""A network and its prompts as rows for the numbering that was extracted from its proof: every entry is a row.

The graph is evaluated over an arithmetic that writes down what it does. Every operation on numbers is a row that reads
earlier rows; a sum is one row over all its terms. Zeros and masked entries are followed, and drop out of sums. What a
softmax makes of a row of numbers, e^x / sum of e^x, adds to one by its form; a product with such weights is written as
a mixture, or as the quotient of two sums, which sees other equalities. A quotient is written with the terms of both of
its sides, and e^(x + c) in a term, for a constant c, as a power of one number times e^x, so that a factor that is
common to all of them is seen.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np

from proofs.arithmetic.base import Discrete, Reals, Undecided
from proofs.arithmetic.objects import ObjectArithmetic
from proofs.errors import Unsupported
from proofs.network.graph import Graph, Number
from proofs.operations.interpreter import evaluate

CHOICE = "Expected no choice among values, but the network makes one."


class Entry:
    """One number of an evaluation, by the place of its row."""

    __slots__ = ("place", "rows")

    def __init__(self, rows: "Entries", place: int) -> None:
        self.rows, self.place = rows, place

    def __add__(self, other: "Entry") -> "Entry":
        return self.rows.total([self, other])

    def __neg__(self) -> "Entry":
        return self.rows.number(-1) * self

    def __sub__(self, other: "Entry") -> "Entry":
        return self.rows.total([self, -other]) if other is not self.rows.zero else self

    def __mul__(self, other: "Entry") -> "Entry":
        zero = self.rows.zero
        return zero if zero in (self, other) else self.rows.row("multiply", self, other)

    def __truediv__(self, other: "Entry") -> "Entry":
        return self.rows.zero if self is self.rows.zero else self.rows.quotient(self, other)


class Entries(ObjectArithmetic):
    """An arithmetic of rows.

    Attributes:
        lines: the rows written so far, as the program reads them.
        names: what the numbers in rows stand for: operations, parameters' entries, constants, bases.
        zero, masked: what is known to be 0, and minus infinity.
    """

    def __init__(self, *, mixtures: bool) -> None:
        self.lines: list[str] = []
        self.names: dict[Any, int] = {}
        self._mixtures = mixtures
        self._made: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._constants: dict[int, Fraction] = {}
        self._shifts: dict[int, tuple[int, Fraction]] = {}
        self.zero, self.masked = Entry(self, -1), Entry(self, -2)

    def row(self, name: Any, *read: Entry) -> Entry:
        """A row: an operation, by name, on earlier rows."""
        if self.masked in read:
            raise Unsupported(f"Expected numbers for {name}, but got a masked one.")
        places = tuple(self.place(entry) for entry in read)
        number = self.names.setdefault(name, len(self.names))
        return self._written(name, places, _line(f"apply {number}", places))

    def total(self, terms: Sequence[Entry]) -> Entry:
        """The sum; zeros drop out, and one masked term masks it."""
        if self.masked in terms:
            return self.masked
        kept = [term for term in terms if term is not self.zero]
        if len(kept) < 2:
            return kept[0] if kept else self.zero
        places = tuple(term.place for term in kept)
        return self._written("total", places, _line("total", places))

    def quotient(self, above: Entry, below: Entry) -> Entry:
        """A quotient; of sums it is written with their terms, as it depends on these up to a common factor."""
        if self.masked in (above, below):
            raise Unsupported("Expected numbers for divide, but got a masked one.")
        read = self.place(above), self.place(below)
        sides = [[self._shifted(place) for place in self._terms(side)] for side in read]
        base, exponents = _powers([shift for side in sides for _, shift in side])
        powers = iter(exponents)
        top, bottom = (" ".join(f"{place}:{next(powers)}" for place, _ in side) for side in sides)
        number = self.names.setdefault(("base", base), len(self.names))
        return self._written("divide", read, f"quotient {number} {top} / {bottom}")

    def number(self, value: Number) -> Entry:
        """A constant; 0 and minus infinity are known as such."""
        if isinstance(value, float):
            return self.masked
        if not value:
            return self.zero
        made = self.row(("constant", Fraction(value)))
        self._constants[made.place] = Fraction(value)
        return made

    def elementary(self, name: str) -> Callable[[Any], Any]:
        """A function of one number; e to the power of a masked one is 0."""
        return lambda x: self.zero if name == "exp" and x is self.masked else self.row(name, x)

    def matmul(self, x: Reals, y: Reals) -> Reals:
        """Products, each a sum over its terms, or a mixture."""
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        result = np.empty((*batch, x.shape[-2], y.shape[-1]), dtype=object)
        left, right = (np.broadcast_to(part, (*batch, *part.shape[-2:])) for part in (x, y))
        for place in np.ndindex(*result.shape):
            result[place] = self._product(list(left[place[:-1]]), list(right[(*place[:-2], slice(None), place[-1])]))
        return result

    def sum(self, x: Any, axes: Sequence[int], keep: bool) -> Any:
        """Sums of reals as one row each."""
        if x.dtype != object:
            return super().sum(x, axes, keep)
        others = [axis for axis in range(x.ndim) if axis not in axes]
        moved = np.transpose(x, (*others, *axes)).reshape(*(x.shape[axis] for axis in others), -1)
        result = np.empty(moved.shape[:-1], dtype=object)
        for place in np.ndindex(*result.shape):
            result[place] = self.total(list(moved[place]))
        return result.reshape([1 if axis in axes else n for axis, n in enumerate(x.shape)]) if keep else result

    def shift(self, x: Reals, axis: int) -> Reals:
        """Nothing is subtracted: nothing overflows here."""
        return np.full([1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)], self.zero, dtype=object)

    def greater(self, x: Reals, y: Reals) -> Discrete:
        """Never decided."""
        raise Undecided(CHOICE)

    def top(self, x: Reals, axis: int, count: int) -> Discrete:
        """Never decided."""
        raise Undecided(CHOICE)

    def floor(self, x: Reals) -> Discrete:
        """Never decided."""
        raise Undecided(CHOICE)

    def _product(self, weights: Sequence[Entry], values: Sequence[Entry]) -> Entry:
        """Sum of weights times values; weights e_j / S with S the sum of these e_j alone are those of a mixture."""
        pairs = [(w, v) for w, v in zip(weights, values, strict=True) if w is not self.zero]
        made = [self._made.get(w.place, ("", ())) for w, _ in pairs]
        sums = {read[1] for name, read in made if name == "divide"}
        if len(sums) == 1 and all(name == "divide" for name, _ in made):
            (below,) = sums
            above = tuple(read[0] for _, read in made)
            if self._terms(below) == above:
                if self._mixtures:
                    read = tuple(self.place(v) for _, v in pairs)
                    return self._written("mixture", read, _line(f"mixture {below}", read))
                terms = [Entry(self, read[0]) * v for (_, read), (_, v) in zip(made, pairs, strict=True)]
                return self.total(terms) / Entry(self, below)
        return self.total([w * v for w, v in pairs])

    def place(self, entry: Entry) -> int:
        """Of a row; that of zero is written where it is read."""
        if entry is self.zero:
            return self.row(("constant", Fraction(0))).place
        return entry.place

    def _terms(self, place: int) -> tuple[int, ...]:
        """Of a sum; what is no sum is one term."""
        name, read = self._made[place]
        return read if name == "total" else (place,)

    def _shifted(self, place: int) -> tuple[int, Fraction]:
        """A row as e^c times another, for a constant c: of e^(x + c), and of its products with others."""
        if place not in self._shifts:
            self._shifts[place] = self._shift(place)
        return self._shifts[place]

    def _shift(self, place: int) -> tuple[int, Fraction]:
        name, read = self._made[place]
        if name == "exp":
            name, read = self._made[read[0]]
            known = [self._constants[term] for term in read if term in self._constants] if name == "total" else []
            if not known:
                return place, Fraction(0)
            rest = [Entry(self, term) for term in read if term not in self._constants]
            return self.row("exp", self.total(rest)).place, sum(known, Fraction(0))
        if name != "multiply":
            return place, Fraction(0)
        (first, by), (second, more) = (self._shifted(factor) for factor in read)
        if (first, second) == read:
            return place, Fraction(0)
        return self.row("multiply", Entry(self, first), Entry(self, second)).place, by + more

    def _written(self, name: Any, read: tuple[int, ...], line: str) -> Entry:
        self.lines.append(line)
        place = len(self.lines) - 1
        self._made[place] = (name, read)
        return Entry(self, place)


def _powers(shifts: Sequence[Fraction]) -> tuple[Fraction, list[int]]:
    """A number of which all differences of shifts are whole multiples, and these multiples, from 0 on."""
    least = min(shifts)
    denominator = lcm(*(shift.denominator for shift in shifts))
    unit = gcd(*(int((shift - least) * denominator) for shift in shifts))
    if not unit:
        return Fraction(0), [0] * len(shifts)
    return Fraction(unit, denominator), [int((shift - least) * denominator) // unit for shift in shifts]


def _line(head: str, places: Sequence[int]) -> str:
    return " ".join([head, *map(str, places)])


def last_states(prompts: Sequence[tuple[Graph, Sequence[int]]], rows: Entries) -> list[tuple[int, ...]]:
    """Writes the rows of several prompts, each through its graph: the places of the entries of their last states.

    Args:
        prompts: graphs of one network, and prompts of their lengths.
        rows: where they are written.

    Raises:
        Undecided, Unsupported: the network makes choices, or a masked entry reaches what is no softmax.
    """
    states = list[tuple[int, ...]]()
    drawn: dict[tuple[str, tuple[int, ...]], Entry] = {}
    for graph, prompt in prompts:
        inputs: Mapping[str, Any] = {"tokens": np.array([prompt], dtype=np.int64)} | {
            name: _parameter(rows, drawn, name, kind.shape) for name, kind in graph.parameters()
        }
        last = evaluate(graph, inputs, rows)[0, -1]
        states.append(tuple(rows.place(entry) for entry in last))
    return states


def _parameter(rows: Entries, drawn: dict[Any, Entry], name: str, shape: tuple[int, ...]) -> Any:
    table = np.empty(shape, dtype=object)
    for place in np.ndindex(*shape):
        if (name, place) not in drawn:
            drawn[name, place] = rows.row(("parameter", name, place))
        table[place] = drawn[name, place]
    return table
