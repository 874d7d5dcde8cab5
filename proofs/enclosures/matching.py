"""Which of a set of prompts an observed state can be of, when it may be off by a stated noise."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from proofs.arithmetic.fixed_point import integers
from proofs.enclosures.distances import lower_bound
from proofs.enclosures.enclosure import Enclosure
from proofs.errors import InvalidInput
from proofs.network.rational import rational

BITS = 240  # after the point; an observed float is cut there


@dataclass(frozen=True, slots=True)
class Matches:
    """An observed state, how far (L2) it may be from the true one, and the prompts that are not ruled out."""

    values: tuple[float, ...]
    noise: Fraction
    matches: tuple[int, ...]

    def unique(self, equal: Collection[tuple[int, int]]) -> bool:
        """Whether one prompt is left, or several that are all equal over the reals, in pairs of increasing numbers."""
        return bool(self.matches) and all((self.matches[0], other) in equal for other in self.matches[1:])

    def to_json(self) -> dict[str, Any]:
        """As JSON; every number is written exactly."""
        return {"values": [v.hex() for v in self.values], "noise": str(self.noise), "matches": list(self.matches)}


def observe(states: Sequence[Enclosure], values: Sequence[float], noise: Fraction) -> Matches:
    """Rules out every prompt whose state is certainly farther from the observed one than the noise.

    Raises:
        InvalidInput: the observed state has another width, is not finite, or the noise is negative.
    """
    width = states[0].mantissa.shape[1]
    if len(values) != width or not all(map(math.isfinite, values)) or noise < 0:
        raise InvalidInput(f"Expected a finite state of {width} numbers and a noise >= 0, but got others.")
    cut = [math.floor(Fraction(value) * 2**BITS) for value in values]
    observed = Enclosure(BITS, integers(cut, (1, width)), (1,))
    left = tuple(place for place, state in enumerate(states) if lower_bound(state, observed) <= noise)
    return Matches(tuple(float(value) for value in values), noise, left)


def observed_again(data: Any, states: Sequence[Enclosure]) -> Matches | None:
    """The observation of a certificate, its matches found anew; None where there is none.

    Raises:
        InvalidInput: it is malformed.
    """
    if data is None:
        return None
    try:
        return observe(states, [float.fromhex(value) for value in data["values"]], rational(data["noise"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InvalidInput("Expected an observed state and its noise, but they are malformed.") from None
