"""Balls that write down every choice a network makes: comparisons, top-k, rounding (see `proofs.kernel.branches`)."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Discrete, Reals, Undecided

TIE = "Expected a strict order, but got a tie or enclosures that overlap; take another point."


class Choices(Balls):
    """Balls that write down every choice, and can be told which ones to make."""

    def __init__(self, bits: int, script: Mapping[int, Discrete] | None = None) -> None:
        super().__init__(bits)
        self.script = script or {}
        self.made: list[Discrete] = []
        self._ranked: list[tuple[Any, int, int, Discrete]] = []

    def greater(self, x: Reals, y: Reals) -> Discrete:
        """x > y, told or decided strictly: a tie is undecided, because it is not so nearby."""
        return self._choose(lambda: np.asarray(np.frompyfunc(_strictly, 2, 1)(x, y), dtype=np.bool_))

    def top(self, x: Reals, axis: int, count: int) -> Discrete:
        """The largest entries, told or decided; their values and their places are one choice, not two."""
        for tensor, *rest, made in self._ranked:
            if tensor is x and rest == [axis, count]:
                return made
        made = self._choose(lambda: self._first(x, axis, count))
        self._ranked.append((x, axis, count, made))
        return made

    def floor(self, x: Reals) -> Discrete:
        """The integer below, told or decided strictly: near a whole number it is another one on one of its sides."""
        return self._choose(lambda: self._below(x))

    def _first(self, x: Reals, axis: int, count: int) -> Discrete:
        """The largest entries, in an order that holds nearby too: no two equal ones, of which either may be larger."""
        places = super().top(x, axis, count)
        rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
        chosen = np.moveaxis(places, axis, -1).reshape(-1, count).tolist()
        if not all(_ranked(row, first) for row, first in zip(rows, chosen, strict=True)):
            raise Undecided(TIE)
        return places

    def _below(self, x: Reals) -> Discrete:
        found = super().floor(x)
        if not np.all(np.frompyfunc(lambda b, n: bool(b > n), 2, 1)(x, found)):
            raise Undecided(TIE)
        return found

    def _choose(self, decide: Any) -> Discrete:
        told = self.script.get(len(self.made))
        self.made.append(decide() if told is None else told)
        return self.made[-1]


def _strictly(x: Any, y: Any) -> bool:
    difference = x - y
    if difference > 0:
        return True
    if difference < 0:
        return False
    raise Undecided(TIE)


class Ambiguous(Choices):
    """Runs with one choice told, and judges at it whether only two outcomes are possible there."""

    def __init__(self, bits: int, number: int, first: Discrete, second: Discrete) -> None:
        super().__init__(bits, {number: first})
        self.asked, self.first, self.second = number, first, second
        self.between_two = False

    def greater(self, x: Reals, y: Reals) -> Discrete:
        """Undecided in one entry at most."""
        if len(self.made) == self.asked:
            signs = np.frompyfunc(lambda a, b: 1 if a > b else -1 if a < b else 0, 2, 1)(x, y)
            agree = np.all((signs == 0) | ((signs == 1) == self.first)) and np.all(
                (signs == 0) | ((signs == 1) == self.second)
            )
            self.between_two = bool(agree) and int(np.sum(signs == 0)) == 1
        return super().greater(x, y)

    def top(self, x: Reals, axis: int, count: int) -> Discrete:
        """One row in which the last chosen and one other are undecided, and nothing else is."""
        if len(self.made) == self.asked:
            rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
            chosen = [np.moveaxis(c, axis, -1).reshape(-1, count) for c in (self.first, self.second)]
            swapped = [i for i in range(len(rows)) if not np.array_equal(chosen[0][i], chosen[1][i])]
            decided = all(_ranked(rows[i], list(chosen[0][i])) for i in range(len(rows)) if i not in swapped)
            self.between_two = (
                decided and len(swapped) == 1 and _swap(rows[swapped[0]], *(list(c[swapped[0]]) for c in chosen))
            )
        return super().top(x, axis, count)

    def floor(self, x: Reals) -> Discrete:
        """Undecided in one entry at most, between two neighbouring integers."""
        if len(self.made) == self.asked:
            inside = np.frompyfunc(lambda b, m, n: b > min(m, n) and b < max(m, n) + 1, 3, 1)(
                x, self.first, self.second
            )
            apart = np.abs(self.first - self.second)
            self.between_two = bool(np.all(inside)) and int(np.sum(apart)) == 1
        return super().floor(x)


def _ranked(row: Any, chosen: list[int]) -> bool:
    """Whether the chosen entries are proved to be the largest, in that order."""
    inside = set(chosen)
    rest = [i for i in range(len(row)) if i not in inside]
    chain = all(row[a] > row[b] for a, b in itertools.pairwise(chosen))
    return chain and all(row[chosen[-1]] > row[i] for i in rest)


def _swap(row: Any, first: list[int], second: list[int]) -> bool:
    """Whether both lists differ in their last entry alone, and all else is decided."""
    if first[:-1] != second[:-1]:
        return False
    pair = {first[-1], second[-1]}
    inside = pair.union(first)
    rest = [i for i in range(len(row)) if i not in inside]
    above = all(row[a] > row[b] for a, b in itertools.pairwise(first[:-1]))
    last = first[-2:-1]
    return (
        above and all(row[a] > row[b] for a in last for b in pair) and all(row[a] > row[b] for a in pair for b in rest)
    )
