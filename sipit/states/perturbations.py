"""What can happen to captured states (T, d) between a model and whoever inverts them, as values that can be drawn.

Each prints as the code that makes it again, and gives the same states every time.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Noise:
    """Gaussian noise of a relative L2 size on every row."""

    relative: float
    seed: int = 0

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """The states with noise, in their dtype."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(states.shape, generator=generator, dtype=torch.float64).to(states.device)
        rows = states.double()
        size = rows.norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True)
        return (rows + self.relative * size * drawn).to(states.dtype)


@dataclass(frozen=True, slots=True)
class Rounded:
    """Values rounded to another floating-point type; with `kept`, stored in the old one again."""

    dtype: torch.dtype
    kept: bool = False

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """The rounded states."""
        rounded = states.to(self.dtype)
        return rounded.to(states.dtype) if self.kept else rounded


@dataclass(frozen=True, slots=True)
class Swapped:
    """Two rows change places; positions are taken modulo T."""

    first: int
    second: int

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """The states in another order."""
        order = torch.arange(len(states), device=states.device)
        first, second = self.first % len(states), self.second % len(states)
        order[first], order[second] = second, first
        return states[order]


@dataclass(frozen=True, slots=True)
class Permuted:
    """All rows in a random order."""

    seed: int = 0

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """The states in another order."""
        order = torch.randperm(len(states), generator=torch.Generator().manual_seed(self.seed))
        return states[order.to(states.device)]


@dataclass(frozen=True, slots=True)
class Rescaled:
    """Every row times one factor."""

    factor: float

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """The scaled states."""
        return states * self.factor


@dataclass(frozen=True, slots=True)
class Steered:
    """One row moved by a random vector of its own length: it is no state of any prompt."""

    position: int
    seed: int = 0

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """The states with that row replaced; the position is taken modulo T."""
        moved = states.clone()
        row = self.position % len(states)
        moved[row] = Noise(1.0, self.seed).apply(states[row : row + 1])[0]
        return moved


@dataclass(frozen=True, slots=True)
class Dropped:
    """The first rows are missing; one is always left."""

    rows: int

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """The rest of the states."""
        return states[min(self.rows, len(states) - 1) :]


Perturbation = Noise | Rounded | Swapped | Permuted | Rescaled | Steered | Dropped
