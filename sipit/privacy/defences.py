"""Defences: how states are changed before they leave, and what an attacker who is told how makes of that.

A defence changes rows (T, d) and keeps their shape. Its attack says how likely each candidate's state is behind what
was released: by the density of the noise, or by applying the same change to the candidate and comparing up to rounding.
What is drawn afresh (noise, a permutation, a rotation) is a secret of the defence; everything else is told.

    def halved(rows, strength, known, generator):
        return rows * (1 - strength)

    mine = Defence("halved", (0.5,), halved)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from scipy import stats

from numerics.formats.rounding import round_to_bits
from proofs.arguments import number, shown
from proofs.errors import InvalidInput

_SHRINK = 1e-3  # of the mean variance, added to every variance
_HALVINGS = 50
_FAINTEST = 1e-100  # strengths below are read as this: far below every rounding, and nothing over it overflows


@dataclass(frozen=True, eq=False)
class Known:
    """What defence and attacker both know: held-out states (n, d), float64, and how far recomputed ones are off.

    `unit` is that in shares of their mean norm.
    """

    held_out: torch.Tensor
    unit: float
    _bounds: dict[float, float] = field(default_factory=dict[float, float], init=False, repr=False)

    @property
    def width(self) -> int:
        """Coordinates of a row."""
        return self.held_out.shape[1]

    @cached_property
    def mean_norm(self) -> float:
        """The mean norm of a row."""
        return float(self.held_out.norm(dim=1).mean())

    @cached_property
    def factor(self) -> torch.Tensor:
        """L with L L' the covariance of the rows, divided by its trace; shape (d, d)."""
        centred = self.held_out - self.held_out.mean(0)
        covariance = centred.T @ centred / len(centred)
        covariance += _SHRINK * covariance.diagonal().mean() * torch.eye(self.width, dtype=torch.float64)
        return torch.linalg.cholesky(covariance / covariance.trace())

    @cached_property
    def basis(self) -> torch.Tensor:
        """Principal directions of the rows, the largest first, shape (d, d), one a row."""
        return torch.linalg.svd(self.held_out, full_matrices=True).Vh

    @cached_property
    def order(self) -> torch.Tensor:
        """In which order coordinates are taken where a share of them is meant; told to the attacker."""
        return torch.randperm(self.width, generator=torch.Generator().manual_seed(1))

    @cached_property
    def directions(self) -> torch.Tensor:
        """Random orthonormal directions, shape (d, d), one a row; told to the attacker."""
        drawn = torch.randn(self.width, self.width, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        return torch.linalg.qr(drawn).Q.T

    def bound(self, strength: float) -> float:
        """Where held-out rows have to be cut to move by so much of their mean norm; looked for once."""
        if strength not in self._bounds:
            low, high = 0.0, float(self.held_out.abs().max())
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                cut = self.held_out.clamp(-middle, middle)
                moved = float((self.held_out - cut).norm(dim=1).mean()) / self.mean_norm
                low, high = (low, middle) if moved < strength else (middle, high)
            self._bounds[strength] = high
        return self._bounds[strength]

    def count(self, share: float) -> int:
        """How many coordinates a share of them is, at least one."""
        return max(1, min(self.width, round(share * self.width)))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What an attacker has at one position: the released row (d,), the rows before it, and the true states of those."""

    row: torch.Tensor
    before: torch.Tensor
    states_before: torch.Tensor


Change = Callable[[torch.Tensor, float, Known, torch.Generator], torch.Tensor]
Apart = Callable[[torch.Tensor, torch.Tensor, float, Known], torch.Tensor]
Likelihood = Callable[[Seen, torch.Tensor, float, Known], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Defence:
    """A defence by its name: the strengths that are tried, what it does, and how it is attacked.

    Attributes:
        apply: changes rows (T, d), float64, at a strength; keeps their shape.
        attack: log-likelihoods (C,) of candidate states (C, d), up to a constant; None applies the same change to the
            candidates and compares, which is right for whatever draws nothing.
        apart: for Gaussian noise: how many of its standard deviations candidates (C, d) lie from a row (d,), (C,);
            it gives the attack, and a bound of its error.
        range: the strengths that mean something, from the first (without it, if it is 0) to the last.
        whole: whether only whole numbers do.
        counts: what they are of the coordinates of a row: a "share", of which there is one coordinate at least, a
            "number", of which there are no more than it has; or nothing of the kind.
    """

    name: str
    strengths: tuple[float, ...]
    apply: Change
    attack: Likelihood | None = None
    apart: Apart | None = None
    range: tuple[float, float] = (0.0, math.inf)
    whole: bool = False
    counts: Literal["share", "number"] | None = None

    def check(self, given: float, width: int | None = None) -> None:
        """Raises InvalidInput for a strength that means nothing here, or nothing of rows of a width."""
        low, high = self.range
        strength = number(given)
        if strength is None or not (
            low <= strength <= high and 0 < strength < math.inf and (not self.whole or strength % 1 == 0)
        ):
            kind = "whole numbers" if self.whole else "numbers"
            start = f"from {low:g}" if low else "above 0"
            span = start if high == math.inf else f"{start} to {high:g}"
            raise InvalidInput(
                f"Expected {kind} {span} as strengths of {self.name}, but got {shown(given)}; correct it, or name "
                "defences whose strengths mean the same."
            )
        if width is not None and not self.fits(strength, width):
            few = "a share that is one of them at least" if self.counts == "share" else "no more than there are"
            raise InvalidInput(
                f"Expected of {width} coordinates {few} as strengths of {self.name}, but got {shown(given)}; name "
                f"{'larger' if self.counts == 'share' else 'smaller'} ones."
            )

    def fits(self, strength: float, width: int) -> bool:
        """Whether rows of so many coordinates can be changed so much: what is counted of them is there."""
        if self.counts is None:
            return True
        return round(strength * width) >= 1 if self.counts == "share" else strength <= width

    def likelihoods(self, seen: Seen, candidates: torch.Tensor, strength: float, known: Known) -> torch.Tensor:
        """How likely each candidate is, (C,), up to a constant."""
        if self.attack is not None:
            return self.attack(seen, candidates, strength, known)
        if self.apart is not None:
            return _gaussian_likelihoods(self.apart(seen.row, candidates, max(strength, _FAINTEST), known))
        changed = self.apply(candidates, strength, known, torch.Generator().manual_seed(0))
        return alike(seen.row, changed, known)

    def error_bound(self, state: torch.Tensor, others: torch.Tensor, strength: float, known: Known) -> float | None:
        """How often at most maximum likelihood takes one of others (C, d) for a state (d,).

        No attacker beats that on average. A union bound over the pairs, each exact; None for what is no Gaussian noise.
        """
        if self.apart is None:
            return None
        pairs = stats.norm.sf(self.apart(state, others, max(strength, _FAINTEST), known).numpy() / 2)
        return min(1.0, float(pairs.sum()))


def alike(row: torch.Tensor, candidates: torch.Tensor, known: Known) -> torch.Tensor:
    """Log-likelihoods where a released row is a candidate up to rounding."""
    return -((candidates - row).norm(dim=1) ** 2) / (2 * (known.unit * known.mean_norm) ** 2)


def _gaussian_likelihoods(apart: torch.Tensor) -> torch.Tensor:
    """Log-likelihoods of what lies so many standard deviations away, relative to the nearest.

    Squares of the distances themselves overflow far away, where all would then be alike.
    """
    nearest = apart.min()
    if not bool(nearest.isfinite()):
        return torch.zeros_like(apart)  # all are beyond every number: nothing is told
    return -(apart - nearest) * (apart + nearest) / 2


def _noise(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(rows.shape, generator=generator, dtype=torch.float64)


def _gaussian(rows: torch.Tensor, strength: float, known: Known, generator: torch.Generator) -> torch.Tensor:
    return rows + strength * known.mean_norm / known.width**0.5 * _noise(rows, generator)


def _apart_gaussian(row: torch.Tensor, candidates: torch.Tensor, strength: float, known: Known) -> torch.Tensor:
    return (candidates - row).norm(dim=1) * known.width**0.5 / (strength * known.mean_norm)


def _covariant(rows: torch.Tensor, strength: float, known: Known, generator: torch.Generator) -> torch.Tensor:
    return rows + strength * known.mean_norm * _noise(rows, generator) @ known.factor.T


def _apart_covariant(row: torch.Tensor, candidates: torch.Tensor, strength: float, known: Known) -> torch.Tensor:
    white = torch.linalg.solve_triangular(known.factor, (candidates - row).T, upper=False)
    return white.norm(dim=0) / (strength * known.mean_norm)


def _clip(rows: torch.Tensor, strength: float, known: Known, _generator: torch.Generator) -> torch.Tensor:
    bound = known.bound(strength)
    return rows.clamp(-bound, bound)


def _top(rows: torch.Tensor, strength: float, known: Known, _generator: torch.Generator) -> torch.Tensor:
    kept = rows.abs().topk(known.count(strength), dim=1).indices
    return torch.zeros_like(rows).scatter(1, kept, rows.gather(1, kept))


def _low_rank(rows: torch.Tensor, strength: float, known: Known, _generator: torch.Generator) -> torch.Tensor:
    kept = known.basis[: int(strength)]
    return rows @ kept.T @ kept


def _projection(rows: torch.Tensor, strength: float, known: Known, _generator: torch.Generator) -> torch.Tensor:
    kept = known.directions[: int(strength)]
    return rows @ kept.T @ kept


def _bits(rows: torch.Tensor, strength: float, _known: Known, _generator: torch.Generator) -> torch.Tensor:
    return round_to_bits(int(strength))(rows)


def _drop(rows: torch.Tensor, strength: float, known: Known, _generator: torch.Generator) -> torch.Tensor:
    changed = rows.clone()
    changed[:, known.order[: known.count(strength)]] = 0
    return changed


def _permute(rows: torch.Tensor, strength: float, known: Known, generator: torch.Generator) -> torch.Tensor:
    moved = known.order[: known.count(strength)]
    changed = rows.clone()
    changed[:, moved] = rows[:, moved[torch.randperm(len(moved), generator=generator)]]
    return changed


def _behind_permutation(seen: Seen, candidates: torch.Tensor, strength: float, known: Known) -> torch.Tensor:
    """A permutation leaves the values: they are compared in their order."""
    moved = known.order[: known.count(strength)]
    row, changed = seen.row.clone(), candidates.clone()
    row[moved], changed[:, moved] = row[moved].sort().values, changed[:, moved].sort(dim=1).values
    return alike(row, changed, known)


def _rotate(rows: torch.Tensor, strength: float, known: Known, generator: torch.Generator) -> torch.Tensor:
    moved = known.order[: known.count(strength)]
    drawn = torch.randn(len(moved), len(moved), generator=generator, dtype=torch.float64)
    changed = rows.clone()
    changed[:, moved] = rows[:, moved] @ torch.linalg.qr(drawn).Q
    return changed


def _behind_rotation(seen: Seen, candidates: torch.Tensor, strength: float, known: Known) -> torch.Tensor:
    """A rotation leaves norms and inner products with the rows before: they are compared."""
    moved, still = known.order[: known.count(strength)], known.order[known.count(strength) :]
    row, part = seen.row[moved], candidates[:, moved]
    observed = torch.cat([row.norm()[None], seen.before[:, moved] @ row / known.mean_norm])
    made = torch.cat([part.norm(dim=1)[:, None], part @ seen.states_before[:, moved].T / known.mean_norm], dim=1)
    return alike(torch.cat([observed, seen.row[still]]), torch.cat([made, candidates[:, still]], dim=1), known)


_RELATIVE, _SHARES, _RANKS = (0.01, 0.1, 0.3, 1.0, 3.0), (0.05, 0.1, 0.25, 0.5, 1.0), (1, 2, 4, 16, 64)
DEFENCES: dict[str, Defence] = {
    one.name: one
    for one in (
        Defence("gaussian", _RELATIVE, _gaussian, apart=_apart_gaussian),
        Defence("covariant", _RELATIVE, _covariant, apart=_apart_covariant),
        Defence("clip", (0.01, 0.1, 0.3, 0.6, 0.9), _clip, range=(0, 1)),
        Defence("top-k", _SHARES, _top, range=(0, 1), counts="share"),
        Defence("low-rank", _RANKS, _low_rank, range=(1, math.inf), whole=True, counts="number"),
        Defence("projection", _RANKS, _projection, range=(1, math.inf), whole=True, counts="number"),
        Defence("bits", (8, 6, 4, 3, 2), _bits, range=(2, 52), whole=True),
        Defence("drop", (0.25, 0.5, 0.75, 0.9, 0.99), _drop, range=(0, 1), counts="share"),
        Defence("permute", _SHARES, _permute, _behind_permutation, range=(0, 1), counts="share"),
        Defence("rotate", _SHARES, _rotate, _behind_rotation, range=(0, 1), counts="share"),
    )
}


def released(defence: Defence, rows: torch.Tensor, strength: float, known: Known, generator: torch.Generator) -> Any:
    """What leaves of rows (T, d).

    Raises:
        InvalidInput: the defence changes their shape, or makes something that is not finite.
    """
    changed: Any = defence.apply(rows.clone(), strength, known, generator)
    shape, wanted = tuple(getattr(changed, "shape", ())), tuple(rows.shape)
    if shape != wanted:
        raise InvalidInput(
            f"Expected states of shape {wanted} from the defence {defence.name!r}, but got shape {shape}; map what it "
            "makes back to the states' own coordinates."
        )
    if not bool(torch.isfinite(changed).all()):
        raise InvalidInput(
            f"Expected finite states from the defence {defence.name!r}, but got NaN or infinity at strength "
            f"{strength:g}; name other strengths."
        )
    return changed
