"""What a search for collisions finds at one layer, and what finding nothing allows one to say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numerics.bit_identity import bit_identical
from numerics.lipschitz import CoLipschitz, co_lipschitz
from numerics.pair_search import ClosePairs, Pair, closest_pairs, pairs_within
from sipit.prefixes import Prefixes


@dataclass(frozen=True, slots=True)
class LayerFindings:
    """Close pairs among the states of one layer; distances are absolute L2 of the stored states.

    Attributes:
        layer: after this block.
        bit_identical: groups of prompts with equal states.
        below_threshold: every pair at most `threshold` apart, bit-identical ones included: the hits to explain.
        closest: the closest pairs of *different* states, each class of equal states spoken for by its first prompt.
        relative_minimum: the least distance between different states over the larger norm of that pair.
        co_lipschitz: least ratios of state distance to prompt distance.
    """

    layer: int
    threshold: float
    bit_identical: tuple[tuple[int, ...], ...]
    below_threshold: ClosePairs
    closest: tuple[Pair, ...]
    relative_minimum: float
    co_lipschitz: CoLipschitz

    @property
    def minimum_distance(self) -> float:
        """The least distance between two prompts: 0 where states are bit-identical."""
        return 0.0 if self.bit_identical or not self.closest else self.closest[0].distance

    def to_json(self) -> dict[str, Any]:
        """This layer in the record of `collide`."""
        return {
            "layer": self.layer,
            "minimum_distance": self.minimum_distance,
            "closest": [[pair.first, pair.second] for pair in self.closest],
            "closest_distances": [pair.distance for pair in self.closest],
            "bit_identical": sum(len(group) * (len(group) - 1) // 2 for group in self.bit_identical),
            "bit_identical_groups": [list(group) for group in self.bit_identical],
            "below_threshold": len(self.below_threshold),
            "threshold": self.threshold,
            "relative_minimum": self.relative_minimum,
            "co_lipschitz": {
                "edit": self.co_lipschitz.edit,
                "hamming": self.co_lipschitz.hamming if np.isfinite(self.co_lipschitz.hamming) else None,
                "exact": self.co_lipschitz.exact,
            },
        }


def search_layer(
    states: Any, prompts: Prefixes, *, layer: int, threshold: float, seed: int, count: int = 10
) -> LayerFindings:
    """Searches the states of all prompts at one layer, exactly.

    Args:
        states: shape (prompts, d), an array or memory map as for `numerics.closest_pair`.
        threshold: absolute L2; pairs at or below it are hits.
        seed: of the sample for the co-Lipschitz constants.
        count: how many closest pairs to report.

    Raises:
        InvalidInput: states that cannot be searched, or a threshold that is negative or not finite.
    """
    closest = tuple(closest_pairs(states, count=count, distinct=True))
    norms = [np.linalg.norm(np.asarray(states[row], dtype=np.float64)) for pair in closest[:1] for row in _rows(pair)]
    return LayerFindings(
        layer=layer,
        threshold=threshold,
        bit_identical=bit_identical(states),
        below_threshold=pairs_within(states, threshold=threshold),
        closest=closest,
        relative_minimum=closest[0].distance / float(max(norms)) if closest else 0.0,
        co_lipschitz=co_lipschitz(states, _TokenIds(prompts), seed=seed, close=[_rows(pair) for pair in closest]),
    )


def zero_hits_bound(prompts: int, *, independent: bool, confidence: float = 0.95) -> float | None:
    """An upper bound on the probability that two independent prompts collide, when none of N prompts did.

    The N(N-1)/2 pairs share prompts and are not independent; floor(N/2) disjoint pairs of independent prompts are,
    and none of them collided. If p is the probability of a hit, that has probability (1-p)^floor(N/2), so with the
    given confidence p <= 1 - (1-confidence)^(1/floor(N/2)), about 3/floor(N/2) at 95 %. None for a fixed corpus,
    whose prompts (prefixes of one text) are no independent sample of anything.
    """
    return -float(np.expm1(np.log1p(-confidence) / (prompts // 2))) if independent else None


def _rows(pair: Pair) -> tuple[int, int]:
    return pair.first, pair.second


class _TokenIds(Sequence[list[int]]):
    """The prompts as a sequence, cut from their windows only when asked for."""

    def __init__(self, prompts: Prefixes) -> None:
        self._prompts = prompts

    def __len__(self) -> int:
        return len(self._prompts)

    def __getitem__(self, index: Any) -> Any:
        return self._prompts.token_ids(index)
