"""Scores of rows: how many times as far as rounding spreads a stored row lies from the recomputed one.

On held-out prompts, captured in every way that differs by rounding, the largest score of a prompt follows a Gumbel
distribution, one for each way. Of T rows in the place of n its location moves by the scale times log(T / n): that is
the correction over rows, and quantiles are moved outwards by what the fit is off there. The largest quantile of any way
at a stated rate is the threshold, which keeps that rate whichever way honest states were captured.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from numerics.dtypes import name_of
from proofs.errors import Unsupported
from sipit.cache import keep_json, kept_json, measured_with
from sipit.models import LanguageModel
from sipit.models.length import whole_length
from sipit.models.network import Network
from sipit.noise.distances import quotient, relative_distance
from sipit.noise.spread import perturbed_runs
from sipit.noise.ways import other_ways
from sipit.privacy.extremes import Extremes, chance_beyond
from sipit.privacy.fingerprint import fingerprint
from sipit.prompts.builtin_text import random_tokens, section_prompts, within_context
from sipit.prompts.reading import different
from sipit.record import Progress
from sipit.states.capturing import capture

RUNS, MOST_RUNS = 24, 10**5  # prompts that the threshold comes from, each run once in every way; and at most
_LENGTH, _SEED = 24, 20261126  # of their tokens
_BEYOND = 10  # times as rare as one of the runs seen that a fitted tail is trusted
_FEW = 8  # runs of a way that a distribution of its own is fitted to
_BATCH, _PADDED = 13, 8  # prompts of a padded batch, a longer one among them, and by how many tokens


@dataclass(frozen=True, slots=True)
class Claim:
    """What states are said to be: of a model at a layer, whole or as a fingerprint (size, seed).

    `stored` is the type that the states are kept in, or their fingerprints.
    """

    model: LanguageModel
    layer: Any
    stored: torch.dtype
    fingerprint: tuple[int, int] | None = None

    @property
    def unit(self) -> float:
        """The rounding unit of the least exact type."""
        return max(torch.finfo(dtype).eps for dtype in (self.model.coarsest, self.stored))

    def seen(self, states: torch.Tensor) -> torch.Tensor:
        """What is compared of states (…, d): themselves, or their projections."""
        rows = states.cpu().double()
        return rows if self.fingerprint is None else fingerprint(rows, *self.fingerprint)

    def kept(self, states: torch.Tensor) -> torch.Tensor:
        """What is seen of states (…, d) after they, or their projections, were stored."""
        if self.fingerprint is None:
            return self.seen(states.to(self.stored))
        return self.seen(states).to(self.stored).double()

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
    """How large the largest score among `rows` rows gets by rounding: by way of capturing, and in all together."""

    fits: tuple[Extremes, ...]
    rows: int

    def deciding(self, rate: float, rows: int) -> Extremes:
        """The way whose scores are the largest at a rate."""
        return max(self.fits, key=lambda fit: fit.exceeded_at(rate, self._moved(rows)))

    def at(self, rate: float, rows: int) -> float:
        """What the largest score of so many rows exceeds with a probability of `rate` at most, if all is rounding."""
        return self.deciding(rate, rows).exceeded_at(rate, self._moved(rows))

    def chance(self, inconsistent: int, rows: Sequence[int], rate: float) -> float:
        """How likely as many or more of honest prompts, of so many rows each, lie beyond `at`, at most.

        They are held against one threshold, which is off for all of them alike.
        """
        return chance_beyond(inconsistent, self.runs, rate, list(map(self._moved, rows)))

    def _moved(self, rows: int) -> float:
        return math.log(rows / self.rows)

    @property
    def runs(self) -> int:
        """From how many runs the rate of the way with fewest is known."""
        return min(fit.runs for fit in self.fits)

    def needed(self, rate: float) -> int:
        """How many runs of each way it takes to speak of a rate."""
        return math.ceil(min(1 / max(_BEYOND * rate, math.ulp(0.0)), sys.float_info.max))

    def speaks_of(self, rate: float) -> bool:
        """Whether enough was run to speak of a rate: of a rarer one `at` tells the tail of a fit, and no more."""
        return self.runs >= self.needed(rate)


def held_out_prompts(model: LanguageModel, count: int) -> list[list[int]]:
    """Prompts of one length that thresholds are measured on: every second section of a corpus, then random tokens.

    Each once, so that fewer come of a vocabulary and a context that have no more.
    """
    length = within_context(model, _LENGTH)
    natural = section_prompts(model, count=count, length=length)[1::2]
    generator = torch.Generator().manual_seed(_SEED)
    return different(natural + random_tokens(model, (count - len(natural), length), generator=generator).tolist())


def threshold_of(claim: Claim, progress: Progress, *, runs: int = RUNS) -> Threshold:
    """The threshold for a claim, from so many runs of every way; measured once and kept.

    Raises:
        Unsupported: a capture that the model cannot do.
    """
    model = claim.model
    types, part = "-".join(map(name_of, (model.coarsest, claim.stored))), claim.fingerprint or "whole"
    key = f"{measured_with(model.device)}/audit/by-way/{model.key}-{claim.layer}-{types}-{part}-{runs}.json"
    kept = kept_json(key)
    if kept is None:
        kept = keep_json(key, _measured(claim, runs, progress))
    # What ran alike was not rounded otherwise; ways in which next to nothing was are known together alone.
    maxima = {way: [score for score in scores if score > 0] for way, scores in kept["maxima"].items()}
    fits = [Extremes.of(way, scores) for way, scores in maxima.items() if len(scores) >= _FEW]
    together = Extremes.of("all ways together", [score for scores in maxima.values() for score in scores])
    return Threshold((together, *fits), kept["rows"])


def _measured(claim: Claim, runs: int, progress: Progress) -> dict[str, Any]:
    prompts = held_out_prompts(claim.model, runs)
    right: list[Recomputed] = []
    for ids in prompts:
        right.append(claim.recomputed(ids))
        progress(len(right), len(prompts))
    perturbed = [float((one.moved[-1] / one.moved[:-1].amax(0).clamp_min(claim.unit)).max()) for one in right]
    maxima = {"a perturbed run": perturbed}
    for way, rows in honest_ways(claim, prompts):
        maxima[way] = [float(one.scores(seen).max()) for one, seen in zip(right, rows, strict=True)]
    return {"maxima": maxima, "rows": len(prompts[0])}


def honest_ways(claim: Claim, prompts: list[list[int]]) -> Iterator[tuple[str, list[torch.Tensor]]]:
    """By each way of capturing that differs by rounding what is seen of the stored rows of prompts of one length.

    Batches hold a longer prompt as well, where the model takes one, so that the others are padded.
    """
    model, length = claim.model, len(prompts[0])
    longer = within_context(model, length + _PADDED)
    longest = random_tokens(model, (1, longer), generator=torch.Generator().manual_seed(_SEED)).tolist()
    captures: list[tuple[str, dict[str, Any]]] = [("one forward", {})]
    for name, how, refused in other_ways(model, _BATCH, longest=longer):
        if refused is None:
            captures.append((name, how))
    for name, how in captures:
        rows: list[torch.Tensor] = []
        size = how.get("batch", len(prompts) + 1) - 1
        try:
            for start in range(0, len(prompts), size):
                group = prompts[start : start + size]
                found = capture(model, group + (longest if "batch" in how else []), layer=claim.layer, **how)
                rows += [claim.kept(one) for one in found.arrays[: len(group)]]
        except Unsupported:
            continue  # a cache from which the model does not go on as in one forward is no honest way
        yield name, rows
