"""Coordinates that were permuted, or of which only some are there: one secret choice for all rows (arXiv 2505.18332).

Whatever the choice is, sorted values tell tokens apart: by the rearrangement inequality no order of the coordinates
brings two rows nearer than sorting both does. Where some are missing, every value has to be near one of the state's.

    first      the row and token whose values agree, of all rows: the others may be out of order as well
    choice     which coordinate is which: the assignment of least squared difference over the rows settled so far
    next       nearest row and token under that choice, till the values agree; then the choice is made again
    verify     all rows once more under the last choice, by the decision rule, over all tokens that were tested; and
               none of these may fit under another choice, that the rows before leave open
    believe    unless chance would let some prompt fit: coordinate by coordinate, the share of tokens that have a value
               as near. Where one coordinate outweighs all others these are near in every token, and say nothing
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment

from sipit.diagnosis.disguises.evidence import ENOUGH, MOST, Following, Undone, Vocabulary, by_chance
from sipit.diagnosis.findings import CUT_SHORT, NOT_ALONE, TOO_LITTLE
from sipit.inversion.decision import accepted, fits, limit

_FIRSTS = 4  # rows that are tried as the first of the prompt
_SORTED = 4096  # states that are sorted at a time
_SAMPLE = 4096  # tokens whose values say what chance is

# All tokens in the order in which a row (d,) at a position speaks for them.
Ranking = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(eq=False)
class _Path:
    """The prompt so far: which row each position is, its token, its state, and which tokens were tested there."""

    order: list[int]
    tokens: list[int]
    states: list[torch.Tensor]
    tested: list[torch.Tensor]


def undo_choice(vocabulary: Vocabulary, rows: torch.Tensor, ranking: Ranking) -> Undone | str:
    """The prompt of rows (T, m) with m of the d coordinates in an unknown order, or why it stays unknown."""
    first = vocabulary.first
    rows = rows.to(first.states)
    count, width = first.states.shape
    relative = 4 * vocabulary.tolerance * (1 if rows.shape[1] == width else width)
    if by_chance(count, rows.shape[1], relative) > ENOUGH:
        return f"{rows.shape[1]} coordinates are {TOO_LITTLE} tokens apart"
    apart = torch.cat([_values_apart(rows, some) for some in first.states.split(_SORTED)], dim=1)
    likeliest = apart.amin(1).argsort(stable=True)[:_FIRSTS].tolist()
    near = {row: vocabulary.near(apart[row], first.tokens) for row in likeliest}
    for begin in sorted(row for row in likeliest if len(near[row]) == 1):
        (token,) = near[begin]
        for straight in [True, False] if begin == 0 else [False]:
            path = _Path([begin], [token], [first.states[token]], [first.tokens])
            found = _followed(vocabulary, rows, path, ranking, straight=straight)
            if found is not None and _chance(vocabulary, rows, path) > ENOUGH:
                return f"{rows.shape[1]} coordinates in {len(rows)} rows are {TOO_LITTLE} tokens apart"
            if found is not None:
                return found
    if vocabulary.left <= 0:
        return f"no token among the {MOST} {CUT_SHORT} has the values of some row"
    if any(near.values()):
        return f"some row has the values of a first token, but {NOT_ALONE} all rows"
    return "no token's values are those of a row, as they would be at the first position"


def _values_apart(rows: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Bounds (T, n) below the relative distances of rows (T, m) from states (n, d), however coordinates are chosen."""
    ordered = states.sort(dim=1).values
    return torch.stack([_differences(row, ordered).norm(dim=1) / row.norm() for row in rows])


def _differences(row: torch.Tensor, ordered: torch.Tensor) -> torch.Tensor:
    """How far at least the values of a row (m,) lie from those of states that they may be, shape (n, m).

    `ordered` are the states (n, d), each sorted. Where no coordinate is missing, values of one rank are compared, by
    the rearrangement inequality; else every value is compared with the nearest.
    """
    if len(row) == ordered.shape[1]:
        return (ordered - row.sort().values).abs()
    at = torch.searchsorted(ordered, row.expand(len(ordered), -1).contiguous())
    below, above = (ordered.gather(1, place.clamp(0, ordered.shape[1] - 1)) for place in (at - 1, at))
    return torch.minimum((row - below).abs(), (above - row).abs())


