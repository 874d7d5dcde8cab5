"""One point of a curve of `leak`: what was counted over prompts and seeds, with its intervals.

The draws of one prompt are no independent prompts. Tokens are bootstrapped by prompt, with all its draws; the interval
of prompts is Wilson's for as many prompts as there are, with the mean number that a draw reads, rounded outwards.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from scipy import stats

from sipit.quantization.output import summary

_BATCHES = 2000  # of the bootstrap
Counted = dict[str, Any]  # of one prompt, drawn once: recovered, ambiguous, wrong, tokens, bounds; perhaps kl, same


def curve(
    defence: str, level: float, layer: int, found: Sequence[Sequence[Counted]], attacker: Counted
) -> dict[str, Any]:
    """What records say of a defence at a strength and a layer; `found` is by prompt, and there by seed."""
    every = [one for draws in found for one in draws]
    bounds = [bound for one in every for bound in one["bounds"]]
    known = [one for one in every if "kl" in one]
    cost = summary(
        [torch.tensor(one["kl"], dtype=torch.float64) for one in known], [torch.tensor(one["same"]) for one in known]
    )
    by_seed = [[draws[number] for draws in found] for number in range(len(found[0]))]
    return {
        "defence": defence, "strength": level, "layer": layer, "prompts": len(every), "seeds": len(by_seed),
        "tokens": sum(one["tokens"] for one in every),
        "recovered_tokens": sum(one["recovered"] for one in every), "recovered_prompts": sum(map(_whole, every)),
        "ambiguous": sum(one["ambiguous"] for one in every), "wrong": sum(one["wrong"] for one in every),
        "interval": _wilson(found), "tokens_interval": _bootstrap(found),
        "by_seed": [{"recovered_tokens": sum(one["recovered"] for one in drawn),
                     "recovered_prompts": sum(map(_whole, drawn))} for drawn in by_seed],
        "error_bound": None if None in bounds else math.fsum(bounds) / len(bounds), "attacker": attacker, **cost,
    }  # fmt: skip


def _whole(one: Counted) -> bool:
    return one["recovered"] == one["tokens"]


def _wilson(found: Sequence[Sequence[Counted]]) -> list[float]:
    read, seeds = sum(_whole(one) for draws in found for one in draws), len(found[0])
    low, high = (
        stats.binomtest(count, len(found)).proportion_ci(0.95, method="wilson")
        for count in (read // seeds, -(-read // seeds))
    )
    return [float(low.low), float(high.high)]


def _bootstrap(found: Sequence[Sequence[Counted]]) -> list[float] | None:
    """The interval (95 %) of the rate of tokens, prompts drawn anew; None where all have one rate."""
    if len({sum(one["recovered"] for one in draws) / sum(one["tokens"] for one in draws) for draws in found}) < 2:
        return None
    recovered, tokens = ([sum(one[name] for one in draws) for draws in found] for name in ("recovered", "tokens"))
    drawn = stats.bootstrap(
        (recovered, tokens), lambda r, t, axis=-1: r.sum(axis) / t.sum(axis), paired=True, vectorized=True,
        n_resamples=_BATCHES, method="percentile", rng=0,
    ).confidence_interval  # fmt: skip
    return [float(drawn.low), float(drawn.high)]
