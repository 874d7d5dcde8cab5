"""Rows that belong to no token of the prompt: empty ones, and those of padding tokens, which are recomputed."""

from dataclasses import dataclass

import torch

from sipit.models.network import Network
from sipit.noise.distances import direction_distance


@dataclass(frozen=True, slots=True)
class PaddingFound:
    """Rows in front of the prompt and behind it, how many of them are explained, and by what (None: nothing)."""

    front: int
    behind: int
    rows: int
    kind: str | None
    token_id: int | None = None

    @property
    def sentence(self) -> str:
        """The finding in words."""
        where = f"{self.front} rows in front and {self.behind} behind"
        if self.kind is None:
            return f"Not explained: {where}."
        if self.rows < self.front + self.behind:
            return f"Padding: of {where}, {self.rows} are {self.kind}; the others are not explained."
        return f"Padding: {where} are {self.kind}."

    def around(self, inner: "PaddingFound | None") -> "PaddingFound":
        """These rows, which are explained, with those between them and the prompt."""
        if inner is None:
            return self
        kind = self.kind if inner.kind is None else f"{self.kind}, or {inner.kind}"
        front, behind = self.front + inner.front, self.behind + inner.behind
        return PaddingFound(front, behind, self.rows + inner.rows, kind, inner.token_id)


def empty_rows(present: torch.Tensor) -> PaddingFound:
    """The rows at either end that are zero or not finite; `present` (T,) is true where a row has a state."""
    at = present.nonzero().flatten().tolist()
    front, behind = (at[0], len(present) - 1 - at[-1]) if at else (len(present), 0)
    return PaddingFound(front, behind, front + behind, "zero or not finite")


def token_padding(
    network: Network, rows: torch.Tensor, token_ids: list[int], *, front: int, tolerance: float
) -> PaddingFound:
    """Whether the rows (T, d) around a prompt are those of padding tokens; damped directions are compared.

    The prompt is run between padding with a mask, and once more with position ids that count the padding too, where
    the model has so many.
    """
    model, behind = network.model, len(rows) - front - len(token_ids)
    told, long = model.abilities.positions is not None, model.limit is not None and len(rows) > model.limit
    if model.abilities.mask is None or (long and not told):
        return PaddingFound(front, behind, 0, None)
    tokenizer = model.tokenizer
    named = [getattr(tokenizer, name, None) for name in ("pad_token_id", "eos_token_id", "bos_token_id")]
    outside = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    outside[front : front + len(token_ids)] = False
    for token in dict.fromkeys((*named, 0)):
        if token is None or token >= model.vocabulary_size:
            continue
        ids = torch.tensor([[token] * front + token_ids + [token] * behind], device=model.device)
        mask = (~outside)[None].long()
        counted = (mask.cumsum(1) - 1).clamp_min(0)
        ways = [counted, counted.masked_fill(mask == 0, 1)]
        ways += [] if long else [torch.arange(len(rows), device=rows.device)[None]]
        for positions in ways if told else (None,):
            states = network.run(ids, mask=mask, positions=positions)[0].double()
            if float(direction_distance(states, rows.to(states))[outside].max()) <= tolerance:
                kind = f"those of padding with token {token}"
                return PaddingFound(front, behind, front + behind, kind, token)
    return PaddingFound(front, behind, 0, None)
