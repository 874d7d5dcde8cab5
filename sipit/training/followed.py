"""How far apart the states of a fixed set of prompts are: margin, co-Lipschitz estimate, collisions, layer by layer.

The set holds natural text and what is hard to tell apart: every prefix of every window, runs of one token, and windows
with two tokens exchanged near their beginning. Prompts that collide for every parameter value (`known_collisions`) are
set apart first; of each such class the first prompt stands for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from numerics.pairs.bit_identity import bit_identical
from numerics.pairs.lipschitz import co_lipschitz
from numerics.pairs.search import closest_pairs, pairs_within
from proofs.errors import InvalidInput
from sipit.collisions.findings import median_norm
from sipit.collisions.known import KnownCollisions, families_at, known_collisions
from sipit.models import LanguageModel
from sipit.models.copies import in_float64
from sipit.models.network import Network
from sipit.models.structure import find_decoder
from sipit.models.tokenizers import token_ids_of
from sipit.noise.float64 import float64_errors, unit_within
from sipit.noise.tolerance import SAFETY
from sipit.prompts.builtin_text import section_prompts
from sipit.prompts.windows import Prefixes, prefixes

WINDOWS, LENGTH = 12, 16  # natural windows, and the tokens of each
RUNS = "\n a"  # characters repeated
SWAPPED = 5  # windows repeated with two tokens exchanged


def followed_prompts(model: LanguageModel) -> Prefixes:
    """The fixed prompts: distinct prefixes of windows of `LENGTH` tokens, special tokens in front included."""
    natural = section_prompts(model, count=WINDOWS, length=LENGTH)
    runs = [token_ids_of(model.tokenizer, character * LENGTH)[:LENGTH] for character in RUNS]
    swapped: list[list[int]] = []
    for window in natural[:SWAPPED]:
        at = next((i for i in range(1, LENGTH - 2) if window[i] != window[i + 1]), 1)
        swapped.append([*window[:at], window[at + 1], window[at], *window[at + 2 :]])
    return prefixes(tuple(window) for window in (*natural, *runs, *swapped))


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """The prompts to follow, and which of them collide whatever the parameters, by layer.

    `seed` is that of the sample for the co-Lipschitz estimate, where there are too many prompts for all pairs.
    """

    prompts: Prefixes
    known: dict[int, KnownCollisions]
    seed: int

    @classmethod
    def of(cls, model: LanguageModel, layers: Sequence[int], *, seed: int) -> "Followed":
        """The prompts of a model; families of collisions are read off its captured graph."""
        prompts = followed_prompts(model)
        tokens = np.arange(model.vocabulary_size)  # equal rows are no structure: they would be found as collisions
        known = {layer: known_collisions(prompts, tokens, families_at(model, layer)) for layer in layers}
        return cls(prompts, known, seed)

    def measure(self, model: LanguageModel) -> list[dict[str, Any]]:
        """One entry a layer; distances are absolute L2 of the states in the model's arithmetic.

        `noise` is the largest relative L2 difference to the states in float64, with the same stored parameters, or for
        a model in float64 what its runs err by; pairs at most twice `SAFETY` times that noise of a median state apart
        are `within_noise`.
        """
        module = in_float64(model.module)
        exact = replace(model, module=module, decoder=find_decoder(module), dtype=torch.float64)
        rows: list[dict[str, Any]] = []
        for layer in sorted(self.known):
            states, reference = self._states(model, layer), self._states(exact, layer)
            own = model.dtype == torch.float64  # both are one run, and their difference shows no error of it
            errors = self._errors(exact, layer) if own else np.linalg.norm(states - reference, axis=1)
            noise = float((errors / np.linalg.norm(reference, axis=1)).max())
            rows.append({"layer": layer, "noise": noise, **self._separation(states, layer, noise)})
        return rows

    def _separation(self, states: NDArray[np.float64], layer: int, noise: float) -> dict[str, Any]:
        leaders = np.flatnonzero(self.known[layer].first == np.arange(len(self.prompts)))
        points, typical = states[leaders], median_norm(states)
        pair = closest_pairs(points, count=1)[0]
        threshold = 2 * SAFETY * noise * typical
        ratios = co_lipschitz(points, [self.prompts.token_ids(int(row)) for row in leaders], seed=self.seed)
        return {
            "minimum_distance": pair.distance,
            "closest": [int(leaders[pair.first]), int(leaders[pair.second])],
            "relative_minimum": pair.distance / float(np.linalg.norm(points[[pair.first, pair.second]], axis=1).max()),
            "median_norm": typical,
            "co_lipschitz": {"edit": ratios.edit, "hamming": ratios.hamming, "exact": ratios.exact},
            "bit_identical": sum(len(group) * (len(group) - 1) // 2 for group in bit_identical(points)),
            "threshold": threshold,
            "within_noise": len(pairs_within(points, threshold=threshold)),
        }

    def _states(self, model: LanguageModel, layer: int) -> NDArray[np.float64]:
        """The last state of every prompt, widened to float64 (exact), shape (prompts, d)."""
        ids = torch.tensor(self.prompts.windows, device=model.device)
        states = Network(model, layer).run(ids)
        if not bool(states.isfinite().all()):
            raise InvalidInput(f"Expected finite states, but at layer {layer} they are not; lower --rate.")
        return self._last(states).double().cpu().numpy()

    def _errors(self, exact: LanguageModel, layer: int) -> NDArray[np.float64]:
        """How far the last state of every prompt errs in float64, absolute L2, shape (prompts,)."""
        network = Network(exact, layer)
        unit, ids = unit_within(network), torch.tensor(self.prompts.windows, device=exact.device)
        return self._last(torch.stack([float64_errors(network, window, unit) for window in ids])).cpu().numpy()

    def _last(self, values: torch.Tensor) -> torch.Tensor:
        """Of values (windows, T, …) at all positions those of every prompt, at its last token."""
        window, place = (torch.from_numpy(x).to(values.device) for x in (self.prompts.window, self.prompts.length - 1))
        return values[window, place]
