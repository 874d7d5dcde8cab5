"""Two blocks without positions, for prompts of every length: two words of 82 letters, and that none shorter collide.

Two blocks see, as a distribution over positions, how often each class (token, frequencies of the tokens so far) occurs
(docs/classification.md). If two prompts agree in that, they do so after all tokens but one are made one; and unless
they are runs of one token, they have one length (ibid.). So words over two letters decide. Draw a word as a path, 1 one
step to the right and 0 one step up: the class of a step is its letter and the slope of its end point. Exchanging the
two ways around the unit cell with the upper right corner (a, b) changes the multiset of classes by

    (1, a : b-1) - (1, a : b) + (0, a : b) - (0, a-1 : b),

and two paths with one end differ by the cells between them, each once, with the sign of the path that lies above. So
equal multisets are a linear system for signs u(a, b) in {-1, 0, 1}, not all zero. The last letters agree, hence
a + b <= T - 1 for words of T letters.
"""

from collections import defaultdict
from math import gcd

import flint

from proofs.kernel.patterns import Prompt

MODULUS = 2**61 - 1  # a prime: what has no solution modulo a prime has none over the integers
WORDS = (
    "1110010011111110000011110111110000101111110000010111111100000010111111110000000101",
    "1110001110111110000101101111110000011111110000001111111100000001111111110000000011",
)
Cell = tuple[int, int]
Class = tuple[int, int, int]


def pair() -> tuple[Prompt, Prompt]:
    """The two words, written in the tokens 1 and 2."""
    first, second = (tuple(int(letter) + 1 for letter in word) for word in WORDS)
    return first, second


def none_shorter(tokens: int) -> bool:
    """Whether no two different words of at most so many letters agree, but runs of one letter; shown modulo a prime.

    False says that this was not shown. The system is cut down first: a class that one cell alone touches makes that
    cell zero. What is left must have no solution but 0, or one line of them that meets no vector of signs.
    """
    matrix = _system(_undecided(tokens - 1))
    if matrix.ncols() == 0:
        return True
    solutions, nullity = matrix.nullspace()
    if nullity != 1:
        return nullity == 0
    line = [entry for row in range(solutions.nrows()) if (entry := int(solutions[row, 0]))]
    ratios = {entry * pow(line[0], -1, MODULUS) % MODULUS for entry in line}
    return not ratios <= {1, MODULUS - 1}


def classes(cell: Cell) -> dict[Class, int]:
    """How exchanging the two ways around a cell changes the multiset."""
    a, b = cell
    changes = ((1, a, b - 1, 1), (1, a, b, -1), (0, a, b, 1), (0, a - 1, b, -1))
    return {(letter, x // gcd(x, y), y // gcd(x, y)): sign for letter, x, y, sign in changes}


def _undecided(reach: int) -> list[Cell]:
    """The cells with a + b <= reach that no class forces to be zero."""
    touched: dict[Class, set[Cell]] = defaultdict(set)
    for cell in ((a, b) for a in range(1, reach) for b in range(1, reach - a + 1)):
        for one in classes(cell):
            touched[one].add(cell)
    alone = [one for one, cells in touched.items() if len(cells) == 1]
    while alone:
        cells = touched[alone.pop()]
        if len(cells) != 1:
            continue
        (cell,) = cells
        for one in classes(cell):
            touched[one].discard(cell)
            if len(touched[one]) == 1:
                alone.append(one)
    return sorted({cell for cells in touched.values() for cell in cells})


def _system(cells: list[Cell]) -> flint.nmod_mat:
    """One row for each class, one column for each cell, modulo the prime."""
    rows = {one: row for row, one in enumerate(dict.fromkeys(one for cell in cells for one in classes(cell)))}
    matrix = flint.nmod_mat(len(rows), len(cells), MODULUS)
    for column, cell in enumerate(cells):
        for one, sign in classes(cell).items():
            matrix[rows[one], column] = sign
    return matrix
