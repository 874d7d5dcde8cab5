"""Single-token swaps: the closest prompts, with one token at a time replaced by one whose embedding row is near."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sipit.collisions.causes import StandAlone
from sipit.collisions.examination import Examined, batch_for, examine
from sipit.collisions.findings import Search
from sipit.collisions.hunts.bases import NO_BASES, bases_json, closest_prompts, summary
from sipit.collisions.result import layers_json
from sipit.models import LanguageModel
from sipit.prompts.corpora import Corpus, whole_prompts
from sipit.record import Progress
from sipit.states.store import store_states

NEAREST = 8  # embedding rows of other classes, for each position


def hunt_swaps(
    alone: StandAlone,
    corpus: Corpus,
    examined: Sequence[Examined],
    *,
    folder: Path,
    threshold: float | None,
    seed: int,
    memory: float,
    listed: int,
    search: Search,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The closest prompts of all layers with all their swaps as one corpus, searched and explained."""
    model = alone.model
    bases = list(dict.fromkeys(itertools.chain.from_iterable(map(closest_prompts, examined))))
    if not bases:  # all prompts are known to collide
        nothing = {"prompts": 0, "pairs": 0, "layers": [], "collisions": [], "theorems": [], "bound": None}
        told = {"verdict": None, "summary": NO_BASES, "nearest": NEAREST, "bound_reason": NO_BASES}
        return {**told, **bases_json(corpus, []), **nothing}
    swapped = whole_prompts("swaps", swaps(model, [corpus.prompts.token_ids(prompt) for prompt in bases]))
    layers = [one.findings.layer for one in examined]
    batch = batch_for(model, swapped.prompts, memory)
    states = store_states(
        model,
        swapped.prompts,
        layers=layers,
        folder=folder / f"swaps-{swapped.prompts.digest[:16]}",
        batch=batch,
        progress=progress,
    )
    found = [
        examine(
            alone, swapped, states[layer], layer=layer, threshold=threshold, seed=seed, listed=listed, search=search
        )
        for layer in layers
    ]
    told = layers_json(model, swapped, found)
    return {"summary": summary(told["layers"]), "nearest": NEAREST, **bases_json(corpus, bases), **told}


def swaps(model: LanguageModel, prompts: Sequence[list[int]], *, nearest: int = NEAREST) -> list[list[int]]:
    """Every prompt, followed by all prompts that differ from it in one token, which is among the nearest to its own.

    Tokens of one class have equal embedding rows, and are not swapped for each other: such a swap collides.
    """
    tokens = sorted({token for ids in prompts for token in ids})
    rivals = model.nearest_rows(torch.tensor(tokens, device=model.device), nearest)
    near = {token: found.tolist() for token, found in zip(tokens, rivals, strict=True)}
    return [
        changed
        for ids in prompts
        for changed in (
            ids,
            *([*ids[:at], other, *ids[at + 1 :]] for at, token in enumerate(ids) for other in near[token]),
        )
    ]
