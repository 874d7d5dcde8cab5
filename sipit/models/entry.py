"""What tokens bring along: every table that ids choose rows of, and what of them enters the first block."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from numerics.networks.stream import Stream
from proofs.threads import turn
from sipit.models.abilities import Abilities, agree
from sipit.models.hooks import Reached, hooked
from sipit.models.lookups import LookupsSeen
from sipit.models.refusals import Refusals

_TRIED = 64  # tokens on which it is seen whether the blocks are handed the rows as they are
_SHARED = 4096  # tokens that share a row, of which it is seen whether they are told apart
_BATCH = 512  # tokens that run at once
_ALIKE = 0.01  # of a difference: what the change of a row and the change of what enters may differ by


@dataclass(frozen=True, slots=True, eq=False)
class Entrance:
    """The way from ids to the first block: what is run, with which arguments, the block, and the embedding (V, e)."""

    body: nn.Module
    arguments: dict[str, Any]
    block: nn.Module
    stream: Stream
    table: torch.Tensor

    def plain(self) -> bool:
        """Whether the block is handed the rows as they are, but for a factor and for what all of them share."""
        some = torch.linspace(0, len(self.table) - 1, min(_TRIED, len(self.table)), device=self.table.device).long()
        return _moves_alike(self.table[some], self._states(some))

    def rows(self) -> torch.Tensor:
        """What the body makes of every token before the first block, such as a projection that may make rows one."""
        every = torch.arange(len(self.table), device=self.table.device)
        return torch.cat([self._states(some) for some in every.split(_BATCH)])

    def _states(self, tokens: torch.Tensor) -> torch.Tensor:
        """What enters the block of tokens (n,), each a prompt of its own, shape (n, e)."""
        found: list[torch.Tensor] = []

        def keep(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            found.append(self.stream.entered(arguments, named))
            raise Reached

        block = self.block
        with (
            torch.inference_mode(),
            hooked(lambda: [block.register_forward_pre_hook(keep, with_kwargs=True)]),
            suppress(Reached),
        ):
            self.body(input_ids=tokens[:, None], **self.arguments)
        return found[0][:, 0].flatten(1)


def other_tables(body: nn.Module, embeddings: Sequence[nn.Embedding], arguments: Any) -> tuple[torch.Tensor, ...]:
    """The tables (V, n) beside embeddings whose rows the ids choose, as one run of a body shows them.

    Such a one may say which experts a token is sent to.
    """
    known = {table.weight.data_ptr() for table in embeddings}
    rows, device = embeddings[0].num_embeddings, embeddings[0].weight.device
    ids = torch.tensor([[rows - 1, rows // 2, rows // 3]], device=device)
    with turn, torch.inference_mode(), LookupsSeen(ids, rows) as seen, Refusals():
        body(input_ids=ids, **arguments)
    others = {table.data_ptr(): table for table in seen.tables if table.data_ptr() not in known}
    return tuple(table.detach().reshape(rows, -1) for table in others.values())


def told_apart(body: nn.Module, abilities: Abilities, classes: torch.Tensor) -> torch.Tensor:
    """Classes (V,) of tokens with equal rows, cut where a token's states in a short prompt are not its class's.

    A body may compare ids, too: padding of RoBERTa has another place. Each token is run in front of others and behind
    them; where very many share a row, some of them are.
    """
    shared = (classes != torch.arange(len(classes), device=classes.device)).nonzero().flatten()
    if not len(shared):
        return classes
    some = shared[torch.linspace(0, len(shared) - 1, min(_SHARED, len(shared)), device=shared.device).long()].unique()
    apart: dict[int, list[int]] = {}
    with turn, torch.inference_mode():
        for tokens in some.split(_BATCH):
            one, other = (_prompts(of, len(classes)) for of in (tokens, classes[tokens]))
            states = [body(input_ids=ids, **abilities.arguments())[0] for ids in (one, other)]
            for token, left, right in zip(tokens.tolist(), *states, strict=True):
                if not agree(left, right, left.dtype):
                    apart.setdefault(int(classes[token]), []).append(token)
    if not apart:
        return classes
    cut = classes.clone()
    for members in apart.values():
        cut[members] = min(members)
    return told_apart(body, abilities, cut)


def _prompts(tokens: torch.Tensor, rows: int) -> torch.Tensor:
    """Prompts (n, 4) with a token twice."""
    others = torch.full_like(tokens, rows // 2), torch.full_like(tokens, rows // 3)
    return torch.stack([tokens, others[0], tokens, others[1]], dim=1)


def _moves_alike(rows: torch.Tensor, states: torch.Tensor) -> bool:
    """Whether differences of states are those of rows times one factor, up to rounding."""
    if rows.shape != states.shape:
        return False
    first, second = (rows - rows[:1]).double(), (states - states[:1]).double()
    factor = (first * second).sum() / first.square().sum().clamp_min(torch.finfo(torch.float64).tiny)
    rounding = 8 * torch.finfo(states.dtype).eps * float(states.double().norm())
    return float((second - factor * first).norm()) <= _ALIKE * float(second.norm()) + rounding
