"""Which rivals of a settled token are tested, where they can matter.

Of many, half by what the policy says of the state, and as many in every way in which tokens may be near: by their
embedding rows, and where no stream is observed by what is (`sipit.observations.near_tokens`). A policy that knows which
states lie near that of a token says how few of these say as much (`Few`).
"""

from typing import NamedTuple, Protocol

import torch

from sipit.inversion.verifier import Trial, Verifier
from sipit.prefix.kinds import Prefix

NEAREST = 2  # of the few, those whose states are likely to lie nearest

Tests = list[tuple[int, torch.Tensor]]  # positions, and the tokens to test there


class Few(NamedTuple):
    """How many rivals are enough, and tokens whose states are likely to lie near, nearest first."""

    most: int
    alike: torch.Tensor


class _Proposal(Protocol):
    """What a proposal is asked for here (`sipit.inversion.policies.Proposal`)."""

    def rivals(self, positions: torch.Tensor, tokens: torch.Tensor) -> list[Few | None]: ...
    def resembling(self, position: int) -> torch.Tensor: ...
    def ranking(self, position: int, trial: Trial | None, prefix: Prefix) -> torch.Tensor: ...


def few_rivals(verifier: Verifier, proposal: _Proposal, settled: list[tuple[int, int]]) -> dict[int, torch.Tensor]:
    """Rivals by position, of tokens settled at positions, where the policy knows how few are enough.

    The nearest embedding row is one of them always: a probe may not see what tells near twins apart. Two more are those
    whose states are likely to lie nearest, and what is missing then are the policy's best.
    """
    if not settled:
        return {}
    classes = verifier.model.token_classes
    positions, tokens = torch.tensor(settled, dtype=torch.long, device=classes.device).unbind(1)
    found = dict[int, torch.Tensor]()
    rows = verifier.near.of(tokens, 1)
    for (position, token), few, row in zip(settled, proposal.rivals(positions, tokens), rows, strict=True):
        if few is not None:
            others = few.alike[(classes[few.alike] != classes[token]) & ~torch.isin(few.alike, row)]
            near = torch.cat([row, others[:NEAREST]])
            found[position] = _completed(verifier, proposal, position, near, few.most)
    return found


def many_rivals(verifier: Verifier, proposal: _Proposal, positions: list[int], count: int) -> Tests:
    """Rivals at positions: half of `count` by the policy, and those nearest to the nearest token so far."""
    if not positions:
        return []
    nearest = torch.tensor([verifier.trials[position].nearest for position in positions], dtype=torch.long)
    found = verifier.near.of(nearest.to(verifier.model.device), count // 2)
    pairs = zip(positions, found, strict=True)
    return [(at, _completed(verifier, proposal, at, near, max(count, count // 2 + len(near)))) for at, near in pairs]


def _completed(verifier: Verifier, proposal: _Proposal, position: int, near: torch.Tensor, count: int) -> torch.Tensor:
    """The near ones that were not tested, and of the policy's best those that complete `count` rivals.

    However many others were tested there, the near ones are: they are the likeliest to fit as well.
    """
    trial = verifier.trials[position]
    rows = near[~torch.isin(near, trial.token_ids)]
    missing = count + 1 - len(trial.token_ids) - len(rows)  # one of those tested is the token itself
    if missing <= 0:
        return rows
    ranked = proposal.resembling(position)
    if len(ranked) < count:
        ranked = proposal.ranking(position, trial, verifier.prefix)
    best = ranked[~torch.isin(ranked, torch.cat([trial.token_ids, rows]))]
    return torch.cat([rows, best[:missing]])
