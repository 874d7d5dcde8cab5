"""Collisions among many states in a number format."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from numerics import bit_identical, closest_pairs
from sipit.collisions.equal_states import EqualStates
from sipit.collisions.findings import median_norm
from sipit.collisions.known import Families, families_at, known_collisions
from sipit.models import LanguageModel
from sipit.models.layers import reading
from sipit.models.network import Network
from sipit.prompts.builtin_text import random_tokens, within_context
from sipit.prompts.corpora import WINDOW, Corpus, read_corpus, whole_prompts
from sipit.quantization.formatted import Formatted
from sipit.states.store import batches

Floats = np.ndarray[Any, Any]

BATCH = 32  # windows that run together
DRAWN = 16  # random tokens of a prompt
LISTED = 256  # closest pairs that are looked at


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Prompts whose states are searched, and by layer what is known to collide whatever the format.

    Attributes:
        families: by layer.
        token_classes: those of the float32 weights, shape (vocabulary,). Rows that a format makes one are its own.
    """

    corpus: Corpus
    families: dict[int, Families]
    token_classes: NDArray[np.int64]

    def searched(self, formatted: Formatted, layer: int, states: Floats, *, noise: float) -> dict[str, Any]:
        """Collisions in a format that are not known to hold over the reals whatever it is, and the closest pair.

        Args:
            states: of this format at this layer, from `states`.
            noise: relative; pairs within twice that of the median norm cannot be told apart.
        """
        model, prompts = formatted.model, self.corpus.prompts
        known = known_collisions(prompts, self.token_classes, self.families[layer])
        scale = median_norm(states)
        threshold = 2 * noise * scale
        equal = EqualStates.of(bit_identical(states), known)
        near = closest_pairs(states, count=LISTED, distinct=True)
        within = near.distance <= threshold
        closest = next(chain(equal.listed((), 1), equal.apart(near)), None)
        least = None if closest is None else closest.distance
        return {
            "states": len(prompts),
            "collisions": equal.identical,
            "below_noise": equal.identical + equal.count(near.first[within], near.second[within]),
            # More may follow the last pair looked at.
            "below_noise_at_least": len(near) == LISTED and bool(within[-1]),
            "threshold": threshold,
            "minimum_distance": least,
            "minimum_over_median_norm": None if least is None else least / scale,
            "closest": closest
            and [model.decode(prompts.token_ids(prompt)) for prompt in (closest.first, closest.second)],
        }

    def states(self, formatted: Formatted) -> dict[int, Floats]:
        """By layer the last state of every prompt, (prompts, d), widened to float32 where numpy lacks the type."""
        prompts, model, layers = self.corpus.prompts, formatted.model, sorted(self.families)
        network = Network(model, layers[-1])
        borders = prompts.borders
        rows: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
        for group in batches(prompts, 0, BATCH):
            ids = torch.tensor([prompts.windows[window] for window in group], device=model.device)
            with reading(model, layers) as runs:
                network.run(ids)
            for place, window in enumerate(group):
                last = torch.from_numpy(prompts.length[borders[window] : borders[window + 1]] - 1)
                for layer in layers:
                    rows[layer].append(runs[layer][0][place][last.to(model.device)])
        return {layer: _as_numpy(formatted.handed_out(torch.cat(found))) for layer, found in rows.items()}


def _as_numpy(states: torch.Tensor) -> Floats:
    return (states if states.dtype == torch.float64 else states.float()).cpu().numpy()


def crowd_of(model: LanguageModel, layers: Sequence[int], count: int) -> Crowd:
    """So many prompts: prefixes of built-in text, or random tokens where there is no tokenizer.

    Args:
        model: in float32, before any conversion.
    """
    if model.tokenizer is not None:
        corpus = read_corpus(model, "builtin", window=within_context(model, WINDOW), limit=count)
    else:
        rows = random_tokens(
            model, (count, within_context(model, DRAWN)), generator=torch.Generator().manual_seed(0)
        ).tolist()
        corpus = whole_prompts("random", rows, independent=True)
    return Crowd(corpus, {layer: families_at(model, layer) for layer in layers}, model.token_classes.cpu().numpy())
