"""Nearest embedding rows: the token whose embedding lies closest to the state. Good at shallow layers only."""

from dataclasses import dataclass

import torch

from sipit.inversion.rivals import Few
from sipit.inversion.verifier import PIECE, Trial
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.prefix.kinds import Prefix


@dataclass(frozen=True, slots=True)
class NearestPolicy:
    """Ranks tokens by the distance between what enters the first block for them and the observed state."""

    model: LanguageModel

    def propose(self, states: torch.Tensor, network: Network) -> "NearestProposal":
        """Embeds the vocabulary as the model itself does (Gemma scales, some add positions) and compares.

        What is no residual stream is compared with what every token has there at the first position.
        """
        tokens = torch.arange(self.model.vocabulary_size, device=self.model.device)
        first = Network(self.model, 0, network.work) if type(network) is Network else network
        rows = torch.cat([first.run(part[:, None])[:, 0] for part in tokens.split(8192)]).float()
        targets = states.to(device=self.model.device, dtype=rows.dtype)
        # Only an order is wanted, so the form that cancels is good enough here.
        distances = (rows * rows).sum(1) - 2 * targets @ rows.T
        return NearestProposal(distances)


@dataclass(frozen=True, slots=True, eq=False)
class NearestProposal:
    """Distances, shape (T, V), up to a constant per position."""

    distances: torch.Tensor

    @property
    def informed(self) -> bool:
        """What it names first says little of what is right."""
        return False

    def rivals(self, positions: torch.Tensor, tokens: torch.Tensor) -> list[Few | None]:
        """Its order says little of what is right."""
        return [None] * len(positions)

    @property
    def at_once(self) -> int:
        """As many as suits."""
        return PIECE

    def draft(self, start: int) -> torch.Tensor:
        """The nearest row at every position."""
        return self.distances[start:].argmin(1)

    def behind(
        self, start: int, tokens: torch.Tensor, states: torch.Tensor, refuted: torch.Tensor, prefix: Prefix
    ) -> "NearestProposal":
        """A run tells it nothing."""
        return self

    def leading(self, position: int) -> torch.Tensor:
        """The nearest rows."""
        return self._order(position)[:64]

    def resembling(self, position: int) -> torch.Tensor:
        """The same: all that is looked at is the state."""
        return self.leading(position)

    def ranking(self, position: int, trial: Trial | None, prefix: Prefix) -> torch.Tensor:
        """All tokens by distance."""
        return self._order(position)

    def _order(self, position: int) -> torch.Tensor:
        return self.distances[position].argsort(stable=True)
