"""Draft and verify: a whole prompt is drafted from its states at once, and verified in one run.

The draft is the token that the probe and the prior (`sipit.inversion.policies.prior`) find likeliest. Other
observations than the stream cannot be pushed on through the model. There it is asked what it expects behind the working
prompt, at the position where the draft ended; what the observed logits of a position expect is known at once.

A run of the draft that does not fit to its end corrects the rest of it (`sipit.inversion.correction`).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from sipit.inversion.correction import Correction
from sipit.inversion.policies.outlook import Outlook
from sipit.inversion.policies.prior import FIRST_PRIOR, ROWS, SURE, Prior, Scores, doubtful, log_mixed
from sipit.inversion.probes import Probes, is_late, trained_probes
from sipit.inversion.rivals import Few
from sipit.inversion.verifier import PIECE, Trial
from sipit.models.network import Network
from sipit.prefix.kinds import Prefix
from sipit.record import Progress

_LEADING = 64  # best tokens kept for every position
_RESEMBLING = 17  # best tokens of the probe alone, one of which is the token itself
_FEWEST = 2  # rivals of a token that the state alone speaks of
_HOPE = 0.03  # probability that a draft holds so far, below which it is not drawn out
_LAST_PRIOR = 2**14  # rows up to which they are pushed on through the model: in one run, with logits for every row
_UNKNOWN_SHARE = 0.5  # of the language model in the prior where it is not estimated
_SHORTEST = 8  # tokens of a draft, unless fewer are left
_KEPT = 512  # positions of which all scores are kept, until the prior is known
_AHEAD = 8 * PIECE  # candidates in one order
_PLAIN = Correction(1.0, 1.0)  # of a probe that has none: the state goes as it expects


@dataclass(frozen=True, slots=True)
class DraftPolicy:
    """The default policy: probes trained once per model and layer."""

    probes: Probes

    @classmethod
    def prepare(
        cls, network: Network, *, positions: int | None = None, progress: Progress | None = None
    ) -> "DraftPolicy":
        """The policy for a model and layer; trains its probes where none are kept that will do for the positions."""
        if network.layer != 0 and network.model.head is not None:
            _ = network.goes_on_alone  # is found out here, and not in the time of the first prompt
        return cls(trained_probes(network, positions=positions, progress=progress))

    def propose(
        self, states: torch.Tensor, network: Network, *, observed: torch.Tensor | None = None
    ) -> "DraftProposal":
        """Scores all tokens at all positions.

        The prior is asked for where the probe alone is not sure. Where `states` are only what the probes read, the
        network has `observed`.
        """
        sinks = self.probes.sinks(states)
        features = self.probes.features(states, sinks)
        best, scores = _alone(self.probes, features, sinks)
        asked = doubtful(best.probabilities, sinks)
        prior, outlook = None, None
        if len(asked) and len(states) <= _LAST_PRIOR and network.layer != 0:
            logits = network.next_token_logits(states if observed is None else observed, asked - 1)
            if logits is None:
                outlook = Outlook.of(network)
            else:
                prior = Prior.of(logits.float(), asked, sinks, scores)
                for some in asked.split(ROWS):
                    with_it = _best_of(scores(some) + prior.at(some))
                    best.probabilities[some], best.tokens[some] = with_it.probabilities, with_it.tokens
        late = is_late(network.model, network.layer)
        return DraftProposal(self.probes, features, sinks, prior, best, late, outlook=outlook)


class _Best(NamedTuple):
    """Per position: probability of the likeliest token, and the leading tokens (T, 64).

    Of the probe alone: leading tokens (T, 17).
    """

    probabilities: torch.Tensor
    tokens: torch.Tensor
    resembling: torch.Tensor


@dataclass(frozen=True, eq=False)
class DraftProposal:
    """Features (T, d) of the observed states, which of these are sinks (T,), the prior, and what came of them.

    `late` says whether the layer is a late one, `corrected` whether a run has corrected the draft, and there is an
    outlook where there is no prior.
    """

    probes: Probes
    features: torch.Tensor
    sinks: torch.Tensor
    prior: Prior | None
    best: _Best
    late: bool = False
    corrected: bool = False
    outlook: Outlook | None = None

    @property
    def informed(self) -> bool:
        """The likeliest tokens that it names are seldom all wrong."""
        return True

    def rivals(self, positions: torch.Tensor, tokens: torch.Tensor) -> list[Few | None]:
        """Two where the state speaks of the token alone, three where the prior has to say so, None where neither does.

        None of sinks and at late layers: there the nearest states are often those of tokens that mean something else.
        Alike are the leading ones, in the order in which the probe expects their states to lie near that of the token.
        """
        if self.late:
            return [None] * len(positions)
        leading, sinks = self.best.tokens[positions], self.sinks[positions]
        order = self.probes.closeness(tokens, leading, sinks).argsort(dim=1, descending=True, stable=True)
        first = tokens == self.best.resembling[positions, 0]
        known = (first | (tokens == leading[:, 0])) & ~sinks
        counts = torch.where(first, _FEWEST, _FEWEST + 1)
        alike = leading.gather(1, order)
        return [
            Few(count, row) if there else None
            for there, count, row in zip(known.tolist(), counts.tolist(), alike, strict=True)
        ]

    @property
    def at_once(self) -> int:
        """Some pieces: to order a large vocabulary costs as much as a block."""
        return _AHEAD

    def draft(self, start: int) -> torch.Tensor:
        """The likeliest draft: at first the whole, since its run corrects all of it; then as far as it may hold."""
        tokens = self.best.tokens[start:, 0]
        if self.corrected or self.probes.correction is None:
            hoped = self.best.probabilities[start:].cumprod(0) >= _HOPE
            tokens = tokens[: max(_SHORTEST, int(hoped.sum()))]
        return tokens

    def behind(
        self, start: int, tokens: torch.Tensor, states: torch.Tensor, refuted: torch.Tensor, prefix: Prefix
    ) -> "DraftProposal":
        """See `Proposal.behind`. Leading tokens are put into a new order; no others are drafted, but where it ended."""
        way = self.probes.correction
        if way is None and self.outlook is None:
            return self
        best = self.best._replace(tokens=self.best.tokens.clone(), probabilities=self.best.probabilities.clone())
        features = self.features[start : start + 1]
        for at in range(0, len(tokens) if way is not None else 0, ROWS):
            part, rows = slice(at, at + ROWS), slice(start + at, min(start + at + ROWS, start + len(tokens)))
            corrected = self._corrected(rows, tokens[part], states[part])
            features = corrected[:1] if at == 0 else features
            scores = self._weighed(self.probes.scores_of(best.tokens[rows], corrected, self.sinks[rows]))
            if self.prior is not None:
                scores += self.prior.of_tokens(rows, best.tokens[rows])
            order = scores.argsort(dim=1, descending=True, stable=True)
            best.tokens[rows], best.probabilities[rows] = best.tokens[rows].gather(1, order), scores.softmax(1).amax(1)
        whole = self._weighed(self.probes.scores(features, self.sinks[start : start + 1]))
        whole[0, refuted] = -torch.inf
        there = _best_of(whole + self._expected(start, prefix))
        best.tokens[start], best.probabilities[start] = there.tokens[0], there.probabilities[0]
        return replace(self, best=best, corrected=True)

    def _corrected(self, rows: slice, tokens: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The features at positions, corrected by what tokens (n,) have there, states (n, d)."""
        way, sinks = self.probes.correction or _PLAIN, self.sinks[rows]
        run, expected = self.probes.features(states, sinks), self.probes.expected(tokens, sinks)
        return way.features(self.features[rows], run, expected)

    def _weighed(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores of corrected features beside what is expected."""
        return (self.probes.correction or _PLAIN).weight * scores

    def leading(self, position: int) -> torch.Tensor:
        """The likeliest tokens there."""
        return self.best.tokens[position]

    def resembling(self, position: int) -> torch.Tensor:
        """The likeliest tokens there by the probe alone: what is likely in a text need not resemble the state."""
        return self.best.resembling[position]

    def ranking(self, position: int, trial: Trial | None, prefix: Prefix) -> torch.Tensor:
        """All tokens by score, taking turns with the scores that what was tried there shows.

        That is those corrected by the nearest, and those of a probe of its own (`sipit.inversion.local_probe`).
        """
        rows, expected = slice(position, position + 1), self._expected(position, prefix)
        found = [(self.probes.scores(self.features[rows], self.sinks[rows]) + expected)[0]]
        if trial is not None and trial.nearest_state is not None:
            nearest = torch.tensor([trial.nearest], device=self.features.device)
            corrected = self._corrected(rows, nearest, trial.nearest_state[None])
            found.append((self._weighed(self.probes.scores(corrected, self.sinks[rows])) + expected)[0])
        if trial is not None and trial.local is not None:
            found += trial.local.scores(self.probes.later.rows)
        orders = [scores.argsort(descending=True, stable=True) for scores in found]
        return torch.stack([order.argsort() for order in orders]).amin(0).argsort(stable=True)

    def _expected(self, position: int, prefix: Prefix) -> torch.Tensor | float:
        """What the model expects there, logarithms (1, V), of the prior or behind the working prompt; 0 without."""
        if self.prior is not None:
            return self.prior.at(torch.tensor([position], device=self.sinks.device))
        if self.outlook is None or position < FIRST_PRIOR or bool(self.sinks[position - 1]):
            return 0.0
        expected = self.outlook.behind(prefix.prompt[:position])[None].log_softmax(1)
        return log_mixed(expected, _UNKNOWN_SHARE, expected.shape[1])


def _alone(probes: Probes, features: torch.Tensor, sinks: torch.Tensor) -> tuple[_Best, Scores]:
    """What is kept of the scores that the probe alone gives, and a function that gives those at any positions.

    Scores of the doubtful ones are kept, as far as they are not too many.
    """
    parts, kept = list[_Best](), dict[int, torch.Tensor]()
    for at in range(0, len(features), ROWS):
        rows = slice(at, at + ROWS)
        found = probes.scores(features[rows], sinks[rows])
        parts.append(_best_of(found))
        unsure = (parts[-1].probabilities < SURE).nonzero().flatten().tolist()
        kept |= {at + row: found[row] for row in unsure[: _KEPT - len(kept)]}

    def scores(positions: torch.Tensor) -> torch.Tensor:
        known = [kept.get(position) for position in positions.tolist()]
        if any(row is None for row in known):
            return probes.scores(features[positions], sinks[positions])
        return torch.stack([row for row in known if row is not None])

    return _Best(*(torch.cat(part) for part in zip(*parts, strict=True))), scores


def _best_of(scores: torch.Tensor) -> _Best:
    """What is kept of scores (n, V)."""
    leading = scores.topk(min(_LEADING, scores.shape[1]), dim=1)
    probabilities = (leading.values[:, 0] - scores.logsumexp(1)).exp()
    return _Best(probabilities, leading.indices, leading.indices[:, :_RESEMBLING])
