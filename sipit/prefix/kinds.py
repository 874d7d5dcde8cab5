"""States of candidate tokens behind a working prompt, sharing what can be shared.

`extend` runs the working prompt once; `candidates` then gives F(v; pi, t) = h^l_t(pi v) for many pairs (t, v) in one
batch, where pi is the working prompt up to t. With a key-value cache each row gets the keys of its own prefix, aligned
to the right behind padding, which is the layout that every attention scheme of `transformers` understands (learned,
rotary and ALiBi positions, sliding windows). Models without such a cache have every row run with its whole prefix:
slower, and right for any causal model. `sipit.prefix.choice` tries which of them a model allows.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from sipit.models.network import Network
from sipit.prefix.compared import LOWEST, Shifted

MEMORY = 2**30  # bytes that one batch of candidates may take


class Prefix(Protocol):
    """A working prompt that can be extended, cut back, and tried with other tokens at any of its positions."""

    network: Network

    @property
    def prompt(self) -> torch.Tensor:
        """The working prompt, ids (T,)."""
        ...

    def extend(self, start: int, drafts: torch.Tensor) -> torch.Tensor:
        """Cuts the working prompt to `start` tokens and runs drafts (B, n) behind it; their states (B, n, d)."""
        ...

    def keep(self, row: int) -> None:
        """Makes one of the drafts just run the working prompt."""
        ...

    def candidates(self, positions: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """States of candidate n in place of token positions[n] of the working prompt, shape (N, d)."""
        ...

    def embedded(self, position: int, token: int, embedding: torch.Tensor) -> torch.Tensor:
        """The state (d,) at a position of the working prompt if `token` stood there and had this embedding row (e,).

        It can be differentiated by the embedding.
        """
        ...


class RecomputedPrefix:
    """Runs every row with its whole prefix, padded to the right; later tokens cannot change an earlier state."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._drafts = torch.zeros(1, 0, dtype=torch.long, device=network.model.device)
        self._prompt = self._drafts[0]

    @property
    def prompt(self) -> torch.Tensor:
        """See `Prefix.prompt`."""
        return self._prompt

    def extend(self, start: int, drafts: torch.Tensor) -> torch.Tensor:
        """See `Prefix.extend`."""
        self._drafts = torch.cat([self._prompt[:start].expand(len(drafts), -1), drafts], dim=1)
        return self.network.run(self._drafts)[:, start:]

    def keep(self, row: int) -> None:
        """See `Prefix.keep`."""
        self._prompt = self._drafts[row]

    def candidates(self, positions: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """See `Prefix.candidates`."""
        width, model = self.network.width, self.network.model
        length = int(positions.max()) + 1
        states: list[torch.Tensor] = []
        # An MLP is about 4 d wide, a gated one twice; states and projections come on top, and what is observed.
        for rows in chunks(len(positions), length * (16 * model.width + width) * model.dtype.itemsize):
            at, token = positions[rows], token_ids[rows]
            longest = int(at.max()) + 1
            ids = torch.zeros(len(at), longest, dtype=torch.long, device=token.device)
            known = min(longest, len(self._prompt))
            ids[:, :known] = self._prompt[:known]
            ids.scatter_(1, at[:, None], token[:, None])
            run = self.network.run(ids)
            states.append(run.gather(1, at[:, None, None].expand(-1, 1, width))[:, 0])
        return torch.cat(states)

    def embedded(self, position: int, token: int, embedding: torch.Tensor) -> torch.Tensor:
        """See `Prefix.embedded`."""
        ids = torch.cat([self._prompt[:position], self._prompt.new_tensor([token])])
        return self.network.run_embeddings(ids[None], embedding[None])[0]


class CachedPrefix:
    """Keeps keys and values of the working prompt; a candidate costs one token.

    Candidates of several positions stand in rows that end together. Where that puts them farther behind their positions
    than any were seen to stand harmlessly, some are run alone as well; where these differ, each position runs alone.
    Without `padding` each does so from the beginning. `padded` is what is known of it.
    """

    def __init__(self, network: Network, *, padding: bool = True) -> None:
        self.network = network
        self.padded = Shifted(agrees=padding)
        self._cache = DynamicCache()
        self._tokens = torch.zeros(1, 0, dtype=torch.long, device=network.model.device)

    @property
    def prompt(self) -> torch.Tensor:
        """See `Prefix.prompt`."""
        return self._tokens[0]

    def extend(self, start: int, drafts: torch.Tensor) -> torch.Tensor:
        """See `Prefix.extend`."""
        rows, length = drafts.shape
        self._tokens = behind(self._tokens, start, drafts)
        self._select(lambda stored: stored[:, :, :start].expand(rows, -1, -1, -1))
        positions = torch.arange(start, start + length, device=drafts.device).expand(rows, -1)
        return self.network.run(drafts, memory=self._cache, positions=self.positions(positions))

    def keep(self, row: int) -> None:
        """See `Prefix.keep`."""
        self._tokens = self._tokens[row : row + 1]
        self._select(lambda stored: stored[row : row + 1])

    def _select(self, part: Callable[[torch.Tensor], torch.Tensor]) -> None:
        layers: list[Any] = self._cache.layers
        for layer in layers:
            if layer.is_initialized:
                layer.keys, layer.values = part(layer.keys), part(layer.values)

    def candidates(self, positions: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """See `Prefix.candidates`."""
        order = torch.argsort(positions, stable=True)  # rows of like length share a batch and little padding
        states: list[torch.Tensor] = []
        for rows in chunks(len(order), self._row_bytes(int(positions.max()) + 1)):
            chosen = order[rows]
            states.append(self._run_rows(positions[chosen], token_ids[chosen]))
        return torch.cat(states)[torch.argsort(order)]

    def embedded(self, position: int, token: int, embedding: torch.Tensor) -> torch.Tensor:
        """See `Prefix.embedded`."""
        at = torch.tensor([[position]], device=embedding.device)
        layers: list[Any] = [_PrefixLayer(layer, position, None, differentiable=True) for layer in self._cache.layers]
        return self.network.run_embeddings(
            torch.full_like(at, token),
            embedding[None],
            memory=Cache(layers=layers) if position else None,
            positions=self.positions(at),
        )[0]

    def _run_rows(self, positions: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """States of candidates, their positions ascending: in one batch, or in one for every position."""
        if int(positions[0]) == int(positions[-1]):
            return self._run_aligned(positions, token_ids)
        if self.padded.agrees:
            states = self._run_aligned(positions, token_ids)
            if self._as_alone(positions, token_ids, states):
                return states
        sizes = positions.unique_consecutive(return_counts=True)[1].tolist()
        parts = zip(positions.split(sizes), token_ids.split(sizes), strict=True)
        return torch.cat([self._run_aligned(*part) for part in parts])

    def _as_alone(self, positions: torch.Tensor, token_ids: torch.Tensor, states: torch.Tensor) -> bool:
        """Whether rows behind padding have the states that they have without, where none so far behind was compared.

        The lowest positions have the most of it; the very first sees itself alone, and shows no window.
        """
        longest = int(positions[-1])
        lowest = ((positions > 0) & (positions < longest)).nonzero()[:LOWEST, 0]
        if not len(lowest) or self.padded.covers(int(positions[lowest[0]]), longest):
            return True
        alone = [self._run_aligned(positions[one], token_ids[one]) for one in lowest.split(1)]
        same = self.padded.same(torch.cat(alone), states[lowest], self.network.model.dtype)
        if same:
            self.padded.note(int(positions[lowest[0]]), longest)
        return same

    def _run_aligned(self, positions: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """One batch: row n is [padding, prompt[:t_n], v_n], of which only v_n is computed."""
        longest = int(positions.max())
        slots = torch.arange(longest + 1, device=positions.device)
        mask = slots >= longest - positions[:, None]
        source = (slots[:-1] - (longest - positions[:, None])).clamp_min(0)  # which position of the prompt, by slot
        aligned = bool((positions == longest).all())
        layers: list[Any] = [_PrefixLayer(layer, longest, None if aligned else source) for layer in self._cache.layers]
        return self.network.run(
            token_ids[:, None],
            memory=Cache(layers=layers) if longest else None,
            mask=None if aligned else mask.long(),
            positions=self.positions(positions[:, None]),
        )[:, 0]

    def _row_bytes(self, length: int) -> int:
        """Memory of one candidate in one block: activations, and the keys and values of its prefix in copies."""
        width = self.network.model.width
        layers: list[Any] = self._cache.layers
        stored = next((layer.keys for layer in layers if layer.is_initialized), None)
        keys = stored.shape[1] * stored.shape[3] if stored is not None else width
        return (16 * width + length * (4 * keys + 2 * width)) * self.network.model.dtype.itemsize

    def positions(self, positions: torch.Tensor) -> torch.Tensor | None:
        """The positions, for a model that is told them."""
        return None if self.network.model.abilities.positions is None else positions


class _PrefixLayer(DynamicLayer):
    """Hands every row the keys and values of its own prefix; what the row adds is not kept."""

    def __init__(self, stored: Any, length: int, source: torch.Tensor | None, *, differentiable: bool = False) -> None:
        super().__init__()
        self._length, self._source = length, source
        self.keys, self.values = stored.keys, stored.values
        if differentiable:  # tensors of an inference are no part of a graph, their copies may be
            self.keys, self.values = stored.keys[:, :, :length].clone(), stored.values[:, :, :length].clone()
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_arguments: Any, **_named: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._joined(self.keys, key_states), self._joined(self.values, value_states)

    def _joined(self, stored: torch.Tensor | None, new: torch.Tensor) -> torch.Tensor:
        assert stored is not None  # the prompt was run before its candidates
        if self._source is None:
            prefix = stored[:, :, : self._length].expand(len(new), -1, -1, -1)
        else:
            prefix = stored[0].transpose(0, 1)[self._source.to(stored.device)].transpose(1, 2)
        return torch.cat([prefix, new], dim=-2)

    def get_seq_length(self) -> int:
        return self._length


def behind(kept: torch.Tensor, start: int, new: torch.Tensor) -> torch.Tensor:
    """What is new (B, n, …) behind the first `start` of what is kept (1, T, …) of the working prompt."""
    return torch.cat([kept[:1, :start].expand(len(new), *[-1] * (kept.ndim - 1)), new], dim=1)


def chunks(count: int, row_bytes: int) -> Iterator[slice]:
    """Parts of so many rows that fit into `MEMORY`."""
    size = rows_at_once(row_bytes)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def rows_at_once(row_bytes: int) -> int:
    """How many rows of so many bytes fit into `MEMORY`; at least one."""
    return max(1, MEMORY // row_bytes)
