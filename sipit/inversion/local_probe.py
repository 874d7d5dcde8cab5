"""A probe for one position, learned from the candidates that were tested there and did not fit.

They stand behind the very prefix that a probe of the whole model cannot know, so their states differ by the token
alone: x = (h - mean) / scale is near A'e_v, for the rows e_v that stand for tokens (`sipit.inversion.token_rows`), the
better the less a token counts in what attention averages. A comes of ridge regression, and tokens are scored by
x.A'e_v - |A'e_v|^2/2: a step of Newton's behind the known prefix, with a derivative that costs no run of its own.
What was tested at the positions before goes in too, while a token counts about as much there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

_FEWEST = 256  # candidates, earlier positions counted, from which an order comes of them
_MEAN_OF = 8  # candidates at the position itself, from which the others are compared with their mean
_MOST, _EARLIER = 8192, 2048  # rows that are learned from at most, of a position and of those before
_NUMBERS = 2**24  # that the former hold at most
_RIDGE = 0.5  # strength, in mean squares of the rows
_LENGTHS = 64  # directions in which the lengths of A'e_v are measured
_SEED = 20251127

_Spread = tuple[int, torch.Tensor, torch.Tensor]  # a position, tokens (n,), and states (n, d) about their mean


@dataclass(eq=False)
class LocalProbe:
    """Tokens (n,) that were tested at a position, their states (n, d), the observed one (d,), and earlier positions.

    Of those the states are kept less their mean, in units of how far they spread.
    """

    position: int
    observed: torch.Tensor
    tokens: torch.Tensor
    states: torch.Tensor
    earlier: list[_Spread] = field(default_factory=list[_Spread])

    @classmethod
    def at(cls, position: int, observed: torch.Tensor, before: "LocalProbe | None") -> "LocalProbe":
        """An empty one for a position with an observed state (d,), behind that of an earlier position, if there is one.

        Attention weighs a token behind n others by about 1/(n + 1): of positions where that is more than twice as much
        as here, nothing is taken over.
        """
        known = [] if before is None else [*before.earlier, before._spread_out()]
        kept, room = list[_Spread](), min(_EARLIER, _room(len(observed)))
        for place, tokens, spread in reversed(known):
            if place < position < 2 * place + 2 and room > 0:
                kept.append((place, tokens[:room], spread[:room]))
                room -= len(tokens)
        none = torch.zeros(0, dtype=torch.long, device=observed.device)
        return cls(position, observed.float(), none, observed.new_zeros(0, len(observed)).float(), kept)

    def add(self, tokens: torch.Tensor, states: torch.Tensor) -> None:
        """Enters candidates (n,) with their states (n, d); what is not finite says nothing."""
        new = states.isfinite().all(1).nonzero().flatten()[: _room(len(self.observed)) - len(self.tokens)]
        self.tokens = torch.cat([self.tokens, tokens[new]])
        self.states = torch.cat([self.states, states[new].float()])

    @property
    def full(self) -> bool:
        """Whether further candidates are not learned from."""
        return len(self.tokens) == _room(len(self.observed))

    def seen_through(self, view: Callable[[torch.Tensor], torch.Tensor]) -> "LocalProbe":
        """The same of what a linear map makes of the states."""
        earlier = [(place, tokens, view(spread)) for place, tokens, spread in self.earlier]
        return replace(self, observed=view(self.observed), states=view(self.states), earlier=earlier)

    def scores(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Scores (V,) of all tokens, with the rows (V, e) that stand for them: of this position, and with earlier ones.

        Fewer where too little was tested, or what it says is no number.
        """
        if len(self.tokens) < _MEAN_OF:
            return []
        here = self._spread_out()
        groups = [[here], [here, *self.earlier]] if self.earlier else [[here]]
        found = [self._learned(some, rows) for some in groups if sum(len(tokens) for _, tokens, _ in some) >= _FEWEST]
        return [scores for scores in found if scores is not None and bool(scores.isfinite().all())]

    def _learned(self, groups: list[_Spread], rows: torch.Tensor) -> torch.Tensor | None:
        """Scores (V,) by what some positions show; None where rows are too large to be multiplied."""
        # What was tested is no fair sample: rows are taken about the mean of their own position, as states are.
        inputs = torch.cat([rows[tokens] - rows[tokens].mean(0) for _, tokens, _ in groups])
        x = torch.cat([spread for _, _, spread in groups])
        scale = x.std(0).clamp_min(torch.finfo(x.dtype).tiny)
        few = len(inputs) < inputs.shape[1]  # then the dual form is the smaller one
        gram = inputs @ inputs.T if few else inputs.T @ inputs
        gram.diagonal().add_(_RIDGE * inputs.square().sum(1).mean())
        factor, failed = torch.linalg.cholesky_ex(gram)
        if int(failed):
            return None
        directions = x / scale
        decode = (
            inputs.T @ torch.cholesky_solve(directions, factor)
            if few
            else torch.cholesky_solve(inputs.T @ directions, factor)
        )
        seen = (self.observed - self.states.mean(0)) / self._size() / scale
        leading = _leading(decode)
        lengths = (rows @ leading - rows[self.tokens].mean(0) @ leading).square().sum(1)
        return rows @ (decode @ seen) - lengths / 2

    def _spread_out(self) -> _Spread:
        return self.position, self.tokens, (self.states - self.states.mean(0)) / self._size()

    def _size(self) -> torch.Tensor:
        size = (self.states - self.states.mean(0)).square().sum(1).mean().sqrt()
        return size.clamp_min(torch.finfo(size.dtype).tiny)


def _room(width: int) -> int:
    """How many rows of a width are learned from."""
    return min(_MOST, _NUMBERS // max(1, width))


def _leading(decode: torch.Tensor) -> torch.Tensor:
    """Of a map (e, d) what it does in the directions (e, k) in which it does most: two steps of subspace iteration."""
    count = min(_LENGTHS, *decode.shape)
    basis = torch.randn(decode.shape[1], count, generator=torch.Generator().manual_seed(_SEED)).to(decode)
    for _ in range(2):
        basis = torch.linalg.qr(decode.T @ (decode @ basis)).Q
    return decode @ basis
