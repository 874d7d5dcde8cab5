"""How far captured states lie from recomputed ones, measured on calibration prompts.

The same prompt gives slightly different states by the shape of the run (one forward, a cache, a padded batch) and by
the number format. For most positions that noise is alike; a few are ill-conditioned (a token that hesitates to become
an attention sink, say) and carry several hundred times as much. `sipit.noise.spread` shows how much rounding is
amplified at each, so that such positions are known, and so that what is no rounding is not taken for it
(`sipit.noise.ways`). All errors are relative L2. Every figure is taken for the plain distance and for the damped one of
`sipit.noise.distances`, which half types need.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from proofs.errors import Unsupported
from sipit.models import LanguageModel
from sipit.models.copies import in_dtype
from sipit.models.length import whole_length
from sipit.models.network import Network
from sipit.noise.distances import relative_distance
from sipit.noise.spread import perturbed_runs, rounding_unit, spread_of
from sipit.noise.ways import KINDS, beyond_rounding, sound_captures
from sipit.observations.network import observed_network
from sipit.observations.observation import Observation
from sipit.prefix.choice import prefix_opener
from sipit.prompts.calibration import calibration_prompts
from sipit.record import versions_in_words
from sipit.states.files import States

_USUAL = 0.95  # share of positions whose noise is called usual


@dataclass(frozen=True, slots=True)
class Noise:
    """What was measured on calibration prompts.

    `largest` is the largest relative noise over `positions`; `ratio` the largest quotient of the noise at a position
    and the spread of its Monte Carlo runs there. `damped_usual` is what 19 of 20 positions stay below in the damped
    distance, `damped_ratio` the quotient there. `unrelated` and `damped_unrelated` are the median distances between
    states of different prompts, at most 1, as far as zeros are from any state. `left_out` are sentences about ways of
    capturing that were not counted, because the body does not allow them or does something else there than to round.
    """

    largest: float
    positions: int
    ratio: float
    damped_usual: float
    damped_ratio: float
    unrelated: float
    damped_unrelated: float
    left_out: tuple[str, ...] = ()


def measure_noise(
    model: LanguageModel, observation: Observation, *, computed: torch.dtype, stored: torch.dtype
) -> Noise:
    """The noise between captures in one dtype and recomputation in the model's, over calibration prompts.

    The captures are one forward, token by token with a cache, and a batch padded on either side, as far as the body
    allows them; each is compared with both ways in which candidates are computed. A measurement, not a bound.

    Raises:
        Unsupported: candidates that are recomputed are not the states of a plain run, beyond rounding.
    """
    prompts = calibration_prompts(model)
    unit = rounding_unit(computed, stored, model.coarsest, device=model.device)
    recomputed = _recomputed(observed_network(model, observation), prompts, unit)
    spread = [one.spread for one in recomputed]
    captures, left_out = sound_captures(in_dtype(model, computed), prompts, observation, spread)
    noise = torch.cat(
        [one.distance([c[number].to(stored) for c in captures]) for number, one in enumerate(recomputed)], dim=1
    )
    spread = torch.cat([one.spread for one in recomputed], dim=1)
    plain, even = noise
    ratio, even_ratio = (noise / spread).amax(1).tolist()
    unrelated, damped_unrelated = _unrelated(captures[0])
    return Noise(
        float(plain.max()),
        len(plain),
        ratio,
        float(even.quantile(_USUAL)),
        even_ratio,
        unrelated,
        damped_unrelated,
        left_out,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Recomputed:
    """A calibration prompt as candidates are computed: `ways` of it (W, T, d), and the spread of rounding (2, T).

    Distances and spreads come in pairs, plain and damped.
    """

    ways: torch.Tensor
    spread: torch.Tensor

    def distance(self, captures: Sequence[torch.Tensor]) -> torch.Tensor:
        """The largest distance of any way from any capture (T, d) of the prompt, shape (2, T)."""
        observed = torch.stack([capture.to(self.ways) for capture in captures])[:, None]
        return torch.stack([relative_distance(self.ways, observed, damped=e).amax((0, 1)) for e in KINDS])


def _recomputed(network: Network, prompts: Sequence[list[int]], unit: float) -> list[_Recomputed]:
    prefix = prefix_opener(network)(network)
    found: list[_Recomputed] = []
    for prompt in prompts:
        ids = torch.tensor(prompt, device=network.model.device)
        with whole_length(len(prompt)):
            drafted = prefix.extend(0, ids[None])[0].double()
            prefix.keep(0)
            tested = prefix.candidates(torch.arange(len(prompt), device=ids.device), ids).double()
            runs = perturbed_runs(network, ids, unit)
        spread = torch.stack([spread_of(runs, damped=damped) for damped in KINDS]).clamp_min(unit)
        one = _Recomputed(torch.stack([drafted, tested]), spread)
        far = beyond_rounding(one.distance([runs[0]]), spread)
        if far is not None:
            raise Unsupported(
                f"Expected states that depend on the tokens before them alone, but those that {network.model.name} "
                f"gives a token behind its prefix differ from one forward over the whole prompt {far}; "
                f"name another layer or model, and look at what `sipit doctor` says of {versions_in_words()}."
            )
        found.append(one)
    return found


def _unrelated(states: States) -> tuple[float, float]:
    """The median distance between states of different prompts, plain and damped, at most 1.

    First positions are left out: they differ in the token alone, and often in little else.
    """
    rows = [array[1:].double() for array in states if len(array) > 1]
    pairs = [(one, two) for number, one in enumerate(rows) for two in rows[:number] + rows[number + 1 :]]
    if not pairs:
        return 1.0, 1.0
    plain, even = (
        float(torch.cat([relative_distance(one[:, None], two, damped=e).flatten() for one, two in pairs]).median())
        for e in KINDS
    )
    return min(1.0, plain), min(1.0, even)
