"""How far each value may have moved when it was stored: half a step of the grid that it lies on.

Caches and dumps are kept in few bits: int8 with one scale for a head, a row, a block or a channel, 8-bit floating
point, a half type of what was computed in float32. Such values are not the state, but they bound it, coordinate by
coordinate: it lies in a box around them. A candidate is then as far as it lies outside that box, which tells far more
tokens apart than the distance from its middle: a wrong token has to leave every coordinate where it was.
"""

from collections.abc import Callable, Iterator

import torch

from sipit.noise.number_grid import grid_type

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

    None where there is no such grid. float64. Of several readings of a value the largest step counts: groups whose
    scales stand in small ratios, such as powers of two, lie on the finest of their grids together.
    """
    if rows.numel() < _LEAST_GROUP or (len(rows) > _SAMPLED and coarse_steps(rows[:_SAMPLED]) is None):
        return None
    values = rows.double()
    largest = torch.zeros_like(values)
    for groups, whole in _groupings(values):
        steps = _integer_steps(groups, established=bool(largest.any()))
        if steps is not None:
            largest = torch.maximum(largest, whole(steps))
    if bool(largest.any()):
        return largest * (0.5 + _SCALE_ROUNDED)
    eight = next((dtype for dtype in _EIGHT_BITS if bool((rows.to(dtype).to(rows.dtype) == rows).all())), None)
    return None if eight is None or _few(values) else _float_steps(values, eight) / 2


def half_steps(rows: torch.Tensor) -> torch.Tensor:
    """Half a step of every value of (T, n) on the coarsest grid that all lie on; zeros where that is float64's."""
    coarse = coarse_steps(rows)
    if coarse is not None:
        return coarse
    stored = grid_type(rows)
    return _float_steps(rows.double(), stored) / 2 if stored != torch.float64 else torch.zeros_like(rows)


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
