"""What the whole model expects behind a working prompt, for what is observed but cannot be pushed on through it."""

from dataclasses import dataclass, field, replace

import torch

from sipit.models.network import Network
from sipit.observations.network import ObservedNetwork, expectation


@dataclass(eq=False)
class Outlook:
    """Asks a network of log-probabilities; the last answer is remembered."""

    network: Network
    _tokens: list[int] | None = None
    _answer: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    @classmethod
    def of(cls, network: Network) -> "Outlook | None":
        """That of an observed model, its runs counted by `network`; None for a stream, or where there is no head."""
        if not isinstance(network, ObservedNetwork):
            return None
        whole = expectation(network.model)
        return None if whole is None else cls(replace(whole, work=network.work))

    def behind(self, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the next token behind some (T,), shape (V,)."""
        if self._tokens != tokens.tolist():
            expected = self.network.run(tokens[None])[0, -1].float()
            missing = self.network.model.vocabulary_size - len(expected)
            self._tokens = tokens.tolist()
            self._answer = torch.nn.functional.pad(expected, (0, missing), value=-torch.inf)
        return self._answer
