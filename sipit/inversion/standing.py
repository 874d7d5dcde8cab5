"""Where a search stands, as a value: all that another search for the same prompt needs to go on from there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sipit.inversion.outcome import Alternative, TokenResult


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """Candidates tested at a position: ids (N,) and their relative residuals (N,)."""

    token_ids: torch.Tensor
    residuals: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a search stands.

    Attributes:
        working: the token taken at every settled position.
        results: the answers decided so far, in order.
        alternatives: what else stays possible.
        tested: by position, at those that are still open, and at the first where nothing fits there.
        allowed: the relative residual that is allowed at every position, shape (T,).
        seconds: used so far.
        forward_passes: of the model.
        token_positions: tokens pushed through blocks in them.
    """

    working: tuple[int, ...]
    results: tuple[TokenResult, ...]
    alternatives: tuple[Alternative, ...]
    tested: Mapping[int, Tested]
    allowed: torch.Tensor
    seconds: float
    forward_passes: int
    token_positions: int
