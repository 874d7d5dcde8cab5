"""Whether values were rounded to the nearest when they were stored, as the smaller of their boxes takes for granted.

Who cuts off, rounds down or by chance stores the state of one token in the box of another, if that lies a part of a
step beside it in every coordinate. By chance none does: coordinates fall anywhere between two steps, so that a token
that is not the true one, or is the true one rounded otherwise, leaves the box of the nearest in half of them. So rows
that only one token can stand for, however they were rounded, show by how that one fits how all of them were.
"""

import torch

from sipit.inversion.outcome import Inversion, Outcome
from sipit.noise.distances import damping, quotient
from sipit.noise.stored_steps import Box, box_around
from sipit.noise.tolerance import Tolerance
from sipit.observations.top import stored_values

_TELLING = 128  # coordinates that would all have to lie within half a step by chance


def size_of(box: Box, observed: torch.Tensor, *, damped: bool) -> torch.Tensor:
    """How large the box of observed states (T, d) is, as a residual, at every position, shape (T,)."""
    weights = damping(observed) if damped else torch.ones_like(observed[:, :1])
    return quotient(box.steps * weights, (observed * weights).norm(dim=1))


def shown_to_the_nearest(
    found: Inversion, observed: torch.Tensor, tolerance: Tolerance, top: int | None = None
) -> bool:
    """Whether the answer to boxed states (T, d) itself shows that they were rounded to the nearest.

    `top` is how many log-probabilities of every row were stored, None where they are no such rows.

    Counted are the coordinates of rows whose rivals all lie outside the box of any rounding, which reaches beyond the
    smaller one by as much as that is large.
    """
    recovered = [token for token in found.tokens if token.outcome is Outcome.RECOVERED]
    if not tolerance.boxed or not recovered:
        return False
    rows = observed.double()
    box = box_around(rows, tolerance.boxed, top)
    beyond = size_of(box, rows, damped=tolerance.damped).tolist()
    told = (box_around(stored_values(rows, top), tolerance.boxed).steps > 0).sum(1).tolist()
    shown = sum(
        told[token.position]
        for token in recovered
        if token.margin is None or token.margin > beyond[token.position] + token.tolerance
    )
    return shown >= _TELLING
