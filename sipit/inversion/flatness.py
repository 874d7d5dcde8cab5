"""Where a state says nothing of its token: it stays as it is while all that enters the blocks moves.

Behind a ReLU that is off, what a block adds is a constant for whole regions of inputs: other tokens have it whose rows
lie nowhere near. There every token has to be tested.
"""

import torch

from sipit.models.network import Network
from sipit.noise.distances import relative_distance
from sipit.noise.spread import perturbed_runs
from sipit.observations.network import ObservedNetwork

MOVED = 0.05  # of what enters each block


def flat_positions(network: Network, token_ids: list[int], allowed: torch.Tensor) -> list[int]:
    """The positions of a prompt whose state some perturbed run leaves within what is allowed there, shape (T,).

    None at sites that hold the stream itself, or what is linear in it. Counted as one run.
    """
    if not isinstance(network, ObservedNetwork) or not any(kind.flat for kind in network.observation.kinds):
        return []
    states = perturbed_runs(network, torch.tensor([token_ids], device=network.model.device), MOVED)
    apart = relative_distance(states[1:], states[0].expand_as(states[1:]), damped=False)
    return (~(apart > allowed[: len(token_ids)].to(apart))).any(0).nonzero().flatten().tolist()
