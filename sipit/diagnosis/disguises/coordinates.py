"""Coordinates that were permuted, or of which only some are there: one secret choice for all rows (arXiv 2505.18332).

Whatever the choice is, sorted values tell tokens apart: by the rearrangement inequality no order of the coordinates
brings two rows nearer than sorting both does. Where some are missing, every value has to be near one of the state's.

    first      the row and token whose values agree, of all rows: the others may be out of order as well
    choice     which coordinate is which: the assignment of least squared difference over the rows settled so far
    next       nearest row and token under that choice; then the choice is made again
    verify     all rows once more under the last choice, by the decision rule, over the whole vocabulary
"""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment

from sipit.diagnosis.disguises.evidence import ENOUGH, Undone, Vocabulary, by_chance
from sipit.diagnosis.findings import TOO_LITTLE
from sipit.inversion.decision import accepted

_FIRSTS = 4  # rows that are tried as the first of the prompt


def undo_choice(vocabulary: Vocabulary, rows: torch.Tensor) -> Undone | str:
    """The prompt of rows (T, m) with m of the d coordinates in an unknown order, or why it stays unknown."""
    first = vocabulary.behind(())
    rows = rows.to(first)
    whole = rows.shape[1] == first.shape[1]
    relative = 4 * vocabulary.tolerance * (1 if whole else first.shape[1])
    if by_chance(len(first), rows.shape[1], relative) > ENOUGH:
        return f"{rows.shape[1]} coordinates are {TOO_LITTLE} tokens apart"
    apart = torch.stack([_values_apart(row, first) for row in rows])
    likeliest = apart.amin(1).argsort(stable=True)[:_FIRSTS].tolist()
    for begin in sorted(row for row in likeliest if len(vocabulary.near(apart[row])) == 1):
        token = int(vocabulary.near(apart[begin])[0])
        for straight in [True, False] if begin == 0 else [False]:
            found = _followed(vocabulary, rows, begin, token, straight=straight)
            if found is not None:
                return found
    return "no token's values are those of a row, as they would be at the first position"


def _values_apart(row: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """A bound below the relative distance of a row (m,) from every state (V, d), however coordinates are chosen."""
    ordered = states.sort(dim=1).values
    if len(row) == ordered.shape[1]:
        difference = ordered - row.sort().values
    else:
        at = torch.searchsorted(ordered, row.expand(len(states), -1).contiguous())
        below, above = (ordered.gather(1, place.clamp(0, ordered.shape[1] - 1)) for place in (at - 1, at))
        difference = torch.minimum((row - below).abs(), (above - row).abs())
    return difference.norm(dim=1) / row.norm()


def _choice(rows: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """For every observed coordinate the one of the states (n, d) that agrees best with it over the rows (n, m)."""
    cost = torch.cdist(rows.T.contiguous(), states.T.contiguous()).square()
    return torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=rows.device)


def _followed(vocabulary: Vocabulary, rows: torch.Tensor, begin: int, token: int, *, straight: bool) -> Undone | None:
    """The prompt whose first row is row `begin`, of this token; None where some row fits nowhere."""
    order, tokens, states = [begin], [token], [vocabulary.behind(())[token]]
    while len(order) < len(rows):
        left = [row for row in range(len(rows)) if row not in order][: 1 if straight else None]
        choice = _choice(rows[order], torch.stack(states))
        following = vocabulary.behind(tuple(tokens))
        apart = torch.cdist(rows[left], following[:, choice]) / rows[left].norm(dim=1, keepdim=True)
        at, token = divmod(int(apart.argmin()), apart.shape[1])
        order.append(left[at])
        tokens.append(int(vocabulary.classes[token]))
        states.append(following[token])
    return _verified(vocabulary, rows, order, tokens, _choice(rows[order], torch.stack(states)))


def _verified(
    vocabulary: Vocabulary, rows: torch.Tensor, order: Sequence[int], tokens: Sequence[int], choice: torch.Tensor
) -> Undone | None:
    """The same under one choice of coordinates, if every row is accepted, and no row left fits in its place."""
    residuals, margins = list[float](), list[float]()
    for position, row in enumerate(order):
        following = vocabulary.behind(tuple(tokens[:position]))[:, choice]
        apart = (following - rows[row]).norm(dim=1) / rows[row].norm()
        residuals.append(float(apart[tokens[position]]))
        margins.append(vocabulary.margin(apart, tokens[position]))
        if not accepted(residuals[-1], margins[-1], vocabulary.tolerance):
            return None
        later = rows[list(order[position + 1 :])]
        nearest = torch.cdist(later, following) / later.norm(dim=1, keepdim=True)
        if list(order) != sorted(order) and bool((nearest <= vocabulary.tolerance).any()):
            return None  # in another order they would fit as well
    kind = "coordinates permuted" if len(choice) == vocabulary.network.width else "a part of the coordinates"
    return Undone(kind, tuple(tokens), tuple(residuals), tuple(margins), tuple(order), tuple(choice.tolist()))
