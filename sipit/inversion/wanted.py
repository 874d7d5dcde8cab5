"""What a search wants to have run: it is sent the states (`sipit.inversion.batching`)."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Drafts:
    """Wanted: the states (B, n, d) of tokens (B, n) from position `start` on; where `apart`, of no shared run."""

    start: int
    tokens: torch.Tensor
    apart: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Wanted: the states (N, d) of tokens (N,) each in place of that at its position (N,).

    Where `apart`, each in a row of its own.
    """

    positions: torch.Tensor
    tokens: torch.Tensor
    apart: bool = False


Wanted = Drafts | Candidates
