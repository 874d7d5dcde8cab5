"""On which grid of numbers values lie, whatever type they are stored in, and how far rounding to it moves a row."""

import torch

from numerics.dtypes import name_of
from numerics.grids import HALF_TYPES, half_type, moved_by
from sipit.noise.distances import damping

HALVES = {name_of(dtype): dtype for dtype in HALF_TYPES}
_INTEGER = 1e-3  # of a step, by which a float32 quotient may miss an integer
_STEPS = 127  # of int8, to either side
_USUAL = 2  # times the median of what rounding moves rows by; what is moved farther is left to itself


def stored_grid(rows: torch.Tensor) -> str | None:
    """The coarsest grid that all values (T, d) lie on: int8 with one scale a row or in all, bfloat16 or float16."""
    values = rows.double()
    if _on_integers(values, values.abs().amax(1, keepdim=True)):
        return "int8, one scale a row"
    if _on_integers(values, values.abs().max().reshape(1, 1)):
        return "int8, one scale"
    half = half_type(rows)
    return None if half is None else name_of(half)


def grid_error(grid: str | None, rows: torch.Tensor) -> float:
    """How far rounding to the grid moves the damped direction of a row (T, d) at most, but for rows of zeros.

    Of half types rows of almost nothing, which it moves much farther than the others, are left out: what they may be
    moved by would be allowed to all.
    """
    if grid is None:
        return 0.0
    values = rows.double()
    weights = damping(values)
    if grid in HALVES:
        moved = moved_by(HALVES[grid], values, weights)
        usual = max(torch.finfo(HALVES[grid]).eps / 2, _USUAL * float(moved.median()))
        return min(float(moved.max()), usual)
    largest = values.abs().amax(1) if grid.endswith("a row") else values.abs().max().expand(len(values))
    moved, norms = largest / (2 * _STEPS) * weights.norm(dim=1), (values * weights).norm(dim=1)
    return float(torch.where(norms > 0, moved / norms, 0.0).max())


def _on_integers(values: torch.Tensor, largest: torch.Tensor) -> bool:
    steps = values / (largest / _STEPS).clamp_min(torch.finfo(torch.float64).tiny)
    return bool(((steps - steps.round()).abs() <= _INTEGER).all())