def _chance(vocabulary: Vocabulary, rows: torch.Tensor, path: _Path) -> float:
    """How many prompts have values as near as that of a path by chance, if coordinates were independent."""
    chance = 1.0
    for position, row in enumerate(path.order):
        following = _tested(vocabulary, path.tokens[: position + 1], path.tested[position])
        some = following.states[:: -(-len(following.states) // _SAMPLE)].sort(dim=1).values
        near = _differences(rows[row], some) <= vocabulary.tolerance * rows[row].norm()
        shares = near.double().mean(0).clamp_min(1 / len(some))
        chance *= min(1.0, len(vocabulary.tokens) * float(shares.prod()))
        if chance <= ENOUGH:
            break
    return chance


def _choice(rows: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """For every observed coordinate the one of the states (n, d) that agrees best with it over the rows (n, m)."""
    cost = torch.cdist(rows.T.contiguous(), states.T.contiguous()).square()
    return torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=rows.device)


def _followed(
    vocabulary: Vocabulary, rows: torch.Tensor, path: _Path, ranking: Ranking, *, straight: bool
) -> Undone | None:
    """The prompt that begins as the path does; None where some row fits nowhere."""
    while len(path.order) < len(rows):
        left = [row for row in range(len(rows)) if row not in path.order][: 1 if straight else None]
        choice = _choice(rows[path.order], torch.stack(path.states))
        orders = () if vocabulary.whole else _orders(rows[left], choice, vocabulary, len(path.order), ranking)
        tested, best, values = list[torch.Tensor](), (float("inf"), 0, 0, path.states[0]), float("inf")
        for following in vocabulary.behind(tuple(path.tokens), *orders):
            tested.append(following.tokens)
            apart = _apart(rows[left], following, choice)
            at, place = divmod(int(apart.argmin()), apart.shape[1])
            nearest = (float(apart[at, place]), left[at], int(following.tokens[place]), following.states[place])
            if nearest[0] < best[0]:
                best = nearest
                values = float(_values_apart(rows[best[1]][None], best[3][None]))
            if fits(values, vocabulary.tolerance):
                break
        if not vocabulary.whole and not fits(values, vocabulary.tolerance):
            return None
        path.order.append(best[1])
        path.tokens.append(int(vocabulary.classes[best[2]]))
        path.states.append(best[3])
        path.tested.append(torch.cat(tested))
    return _verified(vocabulary, rows, path)


def _apart(rows: torch.Tensor, following: Following, choice: torch.Tensor) -> torch.Tensor:
    """The relative distances (T, n) of rows from the states of tokens under a choice of coordinates."""
    chosen = following.states[:, choice].contiguous()
    return torch.cdist(rows, chosen, compute_mode="donot_use_mm_for_euclid_dist") / rows.norm(dim=1, keepdim=True)


def _orders(
    rows: torch.Tensor, choice: torch.Tensor, vocabulary: Vocabulary, position: int, ranking: Ranking
) -> tuple[torch.Tensor, ...]:
    """The orders of tokens that rows speak for, each put back as well as the choice is known."""
    whole = rows.new_zeros(len(rows), vocabulary.network.width)
    whole[:, choice] = rows
    return tuple(ranking(row, position) for row in whole)


def _verified(vocabulary: Vocabulary, rows: torch.Tensor, path: _Path) -> Undone | None:
    """The same under one choice of coordinates, if every row is accepted, and nothing else fits in its place."""
    order, tokens, choice = path.order, path.tokens, _choice(rows[path.order], torch.stack(path.states))
    residuals, margins = list[float](), list[float]()
    for position, row in enumerate(order):
        following = _tested(vocabulary, tokens[: position + 1], path.tested[position])
        apart = _apart(rows[row][None], following, choice)[0]
        own = vocabulary.classes[following.tokens] == tokens[position]
        residuals.append(float(apart[own].min()))
        margins.append(vocabulary.margin(apart, following.tokens, tokens[position]))
        if not accepted(residuals[-1], margins[-1], vocabulary.tolerance):
            return None
        later = order[position + 1 :] if order != sorted(order) else []
        if bool((_apart(rows[later], following, choice) <= vocabulary.tolerance).any()):
            return None  # in another order they would fit as well
        within = limit(residuals[-1], vocabulary.tolerance)
        others = Following(following.tokens[~own], following.states[~own])
        if position and _fits_otherwise(rows[order[: position + 1]], path.states[:position], others, within):
            return None
    kind = "coordinates permuted" if len(choice) == vocabulary.network.width else "a part of the coordinates"
    return Undone(kind, tuple(tokens), tuple(residuals), tuple(margins), tuple(order), tuple(choice.tolist()))


def _fits_otherwise(rows: torch.Tensor, states: list[torch.Tensor], others: Following, within: float) -> bool:
    """Whether the last row fits another token, once coordinates that the rows before do not tell apart are exchanged.

    At the first position a token is named only where the values alone leave no other.
    """
    allowed = within**2 * float(rows.square().sum())
    apart = torch.cat([_values_apart(rows[-1:], some)[0] for some in others.states.split(_SORTED)])
    for place in (apart <= within).nonzero().flatten().tolist():
        made = torch.stack([*states, others.states[place]])
        if float((rows - made[:, _choice(rows, made)]).square().sum()) <= allowed:
            return True
    return False


def _tested(vocabulary: Vocabulary, tokens: Sequence[int], tested: torch.Tensor) -> Following:
    """The tokens tested at the last of some positions, and the likeliest rivals of the token there."""
    if len(tokens) == 1:
        return vocabulary.first
    if not vocabulary.whole:
        rivals = vocabulary.with_rivals([tokens[-1]])
        tested = torch.cat([tested, rivals[~torch.isin(rivals, tested)]])
    return vocabulary.again(tuple(tokens[:-1]), tested)
