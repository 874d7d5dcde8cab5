"""Rounding of states to fewer bits: row by row, to nearest, to a grid or to a narrower floating-point type."""

from collections.abc import Callable
from typing import Any

import torch

from numerics.chance import chance_of

Rounding = Callable[[torch.Tensor], torch.Tensor]


def round_to_dtype(dtype: torch.dtype) -> Rounding:
    """Rounds to a floating-point type and back; what overflows becomes infinite."""
    return lambda states: states.to(dtype).to(states.dtype)


def scaled_to_dtype(dtype: torch.dtype) -> Rounding:
    """Scales every row so that its largest coordinate is the largest of the type, rounds, and scales back."""
    largest = torch.finfo(dtype).max

    def rounded(states: torch.Tensor) -> torch.Tensor:
        scale = _largest(states) / largest
        return (states / scale).clamp(-largest, largest).to(dtype).to(states.dtype) * scale

    return rounded


def round_to_bits(bits: int) -> Rounding:
    """Rounds every row to 2**bits - 1 evenly spaced values, symmetric about 0, up to its largest coordinate.

    Raises:
        ValueError: fewer than 2 bits: there is no symmetric grid but 0.
    """
    if bits < 2:
        raise ValueError(f"Expected at least 2 bits, but got {bits}.")
    steps = 2 ** (bits - 1) - 1

    def rounded(states: torch.Tensor) -> torch.Tensor:
        scale = _largest(states) / steps
        return (states / scale).round().clamp(-steps, steps) * scale

    return rounded


def add_noise(relative: float, *parts: Any) -> Rounding:
    """Adds a Gaussian vector whose expected norm is `relative` times that of the row.

    Args:
        *parts: what names the draw (see `chance_of`); other parts draw another direction, the same ones the same.
    """

    def noisy(states: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(states.shape, generator=chance_of(*parts), dtype=torch.float64).to(states.device)
        norms = states.double().norm(dim=-1, keepdim=True)
        return (states.double() + relative * norms * drawn / states.shape[-1] ** 0.5).to(states.dtype)

    return noisy


def _largest(states: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of every row, 1 where a row is zero."""
    largest = states.abs().amax(dim=-1, keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest))
