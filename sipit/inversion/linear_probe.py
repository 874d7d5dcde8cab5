"""A generative linear probe: which token a state speaks of.

The normalised state x = (sqrt(d) h/|h| - mu) / sigma is modelled as x = A'(e_v - mean e) + noise, the noise Gaussian
with covariance C. With C^-1 = L L', the log-likelihood of token v is, up to a constant, (xL).G_v - |G_v|^2/2 with
G_v = (e_v - mean e) A L: all tokens and positions by one product with the table of the e_v, which stand for tokens
(`sipit.inversion.token_rows`). Scores only rank; nothing is believed before it has been verified.

It is fitted in closed form, to few states, because both estimates are shrunk by as much as the states themselves call
for: A by ridge regression towards a multiple of the row itself, which a residual stream carries, with the strength of
the least leave-one-out error; C towards its diagonal (Schäfer and Strimmer 2005).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch

_STRENGTHS = 10.0 ** torch.arange(-4, 2.5, 0.5, dtype=torch.float64)  # of ridges, in mean eigenvalues
_TEMPERATURES = 2.0 ** torch.arange(-2, 7.5, 0.5)
_ROWS = 8192  # of the table that are multiplied at a time


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """One fitted probe: `mean`, `scale` (d,), `decode` (e, d) = A, `whiten` (d, d) = L, and a calibrated temperature.

    `rows` (V, e) are the centred ones of all tokens; `halves` (V,) their |G_v|^2/2 and `sizes` (V,) half the squared
    norms of the directions that states are expected to take, which are worked out where not given.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    decode: torch.Tensor
    whiten: torch.Tensor
    temperature: torch.Tensor
    rows: torch.Tensor
    halves: torch.Tensor | None = None
    sizes: torch.Tensor | None = None

    @cached_property
    def _to_features(self) -> torch.Tensor:
        return self.decode @ self.whiten

    @cached_property
    def own_halves(self) -> torch.Tensor:
        """`halves`, worked out where they are not given."""
        if self.halves is not None:
            return self.halves
        parts = [(some @ self._to_features).square().sum(1) / 2 for some in self.rows.split(_ROWS)]
        return torch.cat(parts)

    @cached_property
    def _metric(self) -> torch.Tensor:
        """The form (e, e) that makes of a difference of rows the squared one of the directions of their states."""
        directions = self.decode * self.scale
        return directions @ directions.T

    @cached_property
    def _sizes(self) -> torch.Tensor:
        if self.sizes is not None:
            return self.sizes
        return torch.cat([((some @ self._metric) * some).sum(1) / 2 for some in self.rows.split(_ROWS)])

    def closeness(self, tokens: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
        """How near the states of tokens (n, k) are expected to lie to those of tokens (n,), to order them, (n, k).

        What whitening magnifies does not count: it is the distance of states itself that a rival is judged by.
        """
        near = torch.einsum("nke,ne->nk", self.rows[among], self.rows[tokens] @ self._metric)
        return near - self._sizes[among]

    def features(self, states: torch.Tensor) -> torch.Tensor:
        """Whitened features x L of states (n, d)."""
        states = states.to(device=self.mean.device, dtype=torch.float32)
        return ((normalised(states) - self.mean) / self.scale) @ self.whiten

    def expected(self, tokens: torch.Tensor) -> torch.Tensor:
        """The features G_v that tokens (n,) are expected to have, shape (n, d)."""
        return self.rows[tokens] @ self._to_features

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods of all tokens, up to a constant per row and divided by the temperature, shape (n, V)."""
        return ((features @ self._to_features.T) @ self.rows.T - self.own_halves) / self.temperature

    def scores_of(self, tokens: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """The scores of some tokens (n, k) of each row of features (n, d), shape (n, k)."""
        found = torch.einsum("nke,ne->nk", self.rows[tokens], features @ self._to_features.T)
        return (found - self.own_halves[tokens]) / self.temperature

    def parameters(self) -> dict[str, torch.Tensor]:
        """What has to be kept to have the probe again."""
        names = ("mean", "scale", "decode", "whiten", "temperature")
        return {name: getattr(self, name) for name in names} | {
            "halves": self.own_halves,
            "sizes": self._sizes,
        }


def normalised(states: torch.Tensor) -> torch.Tensor:
    """States (n, d) as directions of norm sqrt(d)."""
    tiny = torch.finfo(states.dtype).tiny
    return states / states.norm(dim=1, keepdim=True).clamp_min(tiny) * states.shape[1] ** 0.5


def fit_probe(states: torch.Tensor, tokens: torch.Tensor, rows: torch.Tensor) -> LinearProbe:
    """Fits a probe to states (n, d) of known tokens (n,); `rows` (V, e) are the centred ones of all tokens, float32.

    Its temperature is 1: the order of the tokens is right, their odds are too large until it is `calibrated`.
    """
    directions, inputs = normalised(states.double()), rows[tokens].double()
    one = len(directions) == 1  # of a vocabulary of one token: no deviation can be told
    mean, scale = directions.mean(0), directions.std(0, correction=0 if one else 1).clamp_min(1e-6)
    x = (directions - mean) / scale
    decode = _regression(inputs, x, scale)
    # C = R R' gives C^-1 = R^-T R^-1, so L = R^-T.
    factor = torch.linalg.cholesky(_covariance(x - inputs @ decode))
    whiten = torch.linalg.solve_triangular(factor, torch.eye(len(factor)).to(factor), upper=False).T
    return LinearProbe(
        mean=mean.float(),
        scale=scale.float(),
        decode=decode.float(),
        whiten=whiten.float().contiguous(),
        temperature=torch.ones((), device=states.device),
        rows=rows,
    )


def _regression(rows: torch.Tensor, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The A (e, d) of x ~ rows A, ridge regression towards c diag(1 / scale), with c by least squares.

    The strength is that of the least leave-one-out error: in the eigenbasis of rows' rows, leaving out row i divides
    its residual by 1 - h_i. Errors of coordinates are compared by their logarithms, as in a Gaussian likelihood.
    """
    towards = torch.zeros(rows.shape[1], x.shape[1]).to(x)
    if rows.shape[1] == x.shape[1]:
        base = rows / scale
        towards = torch.diag((base * x).sum() / base.square().sum().clamp_min(1e-300) / scale)
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    values = values.clamp_min(0)
    turned, rest = rows @ vectors, x - rows @ towards
    products = turned.T @ rest

    def error(strength: float) -> float:
        weights = 1 / (values + strength)
        kept = (1 - turned.square() @ weights).clamp_min(1e-6)
        left = (rest - turned @ (weights[:, None] * products)) / kept[:, None]
        return float(left.square().mean(0).clamp_min(1e-30).log().sum())

    mean = float(values.mean()) + torch.finfo(torch.float64).tiny
    best = min((mean * strength for strength in _STRENGTHS.tolist()), key=error)
    return towards + vectors @ (products / (values + best)[:, None])


def _covariance(residuals: torch.Tensor) -> torch.Tensor:
    """The covariance of residuals (n, d), correlations shrunk by their sampling variance over their squares."""
    deviations = residuals.square().mean(0).sqrt().clamp_min(1e-5)
    scaled = residuals / deviations
    count = len(scaled)
    correlations = scaled.T @ scaled / count
    variance = (scaled.square().T @ scaled.square() / count - correlations.square()) / count
    apart = ~torch.eye(len(correlations), dtype=torch.bool, device=correlations.device)
    sizes = correlations[apart].square().sum()
    share = float((variance[apart].sum() / sizes.clamp_min(1e-300)).clamp(1e-3, 1)) if len(correlations) > 1 else 1.0
    correlations = torch.where(apart, (1 - share) * correlations, 1.0)
    return correlations * deviations * deviations[:, None]


def ranks_of(probe: LinearProbe, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The ranks of the true tokens (n,) of states (n, d) among all, from 0, shape (n,)."""
    scores = probe.scores(probe.features(states))
    return (~(scores <= scores.gather(1, tokens[:, None]))).sum(1)  # what is no number is no good rank


def calibrated(probe: LinearProbe, states: torch.Tensor, tokens: torch.Tensor) -> LinearProbe:
    """The probe with the temperature that makes held-out tokens (n,) likeliest: the Gaussian is too sure of itself.

    The loss is convex in 1 / temperature, so halving the range finds it.
    """
    scores = probe.scores(probe.features(states))

    def loss(index: int) -> float:
        return float(torch.nn.functional.cross_entropy(scores / float(_TEMPERATURES[index]), tokens))

    low, high = 0, len(_TEMPERATURES) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= loss(middle + 1) else (middle + 1, high)
    return replace(probe, temperature=_TEMPERATURES[low].clone().to(probe.mean.device), halves=probe.own_halves)
