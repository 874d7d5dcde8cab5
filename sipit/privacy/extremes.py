"""The largest of what rounding does: a Gumbel distribution fitted to maxima, with the error of the fit counted in.

The quantile of a fitted distribution is exceeded more often than it says, because the fit itself is off. How much more
depends on the number of maxima alone, so that it is measured on fits to drawn ones, and the quantile moved outwards.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

_FITS, _SEED = 400, 20261126  # of drawn maxima, that say how far a fit is off


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
        location, scale = stats.gumbel_r.fit(maxima)
        return cls(name, float(location), float(scale), max(maxima), len(maxima))

    def exceeded_at(self, rate: float, moved: float = 0.0) -> float:
        """What a further maximum exceeds with a probability of `rate`, its location moved by so many scales.

        It is never below the largest that was seen, where the rate is rarer than one in so many runs.
        """
        if self.runs < 2:
            return self.largest
        found = self.location + self.scale * (moved + _quantile(self.runs, rate))
        return max(found, self.largest if rate <= 1 / self.runs else 0.0)


@functools.cache
def _quantile(runs: int, rate: float) -> float:
    """In scales beyond the location, both fitted to so many maxima: what a further one exceeds at a rate."""
    fits = _fits(runs)

    def excess(quantile: float) -> float:
        places = fits[:, 0] + fits[:, 1] * quantile
        if rate > 0.5:  # what is exceeded nearly always: there 1 - rate has the digits
            return (1 - rate) - float(stats.gumbel_r.cdf(places).mean())
        return float(stats.gumbel_r.sf(places).mean()) - rate

    plain = float(stats.gumbel_r.isf(rate))  # a quantile at 1 - rate has no rates below 1e-16
    least, most = plain - 1, plain + 1
    while excess(most) > 0:
        most += most - plain
    while excess(least) < 0:
        least -= plain - least
    return float(optimize.brentq(excess, least, most))  # pyright: ignore[reportArgumentType]


@functools.cache
def _fits(runs: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Locations and scales fitted to drawn maxima of the standard distribution, shape (fits, 2)."""
    drawn: Any = stats.gumbel_r.rvs(size=(_FITS, runs), random_state=_SEED)
    return np.array([stats.gumbel_r.fit(one) for one in drawn])
