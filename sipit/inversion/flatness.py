"""Where a state says nothing of its token, or little: every token has to be tested there.

Behind a ReLU that is off, what a block adds is a constant for whole regions of inputs: other tokens have it whose rows
lie nowhere near. Behind a clamp nearly all numbers may be one of its two ends: so few bits meet by chance.
"""

import math

import torch

from sipit.models.network import Network
from sipit.noise.distances import relative_distance
from sipit.noise.spread import perturbed_runs
from sipit.observations.network import ObservedNetwork

MOVED = 0.05  # of what enters each block
BITS = 16.0  # that a number says which no other of its row repeats
SURE = 40.0  # bits of a row beyond those of the vocabulary, with which no token is met by chance


def flat_positions(network: Network, token_ids: list[int], allowed: torch.Tensor) -> list[int]:
    """The positions of a prompt whose state some perturbed run leaves within what is allowed there, shape (T,).

    None at sites that hold the stream itself, or what is linear in it. Counted as one run.
    """
    if not isinstance(network, ObservedNetwork) or not any(kind.flat for kind in network.observation.kinds):
        return []
    states = perturbed_runs(network, torch.tensor([token_ids], device=network.model.device), MOVED)
    apart = relative_distance(states[1:], states[0].expand_as(states[1:]), damped=False)
    return (~(apart > allowed[: len(token_ids)].to(apart))).any(0).nonzero().flatten().tolist()


def says_few_bits(row: torch.Tensor, vocabulary: int) -> bool:
    """Whether the numbers (n,) of a state are so few values that another token may meet them by chance.

    A value that several numbers share says of each what is seen from how many share it: -log2 of their part.
    """
    _, counts = row.unique(return_counts=True)
    shared = counts[counts > 1].double()
    bits = BITS * int((counts == 1).sum()) - float((shared * (shared / len(row)).log2()).sum())
    return bits < math.log2(vocabulary) + SURE
