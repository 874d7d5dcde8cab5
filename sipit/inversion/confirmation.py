"""Before it is said that no token fits: whether states that ran packed are those of plain runs.

Packing is held to a plain run of one candidate, and another may lean more on what a mask showed it. So where nothing
fits, the working prompt is run again on its own, and the nearest candidates behind it in rows of their own. Where one
of them fits, or most lie elsewhere than they lay packed, nothing is packed any more, and the position is searched anew.
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
    if not isinstance(prefix, PackedPrefix) or not prefix.tried.agrees:
        return True
    if working:
        yield Drafts(0, torch.tensor([working], device=verifier.model.device), apart=True)
        prefix.keep(0)
    nearest = verifier.nearest(position, _NEAREST if working else _FIRST)
    positions = torch.full_like(nearest, position)
    states = yield Candidates(positions, nearest, apart=True)
    if verifier.unmoved(position, nearest, states):
        return True
    prefix.tried.agrees = False
    verifier.forget(position)
    return False
