"""The gradient policy of the paper (arXiv 2510.15511): descent on one continuous embedding, snapped to tokens.

    e := the mean of the embedding rows
    repeat: e := e - rate * gradient of |F(e; prefix) - h_t|^2 / 2 at e; test the nearest row not tested yet

As published it is plain descent with one test after every step, and every 50 steps e is put onto the row tested.
`tuned` is the best form found: Adam, and several of the nearest rows tested at once after several steps. Either ends
at the whole vocabulary, and as with every policy only `Verifier` accepts a token.
"""

from dataclasses import dataclass, field

import torch

from sipit.inversion.rivals import Few
from sipit.inversion.verifier import Trial
from sipit.models.network import Network
from sipit.observations.network import top_of
from sipit.observations.top import apart
from sipit.prefix.kinds import Prefix

_LEADING = 64  # rows nearest to where a descent ended


@dataclass(frozen=True, slots=True)
class GradientPolicy:
    """Descent at one position at a time.

    `rate` is the step size, for Adam in units of the root mean square of the embedding's entries; `steps` are made
    between two tests of the `at_once` nearest rows, and every `snap` steps the embedding is put onto the next row.
    """

    rate: float = 1.0
    adam: bool = False
    steps: int = 1
    at_once: int = 1
    snap: int = 50

    @classmethod
    def tuned(cls) -> "GradientPolicy":
        """The best form found on the embedded model."""
        return cls(rate=0.3, adam=True, steps=10, at_once=32, snap=200)

    def propose(self, states: torch.Tensor, network: Network) -> "GradientProposal":
        """The proposal for states (T, d); nothing is computed before it is asked."""
        rows = network.model.decoder.tables[0].weight.detach()
        observed = states.to(device=rows.device, dtype=network.dtype)
        return GradientProposal(self, observed, rows, rows.float().norm(dim=1) ** 2 / 2, top_of(network))


@dataclass(eq=False)
class _Descent:
    """An embedding (e,) under way."""

    embedding: torch.Tensor
    optimizer: torch.optim.Optimizer
    steps: int = 0


@dataclass(eq=False)
class GradientProposal:
    """Observed states (T, d), embedding rows (V, e) with half their squared norms, and the descents so far.

    `top` is how many log-probabilities of every position are observed, where they are such.
    """

    policy: GradientPolicy
    observed: torch.Tensor
    rows: torch.Tensor
    halves: torch.Tensor
    top: int | None = None
    descents: dict[int, _Descent] = field(default_factory=dict[int, _Descent])

    @property
    def informed(self) -> bool:
        """What it names first says little of what is right."""
        return False

    def rivals(self, positions: torch.Tensor, tokens: torch.Tensor) -> list[Few | None]:
        """Its order says little of what is right."""
        return [None] * len(positions)

    @property
    def at_once(self) -> int:
        """As the policy says."""
        return self.policy.at_once

    def draft(self, start: int) -> None:
        """No opinion: a descent needs the prefix."""

    def behind(
        self, start: int, tokens: torch.Tensor, states: torch.Tensor, refuted: torch.Tensor, prefix: Prefix
    ) -> "GradientProposal":
        """A run tells it nothing."""
        return self

    def leading(self, position: int) -> torch.Tensor:
        """The rows nearest to where the descent is; none before it has begun."""
        descent = self.descents.get(position)
        if descent is None:
            return torch.zeros(0, dtype=torch.long, device=self.rows.device)
        closeness = self._closeness(descent)
        return closeness.topk(min(_LEADING, len(closeness))).indices

    def resembling(self, position: int) -> torch.Tensor:
        """The same: all that is looked at is the state."""
        return self.leading(position)

    def ranking(self, position: int, trial: Trial | None, prefix: Prefix) -> torch.Tensor:
        """All rows by their distance from the embedding, after the next steps of the descent."""
        if trial is None or position not in self.descents:
            self.descents[position] = self._start()  # a new one where the prefix has changed
        descent = self.descents[position]
        for _ in range(self.policy.steps):
            nearest = self._nearest(descent, trial)
            due = descent.steps > 0 and descent.steps % self.policy.snap == 0
            if due or not bool(descent.embedding.isfinite().all()):
                descent.embedding.data.copy_(self.rows[nearest])
            descent.optimizer.zero_grad()
            state = prefix.embedded(position, nearest, descent.embedding)
            with torch.enable_grad():
                loss = apart(state, self.observed[position], self.top).square().sum() / 2
            loss.backward(inputs=[descent.embedding])
            descent.optimizer.step()
            descent.steps += 1
        return self._closeness(descent).argsort(descending=True, stable=True)

    def _start(self) -> _Descent:
        embedding = self.rows.mean(0).requires_grad_()
        if not self.policy.adam:
            return _Descent(embedding, torch.optim.SGD([embedding], lr=self.policy.rate))
        scale = (2 * self.halves.mean() / self.rows.shape[1]).sqrt()
        return _Descent(embedding, torch.optim.Adam([embedding], lr=self.policy.rate * float(scale)))

    def _nearest(self, descent: _Descent, trial: Trial | None) -> int:
        """The row nearest to the embedding that was not tested yet."""
        closeness = self._closeness(descent)
        if trial is not None:
            closeness[trial.token_ids] = -torch.inf
        return int(closeness.argmax())

    def _closeness(self, descent: _Descent) -> torch.Tensor:
        """Minus half the squared distances to all rows, up to a constant: an order is all that is wanted."""
        closeness = (self.rows @ descent.embedding.detach()).float() - self.halves
        return closeness.nan_to_num(nan=-torch.inf, posinf=torch.inf)
