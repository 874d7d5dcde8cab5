"""The whole vocabulary behind a prefix, and when what a disguise leaves is enough to tell its tokens apart.

A disguise leaves some numbers of every row: its sorted values, or its inner products with other rows. A token fits if
its own numbers lie within the tolerance. That says something only where chance would hardly let any prompt fit:
`by_chance` counts how many would, if the numbers of wrong tokens were spread as those of the vocabulary are.
"""

from dataclasses import dataclass

import torch

from sipit.inversion.decision import fits, limit
from sipit.models.network import Network
from sipit.prefix.choice import single_opener

ENOUGH = 1e-6  # prompts that chance may let fit before one that fits is believed
RUNS = 2**16  # tokens that are run for one prompt; beyond, a disguise is not tried


@dataclass(frozen=True, slots=True)
class Undone:
    """A prompt behind a disguise: the tokens of the first rows, and for each its residual and that of its rival.

    `order` are the numbers of the rows in the order of the prompt; `coordinates` say of every observed coordinate
    which one it is, where the disguise is a choice of them.
    """

    kind: str
    token_ids: tuple[int, ...]
    residuals: tuple[float, ...]
    margins: tuple[float, ...]
    order: tuple[int, ...]
    coordinates: tuple[int, ...] | None = None


@dataclass
class Vocabulary:
    """All states that may come next, with what tokens and tolerance they are compared."""

    network: Network
    tolerance: float

    def __post_init__(self) -> None:
        model = self.network.model
        self.tokens = torch.arange(model.vocabulary_size, device=model.device)
        self.classes = model.token_classes

    def behind(self, prefix: tuple[int, ...]) -> torch.Tensor:
        """The states (V, d) of every token behind a prefix, in float64."""
        opened = single_opener(self.network)(self.network)
        if prefix:
            opened.extend(0, torch.tensor([prefix], device=self.tokens.device))
            opened.keep(0)
        return opened.candidates(torch.full_like(self.tokens, len(prefix)), self.tokens).double()

    def near(self, distances: torch.Tensor) -> torch.Tensor:
        """The tokens, one of a class, that are within the tolerance and that the nearest of them does not rule out."""
        nearest = float(distances.min())
        near = self.tokens[(distances <= limit(nearest, self.tolerance)) & (self.classes == self.tokens)]
        return near if fits(nearest, self.tolerance) else near[:0]

    def margin(self, distances: torch.Tensor, token: int) -> float:
        """The distance of the nearest token of another class."""
        rivals = distances[self.classes != self.classes[token]]
        return float(rivals.min()) if len(rivals) else float("inf")


def by_chance(tokens: int, numbers: int, relative: float) -> float:
    """How many of so many tokens fit by chance: each of `numbers` within the share `relative` of its spread."""
    return tokens * min(1.0, relative) ** numbers
