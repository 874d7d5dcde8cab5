"""Embedding rows that are exactly equal: prompts that differ in such tokens have the same states at every layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from numerics.pairs.search import closest_pair


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
    table = _plain(weight)
    keys = np.ascontiguousarray(table).view(np.dtype((np.void, table.dtype.itemsize * table.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    members: dict[int, list[int]] = {}
    for token, group in enumerate(inverse.ravel().tolist()):
        members.setdefault(group, []).append(token)
    groups = sorted(tuple(ids) for ids in members.values() if len(ids) > 1)
    return DuplicateRows(len(table), len(first), tuple(groups))


def nearest_rows(weight: torch.Tensor) -> NearestRows | None:
    """The closest pair of distinct rows, exact for the stored values.

    Args:
        weight: shape (vocabulary, width), any float type, on any device; finite.

    Returns:
        The pair with its absolute L2 distance; None for fewer than two distinct rows.

    Raises:
        InvalidInput: an entry is NaN or infinite.
    """
    table = _plain(weight)
    groups = duplicate_rows(weight).groups
    repeated = {token for group in groups for token in group[1:]}
    unique = np.array([token for token in range(len(table)) if token not in repeated])
    if len(unique) < 2:
        return None
    pair = closest_pair(table[unique])
    first, second = sorted((int(unique[pair.first]), int(unique[pair.second])))
    return NearestRows(first, second, pair.distance)


def _plain(weight: Any) -> Any:
    """As numpy, without negative zeros; bfloat16 is widened, which keeps equality."""
    table = weight.detach().cpu()
    table = table.float() if table.dtype == torch.bfloat16 else table
    return table.numpy() + 0
