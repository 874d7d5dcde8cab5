"""What tokens bring along: every table that ids choose rows of, and what of them enters the first block."""

from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from sipit.models.hooks import Reached, hooked
from sipit.models.lookups import LookupsSeen
from sipit.models.trial import REFUSALS

if TYPE_CHECKING:
    from sipit.models.structure import Decoder

_TRIED = 64  # tokens on which it is seen whether the blocks are handed the rows as they are
_BATCH = 512  # tokens that run at once
_ALIKE = 0.01  # of a difference: what the change of a row and the change of what enters may differ by


def chosen_tables(decoder: "Decoder") -> list[torch.Tensor]:
    """The tables (V, n) whose rows the ids choose, the input embedding first, as one run shows them.

    Beside embeddings these are tables of other modules, such as one that says which experts a token is sent to.
    """
    known = [table.weight.detach() for table in decoder.tables]
    rows, device = len(known[0]), known[0].device
    ids = torch.tensor([[rows - 1, rows // 2, rows // 3]], device=device)
    with torch.inference_mode(), LookupsSeen(ids, rows) as seen, suppress(*REFUSALS):
        decoder.body(input_ids=ids, **decoder.abilities.arguments())
    places = {table.data_ptr() for table in known}
    others = {table.data_ptr(): table for table in seen.tables if table.data_ptr() not in places}
    return [*known, *(table.reshape(rows, -1) for table in others.values())]


def entering_rows(decoder: "Decoder") -> torch.Tensor:
    """The rows (V, e) that stand for tokens in front of the first block: of the table, where it is handed these.

    Else what the body makes of them before, such as a projection in which different rows may be one.
    """
    table = decoder.tables[0].weight.detach()
    ids = torch.linspace(0, len(table) - 1, min(_TRIED, len(table)), device=table.device).long()
    if _moves_alike(table[ids], _entering(decoder, ids)):
        return table
    every = torch.arange(len(table), device=table.device)
    return torch.cat([_entering(decoder, some) for some in every.split(_BATCH)])


def _entering(decoder: "Decoder", tokens: torch.Tensor) -> torch.Tensor:
    """What enters the first block of tokens (n,), each a prompt of its own, shape (n, e)."""
    found: list[torch.Tensor] = []

    def keep(_module: object, arguments: tuple[object, ...], named: dict[str, object]) -> None:
        found.append(decoder.chain.stream.entered(arguments, named))
        raise Reached

    hook = decoder.blocks[0].register_forward_pre_hook(keep, with_kwargs=True)
    with torch.inference_mode(), hooked([hook]), suppress(Reached):
        decoder.body(input_ids=tokens[:, None], **decoder.abilities.arguments())
    return found[0][:, 0].flatten(1)


def _moves_alike(rows: torch.Tensor, states: torch.Tensor) -> bool:
    """Whether differences of states are those of rows times one factor, up to rounding."""
    if rows.shape != states.shape:
        return False
    first, second = (rows - rows[:1]).double(), (states - states[:1]).double()
    factor = (first * second).sum() / first.square().sum().clamp_min(torch.finfo(torch.float64).tiny)
    rounding = 8 * torch.finfo(states.dtype).eps * float(states.double().norm())
    return float((second - factor * first).norm()) <= _ALIKE * float(second.norm()) + rounding
