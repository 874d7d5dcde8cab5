"""Grids of few bits whose scale is any number, and whose values may have been rounded once more to a half type.

Such caches are handed out in the type that the model computes in: what was the whole number m times a scale s, or an
8-bit floating-point number m times s, lies within half a step of that type from m s. So each value bounds s from both
sides, once its m is known. It is known of all but the first: the number nearest to the value divided by the s that the
earlier ones leave. The first is the largest, where scales are made for that, or the least, of which few are possible.
That a scale is left by all values of a group is no chance where each of them has next to no choice.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

_WHOLE = 255  # the largest whole number, of 8 bits without a sign
_LEAST = range(1, 13)  # what the least value may be
_LARGEST = (7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255)  # what the largest may be, of so many bits
_MOST = 256  # different magnitudes in 8 bits
_EVIDENCE = 30.0  # how far below 0 the logarithm of the chance has to lie that there is no grid
_SAMPLED = 16  # groups that are looked at first
_AT_ONCE = 4096  # groups
_PARTS = 16  # of what the first value leaves of a scale: in each of them every other value has one number
_NARROWED = 8  # values after which no parts are needed any more
_NARROW = 2.0**-12  # of a scale, of which no parts have to be made
_ROUNDING = 1.0 + 2.0**-20  # what products in float32 add

Nearest = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class Kind(NamedTuple):
    """Numbers that a scale multiplies: what the first of some may be, and the nearest to others, with the step there.

    `sign` is 1 where the first is the least, -1 where it is the largest. `counted` is how many times as often as the
    width of the errors says what lies on no such numbers falls within them: where errors are those of two numbers of
    one half type, the difference of these can only be 0, 1 or 2 of its steps away.
    """

    first: tuple[float, ...]
    nearest: Nearest
    sign: int = 1
    counted: float = 1.0


def _nearest_whole(ratios: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return ratios.round().clamp(1, _WHOLE), torch.ones_like(ratios)


def _nearest_float(ratios: torch.Tensor, *, parts: int) -> tuple[torch.Tensor, torch.Tensor]:
    octave = _octave(ratios)
    number = (ratios / octave * parts).round() / parts * octave
    return number, _octave(number) / parts


def _octave(numbers: torch.Tensor) -> torch.Tensor:
    """The largest power of two that is no larger."""
    return torch.exp2(torch.frexp(numbers).exponent.double() - 1)


def _floats(bits: int) -> Kind:
    parts = 2**bits
    return Kind(tuple(1 + part / parts for part in range(parts)), lambda ratios: _nearest_float(ratios, parts=parts))


_BETWEEN = range(1, 97)  # what the least difference may be: a few values of 255 lie far apart
_APART = Kind(tuple(map(float, _BETWEEN)), _nearest_whole, counted=1.5)
WHOLE = (Kind(tuple(map(float, _LARGEST)), _nearest_whole, sign=-1), Kind(tuple(map(float, _LEAST)), _nearest_whole))
FLOATS = (_floats(2), _floats(3))  # e5m2 and e4m3, the coarser first


def scales(groups: torch.Tensor, moved: torch.Tensor, kind: Kind) -> torch.Tensor | None:
    """The largest scale (G,) with which all values of each group (G, g) are of a kind; None where one has none.

    `moved` is by how much each value may have been rounded since. A group of zeros has the scale 0.
    """
    ordered = groups[:_SAMPLED, : 8 * _MOST].abs().sort(dim=1).values
    if int((ordered.diff(dim=1) != 0).sum(1).max()) > _MOST:
        return None
    if len(groups) > _SAMPLED:
        some = _fitting(groups[:_SAMPLED], moved[:_SAMPLED], kind)
        if some is None:
            return None
        if kind.sign < 0:  # the same bits everywhere
            kind = kind._replace(first=some.first)
    found, evidence = [], 0.0
    for part, errors in zip(groups.split(_AT_ONCE), moved.split(_AT_ONCE), strict=True):
        fitting = _fitting(part, errors, kind)
        if fitting is None:
            return None
        found.append(fitting.scale)
        evidence += fitting.evidence
    return torch.cat(found) if evidence >= _EVIDENCE else None


def offset_scales(groups: torch.Tensor, moved: torch.Tensor) -> torch.Tensor | None:
    """The largest scale (G,) of which all values of each group (G, g) are whole multiples, behind an offset of its own.

    The offset is that of the value nearest to zero, which was rounded least; how it was rounded counts in all others.
    """
    at = groups.abs().argmin(dim=1, keepdim=True)
    apart = groups - groups.gather(1, at)
    return scales(apart, torch.where(apart == 0, 0.0, moved + moved.gather(1, at)), _APART)


def scaled_steps(values: torch.Tensor, scale: torch.Tensor, kind: Kind) -> torch.Tensor:
    """The distance from each value (G, g) to the next of a kind, with the scale (G,) of its group.

    Next to zero it is taken to be the least value of the group: numbers of 8 bits lie evenly there, none nearer.
    """
    size, by = values.abs(), scale[:, None]
    least = torch.where(size > 0, size, torch.inf).amin(1, keepdim=True)
    _, step = kind.nearest(torch.where(by > 0, size / by, 1.0))
    wide = torch.where(size > 0, step * by, 0.0)
    return torch.where(by > 0, torch.maximum(wide, torch.where(least.isfinite(), least, 0.0)), 0.0)


class _Fitting(NamedTuple):
    """Scales (G,), how unlikely they are by chance (the negative logarithm, over all groups), and what came first."""

    scale: torch.Tensor
    evidence: float
    first: tuple[float, ...]


def _fitting(groups: torch.Tensor, moved: torch.Tensor, kind: Kind) -> _Fitting | None:
    """The scales of some groups; None where one has none."""
    size, order = groups.abs().sort(dim=1, descending=kind.sign < 0)
    error = moved.gather(1, order) * _ROUNDING + size * 2.0**-23
    fresh = torch.ones_like(size, dtype=torch.bool)
    fresh[:, 1:] = size[:, 1:] != size[:, :-1]
    fresh &= size > 0
    most = int(fresh.sum(1).max())
    if most > _MOST or not bool(size.isfinite().all()):
        return None
    if most == 0:  # zeros are of every kind, and say nothing about what comes first in other groups
        return _Fitting(torch.zeros_like(size[:, 0]), 0.0, kind.first)
    # The different magnitudes of every group in front, and how many there are.
    places = torch.argsort((~fresh).to(torch.int8), dim=1, stable=True)[:, :most]
    size, error, count = size.gather(1, places), error.gather(1, places), fresh.sum(1)
    first = torch.tensor(kind.first, dtype=size.dtype, device=size.device)
    parts = 1 if bool((error[:, 0] <= _NARROW * size[:, 0]).all()) else _PARTS
    cuts = torch.linspace(-1, 1, parts + 1, dtype=size.dtype, device=size.device)
    low, high = (
        ((size[:, :1, None] + error[:, :1, None] * cut) / first[:, None]).flatten(1) for cut in (cuts[:-1], cuts[1:])
    )
    chance = torch.full_like(low, math.log(low.shape[1]))
    for at in range(1, size.shape[1]):
        if at == _NARROWED and parts > 1:  # what is left is narrow enough without parts
            alive = (low <= high).unflatten(1, (-1, parts))
            low = torch.where(alive, low.unflatten(1, (-1, parts)), torch.inf).amin(2)
            high = torch.where(alive, high.unflatten(1, (-1, parts)), 0.0).amax(2)
            chance, parts = chance.unflatten(1, (-1, parts)).amax(2), 1
        one, off, there = size[:, at, None], error[:, at, None], (count > at)[:, None]
        middle = (low + high) / 2
        number, step = kind.nearest(one / middle)
        chance += torch.where(there, (2 * off * kind.counted / (step * middle)).clamp_max(1).log(), 0.0)
        low = torch.where(there, torch.maximum(low, (one - off) / number), low)
        high = torch.where(there, torch.minimum(high, (one + off) / number), high)
        if not bool(((low <= high).any(1) | (count == 0)).all()):
            return None
    alive = (low <= high) & (count > 0)[:, None]
    best = torch.where(alive, (low + high) / 2, 0.0).max(dim=1)
    if not bool(((best.values > 0) | (count == 0)).all()):
        return None
    said = torch.where(count > 0, -chance.gather(1, best.indices[:, None])[:, 0], 0.0)
    used = sorted({kind.first[column // parts] for column in best.indices[count > 0].tolist()})
    return _Fitting(best.values, float(said.sum()), tuple(used))
