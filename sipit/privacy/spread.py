"""How far rounding moves the states of a prompt, at many layers at once: Monte Carlo arithmetic.

Distances are damped relative ones (`sipit.noise.distances`), so that no massive coordinate drowns the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sipit.models import LanguageModel
from sipit.models.layers import reading
from sipit.models.length import whole_length
from sipit.models.network import Network
from sipit.noise.distances import relative_distance
from sipit.noise.spread import perturbed_runs


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Of one prompt: how far runs whose blocks are perturbed by one rounding `unit` lie from the plain one.

    Attributes:
        plain: the plain run, shape (layers, T, d).
        largest: the farthest of the perturbed runs, damped and relative, at least one unit; shape (layers, T).
        last: states of the last run, shape (layers, T, d).
        but_last: as `largest`, of all but the last.
        unit: the relative size of the perturbation.
    """

    plain: torch.Tensor
    largest: torch.Tensor
    last: torch.Tensor
    but_last: torch.Tensor
    unit: float


def damped_distance(states: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """The damped relative distance of states (…, d) from observed ones, layer by layer, shape (…,), float64."""
    pairs = zip(states, observed, strict=True)
    return torch.stack([relative_distance(s.cpu().double(), o.cpu().double(), damped=True) for s, o in pairs])


def spread_at(model: LanguageModel, token_ids: Sequence[int], layers: Sequence[int], unit: float) -> Spread:
    """The spread of rounding in one prompt at some layers, each from 0 to L; the same every time."""
    network = Network(model, max(layers))
    ids = torch.tensor(list(token_ids), device=model.device)
    with reading(model, layers) as runs, whole_length(len(ids)):
        perturbed_runs(network, ids, unit)
    plain, last = (torch.stack([runs[layer][0][run].cpu().clone() for layer in layers]) for run in (0, -1))
    moved = torch.stack([moved_from_first(runs[layer][0]) for layer in layers])
    largest, but_last = moved.amax(1), moved[:, :-1].amax(1)
    return Spread(plain, largest.clamp_min(unit), last, but_last.clamp_min(unit), unit)


def moved_from_first(states: torch.Tensor) -> torch.Tensor:
    """How far perturbed runs lie from the first of all (1 + samples, T, d), shape (samples, T)."""
    exact = states.cpu().double()
    return relative_distance(exact[1:], exact[:1].expand_as(exact[1:]), damped=True)
