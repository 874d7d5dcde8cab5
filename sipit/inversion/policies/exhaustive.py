"""The plain algorithm: the whole vocabulary at every position, in batches over a prefix that grows by one token."""

from dataclasses import dataclass

import torch

from sipit.inversion.rivals import Few
from sipit.inversion.verifier import PIECE, Trial
from sipit.models.network import Network
from sipit.prefix.kinds import Prefix


@dataclass(frozen=True, slots=True)
class ExhaustivePolicy:
    """Has no opinion: tokens in the order of their ids, and every one of them."""

    vocabulary_size: int
    device: torch.device

    def propose(self, states: torch.Tensor, network: Network) -> "ExhaustivePolicy":
        """The same for all states."""
        return self

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

    def draft(self, start: int) -> None:
        """No opinion."""

    def behind(
        self, start: int, tokens: torch.Tensor, states: torch.Tensor, refuted: torch.Tensor, prefix: Prefix
    ) -> "ExhaustivePolicy":
        """A run tells it nothing."""
        return self

    def leading(self, position: int) -> torch.Tensor:
        """No token leads."""
        return torch.zeros(0, dtype=torch.long, device=self.device)

    def resembling(self, position: int) -> torch.Tensor:
        """The same: all that is looked at is the state."""
        return self.leading(position)

    def ranking(self, position: int, trial: Trial | None, prefix: Prefix) -> torch.Tensor:
        """The ids in order."""
        return torch.arange(self.vocabulary_size, device=self.device)
