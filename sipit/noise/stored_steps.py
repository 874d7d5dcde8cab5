"""How far each value may have moved when it was stored: half a step of the grid that it lies on, or a whole one.

Caches and dumps are kept in few bits: int8 with one scale for a head, a row, a block or a channel, 8-bit floating
point, a half type of what was computed in float32. Such values are not the state, but they bound it, coordinate by
coordinate: it lies in a box around them. A candidate is then as far as it lies outside that box, which tells far more
tokens apart than the distance from its middle: a wrong token has to leave every coordinate where it was.

Half a step is what rounding to the nearest moves. Programs that cut off (a cast to integers does), round down or by
chance move values by up to a whole step: nothing in a grid says which it was (`sipit.inversion.rounding` asks what
fits).
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from numerics.grids import float_steps, grid_type, half_type
from sipit.noise.scaled_grids import FLOATS, WHOLE, offset_scales, scaled_steps, scales

NEAREST, ANYHOW = 0.5, 1.0  # steps to either side of what was rounded to the nearest, and of what was rounded at all

_Whole = Callable[[torch.Tensor], torch.Tensor]
_EIGHT_BITS = (torch.float8_e5m2, torch.float8_e4m3fn)
_LEVELS = 255  # steps from the least to the largest of a group: 8 bits
_LEAST_GROUP = 16  # values that share a scale
_EVIDENCE = 32  # values other than zero, beyond two of each group, that would have to fall on a grid by chance
_SCALE_ROUNDED = 0.0625  # of a step: 127 steps of a scale that was rounded to float16 after it had been used
_MISSED = 0.02  # of a step, by which what was rounded once more may miss the grid
_SAMPLED = 16  # groups that are looked at first
_SOME = 1024  # values of each of these
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


# A search asks several times about the same rows, and looking takes seconds where they are many.
_looked_at: OrderedDict[tuple[str, tuple[int, ...], str], Box | None] = OrderedDict()
_KEPT, _MANY = 2**24, 1024  # numbers in boxes that are kept (128 MB for their steps), and answers


def coarse_box(rows: torch.Tensor) -> Box | None:
    """The box of values (T, n) on a grid that nothing is computed on: integers, or 8-bit floating point.

    None where there is no such grid. Of several readings of a value the largest step counts: groups whose
    scales stand in small ratios, such as powers of two, lie on the finest of their grids together.
    """
    if rows.numel() < _LEAST_GROUP:
        return None
    values = rows.double()
    seen = hashlib.sha256(values.cpu().contiguous().numpy().data).hexdigest(), tuple(values.shape), str(values.device)
    if seen not in _looked_at:
        found = _coarse_box(values)
        _looked_at[seen] = found
        while sum(box.steps.numel() for box in _looked_at.values() if box) > _KEPT or len(_looked_at) > _MANY:
            _looked_at.popitem(last=False)
        return found
    return _looked_at[seen]


def _coarse_box(values: torch.Tensor) -> Box | None:
    """`coarse_box` of values (T, n) in float64."""
    half = half_type(values)
    # What was in few bits may have been rounded once more, to the half type that holds it now.
    moved = torch.zeros_like(values) if half is None else float_steps(values, half) / 2
    found = _on_integers(values, moved)
    eight = next((dtype for dtype in _EIGHT_BITS if bool((values.to(dtype).double() == values).all())), None)
    if eight is not None and (found is not None or not _few(values)):
        size = values.abs()
        ends = torch.where(size == size.amax(1, keepdim=True), values.sign(), 0.0)
        found = _wider(found, Box(float_steps(values, eight) / 2, ends))
    # A few 8-bit floating-point numbers of near size are whole steps of the smallest, which are none of the others.
    floats = _on_scaled_floats(values, moved)
    return found if floats is None else _wider(found, floats)


def _on_integers(values: torch.Tensor, moved: torch.Tensor) -> Box | None:
    """The box of whole steps, whose scale is that of any of the groups."""
    found: Box | None = None
    exact = not bool(moved.any())
    for (groups, whole), (errors, _) in zip(_groupings(values), _groupings(moved), strict=True):
        steps = _integer_steps(groups, established=found is not None)
        if steps is None and not exact:
            steps = next((one for kind in WHOLE if (one := scales(groups, errors, kind)) is not None), None)
            steps = offset_scales(groups, errors) if steps is None else steps
        if steps is not None:
            half = whole(steps[:, None].expand_as(groups)) * (0.5 + _SCALE_ROUNDED) + moved
            found = _wider(found, Box(half, whole(_ends(groups))))
    return found


def _on_scaled_floats(values: torch.Tensor, moved: torch.Tensor) -> Box | None:
    """The box of 8-bit floating-point numbers whose scale, of any of the groups, is no power of two."""
    for (groups, whole), (errors, _) in zip(_groupings(values), _groupings(moved), strict=True):
        for kind in FLOATS:
            scale = scales(groups, errors, kind)
            if scale is not None:
                # Of values that were rounded since, the scale is known no better than they are.
                unsure = torch.where(groups == 0, 0.0, errors / groups.abs()).amax(1, keepdim=True)
                steps = scaled_steps(groups, scale, kind) * (1 + unsure)
                return Box(whole(steps) / 2 + moved, whole(_ends(groups)))
    return None


def _ends(groups: torch.Tensor) -> torch.Tensor:
    """1 where a value is the largest of its group (G, g), -1 where it is the least; it may have been clipped."""
    return (groups == groups.amax(1, keepdim=True)).double() - (groups == groups.amin(1, keepdim=True)).double()


def _wider(one: Box | None, other: Box) -> Box:
    """The box of the wider steps, with the ends of both."""
    if one is None:
        return other
    return Box(torch.maximum(one.steps, other.steps), torch.where(one.clipped == 0, other.clipped, one.clipped))


def box_around(rows: torch.Tensor, within: float, top: int | None = None) -> Box:
    """The box of values (T, n) on the coarsest grid that all lie on; of no size where that is float64's.

    `within` is `NEAREST` or `ANYHOW`, 0 for the values themselves. Of rows of so many log-probabilities (`top`) these
    are the values; what fills the rows up is in the box of the least.
    """
    if not within:
        return point(rows)
    if top is not None:
        values, places = rows.topk(top, dim=1)
        parts = box_around(values, within)
        return Box(*(part[:, -1:].expand(rows.shape).scatter(1, places, part) for part in parts))
    coarse = coarse_box(rows)
    if coarse is not None:
        return coarse._replace(steps=coarse.steps * (within / NEAREST))
    stored = grid_type(rows)
    if stored == torch.float64:
        return point(rows)
    steps = float_steps(rows.double(), stored) * within
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


def _groupings(values: torch.Tensor) -> Iterator[tuple[torch.Tensor, _Whole]]:
    """Values (T, n) as groups (G, g) that may share a scale, and how such become (T, n) again: the largest first."""
    length, width = values.shape
    sizes = [width // parts for parts in range(1, width // _LEAST_GROUP + 1) if width % parts == 0]
    for size in (values.numel(), *sizes):
        yield values.reshape(-1, size), lambda groups: groups.reshape(length, width)
    if length >= _LEAST_GROUP:
        yield values.T, lambda groups: groups.T


def _integer_steps(groups: torch.Tensor, *, established: bool) -> torch.Tensor | None:
    """The step of each group (G, g) whose values are whole multiples of one, offset apart; None if one is not.

    Once a grid is `established` on larger groups, smaller ones need no evidence of theirs: they only widen steps.
    """
    # Beside a value that is larger by far than all others, these are 0 to its rounding, and lie on any grid.
    other = groups.abs() > _EQUAL * groups.abs().amax(1, keepdim=True)
    if not established and int((other.sum(1) - 2).clamp_min(0).sum()) < _EVIDENCE:
        return None
    some = groups[:_SAMPLED, :_SOME].sort(dim=1).values
    if bool(_too_fine(some, _least_gap(some, groups[:_SAMPLED])).any()):
        return None
    if len(groups) > _SAMPLED and _fitting_steps(groups[:_SAMPLED]) is None:
        return None
    return _fitting_steps(groups)


def _least_gap(ordered: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """The least difference between values of a group (G, n) that is more than their rounding."""
    gaps, largest = ordered.diff(dim=1), groups.abs().amax(1, keepdim=True)
    return torch.where(gaps > _EQUAL * largest, gaps, torch.inf).amin(1)


def _too_fine(ordered: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """Whether values (G, n), all of a group or some, span more of their least gaps than 8 bits have steps."""
    span = ordered[:, -1] - ordered[:, 0]
    return (span > 0) & (span > (_LEVELS + 0.5) * least)


def _fitting_steps(groups: torch.Tensor) -> torch.Tensor | None:
    """`_integer_steps` of however few values."""
    ordered = groups.sort(dim=1).values
    largest = groups.abs().amax(1, keepdim=True)
    least = _least_gap(ordered, groups)
    span = ordered[:, -1] - ordered[:, 0]
    wide = span > 0
    if not bool(span.isfinite().all()):
        return None
    if bool((~wide & (largest[:, 0] > 0)).any()) or bool(_too_fine(ordered, least).any()):
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
