"""Before it is said that no token fits: whether states that ran packed are those of plain runs.

Packing is held to plain runs of a few candidates, and another may lean more on what a mask showed it. So where nothing
fits, the working prompt is run again on its own, and candidates behind it in rows of their own: the nearest, and as
many of all that were tested, since what is off by much leaves its token anywhere. Where one of them fits, or most lie
elsewhere than they lay packed, nothing is packed any more, and the position is searched anew; and so it is where
packing was given up in the course of the search, since some of what was tested may have run packed before.
"""

from collections.abc import Generator

import torch

from sipit.inversion.verifier import Verifier
from sipit.inversion.wanted import Candidates, Drafts, Wanted
from sipit.prefix.packed import PackedPrefix

_NEAREST = 32  # candidates that run again: a state that is off by little leaves its token among the nearest
_FIRST = 8  # the same at the first position, where no mask hides or shows a prefix


def confirmed(verifier: Verifier, working: list[int], position: int) -> Generator[Wanted, torch.Tensor, bool]:
    """Whether what was tested at a position does not rest on packed runs alone; else all of it is forgotten.

    Args:
        verifier: with the whole vocabulary tested at the position, which nothing fits.
        working: the tokens before it.
        position: where they end.
    """
    prefix = verifier.prefix
    if not isinstance(prefix, PackedPrefix) or prefix.plain:
        return True
    if working:  # whatever ran packed is left behind, keys and values too
        yield Drafts(0, torch.tensor([working], device=verifier.model.device), apart=True)
        prefix.keep(0)
    if prefix.tried.agrees and (yield from _unmoved(verifier, position, _NEAREST if working else _FIRST)):
        return True
    prefix.tried.agrees, prefix.plain = False, True
    verifier.forget(position)
    return False


def _unmoved(verifier: Verifier, position: int, count: int) -> Generator[Wanted, torch.Tensor, bool]:
    """Whether some of the candidates tested at a position say the same in rows of their own."""
    for chosen in (verifier.nearest(position, count), verifier.spread(position, count)):
        states = yield Candidates(torch.full_like(chosen, position), chosen, apart=True)
        if not verifier.unmoved(position, chosen, states):
            return False
    return True
