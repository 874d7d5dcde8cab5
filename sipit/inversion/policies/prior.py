"""What a text is likely to go on with, as the observed states themselves foretell it.

Pushed through the blocks beyond l they give logits of every next token, with no token known. That helps on text and
misleads on random tokens, so it is mixed with the uniform distribution, and the share is what makes the observed states
likeliest (one EM per prompt). Positions 0 and 1 have no prior: before them there is nothing, or a token alone, whose
state serves trained models as an attention sink and foretells little; nor has any behind another sink.
"""

from dataclasses import dataclass

import torch

from sipit.inversion.probes import Probes

FIRST_PRIOR = 2  # the first position with a prior
ROWS = 64  # positions scored at a time
_SURE = 0.995  # mean probability of the drafted tokens above which no prior is asked for
_SAMPLED = 4  # runs of positions from which it is estimated what the prior is worth
_STEPS = 30  # of EM; one parameter converges long before


class Alone:
    """The scores of the probe alone by runs of positions; the last is kept, because a short prompt is one run."""

    def __init__(self, probes: Probes, features: torch.Tensor, sinks: torch.Tensor) -> None:
        self.probes, self.features, self.sinks = probes, features, sinks
        self.runs = [slice(at, min(at + ROWS, len(features))) for at in range(0, len(features), ROWS)]
        self._kept: tuple[slice, torch.Tensor] | None = None

    def __call__(self, rows: slice) -> torch.Tensor:
        """Scores (n, V) of a run."""
        if self._kept is None or self._kept[0] != rows:
            self._kept = rows, self.probes.scores(self.features[rows], self.sinks[rows])
        return self._kept[1]

    @property
    def sampled(self) -> list[slice]:
        """Some of the runs, from the whole of the prompt."""
        return self.runs[:: max(1, len(self.runs) // _SAMPLED)]


def sure(alone: Alone) -> bool:
    """Whether the probe alone is: by its first run."""
    scores = alone(alone.runs[0])[1:]
    return bool((scores.amax(1) - scores.logsumexp(1)).exp().mean() >= _SURE)


@dataclass(frozen=True, slots=True)
class Prior:
    """Logits (T, V) of the token at every position, its share in the prior, and at which positions it counts (T,)."""

    logits: torch.Tensor
    share: float
    counts: torch.Tensor

    @classmethod
    def of(cls, next_token_logits: torch.Tensor, alone: Alone) -> "Prior":
        """The prior with the share that makes the observed states likeliest."""
        logits, sinks = next_token_logits.roll(1, 0), alone.sinks
        counts = ~sinks.roll(1)
        counts[:FIRST_PRIOR] = False
        return cls(logits, _prior_share(logits, counts & ~sinks, alone), counts)

    def at(self, rows: slice) -> torch.Tensor:
        """Logarithms of the prior at positions, and zeros where it does not count, shape (n, V)."""
        return mixed(self.logits[rows], self.share).masked_fill(~self.counts[rows, None], 0.0)


def mixed(logits: torch.Tensor, share: float) -> torch.Tensor:
    """log(share * p + (1 - share) / V), shape (n, V) of the logits."""
    return torch.log(share * logits.softmax(1) + (1 - share) / logits.shape[1])


def _prior_share(logits: torch.Tensor, ordinary: torch.Tensor, alone: Alone) -> float:
    """The share of the language model in the prior: the maximum of the evidence of the observed states.

    Position t has evidence share * a_t + (1 - share) * b_t with a_t = sum_v p(v) e^score(v), b_t the same for the
    uniform distribution; EM from one half climbs to the maximum.
    """
    ratios = list[torch.Tensor]()
    for rows in reversed(alone.sampled):  # so that the run that is needed next is the last
        some = ordinary[rows]
        if bool(some.any()):
            scores, part = alone(rows)[some], logits[rows][some]
            uniform = scores.logsumexp(1) - torch.tensor(float(part.shape[1])).log()
            ratios.append((scores + part.log_softmax(1)).logsumexp(1) - uniform)
    if not ratios:
        return 0.0
    difference = torch.cat(ratios).double()
    share = 0.5
    for _ in range(_STEPS):
        odds = torch.tensor(share / (1 - share)).log() if share < 1 else torch.tensor(torch.inf)
        share = min(float(torch.sigmoid(difference + odds).mean()), 1 - 1e-6)
    return share
