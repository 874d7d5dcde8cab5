"""How far each value may have moved when it was stored: half a step of the grid that it lies on, or a whole one.

Caches and dumps are kept in few bits: int8 with one scale for a head, a row, a block or a channel, 8-bit floating
point, a half type of what was computed in float32. Such values are not the state, but they bound it, coordinate by
coordinate: it lies in a box around them. A candidate is then as far as it lies outside that box, which tells far more
tokens apart than the distance from its middle: a wrong token has to leave every coordinate where it was.

Half a step is what rounding to the nearest moves. Programs that cut off (a cast to integers does), round down or by
chance move values by up to a whole step: nothing in a grid says which it was (`sipit.inversion.rounding` asks what
fits).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from sipit.noise.number_grid import grid_type

NEAREST, ANYHOW = 0.5, 1.0  # steps to either side of what was rounded to the nearest, and of what was rounded at all

_Whole = Callable[[torch.Tensor], torch.Tensor]
_EIGHT_BITS = (torch.float8_e5m2, torch.float8_e4m3fn)
_LEVELS = 255  # steps from the least to the largest of a group: 8 bits
_LEAST_GROUP = 16  # values that share a scale
_EVIDENCE = 32  # values other than zero, beyond two of each group, that would have to fall on a grid by chance
_SCALE_ROUNDED = 0.0625  # of a step: 127 steps of a scale that was rounded to float16 after it had been used
_MISSED = 0.02  # of a step, by which what was rounded once more may miss the grid
_SAMPLED = 16  # rows that are looked at first; enough for scales of a coordinate
_EQUAL = 1e-6  # of the largest of a group: values nearer than that are one
_DIVISORS = range(1, 13)  # steps that the least gap of a group may be


class Box(NamedTuple):
    """All values that are stored as some (T, n): half a step to either side, or a whole one, in float64.

    The least and the largest of a group, in 8-bit floating point of a row, may stand for what was clipped there: they
    are `clipped` (-1 or 1, elsewhere 0), and what lies beyond them is in the box.
    """

    steps: torch.Tensor
    clipped: torch.Tensor

    def at(self, positions: slice | int | torch.Tensor) -> "Box":
        """The box of some rows."""
        return Box(self.steps[positions], self.clipped[positions])


def coarse_box(rows: torch.Tensor) -> Box | None:
    """The box of values (T, n) on a grid that nothing is computed on: integers, or 8-bit floating point.

    None where there is no such grid. Of several readings of a value the largest step counts: groups whose
    scales stand in small ratios, such as powers of two, lie on the finest of their grids together.
    """
    if rows.numel() < _LEAST_GROUP or (len(rows) > _SAMPLED and coarse_box(rows[:_SAMPLED]) is None):
        return None
    values = rows.double()
    largest, clipped = torch.zeros_like(values), torch.zeros_like(values)
    for groups, whole in _groupings(values):
        steps = _integer_steps(groups, established=bool(largest.any()))
        if steps is not None:
            largest = torch.maximum(largest, whole(steps))
            ends = (values == whole(groups.amax(1))).double() - (values == whole(groups.amin(1))).double()
            clipped = torch.where(clipped == 0, ends, clipped)
    half = largest * (0.5 + _SCALE_ROUNDED)
    eight = next((dtype for dtype in _EIGHT_BITS if bool((rows.to(dtype).to(rows.dtype) == rows).all())), None)
    if eight is not None and (bool(largest.any()) or not _few(values)):
        size = values.abs()
        half = torch.maximum(half, _float_steps(values, eight) / 2)
        clipped = torch.where(size == size.amax(1, keepdim=True), values.sign(), clipped)
    return Box(half, clipped) if bool(half.any()) else None


def box_around(rows: torch.Tensor, within: float) -> Box:
    """The box of values (T, n) on the coarsest grid that all lie on; of no size where that is float64's.

    `within` is `NEAREST` or `ANYHOW`, 0 for the values themselves.
    """
    if not within:
        return point(rows)
    coarse = coarse_box(rows)
    if coarse is not None:
        return coarse._replace(steps=coarse.steps * (within / NEAREST))
    stored = grid_type(rows)
    if stored == torch.float64:
        return point(rows)
    steps = _float_steps(rows.double(), stored) * within
    return Box(steps, torch.zeros_like(steps))


def point(rows: torch.Tensor) -> Box:
    """The box that holds the values themselves alone."""
    return Box(*torch.zeros(2, *rows.shape, dtype=torch.float64, device=rows.device))


def outside(difference: torch.Tensor, box: Box) -> torch.Tensor:
    """What of a difference from stored values is beyond their box, coordinate by coordinate."""
    beyond = difference.sign() * (difference.abs() - box.steps).clamp_min(0)
    return torch.where((box.clipped != 0) & (difference.sign() == box.clipped), 0.0, beyond)


def _few(values: torch.Tensor) -> bool:
    """Whether so few different values are seen that they lie on a grid by chance."""
    return len(values.unique()) < _EVIDENCE


def _float_steps(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance from every value to the next of a floating-point type."""
    limits = torch.finfo(dtype)
    exponent = torch.frexp(values.abs().clamp_min(limits.smallest_normal)).exponent - 1
    return torch.ldexp(torch.full_like(values, limits.eps), exponent)


