"""Many candidates in one row: they share one copy of the prefix, and a mask keeps them apart.

    keys      prefix 0 … S-1                | the n candidates of the row
    query i   those before its position t_i | itself alone

So a candidate costs one token behind a prompt of any length, where a row of its own would copy the prefix first. Rows
of different prompts run together, and so do their drafts. Attention has to take a mask of four dimensions and to know
no places but `position_ids`. Whether it does is tried on a short prompt, like everything about a model, and again
whenever tokens stand farther back than any before, by their positions or by their slots in a row: a window may end
there.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.prefix.compared import Tried, compared_candidates, compared_drafts
from sipit.prefix.kinds import CachedPrefix, behind, rows_at_once

ROW = 128  # candidates in one row
_ALIKE = 16  # rows that run together however much of their prefixes is padding
_PADDED = 0.15  # share of padding from which more rows are not added

Candidates = tuple["PackedPrefix", torch.Tensor, torch.Tensor]  # positions (N,), tokens (N,)
Drafts = tuple["PackedPrefix", int, torch.Tensor]  # start, tokens (B, n)


class PackedPrefix(CachedPrefix):
    """As `CachedPrefix`, with candidates packed; `tried` is shared by the prefixes of one model and layer.

    `plain` is whether what is known of states behind this one comes of rows of their own: packing was given up before,
    or what had run packed is forgotten.
    """

    def __init__(self, network: Network, tried: Tried) -> None:
        super().__init__(network)
        self.tried, self.plain = tried, not tried.agrees

    def candidates(self, positions: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """See `Prefix.candidates`."""
        return candidates_together([(self, positions, token_ids)])[0]

    def candidates_apart(self, positions: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """The same, each candidate in a row of its own."""
        return super().candidates(positions, token_ids)

    def enter(self, start: int, drafts: torch.Tensor, added: "list[_Pair]") -> None:
        """Takes over drafts that ran together with others, with keys and values of every block."""
        layers: list[Any] = []
        for index, new in enumerate(added):
            if start:
                old = self.pair(index)
                before = [tensor[:, :, :start].expand(len(drafts), -1, -1, -1) for tensor in old]
                new = (torch.cat([before[0], new[0]], dim=2), torch.cat([before[1], new[1]], dim=2))
            layer = DynamicLayer()
            layer.lazy_initialization(*new)
            layer.keys, layer.values = new
            layers.append(layer)
        self._cache = Cache(layers=layers)
        self._tokens = behind(self._tokens, start, drafts)

    def pair(self, index: int) -> "_Pair":
        """Keys and values of the working prompt in a block, each (1, heads, T, width)."""
        layer: Any = self._cache.layers[index]
        return layer.keys, layer.values

    @property
    def depth(self) -> int:
        """Blocks with keys and values; 0 before anything was run."""
        return len(self._cache.layers)


def candidates_together(parts: Sequence[Candidates]) -> list[torch.Tensor]:
    """`candidates` of several prompts of one model and layer at once."""
    states = _run_candidates(parts) if parts[0][0].tried.agrees else None
    if states is not None:
        return states
    return [prefix.candidates_apart(positions, tokens) for prefix, positions, tokens in parts]


def extend_together(parts: Sequence[Drafts]) -> list[torch.Tensor]:
    """`extend` of several prompts of one model and layer at once."""
    tried, model = parts[0][0].tried, parts[0][0].network.model
    starts, lengths = [start for _, start, _ in parts], [drafts.shape[1] for *_, drafts in parts]
    if len(parts) > 1 and tried.agrees and max(lengths) <= room_behind(model, max(starts)):
        compared = compared_drafts(tried, starts, lengths)
        plain = {number: parts[number][0].extend(*parts[number][1:]) for number in {one for one, _ in compared.asked}}
        states = _run_drafts(parts)
        same = [tried.same(plain[number], states[number], model.dtype, those) for number, those in compared.asked]
        if compared.entered(tried, same):
            return states
    return [prefix.extend(start, drafts) for prefix, start, drafts in parts]


def room_behind(model: LanguageModel, seen: int) -> int:
    """How many tokens fit behind so many within the context of a model; at least one."""
    return sys.maxsize if model.limit is None else max(1, model.limit - seen)


_Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """Tokens (n,) at positions (n,), of which each sees the first `prefix_seen` (n,) tokens of a prefix."""

    prefix: PackedPrefix
    prefix_seen: torch.Tensor
    positions: torch.Tensor
    tokens: torch.Tensor


def _as_apart(rows: Sequence[_Row], states: torch.Tensor) -> bool:
    """Whether candidates (B, n, d) that ran packed are those of rows of their own, where none so far was compared."""
    tried, device = rows[0].prefix.tried, states.device
    own = torch.cat([torch.arange(len(row.tokens), device=device) for row in rows])
    positions, tokens = torch.cat([row.positions for row in rows]), torch.cat([row.tokens for row in rows])
    owner = torch.cat([torch.full_like(row.tokens, number) for number, row in enumerate(rows)])
    seen = max(int(row.prefix_seen.max()) for row in rows)
    compared = compared_candidates(tried, positions, seen + own)

    def same(those: list[int]) -> bool:
        plain = [rows[int(owner[at])].prefix.candidates_apart(positions[at, None], tokens[at, None]) for at in those]
        return tried.same(torch.cat(plain), states[owner[those], own[those]], rows[0].prefix.network.model.dtype)

    return compared.entered(tried, [same(those) for those in compared.asked])


def _run_candidates(parts: Sequence[Candidates]) -> list[torch.Tensor] | None:
    """States of candidates; None where some that were compared are not those of rows of their own."""
    rows: list[tuple[int, torch.Tensor, _Row]] = []
    # A row stands behind the longest prefix of its batch, and some models have tables that end with their context.
    room = room_behind(parts[0][0].network.model, max(int(positions.max()) for _, positions, _ in parts))
    for number, (prefix, positions, tokens) in enumerate(parts):
        order = torch.argsort(positions, stable=True)  # rows of like length run together
        for chosen in order.tensor_split(max(1, math.ceil(len(order) / min(ROW, room)))):
            at = positions[chosen]
            rows.append((number, chosen, _Row(prefix, at, at, tokens[chosen])))
    rows.sort(key=lambda row: int(row[2].prefix_seen.max()))
    network = parts[0][0].network
    results = [
        torch.empty(len(tokens), network.width, dtype=network.dtype, device=network.model.device)
        for _, _, tokens in parts
    ]
    lengths = [int(row.prefix_seen.max()) + len(row.tokens) for *_, row in rows]
    size = _row_bytes(parts[0][0], max(len(row.tokens) for *_, row in rows), int(rows[-1][2].prefix_seen.max()))
    for part in _batches(lengths, rows_at_once(size)):
        together = [row for *_, row in rows[part]]
        states, _ = _run(together, torch.eye)
        if _as_apart(together, states):
            for (number, chosen, _), found in zip(rows[part], states, strict=True):
                results[number][chosen] = found[: len(chosen)]
        elif together[0].prefix.tried.agrees:  # by little, and nothing is learned of others
            for number, chosen, row in rows[part]:
                results[number][chosen] = row.prefix.candidates_apart(row.positions, row.tokens)
        else:
            return None
    return results


def _batches(lengths: list[int], most: int) -> Iterator[slice]:
    """Parts of rows of these lengths, ascending: at most so many, and where there are enough, of like lengths."""
    start = used = 0
    for stop, length in enumerate(lengths):
        count = stop - start
        padded = 1 - (used + length) / ((count + 1) * length) if length else 0.0
        if count >= most or (count >= _ALIKE and padded > _PADDED):
            yield slice(start, stop)
            start, used = stop, 0
        used += length
    yield slice(start, len(lengths))


def _run_drafts(parts: Sequence[Drafts]) -> list[torch.Tensor]:
    rows = [
        _Row(prefix, torch.full_like(row, start), start + torch.arange(len(row), device=row.device), row)
        for prefix, start, drafts in parts
        for row in drafts
    ]
    states, added = _run(rows, lambda length: torch.ones(length, length).tril())
    results: list[torch.Tensor] = []
    done = 0
    for prefix, start, drafts in parts:
        mine, length = slice(done, done + len(drafts)), drafts.shape[1]
        results.append(states[mine, :length])
        prefix.enter(start, drafts, [(k[mine, :, :length], v[mine, :, :length]) for k, v in added])
        done += len(drafts)
    return results


def _run(rows: Sequence[_Row], own: Any) -> tuple[torch.Tensor, list[_Pair]]:
    """States (B, n, d) of rows, and the keys and values that they added; `own(n)` says which own tokens each sees."""
    prefix = rows[0].prefix
    model = prefix.network.model
    length, seen = max(len(row.tokens) for row in rows), max(int(row.prefix_seen.max()) for row in rows)
    tokens = torch.zeros(len(rows), length, dtype=torch.long, device=model.device)
    positions, limits = tokens.clone(), tokens.clone()
    for index, row in enumerate(rows):
        here = slice(len(row.tokens))
        tokens[index, here], positions[index, here], limits[index, here] = row.tokens, row.positions, row.prefix_seen
    visible = torch.arange(seen, device=model.device) < limits[:, :, None]
    among = own(length).to(visible).expand(len(rows), -1, -1)
    hidden = ~torch.cat([visible, among], dim=2)[:, None]
    mask = torch.zeros(hidden.shape, dtype=model.dtype, device=model.device)
    mask.masked_fill_(hidden, torch.finfo(model.dtype).min)
    depth = max(row.prefix.depth for row in rows)
    prefixes = [row.prefix for row in rows]
    cache = Cache(layers=[_RowsLayer(prefixes, index, seen) for index in range(depth)]) if seen else DynamicCache()
    states = prefix.network.anew().run(tokens, memory=cache, mask=mask, positions=prefix.positions(positions))
    for each in {id(prefix): prefix for prefix in prefixes}.values():
        work = each.network.work
        work.forward_passes += 1
        work.token_positions += sum(length for row in rows if row.prefix is each)
    layers: list[Any] = cache.layers
    return states, [(layer.keys, layer.values) for layer in layers]


class _RowsLayer(DynamicLayer):
    """Hands every row the first `seen` keys and values of its own prefix; holds what the rows add."""

    def __init__(self, prefixes: list[PackedPrefix], index: int, seen: int) -> None:
        super().__init__()
        self._prefixes, self._index, self._seen = prefixes, index, seen
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_arguments: Any, **_named: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = key_states, value_states
        return self._joined(0, key_states), self._joined(1, value_states)

    def _joined(self, which: int, new: torch.Tensor) -> torch.Tensor:
        rows, heads, length, width = new.shape
        joined = new.new_zeros(rows, heads, self._seen + length, width)
        for row, prefix in enumerate(self._prefixes):
            if prefix.depth:
                stored = prefix.pair(self._index)[which][0, :, : self._seen]
                joined[row, :, : stored.shape[1]] = stored
        joined[:, :, self._seen :] = new
        return joined

    def get_seq_length(self) -> int:
        return self._seen


def _row_bytes(prefix: PackedPrefix, length: int, seen: int) -> int:
    """Memory of one row in one block: activations, the mask, and keys and values in copies."""
    model = prefix.network.model
    keys = prefix.pair(0)[0].shape[1] * prefix.pair(0)[0].shape[3] if prefix.depth else model.width
    entries = 16 * length * model.width + (seen + length) * (8 * length + 4 * keys)
    return entries * model.dtype.itemsize
