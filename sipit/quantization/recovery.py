"""Whether prompts come back: states of one format, inverted with the model in the same or in another one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from proofs.errors import Unsupported
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Inversion, Outcome, matches_truth
from sipit.inversion.policies import Policy
from sipit.inversion.search import RIVALS
from sipit.models.network import Network
from sipit.noise.distances import relative_distance
from sipit.noise.spread import rounding_unit
from sipit.noise.tolerance import SAFETY, Tolerance
from sipit.prefix.choice import PrefixOpener
from sipit.quantization.formatted import Formatted
from sipit.states.files import States

WIDE = 1e-2  # a tolerance beyond which the nearest of a few rivals is not yet the nearest of all
WIDE_RIVALS = 128  # tested at every position then


@dataclass(slots=True)
class Tally:
    """How inversions ended, prompt by prompt; `wrong` counts those that name a token of another class.

    What came back is `ambiguous` where the format made one row of a token's and of one that float32 tells from it.
    """

    prompts: int = 0
    recovered: int = 0
    ambiguous: int = 0
    not_found: int = 0
    undecided: int = 0
    wrong: int = 0

    def count(self, target: Formatted, inversion: Inversion, truth: Sequence[int]) -> None:
        """Enters one prompt, inverted with the model in a format."""
        self.prompts += 1
        model = target.model
        classes = model.token_classes
        named = zip(inversion.token_ids, truth, strict=True)
        if any(found is not None and found != int(classes[token]) for found, token in named):
            self.wrong += 1
        elif matches_truth(model, inversion, truth):
            # Up to tokens with identical embedding rows, which no method can tell apart.
            if bool(target.merged[list(truth)].any()):
                self.ambiguous += 1
            else:
                self.recovered += 1
        elif inversion.outcome is Outcome.BUDGET_EXHAUSTED and not _several_fit(inversion):
            self.undecided += 1
        elif inversion.outcome is Outcome.NOT_FOUND:
            self.not_found += 1
        else:
            self.ambiguous += 1

    def add(self, other: "Tally") -> None:
        """Enters all prompts of another tally."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def _several_fit(inversion: Inversion) -> bool:
    """Whether two classes of tokens fit where the budget ended, or before: no further test could undo that."""
    for token in inversion.tokens:
        if token.outcome is Outcome.AMBIGUOUS and token.token_id is None:
            return True
        if token.outcome is Outcome.BUDGET_EXHAUSTED:
            return token.margin is not None and token.margin <= token.tolerance
    return False


def recovery(
    target: Formatted,
    states: States,
    truth: Sequence[Sequence[int]],
    tolerance: Tolerance,
    *,
    open_prefix: PrefixOpener,
    policy: Policy,
    budget: float,
) -> Tally:
    """Inverts states with the model in the target format.

    Args:
        tolerance: from `derive_tolerance` or `tolerance_between`.
        open_prefix: from `prefix_opener` of the target's network at the layer of the states.
        policy: orders the candidates; one made for the float32 model serves every format, since it decides nothing.
        budget: seconds for each prompt.
    """
    wide = tolerance.value > WIDE
    inverter = Inverter(
        network=Network(target.model, states.layer),
        open_prefix=open_prefix,
        policy=policy,
        tolerance=tolerance,
        rivals=min(target.model.vocabulary_size, WIDE_RIVALS if wide else RIVALS),
        budget=budget,
    )
    tally = Tally()
    for inversion, ids in zip(inverter.invert_all(states), truth, strict=True):
        tally.count(target, inversion, ids)
    return tally


def tolerance_between(source: States, target: States, names: tuple[str, str]) -> Tolerance:
    """Four times the largest relative difference between the states of two formats on the same prompts.

    Raises:
        Unsupported: some state is not finite, so that nothing would fit, or everything.
    """
    noise = torch.cat(
        [relative_distance(a.double(), b.double(), damped=False) for a, b in zip(source, target, strict=True)]
    )
    largest = float(noise.max())
    if not math.isfinite(largest):
        raise Unsupported(
            f"Expected finite states in {names[0]} and in {names[1]}, but at layer {source.layer} some are not; use "
            "another format."
        )
    return Tolerance(
        value=max(SAFETY * largest, rounding_unit(torch.float32)),
        kind="measured",
        derived_from=(
            f"{SAFETY} x the largest relative difference {largest:.2e} over {len(noise)} positions between states in "
            f"{names[0]} and in {names[1]} at layer {source.layer}"
        ),
    )
