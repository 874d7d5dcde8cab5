"""Which tokens may have nearly the same observed state as another: the rivals that are tested whatever a policy says.

Near embedding rows give near states wherever the stream itself is observed. What is made of the stream may be the same
for rows that lie far apart: they differ where a norm has no weight, along what a projection leaves out, or beyond a
clamp. So what the lowest layer of a site shows of every token alone is compared as well, and what the first norm makes
of its row: where deeper layers cannot tell two tokens apart, though all that the first block adds depends on them,
that is because the norm makes one row of both.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import torch

from proofs.errors import Unsupported
from sipit.models.near_rows import NearRows
from sipit.models.network import Network
from sipit.observations.network import ObservedNetwork, observed_network
from sipit.observations.observation import KINDS, Observation, Where

_AT_ONCE = 1024  # tokens that run together, each a prompt of its own
_LOWEST = {Where.NEXT: 0, Where.BLOCK: 1}
_NORMED = Observation(("normed",), (0,))


@dataclass(frozen=True)
class NearTokens:
    """The tokens near to others at the sites of a network, found as they are asked for, and remembered."""

    network: Network

    def of(self, tokens: torch.Tensor, count: int) -> list[torch.Tensor]:
        """For each token (n,) those of other classes that are among the `count` nearest in some way, nearest first."""
        found = [self.network.model.nearest_rows(tokens, count), *(table.of(tokens, count) for table in self._tables)]
        return [_once(torch.cat(ways)) for ways in zip(*found, strict=True)]

    @cached_property
    def _tables(self) -> list[NearRows]:
        model = self.network.model
        return [NearRows(alone(lowest), model.token_classes) for lowest in _lowest(self.network)]


def alone(network: Network) -> torch.Tensor:
    """What is observed of every token as a prompt of its own, shape (V, n)."""
    every = torch.arange(network.model.vocabulary_size, device=network.model.device)
    runs = network.anew()
    return torch.cat([runs.run(some[:, None])[:, 0] for some in every.split(_AT_ONCE)])


def _lowest(network: Network) -> Iterator[Network]:
    """The sites of a network where the first block has them, and what its first norm returns."""
    if not isinstance(network, ObservedNetwork):
        return
    asked = [_NORMED]
    for where, layer in _LOWEST.items():
        sites = tuple(site for site in network.observation.sites if KINDS[site].where is where)
        if sites and sites != _NORMED.sites:
            asked.append(Observation(sites, (layer,)))
    for observation in asked:
        with suppress(Unsupported):  # it has no such norm, or the first block is of another kind
            yield observed_network(network.model, observation)


def _once(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.new_tensor(list(dict.fromkeys(tokens.tolist())))
