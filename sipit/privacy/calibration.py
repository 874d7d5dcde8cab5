"""How far rounding may move states before it is none any more: a threshold with a stated rate of false alarms.

A prompt is captured in every way that differs by rounding (a cache, padded batches, a coarser type, a perturbed run),
and the largest distance over all layers and positions is taken, in multiples of the spread there. Such maxima follow a
Gumbel distribution; its upper quantile is the threshold. It is never below the largest that was seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy import stats

from numerics.dtypes import name_of
from sipit.cache import keep_json, kept_json, measured_with
from sipit.models import LanguageModel
from sipit.models.copies import in_dtype
from sipit.noise.spread import rounding_unit
from sipit.noise.ways import other_ways
from sipit.privacy.spread import Spread, spread_at
from sipit.prompts.calibration import calibration_prompts
from sipit.record import Progress
from sipit.states.layered import capture_layers

_LEAST = 1.0  # the spread itself, below which no maximum is taken for one


@dataclass(frozen=True, slots=True)
class Calibration:
    """The maxima of runs that differ by rounding, in multiples of the spread; `ways` names how they were run.

    `spreads` are those of the calibration prompts, shape (layers, T).
    """

    maxima: tuple[float, ...]
    ways: tuple[str, ...]
    spreads: tuple[torch.Tensor, ...]

    def threshold(self, rate: float) -> float:
        """What the maximum of one prompt exceeds with a probability of `rate` at most, if all is rounding."""
        location, scale = stats.gumbel_r.fit(self.maxima)
        return max(float(stats.gumbel_r.isf(rate, location, scale)), *self.maxima, _LEAST)

    def exceeding(self, threshold: float) -> dict[str, Any]:
        """How many of the runs lie beyond a threshold, with the Clopper-Pearson interval of their rate (95 %)."""
        count = sum(maximum > threshold for maximum in self.maxima)
        interval = stats.binomtest(count, len(self.maxima)).proportion_ci(0.95, method="exact")
        return {"runs": len(self.maxima), "alarms": count, "interval": [float(interval.low), float(interval.high)]}


def calibrate(
    model: LanguageModel, layers: Sequence[int], coarse: torch.dtype, progress: Progress | None = None
) -> Calibration:
    """The calibration of a model at some layers, where states may be computed in a type as coarse as `coarse`."""
    types = "-".join(map(name_of, (model.dtype, coarse)))
    places = "all" if list(layers) == list(range(model.layers + 1)) else "-".join(map(str, layers))
    key = f"{measured_with(model.device)}/compare/spread/{model.digest[:32]}-{places}-{types}.json"
    kept = kept_json(key)
    if kept is None:
        kept = keep_json(key, _measured(model, layers, coarse, progress))
    spreads = tuple(torch.tensor(one, dtype=torch.float64) for one in kept["spreads"])
    return Calibration(tuple(kept["maxima"]), tuple(kept["ways"]), spreads)


def _measured(
    model: LanguageModel, layers: Sequence[int], coarse: torch.dtype, progress: Progress | None
) -> dict[str, Any]:
    prompts = calibration_prompts(model)
    unit = rounding_unit(coarse, model.dtype, device=model.device)
    spreads: list[Spread] = []
    for ids in prompts:
        spreads.append(spread_at(model, ids, layers, unit))
        if progress is not None:
            progress(len(spreads), len(prompts))
    maxima = [float((one.last / one.but_last).max()) for one in spreads]
    ways = ["a perturbed run"]
    other = in_dtype(model, coarse) if torch.finfo(coarse).eps > torch.finfo(model.dtype).eps else model
    hows = [(name, how) for name, how, refused in other_ways(model, len(prompts), longest=max(map(len, prompts)))
            if refused is None]  # fmt: skip
    if other is not model:
        hows.insert(0, (f"one forward in {name_of(coarse)}", {}))
    for name, how in hows:
        found = capture_layers(other, prompts, layers, **how).stacks
        ratios = [float(one.ratio(stack).max()) for one, stack in zip(spreads, found, strict=True)]
        maxima += [ratio for ratio in ratios if ratio > 0]  # what ran alike has not been rounded otherwise
        ways.append(name)
    return {"maxima": maxima, "ways": ways, "spreads": [one.largest.tolist() for one in spreads]}