def _groupings(values: torch.Tensor) -> Iterator[tuple[torch.Tensor, _Whole]]:
    """Values (T, n) as groups (G, g) that may share a scale, and how steps (G,) become (T, n): the largest first."""
    length, width = values.shape
    sizes = [width // parts for parts in range(1, width // _LEAST_GROUP + 1) if width % parts == 0]
    yield values.reshape(1, -1), lambda steps: steps.expand(length, width)
    for size in sizes:
        yield values.reshape(-1, size), lambda steps, size=size: steps.repeat_interleave(size).reshape(length, width)
    if length >= _LEAST_GROUP:
        yield values.T, lambda steps: steps.expand(length, width)


def _integer_steps(groups: torch.Tensor, *, established: bool) -> torch.Tensor | None:
    """The step of each group (G, g) whose values are whole multiples of one, offset apart; None if one is not.

    Once a grid is `established` on larger groups, smaller ones need no evidence of theirs: they only widen steps.
    """
    if not established and int(((groups != 0).sum(1) - 2).clamp_min(0).sum()) < _EVIDENCE:
        return None
    if len(groups) > _SAMPLED and _fitting_steps(groups[:_SAMPLED]) is None:
        return None
    return _fitting_steps(groups)


def _fitting_steps(groups: torch.Tensor) -> torch.Tensor | None:
    """`_integer_steps` of however few values."""
    ordered = groups.sort(dim=1).values
    largest = groups.abs().amax(1, keepdim=True)
    gaps = ordered.diff(dim=1)
    least = torch.where(gaps > _EQUAL * largest, gaps, torch.inf).amin(1)
    span = ordered[:, -1] - ordered[:, 0]
    wide = span > 0
    if not bool(span.isfinite().all()):
        return None
    if bool((~wide & (largest[:, 0] > 0)).any()) or bool((span > (_LEVELS + 0.5) * least)[wide].any()):
        return None
    offsets = ordered - ordered[:, :1]
    steps = torch.zeros_like(least)
    for divisor in _DIVISORS:
        counted = (span / (least / divisor)).nan_to_num(nan=0.0, posinf=0.0)
        step = span / counted.round().clamp_min(1)  # from end to end, so that errors of single values count little
        places = torch.where(wide[:, None], offsets / step[:, None], 0.0)
        fits = (counted <= _LEVELS + 0.5) & ((places - places.round()).abs() <= _MISSED).all(1)
        steps = torch.where(fits & (steps == 0), step, steps)
        if bool((steps > 0)[wide].all()):
            return steps
    return None
