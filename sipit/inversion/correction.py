"""What a run of a draft shows of the tokens that would have been right.

A token w was drafted and run, the token v was wanted: the features of the observed state lie c away from those of the
run. The probe expects c = G_v - G_w (`sipit.inversion.linear_probe`); what is seen is a share of it, and noise, because
blocks bend what they hand on. So v is scored as if the features were G_w + c / share. The noise is far less than that
of a state alone: what the other tokens of the prompt bring into it stands in both and cancels, even where some of those
are still wrong. So a run corrects the draft at every position at once: a step of Newton's, with the probe in place of
the derivative.
"""

from dataclasses import dataclass

import torch

from sipit.inversion.linear_probe import LinearProbe

_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25)
_WEIGHTS = 2.0 ** torch.arange(-5, 3)


@dataclass(frozen=True, slots=True)
class Correction:
    """The `share` of the expected way that states go, and what scores behind a run weigh beside those of a state."""

    share: float
    weight: float

    def features(self, seen: torch.Tensor, run: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """The corrected features (n, d), from those `seen`, those of the run, and those `expected` of its tokens."""
        return expected + (seen - run) / self.share


def fit_correction(
    probe: LinearProbe, seen: torch.Tensor, run: torch.Tensor, drafted: torch.Tensor, truth: torch.Tensor
) -> Correction | None:
    """The correction that makes the true tokens (n,) likeliest; None where the states alone make them likelier.

    Args:
        probe: calibrated.
        seen: features of the observed states, shape (n, d).
        run: features of the states of a run of the tokens `drafted` (n,), shape (n, d).
        drafted: see above.
        truth: the tokens that belong to `seen`.
    """

    def loss(scores: torch.Tensor) -> float:
        return float(torch.nn.functional.cross_entropy(scores, truth))

    best, least = None, loss(probe.scores(seen))
    expected = probe.expected(drafted)
    stayed = probe.scores(expected)
    went = probe.scores(Correction(1.0, 1.0).features(seen, run, expected)) - stayed  # scores are linear in features
    for share in _SHARES:
        scores = stayed + went / share
        for weight in _WEIGHTS.tolist():
            found = loss(weight * scores)
            if found < least:
                best, least = Correction(share, weight), found
    return best
