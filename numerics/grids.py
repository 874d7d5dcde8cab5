"""On which grid of floating-point numbers values lie, whatever type they are stored in."""

import torch

HALF_TYPES = (torch.bfloat16, torch.float16)  # the coarser one first


def half_type(rows: torch.Tensor) -> torch.dtype | None:
    """The half type on whose grid all values (T, d) lie, whatever type holds them; None where there is none."""
    return next((dtype for dtype in HALF_TYPES if bool((rows.to(dtype).to(rows.dtype) == rows).all())), None)


def grid_type(rows: torch.Tensor) -> torch.dtype:
    """The least exact floating-point type on whose grid all values (T, d) lie, at most as exact as what holds them."""
    half = half_type(rows)
    if half is not None:
        return half
    return torch.float32 if bool((rows.float().to(rows.dtype) == rows).all()) else rows.dtype
