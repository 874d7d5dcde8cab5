"""How far rounding may move states before it is none any more: a threshold with a stated rate of false alarms.

A prompt is captured in every way that differs by rounding (a cache, padded batches, a coarser type, a perturbed run),
and the largest distance over all layers and positions is taken, in multiples of the spread there. Such maxima follow a
Gumbel distribution; its upper quantile is the threshold, moved outwards by what the fit is off, and by log(T / n)
scales for prompts of T tokens in the place of n. It is never below the largest that was seen. Where a model
chooses experts or keys, a run that turned a choice counts from the plain run with that choice
(`sipit.privacy.choices`): it would widen the threshold for all others, and turned choices are told from faults by
themselves.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy import stats

from numerics.dtypes import name_of
from proofs.errors import Unsupported
from sipit.cache import keep_json, kept_json, measured_with
from sipit.models import LanguageModel
from sipit.models.copies import in_dtype
from sipit.noise.spread import rounding_unit
from sipit.noise.ways import other_ways
from sipit.privacy.choices import chooses, nearest_turned
from sipit.privacy.extremes import Extremes
from sipit.privacy.spread import Spread, damped_distance, spread_at
from sipit.prompts.calibration import calibration_prompts
from sipit.record import Progress
from sipit.states.layered import capture_layers

_LEAST = 1.0  # the spread itself, below which no maximum is taken for one
_MAY_HAVE_TURNED = 2.0  # spreads beyond which it is asked whether a choice was turned


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The maxima of runs that differ by rounding, in multiples of the spread; `ways` names how they were run.

    `spreads` are those of the calibration prompts, shape (layers, T).
    """

    maxima: tuple[float, ...]
    ways: tuple[str, ...]
    spreads: tuple[torch.Tensor, ...]

    @property
    def length(self) -> float:
        """How many tokens a calibration prompt has, on average."""
        return sum(spread.shape[1] for spread in self.spreads) / len(self.spreads)

    def threshold(self, rate: float, tokens: float | None = None) -> float:
        """What the maximum of one prompt exceeds with a probability of `rate` at most, if all is rounding.

        Of as many tokens as a calibration prompt has on average, where none are named.
        """
        return _threshold(self.maxima, rate, 0.0 if tokens is None else math.log(tokens / self.length))

    def exceeding(self, rate: float) -> dict[str, Any]:
        """How many of the runs lie beyond the threshold that all others give, at a rate for each.

        With the Clopper-Pearson interval of their share (95 %), as if they were independent.
        """
        beside = [(one, self.maxima[:place] + self.maxima[place + 1 :]) for place, one in enumerate(self.maxima)]
        count = sum(one > _threshold(others, rate, 0.0) for one, others in beside)
        interval = stats.binomtest(count, len(self.maxima)).proportion_ci(0.95, method="exact")
        return {"runs": len(self.maxima), "alarms": count, "interval": [float(interval.low), float(interval.high)]}


@functools.cache
def _fitted(maxima: tuple[float, ...]) -> Extremes:
    return Extremes.of("all ways together", maxima)


def _threshold(maxima: tuple[float, ...], rate: float, moved: float) -> float:
    found = _fitted(maxima)
    return max(found.exceeded_at(rate, moved), found.largest, _LEAST)


def calibrate(
    model: LanguageModel, layers: Sequence[int], coarse: torch.dtype, progress: Progress | None = None
) -> Calibration:
    """The calibration of a model at some layers, where states may be computed in a type as coarse as `coarse`."""
    types = "-".join(map(name_of, (model.coarsest, coarse)))
    places = "all" if list(layers) == list(range(model.layers + 1)) else "-".join(map(str, layers))
    key = f"{measured_with(model.device)}/compare/maxima/{model.key}-{places}-{types}.json"
    kept = kept_json(key) or {}
    if not _sound(kept, len(layers)):
        kept = keep_json(key, _measured(model, layers, coarse, progress))
    spreads = tuple(torch.tensor(one, dtype=torch.float64) for one in kept["spreads"])
    return Calibration(tuple(kept["maxima"]), tuple(kept["ways"]), spreads)


def _sound(kept: dict[str, Any], layers: int) -> bool:
    """Whether what the cache has is a calibration: numbers, and spreads of so many layers."""
    try:
        spreads = [torch.tensor(one, dtype=torch.float64) for one in kept["spreads"]]
        whole = torch.cat([torch.tensor(kept["maxima"], dtype=torch.float64), *(one.flatten() for one in spreads)])
        shaped = all(one.ndim == 2 and len(one) == layers for one in spreads) and len(kept["maxima"]) > 0
        return shaped and len(spreads) > 0 and bool(whole.isfinite().all()) and all(map(str.isprintable, kept["ways"]))
    except (TypeError, KeyError, ValueError, RuntimeError):
        return False


def _measured(
    model: LanguageModel, layers: Sequence[int], coarse: torch.dtype, progress: Progress | None
) -> dict[str, Any]:
    prompts = calibration_prompts(model)
    unit = rounding_unit(coarse, model.coarsest, device=model.device)
    spreads: list[Spread] = []
    for ids in prompts:
        spreads.append(spread_at(model, ids, layers, unit))
    ways = ["a perturbed run"]
    other = in_dtype(model, coarse) if torch.finfo(coarse).eps > torch.finfo(model.coarsest).eps else model
    hows = [(name, how) for name, how, refused in other_ways(model, len(prompts), longest=max(map(len, prompts)))
            if refused is None]  # fmt: skip
    if other is not model:
        hows.insert(0, (f"one forward in {name_of(coarse)}", {}))
    captured = [[(one.last, one.but_last)] for one in spreads]
    for name, how in hows:
        try:
            found = capture_layers(other, prompts, layers, **how).stacks
        except Unsupported:
            continue  # it changes more than rounding does, as a turned choice may: it says nothing of rounding
        for pairs, one, stack in zip(captured, spreads, found, strict=True):
            pairs.append((stack, one.largest))
        ways.append(name)
    choosing, maxima = chooses(model), list[float]()
    for number, (ids, one) in enumerate(zip(prompts, spreads, strict=True)):
        maxima += _farthest(model, ids, layers, one, captured[number], choosing=choosing)
        if progress is not None:
            progress(number + 1, len(prompts))
    return {"maxima": maxima, "ways": ways, "spreads": [one.largest.tolist() for one in spreads]}


def _farthest(
    model: LanguageModel,
    ids: list[int],
    layers: Sequence[int],
    spread: Spread,
    captured: Sequence[tuple[torch.Tensor, torch.Tensor]],
    *,
    choosing: bool,
) -> list[float]:
    """The maxima of captured states (layers, T, d), each beside the spread (layers, T) that it is counted in.

    What ran exactly alike has not been rounded otherwise, and is left out.
    """
    apart = [damped_distance(stack, spread.plain) for stack, _ in captured]
    maxima = [float((far / beside).max()) for far, (_, beside) in zip(apart, captured, strict=True)]
    asked = [number for number, maximum in enumerate(maxima) if choosing and maximum > _MAY_HAVE_TURNED]
    if asked:
        stacks = [captured[number][0] for number in asked]
        for number, near in zip(asked, nearest_turned(model, ids, layers, spread.unit, stacks), strict=True):
            maxima[number] = float((torch.minimum(apart[number], near) / captured[number][1]).max())
    return [maximum for maximum in maxima if maximum > 0]
