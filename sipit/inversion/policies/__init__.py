"""Policies: in which order the tokens of the vocabulary are tried. They only propose; `Verifier` decides."""

from typing import Protocol

import torch

from sipit.inversion.policies.draft import DraftPolicy
from sipit.inversion.policies.exhaustive import ExhaustivePolicy
from sipit.inversion.policies.gradient import GradientPolicy
from sipit.inversion.policies.nearest import NearestPolicy
from sipit.inversion.policies.sketched import SketchedPolicy, is_wide
from sipit.inversion.rivals import Few
from sipit.inversion.verifier import Trial
from sipit.models.network import Network
from sipit.prefix.kinds import Prefix
from sipit.record import Progress


class Proposal(Protocol):
    """What a policy proposes for the states of one prompt."""

    @property
    def informed(self) -> bool:
        """Whether `leading` is good enough to say that no other token fits somewhere (`sipit.inversion.lookahead`)."""
        ...

    def rivals(self, positions: torch.Tensor, tokens: torch.Tensor) -> list[Few | None]:
        """For tokens (n,) at positions (n,) the few rivals that say as much as many would; None if it knows none."""
        ...

    @property
    def at_once(self) -> int:
        """How many candidates at most it wants tested before it is asked again."""
        ...

    def draft(self, start: int) -> torch.Tensor | None:
        """Likely tokens for the next positions from `start` on, shape (n,).

        None where the policy has no opinion.
        """
        ...

    def behind(
        self, start: int, tokens: torch.Tensor, states: torch.Tensor, refuted: torch.Tensor, prefix: Prefix
    ) -> "Proposal":
        """What it proposes once a draft has run: tokens (n,) from `start` on have the states (n, d).

        None of the tokens `refuted` fits at `start`, that of the draft among them; what stands behind is undecided. The
        working prompt may be asked. The same where a run tells it nothing.
        """
        ...

    def leading(self, position: int) -> torch.Tensor:
        """The best few tokens (64, or the vocabulary if it is smaller), best first, at little cost.

        None of them where the policy has no opinion.
        """
        ...

    def resembling(self, position: int) -> torch.Tensor:
        """The best few tokens by what the state alone says, best first: rivals, not guesses."""
        ...

    def ranking(self, position: int, trial: Trial | None, prefix: Prefix) -> torch.Tensor:
        """All tokens, best first, shape (V,); what was tried there so far and the working prompt may be used."""
        ...


class Policy(Protocol):
    """Makes proposals for one model and layer."""

    def propose(self, states: torch.Tensor, network: Network) -> Proposal:
        """The proposal for observed states (T, d); runs of the model that it needs are counted by `network`."""
        ...


POLICIES = ("draft", "gradient", "nearest", "exhaustive")


def check_policy(name: str) -> None:
    """Raises InvalidInput where a name is none of a policy."""
    from proofs.arguments import one_of

    one_of("a policy", name, POLICIES)


def make_policy(
    name: str, network: Network, *, positions: int | None = None, progress: Progress | None = None
) -> Policy:
    """The policy of a name for one model and layer, and for so many positions in all, if that is known.

    Raises:
        InvalidInput: no such policy.
    """
    check_policy(name)
    if name == "draft":
        kind = SketchedPolicy if is_wide(network) else DraftPolicy
        return kind.prepare(network, positions=positions, progress=progress)
    if name == "gradient":
        return GradientPolicy()
    if name == "nearest":
        return NearestPolicy(network.model)
    return ExhaustivePolicy(network.model.vocabulary_size, network.model.device)
