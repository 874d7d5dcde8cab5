"""How far each value may have moved when it was stored: half a step of the grid that it lies on.

Caches and dumps are kept in few bits: int8 with one scale for a head, a row, a block or a channel, 8-bit floating
point, a half type of what was computed in float32. Such values are not the state, but they bound it, coordinate by
coordinate: it lies in a box around them. A candidate is then as far as it lies outside that box, which tells far more
tokens apart than the distance from its middle: a wrong token has to leave every coordinate where it was.
"""

from collections.abc import Callable, Iterator

import torch

from sipit.noise.number_grid import half_type

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


def coarse_steps(rows: torch.Tensor) -> torch.Tensor | None:
    """Half a step of every value of (T, n) on a grid that nothing is computed on: integers, or 8-bit floating point.

    None where there is no such grid. float64.
    """
    if len(rows) > _SAMPLED and coarse_steps(rows[:_SAMPLED]) is None:
        return None
    values = rows.double()
    for groups, whole in _groupings(values):
        steps = _integer_steps(groups)
        if steps is not None:
            return whole(steps) * (0.5 + _SCALE_ROUNDED)
    eight = next((dtype for dtype in _EIGHT_BITS if bool((rows.to(dtype).to(rows.dtype) == rows).all())), None)
    return None if eight is None or _few(values) else _float_steps(values, eight) / 2


def half_steps(rows: torch.Tensor) -> torch.Tensor:
    """Half a step of every value of (T, n) on the coarsest grid that all lie on; zeros where there is none."""
    coarse = coarse_steps(rows)
    if coarse is not None:
        return coarse
    half = half_type(rows)
    return torch.zeros_like(rows, dtype=torch.float64) if half is None else _float_steps(rows.double(), half) / 2


def outside(difference: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """What of a difference is beyond rounding: each coordinate by as much as it exceeds half a step."""
    return difference.sign() * (difference.abs() - steps).clamp_min(0)


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


def _integer_steps(groups: torch.Tensor) -> torch.Tensor | None:
    """The step of each group (G, g) whose values are whole multiples of one, offset apart; None if one is not."""
    ordered = groups.sort(dim=1).values
    largest = groups.abs().amax(1, keepdim=True)
    gaps = ordered.diff(dim=1)
    real = gaps > _EQUAL * largest
    least = torch.where(real, gaps, torch.inf).amin(1)
    span = ordered[:, -1] - ordered[:, 0]
    if (
        bool(((span <= 0) & (largest[:, 0] > 0)).any())
        or int(((groups != 0).sum(1) - 2).clamp_min(0).sum()) < _EVIDENCE
    ):
        return None
    offsets = ordered - ordered[:, :1]
    steps = torch.zeros_like(least)
    for divisor in _DIVISORS:
        counted = (span / (least / divisor)).nan_to_num(nan=0.0, posinf=0.0)
        step = span / counted.round().clamp_min(1)  # from end to end, so that errors of single values count little
        places = torch.where(span[:, None] > 0, offsets / step[:, None], 0.0)
        fits = (counted <= _LEVELS + 0.5) & ((places - places.round()).abs() <= _MISSED).all(1)
        steps = torch.where(fits & (steps == 0), step, steps)
    return steps if bool((steps > 0)[span > 0].all()) else None
