"""Draft and verify: a whole prompt is drafted from its states at once, and verified in one run.

The draft is the token that the probe and a prior find likeliest. The prior is the language model itself: the
*observed* states, pushed through the blocks beyond l, say what the model expects next, with no token known. It helps
on text and misleads on random tokens, so it is mixed with the uniform distribution, and the share is what makes the
observed states likeliest (one EM per prompt).
"""

from dataclasses import dataclass
from functools import cached_property

import torch

from sipit.capturing import Progress
from sipit.network import Network
from sipit.probe import LinearProbe, Probes, trained_probes

_SURE = 0.995  # mean probability of the drafted tokens above which no prior is asked for
_STEPS = 30  # of EM; one parameter converges long before
_LEADING = 64  # best tokens kept for every position
_DOUBTFUL = 3  # positions where the second choice is drafted too, in all combinations
_CERTAIN = 5.0  # log-odds of the first choice above which there is no doubt
_ROWS = 64  # positions scored at a time


@dataclass(frozen=True, slots=True)
class DraftPolicy:
    """The default policy: probes trained once per model and layer."""

    probes: Probes

    @classmethod
    def prepare(cls, network: Network, *, progress: Progress | None = None) -> "DraftPolicy":
        """The policy for a model and layer; trains its probes where none are kept."""
        return cls(trained_probes(network, progress=progress))

    def propose(self, states: torch.Tensor, network: Network) -> "DraftProposal":
        """Scores all tokens at all positions, with the prior where the probe alone is not sure."""
        features = self.probes.features(states)
        proposal = DraftProposal(self.probes, features, None, 0.0)
        if len(states) > 1 and network.layer != 0 and proposal.probabilities[1:].mean() < _SURE:
            logits = network.next_token_logits(states)[:-1].float()
            share = _prior_share(self.probes.later, features[1:], logits)
            proposal = DraftProposal(self.probes, features, logits, share)
        return proposal


@dataclass(frozen=True)
class DraftProposal:
    """Features (T, d) of the observed states; logits (T - 1, V) of the prior, for positions 1 on, and its share."""

    probes: Probes
    features: torch.Tensor
    logits: torch.Tensor | None
    share: float

    def drafts(self, start: int) -> torch.Tensor:
        """The likeliest tokens, and both choices at the most doubtful positions: 1 to 8 rows."""
        tokens, odds = self._best[1][start:], self._best[2][start:]
        doubtful = odds.argsort(stable=True)[:_DOUBTFUL]
        doubtful = doubtful[odds[doubtful] < _CERTAIN]
        rows = tokens[:, 0].repeat(2 ** len(doubtful), 1)
        for bit, position in enumerate(doubtful.tolist()):
            second = torch.arange(len(rows), device=rows.device) >> bit & 1 == 1
            rows[second, position] = tokens[position, 1]
        return rows

    @property
    def probabilities(self) -> torch.Tensor:
        """How probable the drafted tokens are, shape (T,)."""
        return self._best[0]

    @cached_property
    def _best(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Per position: probability of the likeliest token, leading tokens (T, 64), odds of the first over the next."""
        parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for start, stop in _spans(len(self.features)):
            scores = self._scores(start, stop, self.features[start:stop])
            leading = scores.topk(min(_LEADING, scores.shape[1]), dim=1)
            first, second = leading.values[:, 0], leading.values[:, min(1, scores.shape[1] - 1)]
            parts.append(((first - scores.logsumexp(1)).exp(), leading.indices, first - second))
        probabilities, tokens, odds = (torch.cat(part) for part in zip(*parts, strict=True))
        return probabilities, tokens, odds

    def leading(self, position: int) -> torch.Tensor:
        """The likeliest tokens there."""
        return self._best[1][position]

    def ranking(self, position: int, tried: int | None, tried_state: torch.Tensor | None) -> torch.Tensor:
        """All tokens by score, taking turns with the scores corrected by what the tried token shows of the error."""
        observed = self.features[position : position + 1]
        order = self._scores(position, position + 1, observed)[0].argsort(descending=True, stable=True)
        if tried is None or tried_state is None:
            return order
        probe = self.probes.at(position)
        corrected = observed - probe.features(tried_state[None]) + probe.rows[tried]
        other = self._scores(position, position + 1, corrected)[0].argsort(descending=True, stable=True)
        ranks = torch.stack([order.argsort(), other.argsort()]).amin(0)
        return ranks.argsort(stable=True)

    def _scores(self, start: int, stop: int, features: torch.Tensor) -> torch.Tensor:
        """Scores of positions start..stop-1, which lie both at 0 or both beyond it, shape (stop - start, V)."""
        scores = self.probes.at(start).scores(features)
        if self.logits is None or start == 0:
            return scores
        return scores + _log_prior(self.logits[start - 1 : stop - 1], self.share)


def _spans(length: int) -> list[tuple[int, int]]:
    """Position 0 alone, then runs of positions that are scored together."""
    starts = range(1, length, _ROWS)
    return [(0, 1), *((start, min(start + _ROWS, length)) for start in starts)]


def _log_prior(logits: torch.Tensor, share: float) -> torch.Tensor:
    """log(share * p + (1 - share) / V), shape of the logits."""
    vocabulary = logits.shape[1]
    return torch.log(share * logits.softmax(1) + (1 - share) / vocabulary)


def _prior_share(probe: LinearProbe, features: torch.Tensor, logits: torch.Tensor) -> float:
    """The share of the language model in the prior: the maximum of the evidence of the observed states.

    Position t has evidence share * a_t + (1 - share) * b_t with a_t = sum_v p(v) e^score(v), b_t the same for the
    uniform distribution; EM from one half climbs to the maximum.
    """
    ratios: list[torch.Tensor] = []
    for start in range(0, len(features), _ROWS):
        part = logits[start : start + _ROWS]
        scores = probe.scores(features[start : start + _ROWS])
        uniform = scores.logsumexp(1) - torch.tensor(float(part.shape[1])).log()
        ratios.append((scores + part.log_softmax(1)).logsumexp(1) - uniform)
    difference = torch.cat(ratios).double()
    share = 0.5
    for _ in range(_STEPS):
        odds = torch.tensor(share / (1 - share)).log() if share < 1 else torch.tensor(torch.inf)
        share = min(float(torch.sigmoid(difference + odds).mean()), 1 - 1e-6)
    return share
