"""What a text is likely to go on with, as the observed states themselves foretell it.

Pushed through the blocks beyond l they give logits of every next token, with no token known. That helps on text and
misleads on random tokens, so it is mixed with the uniform distribution, and the share is what makes the observed states
likeliest (one EM per prompt). It is asked for only where the probe alone is not sure. Positions 0 and 1 have no prior:
before them there is nothing, or a token alone, whose state serves trained models as an attention sink and foretells
little; nor has any behind another sink.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

FIRST_PRIOR = 2  # the first position with a prior
ROWS = 64  # positions scored at a time
SURE = 0.9999  # probability of a token, by the probe alone, from which no prior is asked for
_SAMPLED = 16  # positions, at most twice as many, from which it is estimated what the prior is worth
_STEPS = 30  # of EM; one parameter converges long before

Scores = Callable[[torch.Tensor], torch.Tensor]  # of the probe alone (n, V) at positions (n,)


def doubtful(probabilities: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
    """The positions (n,) that a prior is asked for: what is named there has a probability (T,) that is not sure."""
    open_to = ~sinks.roll(1) & (probabilities < SURE)
    open_to[:FIRST_PRIOR] = False
    return open_to.nonzero().flatten()


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Logits (n, V) of the token at some positions.

    `places` (T,) says which row belongs to a position, -1 for none; `share` is that of the language model in the prior;
    `sizes` (n, 1) are the logarithms of the sums of the exponentials.
    """

    logits: torch.Tensor
    places: torch.Tensor
    share: float
    sizes: torch.Tensor

    @classmethod
    def of(cls, logits: torch.Tensor, positions: torch.Tensor, sinks: torch.Tensor, scores: Scores) -> "Prior":
        """The prior at positions (n,), with the share that makes the observed states likeliest."""
        places = torch.full_like(sinks, -1, dtype=torch.long)
        places[positions] = torch.arange(len(positions), device=places.device)
        sizes = logits.logsumexp(1, keepdim=True)
        return cls(logits, places, _prior_share(logits, sizes, positions, sinks, scores), sizes)

    def at(self, positions: torch.Tensor) -> torch.Tensor:
        """Logarithms of the prior at positions (n,), and zeros where there is none, shape (n, V)."""
        return self._mixed(positions, lambda logits: logits)

    def of_tokens(self, positions: slice, tokens: torch.Tensor) -> torch.Tensor:
        """The same of some tokens (n, k) of each position alone, shape (n, k)."""
        return self._mixed(positions, lambda logits: logits.gather(1, tokens))

    def _mixed(self, positions: torch.Tensor | slice, part: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        places = self.places[positions]
        found = log_mixed(part(self.logits[places]) - self.sizes[places], self.share, self.logits.shape[1])
        return found.masked_fill_(places[:, None] < 0, 0.0)


def log_mixed(logarithms: torch.Tensor, share: float, count: int) -> torch.Tensor:
    """log(share * p + (1 - share) / count) of the logarithms of p."""
    return torch.log(share * logarithms.exp() + (1 - share) / count)


def _prior_share(
    logits: torch.Tensor, sizes: torch.Tensor, positions: torch.Tensor, sinks: torch.Tensor, scores: Scores
) -> float:
    """The share of the language model in the prior: the maximum of the evidence of the observed states.

    Position t has evidence share * a_t + (1 - share) * b_t with a_t = sum_v p(v) e^score(v), b_t the same for the
    uniform distribution; EM from one half climbs to the maximum.
    """
    ordinary = torch.arange(len(positions), device=positions.device)[~sinks[positions]]
    some = ordinary[:: max(1, len(ordinary) // _SAMPLED)]
    if not len(some):
        return 0.0
    alone = scores(positions[some])
    uniform = alone.logsumexp(1) - torch.tensor(float(alone.shape[1])).log()
    difference = ((alone + (logits[some] - sizes[some])).logsumexp(1) - uniform).double()
    share = 0.5
    for _ in range(_STEPS):
        odds = torch.tensor(share / (1 - share)).log() if share < 1 else torch.tensor(torch.inf)
        share = min(float(torch.sigmoid(difference + odds).mean()), 1 - 1e-6)
    return share
