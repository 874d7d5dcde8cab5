"""Why two prompts have (nearly) the same state: every hit is run again alone, in two precisions, and explained.

States of a search come from runs over whole windows. A hit is therefore measured again: each prompt in a run of its
own, in the model's arithmetic and in float64. Where float64 separates them by more than its own runs err and the
model's arithmetic does not, rounding hides a difference; what nothing here explains is the interesting case. All of
this is measured. A model in float64 is its own reference: there is one run, which errs as `sipit.noise.float64` has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray

from numerics.graphs.windows import named_windows, window
from numerics.pairs.points import norm
from sipit.models import LanguageModel
from sipit.models.copies import in_dtype
from sipit.models.network import Layer, Network
from sipit.noise.float64 import float64_errors, unit_within


class Cause(StrEnum):
    """Why a pair was found; the first that applies."""

    DUPLICATE_ROWS = "duplicate rows"  # the prompts differ only in tokens with identical embedding rows
    STRUCTURAL = "structural family"  # they collide for every value of the parameters
    WINDOW_REACH = "window reach"  # they differ only in tokens too far back to be seen at this layer
    NOT_CONFIRMED = "not confirmed"  # runs of their own set them farther apart: than the threshold, or than they err
    BELOW_NOISE = "below noise"  # rounding hides that they differ, which float64 shows
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A hit, measured again.

    Attributes:
        cause: why the states are so close.
        distance: absolute L2 between the two states in the model's arithmetic, each prompt run alone.
        distance_float64: the same in float64, with the same stored weights.
        noise: sum over both prompts of the absolute L2 distance between those two runs; of a model in float64, for
            which they are one, of how far that errs.
    """

    cause: Cause
    distance: float
    distance_float64: float
    noise: float


@dataclass(frozen=True, slots=True, eq=False)
class StandAlone:
    """Last states of single prompts, each in a run of its own, in the model's arithmetic and in float64; kept.

    Attributes:
        model: whose states were searched.
        reference: the same stored weights in float64.
    """

    model: LanguageModel
    reference: LanguageModel
    _kept: dict[tuple[Layer, tuple[int, ...]], tuple[NDArray[np.float64], NDArray[np.float64]]] = field(
        default_factory=dict[tuple[Layer, tuple[int, ...]], tuple[NDArray[np.float64], NDArray[np.float64]]]
    )
    _rounding: dict[tuple[Layer, tuple[int, ...]], float] = field(
        default_factory=dict[tuple[Layer, tuple[int, ...]], float]
    )
    _units: dict[Layer, float] = field(default_factory=dict[Layer, float])

    @classmethod
    def of(cls, model: LanguageModel) -> "StandAlone":
        """With a reference made from the model's own weights as it holds them; needs their memory in float64."""
        return cls(model, in_dtype(model, torch.float64))

    def states(self, ids: Sequence[int], layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The last state of a prompt in the model's arithmetic, and in float64; each of shape (d,)."""
        key = layer, tuple(ids)
        if key not in self._kept:
            self._kept[key] = _last(self.model, ids, layer), _last(self.reference, ids, layer)
        return self._kept[key]

    @property
    def arithmetic(self) -> str:
        """What really runs in a search: the distances of its states decide, and what single prompts give in float64."""
        return f"{self.model.arithmetic}; distances of stored states exact to 2^-51; single prompts in float64 too"

    @property
    def is_its_own_reference(self) -> bool:
        """Whether the model is in float64, so that both runs of a prompt are one and show no error of it."""
        return self.model.dtype == torch.float64

    def noise(self, ids: Sequence[int], layer: Layer) -> float:
        """How far the model's run errs, absolute L2: the distance between the two, or what float64 errs by."""
        if self.is_its_own_reference:
            return self.rounding(ids, layer)
        plain, exact = self.states(ids, layer)
        return float(norm(plain - exact))

    def rounding(self, ids: Sequence[int], layer: Layer) -> float:
        """How far the float64 run errs, absolute L2 (`sipit.noise.float64`)."""
        key = layer, tuple(ids)
        if key not in self._rounding:
            network = Network(self.reference, layer)
            if layer not in self._units:
                self._units[layer] = unit_within(network)
            tokens = torch.tensor(ids, device=self.model.device)
            self._rounding[key] = float(float64_errors(network, tokens, self._units[layer])[-1])
        return self._rounding[key]


def explain(
    alone: StandAlone,
    first: Sequence[int],
    second: Sequence[int],
    *,
    layer: Layer,
    threshold: float,
    measured: bool = False,
    known: Cause | None = None,
) -> Explanation:
    """Runs both prompts alone and says why their last states are within `threshold` (absolute L2) of each other.

    Args:
        measured: whether the threshold stands for rounding, as the largest that was seen in some runs. The two runs of
            a prompt tell its own: a pair that both arithmetics set farther apart than that is not confirmed.
        known: the cause, where equality over the reals is known (`sipit.collisions.known.Families.cause`).
    """
    (plain_first, exact_first), (plain_second, exact_second) = (alone.states(ids, layer) for ids in (first, second))
    distance, separated = float(norm(plain_first - plain_second)), float(norm(exact_first - exact_second))
    noise = alone.noise(first, layer) + alone.noise(second, layer)
    if known is None:
        # What exceeds the noise of the model's type needs no further runs: float64 errs by no more.
        differ = separated > noise or (
            separated > 0 and separated > sum(alone.rounding(i, layer) for i in (first, second))
        )
        known = _measured(distance, noise, min(noise, threshold) if measured and differ else threshold, differ)
    return Explanation(known, distance, separated, noise)


def _measured(distance: float, noise: float, threshold: float, differ: bool) -> Cause:
    """The cause by two distances; `differ` says whether float64 sets the pair apart by more than it errs."""
    if distance > threshold:
        return Cause.NOT_CONFIRMED
    return Cause.BELOW_NOISE if differ and distance <= noise else Cause.UNEXPLAINED


def window_reach(model: LanguageModel, layer: Layer) -> int | None:
    """How many of the last tokens can influence the last state at a layer; None where all of them can, or no name says.

    Which windows bind is tried on a small copy of the class (`numerics.graphs.windows`).
    """
    blocks = model.layers if layer == "final" else int(layer)
    if blocks == 0:
        return 1
    config = model.module.config
    found = window(config, blocks) if named_windows(config) else None  # without a name nothing says how far
    return None if found is None else found.reach


def _last(model: LanguageModel, ids: Sequence[int], layer: Layer) -> NDArray[np.float64]:
    run = Network(model, layer).run(torch.tensor([list(ids)], device=model.device))
    return run[0, -1].double().cpu().numpy()
