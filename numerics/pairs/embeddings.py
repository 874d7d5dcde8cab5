"""Embedding rows that are exactly equal: prompts that differ in such tokens have the same states at every layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from numerics.pairs.row_classes import row_classes
from numerics.pairs.search import Progress, closest_pairs
from proofs.arguments import nothing_hidden, shown
from proofs.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class DuplicateRows:
    """Groups of token ids with bit-identical rows (-0.0 counts as 0.0), each ascending, in the order of their first."""

    rows: int
    unique_rows: int
    groups: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class NearestRows:
    """The two distinct rows that are closest, and their absolute L2 distance."""

    first: int
    second: int
    distance: float


def duplicate_rows(weight: torch.Tensor) -> DuplicateRows:
    """Every group of equal rows of an embedding table.

    Args:
        weight: shape (vocabulary, width), any float type, on any device; bfloat16 is widened, which is exact.

    Returns:
        The groups, exact for the stored values: tokens of one group have equal states after every prefix.
    """
    weight = _table(weight)
    members: dict[int, list[int]] = {}
    for token, first in enumerate(row_classes(weight)):
        members.setdefault(first, []).append(token)
    groups = sorted(tuple(ids) for ids in members.values() if len(ids) > 1)
    return DuplicateRows(len(weight), len(members), tuple(groups))


def nearest_rows(weight: torch.Tensor, *, progress: Progress | None = None) -> NearestRows | None:
    """The closest pair of distinct rows, exact for the stored values.

    Args:
        weight: shape (vocabulary, width), any float type, on any device; finite.
        progress: called with (blocks compared, blocks in all) where nothing but a product of all rows excludes pairs.

    Returns:
        The pair with its absolute L2 distance; None for fewer than two distinct rows.

    Raises:
        InvalidInput: an entry is NaN or infinite.
    """
    weight = _table(weight)
    if len(weight) < 2:
        return None
    table = weight.detach().cpu()
    table = table.float() if table.dtype == torch.bfloat16 else table  # which is exact
    pairs = closest_pairs(table.numpy(), count=1, distinct=True, progress=progress)
    return NearestRows(pairs[0].first, pairs[0].second, pairs[0].distance) if len(pairs) else None


def _table(weight: Any) -> torch.Tensor:
    """A table of floats, of whatever library.

    Raises:
        InvalidInput: something else.
    """
    nothing_hidden("the table", weight)
    try:
        table = weight.detach() if isinstance(weight, torch.Tensor) else torch.from_numpy(np.asarray(weight))
    except (TypeError, ValueError, RuntimeError):
        table = torch.empty(0)
    if table.ndim != 2 or not table.is_floating_point() or table.is_meta:
        raise InvalidInput(
            f"Expected a table of floats, (vocabulary, width), but got {shown(weight)}; give the embedding's weight."
        )
    return table
