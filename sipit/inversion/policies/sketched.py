"""Drafts for wide observations, such as logits: a probe reads a sketch of them, some hundred numbers in place of all.

Every coordinate is added, with a random sign, to one of a few sums (a count sketch; Charikar, Chen and
Farach-Colton 2002). Sums keep angles on average, and what is linear in a stream of width d stays so. Only the
order of the candidates comes of it: the verifier compares all coordinates.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from sipit.inversion.policies.draft import DraftPolicy, DraftProposal
from sipit.inversion.rivals import Few
from sipit.inversion.verifier import Trial
from sipit.models.network import Network
from sipit.observations.network import ObservedNetwork
from sipit.prefix.kinds import Prefix
from sipit.record import Progress

WIDE = 4096  # coordinates, or four widths of the stream, above which a probe of all of them is no longer fitted
_SEED = 20251203


@dataclass(frozen=True, eq=False)
class Sketch:
    """Which sum every coordinate goes to, and with which sign."""

    sums: torch.Tensor
    signs: torch.Tensor
    size: int

    @classmethod
    def of(cls, width: int, size: int, device: torch.device) -> "Sketch":
        """The same one for the same sizes."""
        generator = torch.Generator().manual_seed(_SEED)
        sums = torch.randint(size, (width,), generator=generator)
        signs = torch.randint(2, (width,), generator=generator) * 2.0 - 1
        return cls(sums.to(device), signs.to(device), size)

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """Sketches (…, size) of states (…, n), float32."""
        rows = states.to(device=self.signs.device, dtype=torch.float32) * self.signs
        return rows.new_zeros(*rows.shape[:-1], self.size).index_add_(-1, self.sums, rows)


@dataclass(frozen=True)
class SketchedNetwork(ObservedNetwork):
    """An observed network whose states are sketched before anybody sees them."""

    sketch: Sketch = None  # pyright: ignore[reportAssignmentType] - always given

    @classmethod
    def of(cls, network: ObservedNetwork) -> "SketchedNetwork":
        """The sketched one, twice as wide as the stream."""
        sketch = Sketch.of(network.width, 2 * network.model.width, network.model.device)
        return cls(
            network.model, network.layer, observation=network.observation, readers=network.readers, sketch=sketch
        )

    @property
    def place(self) -> str:
        """See `Network.place`."""
        return f"{super().place}-sketch{self.sketch.size}"

    def run(self, token_ids: torch.Tensor, **given: Any) -> torch.Tensor:
        """See `Network.run`."""
        return self.sketch.apply(super().run(token_ids, **given))


def is_wide(network: Network) -> bool:
    """Whether a network is observed at more coordinates than a probe is fitted to."""
    return isinstance(network, ObservedNetwork) and network.width > max(WIDE, 4 * network.model.width)


@dataclass(frozen=True, slots=True)
class SketchedPolicy:
    """Drafts by probes of the sketch."""

    inner: DraftPolicy
    network: SketchedNetwork

    @classmethod
    def prepare(
        cls, network: Network, *, positions: int | None = None, progress: Progress | None = None
    ) -> "SketchedPolicy":
        """The policy for a wide network; trains its probes where none are kept."""
        assert isinstance(network, ObservedNetwork)  # see `is_wide`
        sketched = SketchedNetwork.of(network)
        return cls(DraftPolicy.prepare(sketched, positions=positions, progress=progress), sketched)

    def propose(self, states: torch.Tensor, network: Network) -> "SketchedProposal":
        """The proposal for observed states (T, n)."""
        sketches = self.network.sketch.apply(states)
        return SketchedProposal(self.inner.propose(sketches, network, observed=states), self.network.sketch)


@dataclass(frozen=True)
class SketchedProposal:
    """The proposal for a sketch of the states."""

    inner: DraftProposal
    sketch: Sketch

    @property
    def informed(self) -> bool:
        """See `Proposal.informed`."""
        return self.inner.informed

    @property
    def at_once(self) -> int:
        """See `Proposal.at_once`."""
        return self.inner.at_once

    def draft(self, start: int) -> torch.Tensor:
        """See `Proposal.draft`."""
        return self.inner.draft(start)

    def behind(
        self, start: int, tokens: torch.Tensor, states: torch.Tensor, refuted: torch.Tensor, prefix: Prefix
    ) -> "SketchedProposal":
        """See `Proposal.behind`."""
        return replace(self, inner=self.inner.behind(start, tokens, self.sketch.apply(states), refuted, prefix))

    def leading(self, position: int) -> torch.Tensor:
        """See `Proposal.leading`."""
        return self.inner.leading(position)

    def resembling(self, position: int) -> torch.Tensor:
        """See `Proposal.resembling`."""
        return self.inner.resembling(position)

    def rivals(self, positions: torch.Tensor, tokens: torch.Tensor) -> list[Few | None]:
        """See `Proposal.rivals`."""
        return self.inner.rivals(positions, tokens)

    def ranking(self, position: int, trial: Trial | None, prefix: Prefix) -> torch.Tensor:
        """See `Proposal.ranking`."""
        if trial is not None and trial.nearest_state is not None:
            local = trial.local and trial.local.seen_through(self.sketch.apply)
            trial = replace(trial, nearest_state=self.sketch.apply(trial.nearest_state), local=local)
        return self.inner.ranking(position, trial, prefix)
