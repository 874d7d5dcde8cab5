"""Walks along observed states row by row, taking the nearest token at each: how well does a convention fit?

Damped directions are compared, so that neither a constant factor matters nor how a massive coordinate was rounded. The
candidates are the best by the probe and the embedding rows nearest to the best of them; a row that nothing fits gets
more, up to a limit.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sipit.diagnosis.sites import Site, Sites
from sipit.inversion.decision import accepted, clearly_farther, fits
from sipit.inversion.policies.outlook import Outlook
from sipit.inversion.probes import Probes
from sipit.models import LanguageModel
from sipit.noise.distances import direction_distance
from sipit.observations.network import expectation
from sipit.prefix.choice import single_opener

_FIRST = 64  # candidates tested at every row
_NEAR = 8  # embedding rows nearest to that of the best candidate
_MORE = 512  # candidates tested where none of the first is near


@dataclass(frozen=True, slots=True)
class Start:
    """Where the first row stands: behind known tokens, and so many positions later than it seems."""

    known: tuple[int, ...] = ()
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One row: the nearest token, the distance of its direction, that of the nearest rival of another class.

    `factor` is the length of the observed row over that of the computed one, None where that is 0.
    """

    token: int
    residual: float
    margin: float
    factor: float | None

    @property
    def clear(self) -> bool:
        """Whether the nearest rival is more than twice as far, whatever the tolerance."""
        return clearly_farther(self.margin, self.residual, 0.0)


@dataclass
class Walk:
    """A prefix at a site, and what it is compared with."""

    sites: Sites
    site: Site
    probes: Probes
    start: Start
    enough: float  # residual below which no further candidates are tested
    most: int = _MORE

    def __post_init__(self) -> None:
        network = self.sites.network(self.site, shift=self.start.shift)
        self._prefix = single_opener(network)(network)
        self._length = len(self.start.known)
        if self.start.known:
            self._extend(list(self.start.known), 0)

    @property
    def model(self) -> LanguageModel:
        """Whose states they may be."""
        return self.sites.model

    @property
    def room(self) -> int:
        """How many more positions the model has: at others it is not run."""
        limit = self.model.limit
        return sys.maxsize if limit is None else max(0, limit - self.start.shift - self._length)

    def along(self, rows: torch.Tensor) -> list[Step]:
        """One step for each row (n, d) that there is a position for, each behind the tokens of those before."""
        steps: list[Step] = []
        for row in rows[: self.room]:
            step = self._step(row)
            self._extend([step.token], self._length)
            self._length += 1
            steps.append(step)
        return steps

    def while_near(self, rows: torch.Tensor, tolerance: float) -> list[Step]:
        """The same up to the first row whose nearest token is not within the tolerance."""
        steps: list[Step] = []
        for row in rows[: self.room]:
            steps += self.along(row[None])
            if not consistent(steps[-1:], tolerance):
                break
        return steps

    def _extend(self, tokens: list[int], at: int) -> None:
        self._prefix.extend(at, torch.tensor([tokens], device=self.model.device))
        self._prefix.keep(0)

    def _step(self, row: torch.Tensor) -> Step:
        order = self.ranking(row, self._length)
        tokens, distances, lengths = self._distances(row, order[:_FIRST])
        if float(distances.min()) > self.enough:
            more = self._distances(row, order[_FIRST : self.most])
            tokens, distances, lengths = (
                torch.cat(pair) for pair in zip((tokens, distances, lengths), more, strict=True)
            )
        while True:  # the rows nearest to the nearest are its likeliest rivals, and may be nearer still
            nearest = tokens[distances.argmin()]
            (near,) = self.model.nearest_rows(nearest[None], _NEAR)
            more = self._distances(row, near[~torch.isin(near, tokens)])
            parts = zip((tokens, distances, lengths), more, strict=True)
            tokens, distances, lengths = (torch.cat(pair) for pair in parts)
            if tokens[distances.argmin()] == nearest:
                break
        best = int(distances.argmin())
        classes = self.model.token_classes
        rivals = distances[classes[tokens] != classes[tokens[best]]]
        return Step(
            token=int(classes[tokens[best]]),
            residual=float(distances[best]),
            margin=float(rivals.min()) if len(rivals) else float("inf"),
            factor=float(row.double().norm() / lengths[best]) if lengths[best] else None,
        )

    @property
    def length(self) -> int:
        """The position of the next row."""
        return self._length

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """The states (n, d) of tokens (n,) at the next position, in float64."""
        return self._prefix.candidates(torch.full_like(tokens, self._length), tokens).double()

    def ranking(self, row: torch.Tensor, position: int) -> torch.Tensor:
        """All tokens by the probe of the site, best first."""
        return ranked(self.probes, row, position)

    def expected(self) -> torch.Tensor | None:
        """All tokens as the model expects them at the next position, likeliest first; None where it says nothing."""
        network = expectation(self.model) if self._length else None
        if network is None:
            return None
        return Outlook(network).behind(self._prefix.prompt[: self._length]).argsort(descending=True, stable=True)

    def _distances(self, row: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not len(tokens):
            empty = torch.zeros(0, dtype=torch.float64, device=tokens.device)
            return tokens, empty, empty
        states = self.states(tokens)
        return tokens, direction_distance(states, row.to(states)), states.norm(dim=1)


def ranked(probes: Probes, row: torch.Tensor, position: int) -> torch.Tensor:
    """All tokens by a probe, best first, as a row (d,) at a position speaks for them."""
    probe = probes.at(position)
    return probe.scores(probe.features(row[None]))[0].argsort(descending=True, stable=True)


def single_token_distances(walk: Walk, rows: torch.Tensor, count: int) -> list[float]:
    """For every row (n, d) how near the state of some prompt of one token comes, of the `count` likeliest."""
    tokens = torch.stack([walk.ranking(row, 0)[:count] for row in rows])
    run = walk.sites.network(walk.site).run(tokens.flatten()[:, None])[:, 0]
    states = run.double().view(*tokens.shape, -1)
    return direction_distance(states, rows.to(states)[:, None]).amin(1).tolist()


def consistent(steps: Sequence[Step], tolerance: float) -> int:
    """How many steps from the first on lie within the tolerance of their nearest token, whatever else does."""
    return next((count for count, step in enumerate(steps) if not fits(step.residual, tolerance)), len(steps))


def fitting(steps: Sequence[Step], tolerance: float) -> int:
    """How many steps from the first on are accepted: within the tolerance, every tested rival clearly outside."""
    taken = (accepted(step.residual, step.margin, tolerance) for step in steps)
    return next((count for count, holds in enumerate(taken) if not holds), len(steps))
