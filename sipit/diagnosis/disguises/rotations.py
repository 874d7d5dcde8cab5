"""Rows times one secret rotation: it keeps every inner product (arXiv 2507.05228, 2603.05035).

With the rows before settled, what is left of a row are its coordinates in the space that they span and its distance
from it: a token fits if its state has the same. At the first row that is the length alone, so several prompts are
followed until one is left. Rows of prompts before it that had the same rotation are settled rows, too.
"""

from dataclasses import dataclass

import torch

from sipit.diagnosis.disguises.evidence import ENOUGH, Undone, Vocabulary, by_chance
from sipit.diagnosis.findings import TOO_LITTLE

_APART = 0.1  # relative distance of a row from the span of others below which it is not added to them
_FOLLOWED = 64  # prompts followed at once; where more fit, none is named


@dataclass(frozen=True, slots=True)
class Settled:
    """Rows (n, d) behind a rotation and the states (n, d) that they are."""

    rows: torch.Tensor
    states: torch.Tensor

    def with_row(self, row: torch.Tensor, state: torch.Tensor) -> "Settled":
        """The same with one more, unless it lies so near to their span that rounding decides where it points."""
        if float(_seen_from(self.rows, row[None])[1]) <= _APART * float(row.norm()):
            return self
        return Settled(torch.cat([self.rows, row[None]]), torch.cat([self.states, state[None]]))

    def distances(self, row: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The relative distance of a row (d,) from each state (V, d) after the best rotation that keeps these."""
        inside, outside = _seen_from(self.rows, row[None])
        others, beyond = _seen_from(self.states, states)
        return ((others - inside).square().sum(1) + (beyond - outside).square()).sqrt() / row.norm()


@dataclass(frozen=True, slots=True)
class _Path:
    """A prompt that fits so far, with the residual of every row, and how near the nearest token came that was left."""

    settled: Settled
    tokens: tuple[int, ...] = ()
    residuals: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()

    def longer(
        self, vocabulary: Vocabulary, row: torch.Tensor, states: torch.Tensor, apart: torch.Tensor,
        near: torch.Tensor, token: int,
    ) -> "_Path":  # fmt: skip
        """The same with a row of that token, one of those near."""
        left = apart[~torch.isin(vocabulary.classes, near)]
        margin = float(left.min()) if len(left) else float("inf")
        return _Path(
            self.settled.with_row(row, states[token]),
            (*self.tokens, token),
            (*self.residuals, float(apart[token])),
            (*self.margins, margin),
        )


def _seen_from(base: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates (n, k) of points (n, d) in the span of a base (k, d), orthonormal, and how far beyond they lie."""
    if not len(base):
        return points[:, :0], points.norm(dim=1)
    orthonormal, triangle = torch.linalg.qr(base.T)
    orthonormal = orthonormal * torch.where(triangle.diagonal() < 0, -1.0, 1.0)
    inside = points @ orthonormal
    return inside, (points - inside @ orthonormal.T).norm(dim=1)


def undo_rotation(vocabulary: Vocabulary, rows: torch.Tensor, known: Settled | None) -> tuple[Undone, Settled] | str:
    """The prompt of rows (T, d) behind a rotation, and its rows as settled ones, or why it stays unknown.

    Args:
        known: settled rows of other prompts, if the rotation is said to be theirs.
    """
    first = vocabulary.behind(())
    rows = rows.to(first)
    begin = known if known is not None else Settled(first[:0], first[:0])
    lengths = first.norm(dim=1)
    relative = 4 * vocabulary.tolerance * float(lengths.mean() / lengths.std().clamp_min(1e-12))
    chance, died = 1.0, float("inf")
    followed = [_Path(begin)]
    for position, row in enumerate(rows):
        chance *= by_chance(len(first), len(followed[0].settled.rows) + 1, relative)
        longer: list[_Path] = []
        for path in followed:
            states = vocabulary.behind(path.tokens)
            apart = path.settled.distances(row, states)
            near = vocabulary.near(apart)
            died = died if len(near) else min(died, float(apart.min()))
            longer += [path.longer(vocabulary, row, states, apart, near, token) for token in near.tolist()]
        if not longer:
            return f"no token's inner products with the rows before are those of row {position}"
        if len(longer) > _FOLLOWED:
            return f"more than {_FOLLOWED} prompts have the inner products of the first {position + 1} rows"
        followed = longer
    if len(followed) > 1:
        return f"{len(followed)} prompts have the same inner products"
    if chance > ENOUGH:
        return f"the inner products of {len(rows)} rows are {TOO_LITTLE} prompts apart"
    (path,) = followed
    margins = tuple(min(margin, died) for margin in path.margins)
    kind = "a rotation of its own" if known is None else "the rotation of a prompt before it"
    return Undone(kind, path.tokens, path.residuals, margins, tuple(range(len(rows)))), path.settled
