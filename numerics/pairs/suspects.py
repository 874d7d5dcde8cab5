"""Embedding rows that look as if they had never been trained: short, and crowded together.

Reserved tokens and those that a training text never had keep rows that training has only shrunk, or left as they were
drawn. That proves nothing of a single row, so such rows are listed as suspects, with the rule that named them.
"""

from dataclasses import dataclass

import torch

_SHORT = 0.5  # of the median norm
_CROWDED = 0.25  # of the usual distance to the nearest row
_SAMPLE = 64  # rows whose nearest distance is called usual
_MOST = 1024  # short rows that are looked at, the shortest
_ROWS = 4096  # of the table that are looked at together


@dataclass(frozen=True, slots=True)
class Suspects:
    """Rows that are zero, and rows that are suspected to be untrained, both ascending.

    `norm` and `distance` are the usual ones: medians over all rows, and over a sample (absolute L2).
    """

    zero: tuple[int, ...]
    suspect: tuple[int, ...]
    norm: float
    distance: float | None


def suspect_rows(weight: torch.Tensor) -> Suspects:
    """Zero rows, and rows whose norm and whose distance to the nearest other row are far below the usual ones.

    Args:
        weight: shape (vocabulary, width), any float type; read some rows at a time, never copied whole.

    Returns:
        A row is suspected if it is shorter than half the median and nearer to another than a quarter of what 64 rows
        of at least the median norm have; of more than 1,024 short rows the shortest are looked at. Which
        row is nearest is found in float32: a suspicion, not a proof.
    """
    table = weight.detach()
    zero = torch.cat([(part == 0).all(dim=1) for part in table.split(_ROWS)]).nonzero().flatten()
    norms = torch.cat([part.double().norm(dim=1) for part in table.split(_ROWS)])
    usual = norms.median()
    others = (norms >= usual).nonzero().flatten()
    sample = others[:: max(1, len(others) // _SAMPLE)][:_SAMPLE]
    short = ((norms > 0) & (norms < _SHORT * usual)).nonzero().flatten()
    short = short[norms[short].argsort()][:_MOST].sort().values
    if not len(short) or len(table) < 2:
        return Suspects(tuple(zero.tolist()), (), float(usual), None)
    distance = _nearest(table, norms, sample).median()
    crowded = _nearest(table, norms, short) < _CROWDED * distance
    return Suspects(tuple(zero.tolist()), tuple(short[crowded].tolist()), float(usual), float(distance))


def _nearest(table: torch.Tensor, norms: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """For some rows the distance to the nearest other one, shape (n,), in float64.

    Only an order is wanted of float32, so that rows are brought to a size whose squares it has.
    """
    unit = norms.max()
    norms = norms / unit
    chosen = (table[rows].double() / unit).float()
    least = torch.full((len(rows),), torch.inf, dtype=torch.float64, device=table.device)
    best = torch.zeros_like(rows)
    for start in range(0, len(table), _ROWS):
        part = (table[start : start + _ROWS].double() / unit).float()
        squares = norms[start : start + _ROWS].square() - 2 * chosen @ part.T
        own = (rows >= start) & (rows < start + _ROWS)
        squares[own, rows[own] - start] = torch.inf
        values, places = squares.min(dim=1)
        nearer = values < least
        least = torch.where(nearer, values, least)
        best = torch.where(nearer, places + start, best)
    return (table[rows].double() - table[best].double()).norm(dim=1)
