"""The largest of what rounding does: a Gumbel distribution fitted to maxima, with the error of the fit counted in.

The quantile of a fitted distribution is exceeded more often than it says, because the fit itself is off. How much more
depends on the number of maxima alone, so that it is measured on fits to drawn ones, and the quantile moved outwards.
That keeps a rate on average over fits. Whoever counts what lies beyond one quantile has one fit for all of it, which is
off for all of it alike: `chance_beyond` says how likely so many are.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

_FITS, _LEAST_FITS, _DRAWN = 20_000, 100, 2 * 10**6  # to drawn maxima, that say how far a fit is off; fewer of many
_SEED = 20261126
_STEPS = 100  # of Newton at most; a handful is enough

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Extremes:
    """A Gumbel distribution fitted to the maxima of `runs` runs, the largest of them, and what was run."""

    name: str
    location: float
    scale: float
    largest: float
    runs: int

    @classmethod
    def of(cls, name: str, maxima: Sequence[float]) -> "Extremes":
        """Fitted by maximum likelihood; all that are alike are one run, of which only its maximum is known."""
        if len(set(maxima)) < 2:
            return cls(name, max(maxima, default=0.0), 0.0, max(maxima, default=0.0), len(set(maxima)))
        ((location, scale),) = _fitted(np.array([maxima], dtype=np.float64))
        return cls(name, float(location), float(scale), max(maxima), len(maxima))

    def exceeded_at(self, rate: float, moved: float = 0.0) -> float:
        """What a further maximum exceeds with a probability of `rate`, its location moved by so many scales.

        It is never below the largest that was seen, where the rate is rarer than one in so many runs.
        """
        if self.runs < 2:
            return self.largest
        found = self.location + self.scale * (moved + _outwards(self.runs, rate, moved))
        return max(found, self.largest if rate <= 1 / self.runs else 0.0)


def chance_beyond(count: int, runs: int, rate: float, moved: Sequence[float]) -> float:
    """How likely as many maxima or more, of one for each of `moved`, exceed what is exceeded at a rate.

    All are held against one fit to `runs` maxima; their locations are moved by so many scales. Where locations differ,
    all count as the one that a fit is exceeded at most; fewer than two runs are no fit, and leave any count possible.
    """
    if count > 0 and len(moved) == 1:
        return rate  # what the quantile says of one
    if count < 1 or runs < 2:
        return 1.0
    most = np.zeros(len(_fits(runs)))
    for one in set(moved):
        most = np.maximum(most, _beyond(_fits(runs), _outwards(runs, rate, one), one))
    return float(stats.binom.sf(count - 1, len(moved), most).mean())


def _beyond(fits: Floats, quantile: float, moved: float) -> Floats:
    """By fit how often a further maximum exceeds that quantile of it, both moved by so many scales."""
    return -np.expm1(-np.exp(-_place(fits, quantile, moved)))


def _place(fits: Floats, quantile: float, moved: float) -> Floats:
    """The quantile of each fit, in scales of what was drawn beyond where that has moved."""
    return fits[:, 0] + fits[:, 1] * (moved + quantile) - moved


def _outwards(runs: int, rate: float, moved: float) -> float:
    """The quantile where the location was moved: inwards there is less to be off, and nothing is taken back for it."""
    return _quantile(runs, rate, max(moved, 0.0))


@functools.cache
def _quantile(runs: int, rate: float, moved: float = 0.0) -> float:
    """In scales beyond the location, both fitted to so many maxima: what a further one exceeds at a rate.

    A scale that is off moves the location by another distance than it should, the more the farther it is moved.
    """
    fits = _fits(runs)

    def excess(quantile: float) -> float:
        if rate > 0.5:  # what is exceeded nearly always: there 1 - rate has the digits
            return (1 - rate) - float(np.exp(-np.exp(-_place(fits, quantile, moved))).mean())
        return float(_beyond(fits, quantile, moved).mean()) - rate

    plain = float(stats.gumbel_r.isf(rate))  # a quantile at 1 - rate has no rates below 1e-16
    least, most = plain - 1, plain + 1
    while excess(most) > 0:
        most += most - plain
    while excess(least) < 0:
        least -= plain - least
    return float(optimize.brentq(excess, least, most))  # pyright: ignore[reportArgumentType]


@functools.cache
def _fits(runs: int) -> Floats:
    """Locations and scales fitted to drawn maxima of the standard distribution, shape (fits, 2)."""
    size = max(_LEAST_FITS, min(_FITS, _DRAWN // runs))
    drawn: Any = stats.gumbel_r.rvs(size=(size, runs), random_state=_SEED)
    return _fitted(drawn)


def _fitted(maxima: Floats) -> Floats:
    """Locations and scales of greatest likelihood, shape (n, 2), of maxima (n, runs) that are not all alike.

    The scale s is where s = mean - (mean weighted by exp(-x / s)), whose difference grows with s: Newton from moments,
    for maxima that begin at 0 and end at 1.
    """
    least, wide = maxima.min(1, keepdims=True), np.ptp(maxima, axis=1, keepdims=True)
    x = (maxima - least) / wide
    scale = x.std(1, keepdims=True) * np.sqrt(6) / np.pi
    for _ in range(_STEPS):
        weights = np.exp(-x / scale)
        weights /= weights.sum(1, keepdims=True)
        first, second = (weights * x).sum(1, keepdims=True), (weights * x**2).sum(1, keepdims=True)
        step = (scale + first - x.mean(1, keepdims=True)) / (1 + (second - first**2) / scale**2)
        scale = np.maximum(scale - step, scale / 4)
        if (abs(step) <= 1e-12 * scale).all():
            break
    location = -scale * np.log(np.exp(-x / scale).mean(1, keepdims=True))
    return np.concatenate([least + wide * location, wide * scale], axis=1)
