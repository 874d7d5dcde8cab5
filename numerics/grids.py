"""On which grid of floating-point numbers values lie, whatever type they are stored in."""

import torch

HALF_TYPES = (torch.bfloat16, torch.float16)  # the coarser one first


def half_type(rows: torch.Tensor) -> torch.dtype | None:
    """The half type on whose grid all values (T, d) lie, whatever type holds them; None where there is none.

    Of both the one whose numbers lie farther apart there: next to zero that is float16.
    """
    found = [dtype for dtype in HALF_TYPES if bool((rows.to(dtype).to(rows.dtype) == rows).all())]
    if len(found) < 2:
        return found[0] if found else None
    values = rows[rows != 0].double()
    return max(found, key=lambda dtype: float(float_steps(values, dtype).norm()))


def grid_type(rows: torch.Tensor) -> torch.dtype:
    """The least exact floating-point type on whose grid all values (T, d) lie, at most as exact as what holds them."""
    half = half_type(rows)
    if half is not None:
        return half
    return torch.float32 if bool((rows.float().to(rows.dtype) == rows).all()) else rows.dtype


def float_steps(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance from every value to the next of a floating-point type."""
    limits = torch.finfo(dtype)
    exponent = torch.frexp(values.abs().clamp_min(limits.smallest_normal)).exponent - 1
    return torch.ldexp(torch.full_like(values, limits.eps), exponent)


def moved_by(dtype: torch.dtype, rows: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """How far rounding to a floating-point type has moved rows (T, d) on its grid at most, over their norms: (T,).

    The least numbers of a type are all one step apart: a row of them is moved by more than a unit of the type. 0 for a
    row of zeros, of which nothing is left to tell by.

    Args:
        dtype: the type.
        rows: as they were rounded.
        weights: of the coordinates, in the difference and in the norm; None: all 1.
    """
    values = rows.double()
    halves = float_steps(values, dtype) / 2
    if weights is not None:
        values, halves = values * weights, halves * weights
    norms = values.norm(dim=1)
    return torch.where(norms > 0, halves.norm(dim=1) / norms, 0.0)
