"""Relative distances of states: the plain one, and one in which no coordinate drowns the others.

Trained models keep a few massive coordinates: at the first position of the embedded model one of 576 is thousands of
times as large as the median. In a half type its rounding alone exceeds what tells most tokens apart, and the plain L2
distance sees nothing else. The *damped* distance divides such a coordinate by as much as it exceeds four times the
median |h_i| of the observed state, in the difference and in the norm, so that it counts like a large ordinary one.
Where a constant factor shall not matter, directions are compared: the states divided by their norms.
"""

import torch

_CAP = 4.0  # medians beyond which a coordinate counts no more


def damping(observed: torch.Tensor) -> torch.Tensor:
    """The weights of the coordinates of states (…, d), at most 1; all 1 where the median coordinate is zero."""
    size = observed.abs()
    most = _CAP * size.median(dim=-1, keepdim=True).values
    return torch.where((size > most) & (most > 0), most / size, 1.0)


def relative_distance(states: torch.Tensor, observed: torch.Tensor, *, damped: bool) -> torch.Tensor:
    """|D (F - h)| / |D h| of states F from observed ones h (…, d), shape (…,), with D the identity or `damping`."""
    difference = states - observed
    if damped:
        weights = damping(observed)
        difference, observed = difference * weights, observed * weights
    return quotient(difference, observed.norm(dim=-1))


def directions(states: torch.Tensor) -> torch.Tensor:
    """The rows (…, d) divided by their norms, float64; a zero row stays zero."""
    rows = states.double()
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


def direction_distance(states: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """How far the damped directions of states F lie from those of observed ones h (…, d), shape (…,), from 0 to 2.

    What is not a number is as far as can be.
    """
    weights = damping(observed)
    apart = directions(states * weights) - directions(observed * weights)
    return apart.norm(dim=-1).nan_to_num(nan=2.0)


def quotient(difference: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    """|difference| / norm row by row; a zero state is met by a zero difference alone, an overflow meets nothing."""
    distance = difference.norm(dim=-1)
    relative = torch.where(norms == 0, torch.where(distance == 0, 0.0, torch.inf), distance / norms)
    return relative.nan_to_num(nan=torch.inf, posinf=torch.inf)
