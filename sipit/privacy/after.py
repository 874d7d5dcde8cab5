"""What leaks behind a defence that is known by nothing but the states that it let out.

What it did is seen from the prompts: their states are recomputed, and stand before. The attacker is told what it did to
the other prompts, as mean and variance of the change in each coordinate, and takes the candidate that explains the
released row best. Whoever knows the defence itself may read more; what is not read here need not be hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from numerics.dtypes import name_of
from proofs.errors import InvalidInput
from sipit.models import LanguageModel
from sipit.models.language_model import check_loaded
from sipit.models.network import Network
from sipit.privacy.attack import Attack
from sipit.privacy.audit import check_lengths
from sipit.privacy.curves import curve
from sipit.privacy.defences import Defence, Known, Seen
from sipit.privacy.leak import SHORTLIST, Leak, told_to
from sipit.prompts.reading import different, first_alike, tokenize
from sipit.record import Stages, silent
from sipit.states.files import States, check_states

NAME = "as released"


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """How the rows of other prompts changed: mean and variance in each coordinate, shape (d,)."""

    mean: torch.Tensor
    variance: torch.Tensor

    @classmethod
    def of(cls, changes: torch.Tensor) -> "_Change":
        """Of changes (n, d); each variance is drawn toward that of all coordinates as by one row more."""
        squares = (changes - changes.mean(0)).square().sum(0)
        return cls(changes.mean(0), (squares + squares.mean() / len(changes)) / len(changes))

    def likelihoods(self, seen: Seen, candidates: torch.Tensor, _strength: float, known: Known) -> torch.Tensor:
        """How likely each candidate is, up to a constant; no variance is below what recomputing moves."""
        least = (known.unit * known.mean_norm) ** 2 / known.width
        apart = seen.row - candidates - self.mean
        return -(apart.square() / self.variance.clamp_min(least)).sum(1) / 2


def measure_released(
    model: LanguageModel, prompts: Any, after: States, *, candidates: int = SHORTLIST, seed: int = 0,
    stages: Stages = silent,
) -> Leak:  # fmt: skip
    """How many tokens an attacker reads from states that a defence let out, and what the defence costs the model.

    The one curve is called "as released"; its strength is the mean size of the change over the mean norm of the states.

    Args:
        model: whose states left.
        prompts: texts or token ids, two different ones at least: what the defence does to one is told by the others.
        after: a tensor (T, d) for each of them, as it left, of the residual stream after a block; of the copies of a
            prompt the first is taken, since what the others show of it is told by no other prompt.
        candidates: the attacker's shortlist, the true token among them; a vocabulary of no more is exhausted.
        seed: of the shortlist.
        stages: is told how far the work is.

    Raises:
        InvalidInput: states of other prompts, of another width, not finite or beyond the model's type, or not after a
            block; no two different prompts.
    """
    check_loaded(model)
    check_states(after)
    given = tokenize(model, prompts)
    if after.observation.sites != ("residual",) or not isinstance(after.layer, int) or after.layer < 1:
        raise InvalidInput(
            f"Expected states of the residual stream after a block, but got {after.observation}; capture that."
        )
    after.check(model)
    check_lengths(after, given)
    ids = different(given)
    if len(ids) < 2:
        raise InvalidInput(
            "Expected at least 2 different prompts, since what a defence does is told by the others; add some."
        )
    network = Network(model, after.layer)
    before = [network.run(torch.tensor([prompt], device=model.device))[0].cpu().double() for prompt in ids]
    _check_held(network, after)
    released = [after[number].cpu().double() for number in sorted(set(first_alike(given)))]
    changes = [later - rows for later, rows in zip(released, before, strict=True)]
    strength = float(torch.cat(changes).norm(dim=1).mean() / torch.cat(before).norm(dim=1).mean())
    attack = Attack.at(network, [], candidates, seed)
    found: list[list[dict[str, Any]]] = []
    with stages("attacking") as progress:
        for number, prompt in enumerate(ids):
            defence = _as_released(released[number], _Change.of(_others(changes, number)))
            found.append(attack.behind([(defence, strength)]).on(prompt, number))
            progress(len(found), len(ids))
    attacker = told_to(model, candidates) | {"told_changes_of_other_prompts": True}
    one = curve(NAME, strength, after.layer, found, attacker)
    return Leak((one,), (after.layer,), len(ids), attacker["candidates"], missing=0, copies=len(given) - len(ids))


def _check_held(network: Network, after: States) -> None:
    """Raises InvalidInput where the type of its states does not hold these, or float64 not their squares."""
    for number, rows in enumerate(after):
        if not bool(rows.to(network.dtype).isfinite().all() and rows.double().square().sum().isfinite()):
            raise InvalidInput(
                f"Expected released states that {name_of(network.dtype)} holds, as those of {network.model.name} are, "
                f"but tensor {number} has numbers up to {float(rows.abs().max()):.3g}, which overflow; scale it down."
            )


def _others(changes: Sequence[torch.Tensor], number: int) -> torch.Tensor:
    return torch.cat([one for place, one in enumerate(changes) if place != number])


def _as_released(rows: torch.Tensor, change: _Change) -> Defence:
    return Defence(NAME, (1.0,), lambda *_given: rows, attack=change.likelihoods)
