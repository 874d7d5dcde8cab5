"""The vocabulary behind a prefix, and when what a disguise leaves is enough to tell its tokens apart.

A disguise leaves some numbers of every row: its sorted values, or its inner products with other rows. A token fits if
its own numbers lie within the tolerance. That says something only where chance would hardly let any prompt fit:
`by_chance` counts how many would, if the numbers of wrong tokens were spread as those of the vocabulary are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from sipit.inversion.decision import fits, limit
from sipit.inversion.first_states import FirstStates
from sipit.inversion.policies.outlook import Outlook
from sipit.models.network import Network
from sipit.observations.network import expectation
from sipit.prefix.choice import single_opener
from sipit.prefix.kinds import Prefix

ENOUGH = 1e-6  # prompts that chance may let fit before one that fits is believed
RUNS = 2**16  # tokens that are run for one prompt where the whole vocabulary is tested at every row
MOST = 2**17  # tokens that are run behind the first of one prompt where it is not
HELD = 2**31  # bytes of the states of all tokens at the first position, beyond which a disguise is not tried
_LIKELIEST = 128  # tokens of the first batch behind a prefix
RIVALS = 8  # nearest embedding rows that are tested beside a token, where not all tokens are
_GROWTH = 4  # each further batch is this many times as large
_PIECE = 1024  # tokens that run together


@dataclass(frozen=True, slots=True)
class Undone:
    """A prompt behind a disguise: the tokens of the first rows, and for each its residual and that of its rival.

    `order` are the numbers of the rows in the order of the prompt; `coordinates` say of every observed coordinate
    which one it is, where the disguise is a choice of them.
    """

    kind: str
    token_ids: tuple[int, ...]
    residuals: tuple[float, ...]
    margins: tuple[float, ...]
    order: tuple[int, ...]
    coordinates: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Following:
    """Tokens (n,) that may come next, and their states (n, d) in float64."""

    tokens: torch.Tensor
    states: torch.Tensor


@dataclass
class Vocabulary:
    """The tokens that may come next behind a prefix, with their states, and how they are compared.

    At the first position these are all there are. At later ones as well where that takes at most `RUNS` runs for the
    `length` rows of a prompt; else the likeliest first, in batches that grow, `MOST` of them in all.
    """

    network: Network
    tolerance: float
    length: int

    def __post_init__(self) -> None:
        model = self.network.model
        self.tokens = torch.arange(model.vocabulary_size, device=model.device)
        self.classes = model.token_classes
        self.whole = len(self.tokens) * self.length <= RUNS
        self.left = MOST
        expected = expectation(model)
        self._outlook = None if self.whole or expected is None else Outlook(expected)

    @cached_property
    def first(self) -> Following:
        """Every token at the first position."""
        kept = FirstStates.of(self.network)
        if kept is None:
            return Following(self.tokens, self._opened(()).candidates(self.tokens * 0, self.tokens).double())
        missing = self.tokens[~kept.known]
        for some in missing.split(_PIECE) if len(missing) else ():
            kept.enter(some * 0, some, self._opened(()).candidates(some * 0, some))
        return Following(self.tokens, kept.table.double())

    def behind(self, prefix: tuple[int, ...], *orders: torch.Tensor) -> Iterator[Following]:
        """Batches of the tokens behind a prefix, likeliest first, until the runs are used up.

        Args:
            prefix: the tokens before, at least one.
            *orders: all tokens (V,) in orders that speak for them, best first; the model's own expectation is another.
        """
        opened = self._opened(prefix)
        if self.whole:
            yield self._states(opened, prefix, self.tokens)
            return
        ordered, size = self._ordered(prefix, orders), _LIKELIEST
        while len(ordered) and self.left > 0:
            some, ordered = ordered[: min(size, self.left)], ordered[min(size, self.left) :]
            self.left -= len(some)
            size *= _GROWTH
            yield self._states(opened, prefix, some)

    def again(self, prefix: tuple[int, ...], tokens: torch.Tensor) -> Following:
        """Some tokens behind a prefix."""
        return self._states(self._opened(prefix), prefix, tokens)

    def with_rivals(self, tokens: list[int]) -> torch.Tensor:
        """Tokens, and those whose embedding rows are nearest to theirs, each once."""
        named = self.tokens.new_tensor(tokens)
        return torch.cat([named, *self.network.model.nearest_rows(named, RIVALS)]).unique()

    def _opened(self, prefix: tuple[int, ...]) -> Prefix:
        opened = single_opener(self.network)(self.network)
        if prefix:
            opened.extend(0, torch.tensor([prefix], device=self.tokens.device))
            opened.keep(0)
        return opened

    def _states(self, opened: Prefix, prefix: tuple[int, ...], tokens: torch.Tensor) -> Following:
        parts = [opened.candidates(torch.full_like(some, len(prefix)), some) for some in tokens.split(_PIECE)]
        return Following(tokens, torch.cat(parts).double())

    def _ordered(self, prefix: tuple[int, ...], orders: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """All tokens by the best of their ranks."""
        if self._outlook is not None:
            expected = self._outlook.behind(self.tokens.new_tensor(prefix))
            orders = (*orders, expected.argsort(descending=True, stable=True))
        if not orders:
            return self.tokens
        return torch.stack([order.argsort() for order in orders]).amin(0).argsort(stable=True)

    def near(self, distances: torch.Tensor, tokens: torch.Tensor) -> list[int]:
        """The places of tokens (n,) within the tolerance that the nearest of them does not rule out, one of a class."""
        nearest = float(distances.min())
        if not fits(nearest, self.tolerance):
            return []
        places = (distances <= limit(nearest, self.tolerance)).nonzero().flatten()
        by_class: dict[int, int] = {}
        for of, place in zip(self.classes[tokens[places]].tolist(), places.tolist(), strict=True):
            by_class.setdefault(of, place)
        return list(by_class.values())

    def margin(self, distances: torch.Tensor, tokens: torch.Tensor, token: int) -> float:
        """The distance of the nearest of the tokens that is of another class than one."""
        rivals = distances[self.classes[tokens] != self.classes[token]]
        return float(rivals.min()) if len(rivals) else float("inf")


def by_chance(tokens: int, numbers: int, relative: float) -> float:
    """How many of so many tokens fit by chance: each of `numbers` within the share `relative` of its spread."""
    return tokens * min(1.0, relative) ** numbers
