"""Rows times one secret rotation: it keeps every inner product (arXiv 2507.05228, 2603.05035).

With the rows before settled, what is left of a row are its coordinates in the space that they span and its distance
from it: a token fits if its state has the same. At the first row that is the length alone, so several prompts are
followed until one is left. Rows of prompts before it that had the same rotation are settled rows, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from sipit.diagnosis.disguises.evidence import ENOUGH, MOST, Following, Undone, Vocabulary, by_chance
from sipit.diagnosis.findings import CUT_SHORT, TOO_LITTLE
from sipit.inversion.decision import accepted, limit

_APART = 0.1  # relative distance of a row from the span of others below which it is not added to them
_FOLLOWED = 64  # prompts followed at once; where more fit, none is named


@dataclass(frozen=True, slots=True, eq=False)
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
    """A prompt that fits so far; for every row its residual, and how near the nearest token came that was left out."""

    settled: Settled
    tokens: tuple[int, ...] = ()
    residuals: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()

    def longer(self, row: torch.Tensor, token: int, state: torch.Tensor, apart: float, left: float) -> "_Path":
        """The same with a row of that token, so far from its state; the nearest token left out is `left` far."""
        return _Path(
            self.settled.with_row(row, state),
            (*self.tokens, token),
            (*self.residuals, apart),
            (*self.margins, left),
        )


@dataclass(eq=False)
class _Front:
    """A path, what may follow it, the tokens tested that may fit, and how near the nearest other one came."""

    path: _Path
    following: Iterator[Following]
    left: float = float("inf")
    near: list[tuple[float, int, torch.Tensor]] = field(default_factory=list[tuple[float, int, torch.Tensor]])

    def test(self, vocabulary: Vocabulary, row: torch.Tensor, following: Following) -> None:
        """Enters tokens as those that may come next."""
        apart = self.path.settled.distances(row, following.states)
        may = apart <= limit(vocabulary.tolerance, vocabulary.tolerance)
        self.left = min([self.left, *apart[~may].tolist()])
        for at in may.nonzero().flatten().tolist():
            self.near.append((float(apart[at]), int(following.tokens[at]), following.states[at]))

    def fitting(self, vocabulary: Vocabulary) -> list[tuple[float, int, torch.Tensor]]:
        """The tokens tested that fit and that the nearest does not rule out, one of a class."""
        if not self.near:
            return []
        distances = torch.tensor([apart for apart, _, _ in self.near], dtype=torch.float64)
        tokens = torch.tensor([token for _, token, _ in self.near], device=vocabulary.tokens.device)
        return [self.near[place] for place in vocabulary.near(distances, tokens)]

    def longer(self, vocabulary: Vocabulary, row: torch.Tensor) -> list[_Path]:
        """The paths with a row more."""
        classes, fitting = vocabulary.classes, self.fitting(vocabulary)
        own = {int(classes[token]) for _, token, _ in fitting}
        left = min([self.left, *(apart for apart, token, _ in self.near if int(classes[token]) not in own)])
        return [self.path.longer(row, int(classes[token]), state, apart, left) for apart, token, state in fitting]


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
    first = vocabulary.first
    rows = rows.to(first.states)
    begin = known if known is not None else Settled(first.states[:0], first.states[:0])
    lengths = first.states.norm(dim=1)
    relative = 4 * vocabulary.tolerance * float(lengths.mean() / lengths.std().clamp_min(1e-12))
    chance, died = 1.0, float("inf")
    followed = [_Path(begin)]
    for position, row in enumerate(rows):
        chance *= by_chance(len(lengths), len(followed[0].settled.rows) + 1, relative)
        fronts = [_Front(path, vocabulary.behind(path.tokens) if path.tokens else iter([first])) for path in followed]
        followed = _longer(vocabulary, row, fronts)
        died = min([died, *(front.left for front in fronts)])
        if not followed:
            ended = "" if vocabulary.left > 0 else f" among the {MOST} {CUT_SHORT}"
            return f"no token's inner products with the rows before are those of row {position}{ended}"
        if len(followed) > _FOLLOWED:
            return f"more than {_FOLLOWED} prompts have the inner products of the first {position + 1} rows"
    if len(followed) > 1:
        return f"{len(followed)} prompts have the same inner products"
    if chance > ENOUGH:
        return f"the inner products of {len(rows)} rows are {TOO_LITTLE} prompts apart"
    (path,) = followed
    margins = tuple(min(margin, died) for margin in path.margins)
    if not all(accepted(*both, vocabulary.tolerance) for both in zip(path.residuals, margins, strict=True)):
        return "another prompt has nearly the same inner products"
    kind = "a rotation of its own" if known is None else "the rotation of a prompt before it"
    return Undone(kind, path.tokens, path.residuals, margins, tuple(range(len(rows)))), path.settled


def _longer(vocabulary: Vocabulary, row: torch.Tensor, fronts: list[_Front]) -> list[_Path]:
    """The paths with a row more: a batch of tokens behind each, and further ones till some path goes on.

    What one goes on with is tested behind all, with the nearest embedding rows: in the batches to come there may be
    tokens that fit as well.
    """
    under_way, fitting = list(fronts), list[int]()
    while under_way and not fitting:
        for front in list(under_way):
            following = next(front.following, None)
            if following is None:
                under_way.remove(front)
            else:
                front.test(vocabulary, row, following)
        fitting = [token for front in fronts for _, token, _ in front.fitting(vocabulary)]
    if not vocabulary.whole and fronts[0].path.tokens and 0 < len(fitting) <= _FOLLOWED:
        tokens = vocabulary.with_rivals(fitting)
        for front in fronts:
            front.test(vocabulary, row, vocabulary.again(front.path.tokens, tokens))
    return [path for front in fronts for path in front.longer(vocabulary, row)]
