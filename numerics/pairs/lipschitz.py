"""How far apart states are, measured against how far apart their prompts are.

    c = min over pairs s != t of |h(s) - h(t)| / D(s, t)

A co-Lipschitz constant c > 0 says |h(s) - h(t)| >= c D(s, t) for the prompts looked at. D is the edit distance
(insertions, deletions and replacements of tokens), or the Hamming distance (replacements) of prompts of one length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numerics.pairs.compiled import Array, compiled
from numerics.pairs.exact_distance import Rows, scaled_distance
from numerics.pairs.points import PointSet, in_parallel, point_set
from proofs.errors import InvalidInput

LARGEST_SAMPLE = 2000  # prompts of which all pairs are compared


@dataclass(frozen=True, slots=True)
class CoLipschitz:
    """The least ratio of state distance (absolute L2) to prompt distance (tokens).

    Attributes:
        edit: over all pairs compared.
        hamming: over the pairs of equal length among them; infinity where there are none.
        exact: whether all pairs of all prompts were compared. If not, both are upper bounds of the true constants.
        pairs: how many pairs were compared, each counted once.
    """

    edit: float
    hamming: float
    exact: bool
    pairs: int


def co_lipschitz(
    points: Any, prompts: Sequence[Sequence[int]], *, seed: int, close: Sequence[tuple[int, int]] = ()
) -> CoLipschitz:
    """The co-Lipschitz constants of states against prompts, within 1e-12 relative of the stored values' own.

    Args:
        points: states, shape (prompts, d), as for `numerics.closest_pair`.
        prompts: the token ids of each row, all different.
        seed: of the sample of 2,000 prompts that is taken where there are more.
        close: pairs of rows to compare as well, such as the closest: the constant is likely found among them.

    Raises:
        InvalidInput: points that cannot be searched, another number of prompts than rows, or two equal prompts met.

    Cost: 2 million pairs at most, and `close`; O(d) each, and O(length**2) where the distance is short enough.
    """
    checked = point_set(points)
    count = len(checked.values)
    if len(prompts) != count:
        raise InvalidInput(
            f"Expected one prompt for each of {count} rows, but got {len(prompts)}; pass them in the order of rows."
        )
    exact = count <= LARGEST_SAMPLE
    rows = np.arange(count) if exact else np.random.default_rng(seed).choice(count, LARGEST_SAMPLE, replace=False)
    sampled = rows[np.column_stack(np.triu_indices(len(rows), 1))]
    pairs = np.sort(np.concatenate((sampled, np.array(close, dtype=np.int64).reshape(-1, 2))), axis=1)
    firsts, seconds = np.divmod(np.unique(pairs[:, 0] * count + pairs[:, 1]), count)  # each pair once
    edit, hamming = _least_ratios(checked, prompts, firsts, seconds)
    return CoLipschitz(edit, hamming, exact, len(firsts))


def _least_ratios(
    points: PointSet, prompts: Sequence[Sequence[int]], firsts: Rows, seconds: Rows
) -> tuple[float, float]:
    used = np.unique(np.concatenate((firsts, seconds)))
    starts = np.zeros(len(points.values) + 1, dtype=np.int64)
    starts[used + 1] = [len(prompts[row]) for row in used]
    starts = np.cumsum(starts)
    tokens = np.fromiter((token for row in used for token in prompts[row]), dtype=np.int64, count=int(starts[-1]))
    longest = max(len(prompts[row]) for row in used)
    parts = range(0, len(firsts), 1 << 14)
    ratios = np.full((len(parts), 2), np.inf)

    def work(number: int) -> None:
        part = slice(parts[number], parts[number] + (1 << 14))
        ratios[number] = _ratios(
            points.values, points.unit, tokens, starts, longest, firsts[part], seconds[part], ratios.min(axis=0)
        )

    in_parallel(work, len(parts))
    edit, hamming = ratios.min(axis=0)
    if edit < 0:
        raise InvalidInput("Expected prompts that are all different, but two are equal; leave repetitions out.")
    return _absolute(points, float(edit)), _absolute(points, float(hamming))


def _absolute(points: PointSet, scaled: float) -> float:
    try:
        return math.ldexp(scaled, points.shift)
    except OverflowError:
        return math.inf


@compiled
def _edit_distance(first: Array, second: Array, row: Array) -> int:
    """Levenshtein distance; `row` is room for one row of the table."""
    for place in range(second.shape[0] + 1):
        row[place] = place
    for place in range(first.shape[0]):
        diagonal, row[0] = row[0], place + 1
        for other in range(second.shape[0]):
            replaced = diagonal + (first[place] != second[other])
            diagonal = row[other + 1]
            row[other + 1] = min(replaced, diagonal + 1, row[other] + 1)
    return row[second.shape[0]]


@compiled
def _ratios(
    values: Array,
    unit: float,
    tokens: Array,
    starts: Array,
    longest: int,
    firsts: Array,
    seconds: Array,
    least: Array,
) -> tuple[float, float]:
    """Least scaled ratios (edit, Hamming) of some pairs and those given; (-1, -1) where two prompts are equal."""
    edit, hamming = least[0], least[1]
    row = np.empty(longest + 1, dtype=np.int64)
    for pair in range(firsts.shape[0]):
        first = tokens[starts[firsts[pair]] : starts[firsts[pair] + 1]]
        second = tokens[starts[seconds[pair]] : starts[seconds[pair] + 1]]
        distance = scaled_distance(values, unit, firsts[pair], seconds[pair], np.inf)
        if first.shape[0] == second.shape[0]:
            replaced = 0
            for place in range(first.shape[0]):
                replaced += first[place] != second[place]
            if replaced == 0:
                return -1.0, -1.0
            hamming = min(hamming, distance / replaced)
        if distance < edit * max(first.shape[0], second.shape[0]):  # no edit distance is longer than that
            edit = min(edit, distance / _edit_distance(first, second, row))
    return edit, hamming
