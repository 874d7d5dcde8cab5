"""Mixtures with one number have one value: all small ones of two scores and two rows, with shifts of many kinds."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations_with_replacement, product
from math import exp, isclose

import pytest

from proofs.kernel.value_numbering.mixtures import mixture
from proofs.kernel.value_numbering.table import Table

SCORES, ROWS = (0.31, 0.72), (0.45, 1.63)
Shift = tuple[Fraction | int, ...]  # what is added to a score, entry by entry
Term = tuple[int, int, Shift]  # which score, which row, and the shift


def value(terms: Sequence[Term]) -> list[float]:
    """The mixture at one choice of scores and rows, for each entry of the shifts."""
    found: list[float] = []
    for entry in range(len(terms[0][2])):
        weights = [exp(SCORES[score] + shift[entry]) for score, _, shift in terms]
        found.append(sum(w * ROWS[row] for w, (_, row, _) in zip(weights, terms, strict=True)) / sum(weights))
    return found


@pytest.mark.parametrize(
    "shifts",
    [
        [(0,), (1,)], [(0,), (Fraction(1, 2),), (Fraction(3, 2),)], [(-1,), (0,), (Fraction(2, 3),)],
        [(0, 0), (1, 2), (2, 4)], [(0, 0), (1, 2), (2, 3)], [(0, 1), (0, 0), (1, 1)], [(0, 0), (0, 2), (0, 3)],
    ],
    ids=str,
)  # fmt: skip
def test_mixtures_of_one_number_are_equal(shifts: list[Shift]) -> None:
    table = Table()
    scores, rows = ([table.fresh(), table.fresh()] for _ in range(2))
    row, again = table.fresh(), 0
    weights: dict[tuple[int, Shift], int] = {}
    for score, shift in product(range(2), shifts):
        by = table.constant("real", (len(shift),), tuple(map(Fraction, shift)))
        weights[score, shift] = table.weigh(table.shift(scores[score], by), row)
    seen: dict[int, list[float]] = {}
    terms = list(product(range(2), range(2), shifts))
    for count in range(1, 5 if len(shifts) == 2 else 4):
        for chosen in combinations_with_replacement(terms, count):
            number = mixture(table, [weights[s, shift] for s, _, shift in chosen], [rows[r] for _, r, _ in chosen])
            assert number is not None
            found, known = value(chosen), seen.get(number)
            if known is None:
                seen[number] = found
                continue
            assert all(isclose(a, b, rel_tol=1e-12) for a, b in zip(found, known, strict=True)), (chosen, known)
            again += 1
    assert again > len(terms)
