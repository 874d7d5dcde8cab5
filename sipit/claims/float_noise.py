"""Noise against margin, layer by layer: how far runs in floats lie from the true states, and how far prompts do.

With enclosures at hand the error of a rounded run is not estimated but bounded: the distance to the midpoint plus the
radius. It is set against half the certified distance of the closest pair of the same prompts at the same layer.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from numerics.graphs.float64 import segment_states
from proofs.enclosures.distances import lower_bound
from proofs.enclosures.enclosure import Enclosure
from proofs.enclosures.trail import Trail
from proofs.network.graph import Graph
from sipit.models import LanguageModel
from sipit.models.copies import in_dtype
from sipit.models.layers import layered_states
from sipit.record import finite

MOST = 8  # prompts that are run again
CAST_FREE = "float64, cast-free"
LIBRARY = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


def noise_budget(
    model: LanguageModel, graphs: Sequence[Graph], trails: Sequence[Trail], weights: Mapping[str, NDArray[Any]]
) -> dict[str, Any] | None:
    """For every layer the largest error of the last state in each arithmetic, and the least certified distance.

    Returns:
        `prompts` (how many were run), `layers` [{`layer`, `margin`, `largest_state`, `noise` {arithmetic: bound}}],
        all absolute and in the Euclidean norm; None where the enclosures do not stand one at each block.
    """
    layer = graphs[0].layer
    by_length = {graph.length: graph for graph in graphs}
    chosen = [trail for trail in dict.fromkeys(trails[:MOST]) if len(trail.steps) == layer]
    if len(chosen) < 2:
        return None
    ends = [[step.last() for step in trail.steps] for trail in chosen]
    errors: dict[str, list[float]] = {}
    for name, dtype in LIBRARY.items():
        rounded = in_dtype(model, dtype)
        runs = [layered_states(rounded, trail.tokens, range(1, layer + 1))[:, -1] for trail in chosen]
        errors[name] = _largest([list(run.double().cpu().numpy()) for run in runs], ends)
        del rounded
    cast_free = [segment_states(by_length[len(trail.tokens)], trail.tokens, weights) for trail in chosen]
    errors[CAST_FREE] = _largest([[state[0, -1].numpy() for state in states] for states in cast_free], ends)
    layers: list[dict[str, Any]] = []
    for place in range(layer):
        states = [end[place] for end in ends]
        pairs = [lower_bound(a, b) for i, a in enumerate(states) for b in states[i + 1 :]]
        layers.append(
            {
                "layer": place + 1,
                "margin": _down(min((bound for bound in pairs if bound), default=Fraction(0))),
                "largest_state": max(float(np.linalg.norm(_middle(state))) for state in states),
                "noise": {name: finite(values[place]) for name, values in sorted(errors.items())},
            }
        )
    return {"prompts": len(chosen), "layers": layers}


def _largest(runs: Sequence[Sequence[NDArray[np.float64]]], ends: Sequence[Sequence[Enclosure]]) -> list[float]:
    """At every layer an upper bound of the distance of a run from the true state, the largest over the prompts."""
    return [
        max(_error(run[place], end[place]) for run, end in zip(runs, ends, strict=True))
        for place in range(len(ends[0]))
    ]


def _error(state: NDArray[np.float64], end: Enclosure) -> float:
    """||state - midpoint|| + sqrt(width) radius, in exact integers and rounded up."""
    if not np.isfinite(state).all():
        return math.inf
    exact = [Fraction(value) * 2**end.bits for value in state.tolist()]
    gaps = [abs(math.floor(value) - middle) + 1 for value, middle in zip(exact, end.mantissa[0].tolist(), strict=True)]
    total = math.isqrt(sum(gap * gap for gap in gaps)) + 1 + (math.isqrt(len(gaps)) + 1) * end.radius[0]
    return math.nextafter(float(Fraction(total, 2**end.bits)), math.inf)


def _down(value: Fraction) -> float:
    return max(0.0, math.nextafter(float(value), -math.inf))


def _middle(state: Enclosure) -> NDArray[np.float64]:
    return np.asarray(state.mantissa[0].astype(np.float64) * 2.0**-state.bits)
