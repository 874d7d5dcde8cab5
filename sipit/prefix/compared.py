"""What was compared with plain runs, of tokens that stand in rows elsewhere than their positions say.

Some bodies look at slots where they are told positions: a window ends by them, a factor steps up with them. On a short
prompt nothing of it shows. So each run that reaches farther than those before it has its farthest tokens run alone as
well, and those that stand the farthest behind their positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from sipit.models.abilities import agree, agree_closely

LOWEST = 3  # tokens of the lowest positions that are compared

Asked = TypeVar("Asked")


@dataclass(slots=True)
class Shifted:
    """Between which positions and slots tokens were seen to stand harmlessly; `agrees`: whether none did any harm.

    A token at a position, in a slot behind it, shows whether a step lies between the two. From `first` to `last` none
    does.
    """

    first: int = 0
    last: int = 0
    agrees: bool = True

    def covers(self, position: int, slot: int) -> bool:
        """Whether no token from a position on, in slots up to this one, can see a step."""
        return position >= slot or self.first <= position < slot <= self.last

    def note(self, position: int, slot: int) -> None:
        """Enters that none lies between a position and a slot; of spans that do not touch the new one counts."""
        touch = position <= self.last and self.first <= slot  # no position that is noted is 0
        self.first = min(self.first, position) if touch else position
        self.last = max(self.last, slot) if touch else slot

    def same(self, plain: torch.Tensor, other: torch.Tensor, dtype: torch.dtype, closely: slice = slice(None)) -> bool:
        """Whether states (…, n, d) computed in a dtype may be used where the plain ones are these.

        Where they differ by little, and a part of them by more than rounding usually does, that may be ill-conditioned:
        then they are not used, and nothing is learned of others.
        """
        self.agrees = self.agrees and agree(plain, other, dtype)
        return self.agrees and agree_closely(plain[..., closely, :], other[..., closely, :], dtype)


@dataclass(slots=True)
class Tried(Shifted):
    """Also up to which position packed states were compared with plain ones; `agrees`: whether packing may go on.

    No nearer token stands for the farthest: a window that ends one token before it changes the farthest alone.
    """

    position: int = -1


@dataclass(frozen=True, slots=True)
class Compared(Generic[Asked]):
    """What of a run is compared with plain runs, and what is known where all of it agrees.

    Nothing is asked where nothing reaches farther than what was compared before.
    """

    asked: list[Asked]
    position: int
    spans: list[tuple[int, int]]

    def entered(self, tried: Tried, same: Sequence[bool]) -> bool:
        """Whether all that was asked is the same; what is known by it is entered."""
        if not all(same):
            return False
        tried.position = max(tried.position, self.position)
        for position, slot in self.spans:
            tried.note(position, slot)
        return True


def compared_candidates(tried: Tried, positions: torch.Tensor, slots: torch.Tensor) -> Compared[list[int]]:
    """Of candidates at positions (N,) in slots (N,): lists of their numbers, each compared by itself."""
    moved = (positions > 0) & (positions < slots)  # told their position, and compared on the trial prompt

    def last(first: torch.Tensor, second: torch.Tensor) -> int:
        return int((first * (second.max() + 1) + second).argmax())

    farthest, far = last(positions, slots), last(slots * moved, positions)
    position, slot = int(positions[farthest]), int(slots[far])
    asked = [[farthest]] if position > tried.position else []
    order = positions.argsort(stable=True)
    lowest = order[moved[order]][:LOWEST].tolist()
    if not lowest or tried.covers(int(positions[lowest[0]]), slot):
        return Compared(asked, position, [])
    spans = [(int(positions[at]), int(slots[at])) for at in (lowest[0], far)]
    return Compared([*asked, lowest, [far]], position, spans)


def compared_drafts(tried: Tried, starts: Sequence[int], lengths: Sequence[int]) -> Compared[tuple[int, slice]]:
    """Of drafts of so many tokens behind as many of their prompts: numbers, and which tokens are compared closely."""
    seen, last = max(starts), slice(-1, None)
    ends = [start + length - 1 for start, length in zip(starts, lengths, strict=True)]
    farthest = max(range(len(ends)), key=ends.__getitem__)
    asked = [(farthest, last)] if ends[farthest] > tried.position else []
    moved = [number for number, start in enumerate(starts) if start < seen and ends[number] > 0]
    if not moved:
        return Compared(asked, ends[farthest], [])
    lowest = min(moved, key=lambda number: (starts[number], -lengths[number]))
    far = max(moved, key=lambda number: (starts[number] > 0, lengths[number]))  # a window hides a prefix
    first = max(1, starts[lowest])
    if tried.covers(first, seen + max(lengths[number] for number in moved) - 1):
        return Compared(asked, ends[farthest], [])
    begin = first - starts[lowest]
    asked += [(lowest, slice(begin, begin + LOWEST)), (lowest, last), (far, last)]
    spans = [(first, seen + lengths[lowest] - 1), (ends[far], seen + lengths[far] - 1)]
    return Compared(asked, ends[farthest], spans)
