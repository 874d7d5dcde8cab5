"""Draft and verify: a whole prompt is drafted from its states at once, and verified in one run.

The draft is the token that the probe and a prior find likeliest. The prior is the language model itself: the
*observed* states, pushed through the blocks beyond l, say what the model expects next, with no token known. It helps
on text and misleads on random tokens, so it is mixed with the uniform distribution, and the share is what makes the
observed states likeliest (one EM per prompt). Positions 0 and 1 have none: before them there is nothing, or a token
alone, whose state serves trained models as an attention sink and foretells little; nor has any behind another sink.
Other observations than the stream cannot be pushed on. There the model is asked what it expects behind the working
prompt, at the position where the draft ended; what the observed logits of a position expect is known at once.

Several drafts run together: the likeliest ones, where positions are taken for independent.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import torch

from sipit.inversion.policies.outlook import Outlook
from sipit.inversion.probes import Probes, is_late, trained_probes
from sipit.inversion.verifier import PIECE, Trial
from sipit.models.network import Network
from sipit.prefix.kinds import Prefix
from sipit.record import Progress

_SURE = 0.995  # mean probability of the drafted tokens above which no prior is asked for
_STEPS = 30  # of EM; one parameter converges long before
_LEADING = 64  # best tokens kept for every position
_FIRST_PRIOR = 2  # the first position with a prior
_DRAFTS = 8  # that run together at most
_DRAFTED = 48  # tokens of all of them, unless one is longer: so few cost what one costs, the weights are read once
_RESEMBLING = 17  # best tokens of the probe alone, one of which is the token itself
_CHOICES = 4  # likeliest tokens of a position that a draft may have
_CERTAIN = 3.0  # log-odds of the likeliest draft above which another is not worth its run
_SHARP = 9.2  # log-odds, ten thousand to 1, from which the state speaks of one token alone
_FEWEST = 2  # rivals of a token that stands alone
_HOPE = 0.03  # probability that a draft holds so far, below which it is not drawn out
_UNKNOWN_SHARE = 0.5  # of the language model in the prior where it is not estimated
_SHORTEST = 8  # tokens of a draft, unless fewer are left
_AHEAD = 8 * PIECE  # candidates in one order
_ROWS = 64  # positions scored at a time


@dataclass(frozen=True, slots=True)
class DraftPolicy:
    """The default policy: probes trained once per model and layer."""

    probes: Probes

    @classmethod
    def prepare(
        cls, network: Network, *, positions: int | None = None, progress: Progress | None = None
    ) -> "DraftPolicy":
        """The policy for a model and layer; trains its probes where none are kept that will do for the positions."""
        return cls(trained_probes(network, positions=positions, progress=progress))

    def propose(
        self, states: torch.Tensor, network: Network, *, observed: torch.Tensor | None = None
    ) -> "DraftProposal":
        """Scores all tokens at all positions, with the prior where the probe alone is not sure.

        Where `states` are only what the probes read, `observed` are those that the network has.
        """
        sinks = self.probes.sinks(states)
        features = self.probes.features(states, sinks)
        late = is_late(network.model, network.layer)
        proposal = DraftProposal(self.probes, features, sinks, None, 0.0, late)
        if len(states) > _FIRST_PRIOR and network.layer != 0 and proposal.probabilities[1:].mean() < _SURE:
            logits = network.next_token_logits(states if observed is None else observed)
            if logits is None:
                return replace(proposal, outlook=Outlook.of(network))
            logits = logits[_FIRST_PRIOR - 1 : -1].float()
            proposal = replace(proposal, logits=logits, share=_prior_share(proposal, logits))
        return proposal


class _Best(NamedTuple):
    """Per position: probability of the likeliest token, leading tokens (T, 64), its log-odds over the next 3 (T, 3).

    Of the probe alone: leading tokens (T, 17), and the log-odds of the first of them over the second (T,).
    """

    probabilities: torch.Tensor
    tokens: torch.Tensor
    odds: torch.Tensor
    resembling: torch.Tensor
    sharpness: torch.Tensor


@dataclass(frozen=True)
class DraftProposal:
    """Features (T, d) of the observed states, and which of these are sinks (T,).

    Then logits (T - 2, V) of the prior, for positions 2 on, its share, whether the layer is a late one, and the outlook
    where there are no such logits.
    """

    probes: Probes
    features: torch.Tensor
    sinks: torch.Tensor
    logits: torch.Tensor | None
    share: float
    late: bool = False
    outlook: Outlook | None = None

    @property
    def informed(self) -> bool:
        """The likeliest tokens that it names are seldom all wrong."""
        return True

    def rivals(self, position: int, token: int) -> int | None:
        """The second best and the nearest row where the state speaks of this token alone, two of each where it is best.

        Four of each where it is best only with the prior, and None where it is not, or at late layers: there the
        nearest states are often those of other tokens.
        """
        best = self._best
        if self.late:
            return None
        if token == int(best.resembling[position, 0]):
            return _FEWEST if float(best.sharpness[position]) > _SHARP else 2 * _FEWEST
        return 4 * _FEWEST if token == int(best.tokens[position, 0]) else None

    @property
    def at_once(self) -> int:
        """Some pieces: to order a large vocabulary costs as much as a block."""
        return _AHEAD

    def drafts(self, start: int) -> torch.Tensor:
        """The likeliest drafts, at most 8, the likeliest first, as far as one may hope that they hold."""
        length = max(_SHORTEST, int((self.probabilities[start:].cumprod(0) >= _HOPE).sum()))
        tokens, odds = (part[start : start + length] for part in (self._best.tokens, self._best.odds))
        # Of k best drafts the others differ from the best in some of the k - 1 cheapest single changes.
        cheapest = odds.flatten().argsort(stable=True)[: _DRAFTS - 1].tolist()
        changes = [(position, choice + 1) for position, choice in (divmod(one, odds.shape[1]) for one in cheapest)]
        drafts = [
            (sum(float(odds[position, choice - 1]) for position, choice in some), some)
            for count in range(len(changes) + 1)
            for some in combinations(changes, count)
            if len({position for position, _ in some}) == count
        ]
        most = min(_DRAFTS, max(1, _DRAFTED // max(1, len(tokens))))
        likeliest = sorted(draft for draft in drafts if draft[0] < _CERTAIN)[:most]
        rows = tokens[:, 0].repeat(len(likeliest), 1)
        for row, (_, some) in zip(rows, likeliest, strict=True):
            for position, choice in some:
                row[position] = tokens[position, choice]
        return rows

    @property
    def probabilities(self) -> torch.Tensor:
        """How probable the drafted tokens are, shape (T,)."""
        return self._best.probabilities

    @cached_property
    def _best(self) -> "_Best":
        """What is kept of the scores of all tokens at all positions."""
        parts: list[_Best] = []
        for start, stop in _spans(len(self.features)):
            alone = self.probes.scores(self.features[start:stop], self.sinks[start:stop])
            scores = self._with_prior(start, stop, alone)
            leading = scores.topk(min(_LEADING, scores.shape[1]), dim=1)
            resembling = alone.topk(min(_RESEMBLING, scores.shape[1]), dim=1)
            sharpness = resembling.values[:, 0] - resembling.values[:, min(1, resembling.values.shape[1] - 1)]
            first, others = leading.values[:, :1], leading.values[:, 1:_CHOICES]
            probabilities = (first[:, 0] - scores.logsumexp(1)).exp()
            parts.append(_Best(probabilities, leading.indices, first - others, resembling.indices, sharpness))
        return _Best(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def leading(self, position: int) -> torch.Tensor:
        """The likeliest tokens there."""
        return self._best.tokens[position]

    def resembling(self, position: int) -> torch.Tensor:
        """The likeliest tokens there by the probe alone: what is likely in a text need not resemble the state."""
        return self._best.resembling[position]

    def ranking(self, position: int, trial: Trial | None, prefix: Prefix) -> torch.Tensor:
        """All tokens by score, taking turns with the scores corrected by what the tried token shows of the error."""
        observed = self.features[position : position + 1]
        expected = self._expected(position, prefix)
        order = (self._scores(position, position + 1, observed)[0] + expected).argsort(descending=True, stable=True)
        if trial is None or trial.nearest_state is None:
            return order
        probe = self.probes.first if bool(self.sinks[position]) else self.probes.later
        corrected = observed - probe.features(trial.nearest_state[None]) + probe.expected(trial.nearest)
        other = (self._scores(position, position + 1, corrected)[0] + expected).argsort(descending=True, stable=True)
        ranks = torch.stack([order.argsort(), other.argsort()]).amin(0)
        return ranks.argsort(stable=True)

    def _expected(self, position: int, prefix: Prefix) -> torch.Tensor | float:
        """What the model expects behind the working prompt, logarithms (V,); 0 where it is not asked."""
        if self.outlook is None or position < _FIRST_PRIOR or bool(self.sinks[position - 1]):
            return 0.0
        return _log_prior(self.outlook.behind(prefix.prompt[:position])[None], _UNKNOWN_SHARE)[0]

    def _scores(self, start: int, stop: int, features: torch.Tensor) -> torch.Tensor:
        """Scores of positions start..stop-1, one of `_spans` or a single one, shape (stop - start, V)."""
        return self._with_prior(start, stop, self.probes.scores(features, self.sinks[start:stop]))

    def _with_prior(self, start: int, stop: int, scores: torch.Tensor) -> torch.Tensor:
        """The scores of the probe for positions start..stop-1, with what the prior adds."""
        if self.logits is None or start < _FIRST_PRIOR:
            return scores
        prior = _log_prior(self.logits[start - _FIRST_PRIOR : stop - _FIRST_PRIOR], self.share)
        behind_sinks = self.sinks[start - 1 : stop - 1]
        return scores + prior.masked_fill(behind_sinks[:, None], 0.0)


def _spans(length: int) -> list[tuple[int, int]]:
    """The positions without a prior each alone, then runs of positions that are scored together."""
    alone = [(start, start + 1) for start in range(min(length, _FIRST_PRIOR))]
    return [*alone, *((start, min(start + _ROWS, length)) for start in range(_FIRST_PRIOR, length, _ROWS))]


def _log_prior(logits: torch.Tensor, share: float) -> torch.Tensor:
    """log(share * p + (1 - share) / V), shape of the logits."""
    vocabulary = logits.shape[1]
    return torch.log(share * logits.softmax(1) + (1 - share) / vocabulary)


def _prior_share(proposal: DraftProposal, logits: torch.Tensor) -> float:
    """The share of the language model in the prior: the maximum of the evidence of the observed states.

    Position t has evidence share * a_t + (1 - share) * b_t with a_t = sum_v p(v) e^score(v), b_t the same for the
    uniform distribution; EM from one half climbs to the maximum.
    """
    ratios: list[torch.Tensor] = []
    probe, places = proposal.probes.later, torch.arange(_FIRST_PRIOR, len(proposal.features), device=logits.device)
    ordinary = places[~(proposal.sinks[places] | proposal.sinks[places - 1])]
    if not len(ordinary):
        return 0.0
    for rows in ordinary.split(_ROWS):
        part = logits[rows - _FIRST_PRIOR]
        scores = probe.scores(proposal.features[rows])
        uniform = scores.logsumexp(1) - torch.tensor(float(part.shape[1])).log()
        ratios.append((scores + part.log_softmax(1)).logsumexp(1) - uniform)
    difference = torch.cat(ratios).double()
    share = 0.5
    for _ in range(_STEPS):
        odds = torch.tensor(share / (1 - share)).log() if share < 1 else torch.tensor(torch.inf)
        share = min(float(torch.sigmoid(difference + odds).mean()), 1 - 1e-6)
    return share
