"""Which embedding rows lie nearest to a token's own: the rivals that are likeliest to have its states.

Rows that point nearly the same way count as near as well, however long they are: a norm behind the embedding, of the
root mean square or of all moments, makes one row of them. An order by products alone would be decided by rounding among
rows that lie close together, so all that may be among the nearest are compared exactly.
"""

from functools import cached_property

import torch

_ALONG = 0.01  # squared distance of centred directions, below which a row counts as near by its direction
_AT_ONCE = 64  # tokens whose rows are multiplied with the table together
_SQUARED = 8192  # rows that are squared together
_MOST = 4096  # rows that are compared exactly for one token
_TINY = 1e-30


class NearRows:
    """The nearest rows of a table (V, e), found token by token as they are asked for, and remembered.

    `classes` (V,) are those of tokens with identical rows, of which none is another's rival.
    """

    def __init__(self, rows: torch.Tensor, classes: torch.Tensor) -> None:
        self._rows, self._classes = rows, classes
        self._found: dict[int, tuple[int, torch.Tensor]] = {}

    def of(self, tokens: torch.Tensor, count: int) -> list[torch.Tensor]:
        """For each token (n,) so many of other classes, the nearest first; fewer where there are no more."""
        wanted = tokens.tolist()
        missing = [token for token in dict.fromkeys(wanted) if self._found.get(token, (-1, tokens))[0] < count]
        for start in range(0, len(missing), _AT_ONCE):
            part = missing[start : start + _AT_ONCE]
            apart = self._apart(torch.tensor(part, device=self._rows.device))
            self._found.update(
                (token, (count, self._nearest(token, row, count))) for token, row in zip(part, apart, strict=True)
            )
        return [self._found[token][1][:count] for token in wanted]

    @cached_property
    def _squares(self) -> torch.Tensor:
        """The squared norms (V,), some rows at a time: no copy of the table is made."""
        return torch.cat([rows.float().square().sum(1) for rows in self._rows.split(_SQUARED)])

    @cached_property
    def _means(self) -> torch.Tensor:
        return self._rows.mean(1, dtype=torch.float32)

    @cached_property
    def _lengths(self) -> torch.Tensor:
        """The norms (V,) of the rows less their means."""
        return (self._squares - self._rows.shape[1] * self._means.square()).clamp_min(0).sqrt()

    @cached_property
    def _error(self) -> float:
        """By how much a product of two rows may be off, relative to their norms."""
        rounded = torch.finfo(self._rows.dtype).eps
        return 4 * (rounded + self._rows.shape[1] ** 0.5 * torch.finfo(torch.float32).eps)

    def _apart(self, tokens: torch.Tensor) -> torch.Tensor:
        """Squared relative distances (n, V) as products have them, of rows or of directions, whichever is less."""
        width = self._rows.shape[1]
        products = (self._rows[tokens] @ self._rows.T).float()
        own = self._squares[tokens, None]
        apart = (own + self._squares - 2 * products).clamp_min(0) / own.clamp_min(_TINY)
        scale = self._lengths[tokens, None] * self._lengths
        cosines = (products - width * self._means[tokens, None] * self._means) / scale.clamp_min(_TINY)
        along = 2 - 2 * cosines
        near = (along <= _ALONG + 2 * self._error) & (scale > 0)
        return torch.where(near, torch.minimum(apart, along.clamp_min(0)), apart)

    def _nearest(self, token: int, apart: torch.Tensor, count: int) -> torch.Tensor:
        """The nearest of one token by its distances (V,); what rounding may have put elsewhere is compared exactly."""
        apart = apart.masked_fill(self._classes == self._classes[token], torch.inf)
        least = apart.topk(min(count, len(apart)), largest=False).values
        least = least[least.isfinite()]
        if not len(least):
            return self._classes[:0]
        may = (apart <= least[-1] + 4 * self._error).nonzero().flatten()
        may = may[apart[may].argsort(stable=True)][: max(_MOST, count)]
        own, others = self._rows[token].double(), self._rows[may].double()
        exact = (others - own).norm(dim=1) / own.norm().clamp_min(_TINY)
        one, several = own - own.mean(), others - others.mean(1, keepdim=True)
        lengths = several.norm(dim=1)
        along = (several / lengths.clamp_min(_TINY)[:, None] - one / one.norm().clamp_min(_TINY)).norm(dim=1)
        near = (along.square() <= _ALONG) & (lengths > 0) & (one.norm() > 0)
        return may[torch.where(near, torch.minimum(exact, along), exact).argsort(stable=True)[:count]]
