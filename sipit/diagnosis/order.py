"""Rows out of order: at every position of the prompt the one row that fits there, behind the tokens before.

Behind a known prefix a row is the next one if the state of some token is that row. Where no row fits, or several do
(the embedding of rotary models says nothing of order), the rest stays open: nothing is put in an order that was not
recomputed.
"""

from collections.abc import Iterator

import torch

from sipit.diagnosis.walk import Step, Walk, fitting
from sipit.inversion.decision import fits
from sipit.noise.distances import direction_distance

_ALL = 4096  # tokens of a vocabulary that is tried whole at every position
_LIKELY = (32, 512)  # tokens of a larger one tried for every row, and where none fits


def in_order(walk: Walk, rows: torch.Tensor, tolerance: float) -> tuple[list[int], list[Step]]:
    """The numbers of rows (n, d) in the order of the prompt as far as it was found, and a step for each."""
    left, order, steps = list(range(len(rows))), list[int](), list[Step]()
    while left and walk.room:
        fitting_here = _fitting(walk, rows[left], tolerance)
        if len(fitting_here) != 1:
            break
        row = left[fitting_here[0]]
        (step,) = walk.along(rows[row][None])
        if not fitting([step], tolerance):
            break
        left.remove(row)
        order.append(row)
        steps.append(step)
    return order, steps


def _fitting(walk: Walk, rows: torch.Tensor, tolerance: float) -> list[int]:
    """Which of the rows are the state of some token at the next position."""
    for tokens in _tried(walk, rows):
        states = walk.states(tokens)
        nearest = [float(direction_distance(states, row.to(states)).min()) for row in rows]
        found = [at for at, distance in enumerate(nearest) if fits(distance, tolerance)]
        if found:
            return found
    return []


def _tried(walk: Walk, rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tokens to try: all of a small vocabulary, else the likeliest by each row and by what the model expects."""
    everything = torch.arange(walk.model.vocabulary_size, device=walk.model.device)
    if len(everything) <= _ALL:
        yield everything
        return
    orders = [walk.ranking(row, walk.length) for row in rows]
    expected = walk.expected()
    orders += [] if expected is None else [expected]
    before = everything[:0]
    for count in _LIKELY:
        tokens = torch.cat([order[:count] for order in orders]).unique()
        yield tokens[~torch.isin(tokens, before)]
        before = tokens
