"""Scores of rows: how many times as far as rounding spreads a stored row lies from the recomputed one.

On held-out prompts, captured in every way that differs by rounding, the largest score of a prompt follows a Gumbel
distribution. Of T rows in the place of n its location moves by the scale times log(T / n): that is the correction over
rows, and the quantile at a stated rate is the threshold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from scipy import stats

from numerics.dtypes import name_of
from sipit.cache import keep_json, kept_json, measured_with
from sipit.models import LanguageModel
from sipit.models.length import whole_length
from sipit.models.network import Network
from sipit.noise.distances import quotient, relative_distance
from sipit.noise.spread import perturbed_runs
from sipit.noise.ways import other_ways
from sipit.privacy.fingerprint import fingerprint
from sipit.prompts.builtin_text import random_tokens, section_prompts
from sipit.record import Progress
from sipit.states.capturing import capture

_HELD_OUT, _LENGTH, _SEED = 24, 24, 20261126  # prompts that the threshold comes from, and their tokens
_BEYOND = 10  # times as rare as one of the runs seen that a fitted tail is trusted


@dataclass(frozen=True, slots=True)
class Claim:
    """What states are said to be: of a model at a layer, stored in a type, whole or as a fingerprint (size, seed)."""

    model: LanguageModel
    layer: Any
    stored: torch.dtype
    fingerprint: tuple[int, int] | None = None

    @property
    def unit(self) -> float:
        """The rounding unit of the least exact type."""
        return max(torch.finfo(dtype).eps for dtype in (self.model.dtype, self.stored))

    def seen(self, states: torch.Tensor) -> torch.Tensor:
        """What is compared of states (…, d): themselves, or their projections."""
        rows = states.cpu().double()
        return rows if self.fingerprint is None else fingerprint(rows, *self.fingerprint)

    def distance(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """How far what is seen (…, n) lies from what else is seen, relative, shape (…,)."""
        if self.fingerprint is None:
            return relative_distance(one, other, damped=True)
        return quotient(one - other, other.norm(dim=-1))

    def recomputed(self, token_ids: Sequence[int]) -> "Recomputed":
        """The states of a prompt by one forward, and how far rounding spreads them."""
        ids = torch.tensor(list(token_ids), device=self.model.device)
        with whole_length(len(ids)):
            runs = self.seen(perturbed_runs(Network(self.model, self.layer), ids, self.unit))
        moved = self.distance(runs[1:], runs[:1].expand_as(runs[1:]))
        return Recomputed(self, runs[0], moved.amax(0).clamp_min(self.unit), moved)


@dataclass(frozen=True, slots=True, eq=False)
class Recomputed:
    """What a prompt's rows should be, (T, n), and how far rounding spreads each, (T,); `moved` run by run."""

    claim: Claim
    rows: torch.Tensor
    spread: torch.Tensor
    moved: torch.Tensor

    def scores(self, seen: torch.Tensor) -> torch.Tensor:
        """The scores of what is seen of stored rows (T, n), shape (T,)."""
        return self.claim.distance(seen, self.rows) / self.spread


@dataclass(frozen=True, slots=True)
class Threshold:
    """A fitted Gumbel distribution of the largest score among `rows` rows, from `runs` prompts in `ways`."""

    location: float
    scale: float
    largest: float
    rows: int
    runs: int
    ways: tuple[str, ...]

    def at(self, rate: float, rows: int) -> float:
        """What the largest score of so many rows exceeds with a probability of `rate`, if all is rounding."""
        moved = self.location + self.scale * math.log(rows / self.rows)
        found = float(stats.gumbel_r.ppf(1 - rate, moved, self.scale))
        return max(found, self.largest if rate <= 1 / self.runs else 1.0)

    def needed(self, rate: float) -> int:
        """How many runs it takes to speak of a rate."""
        return math.ceil(1 / (_BEYOND * rate))


def held_out_prompts(model: LanguageModel, count: int = _HELD_OUT) -> list[list[int]]:
    """Prompts of one length that thresholds are measured on: text of the end of the corpus, then random tokens."""
    length = min(_LENGTH, model.context or _LENGTH)
    natural = section_prompts(model, count=count, length=length)[1::2]
    generator = torch.Generator().manual_seed(_SEED)
    return natural + random_tokens(model, (count - len(natural), length), generator=generator).tolist()


def threshold_of(claim: Claim, progress: Progress) -> Threshold:
    """The threshold for a claim; measured once and kept.

    Raises:
        Unsupported: a capture that the model cannot do.
    """
    model = claim.model
    types, print_ = "-".join(map(name_of, (model.dtype, claim.stored))), claim.fingerprint or "whole"
    key = f"{measured_with(model.device)}/audit/{model.digest[:32]}-{claim.layer}-{types}-{print_}.json"
    kept = kept_json(key)
    if kept is None:
        kept = keep_json(key, _measured(claim, progress))
    maxima = kept["maxima"]
    location, scale = stats.gumbel_r.fit(maxima)
    return Threshold(float(location), float(scale), max(maxima), kept["rows"], len(maxima), tuple(kept["ways"]))


def _measured(claim: Claim, progress: Progress) -> dict[str, Any]:
    prompts = held_out_prompts(claim.model)
    right: list[Recomputed] = []
    for ids in prompts:
        right.append(claim.recomputed(ids))
        progress(len(right), len(prompts))
    maxima = [float((one.moved[-1] / one.moved[:-1].amax(0).clamp_min(claim.unit)).max()) for one in right]
    ways = ["a perturbed run"]
    captures: list[tuple[str, Callable[..., Any]]] = [("one forward", capture)]
    for name, how, refused in other_ways(claim.model, len(prompts), longest=len(prompts[0])):
        if refused is None:
            captures.append((name, partial(capture, **how)))
    for name, taken in captures:
        states = taken(claim.model, prompts, layer=claim.layer)
        scores = [float(one.scores(claim.seen(rows.to(claim.stored))).max())
                  for one, rows in zip(right, states, strict=True)]  # fmt: skip
        maxima += [score for score in scores if score > 0]  # what ran alike was not rounded otherwise
        ways.append(name)
    return {"maxima": maxima, "rows": len(prompts[0]), "ways": ways}
