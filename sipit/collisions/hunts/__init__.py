"""Searches that go looking for collisions, because prompts of a corpus are far apart anyway.

`continuations`: every next token behind the closest prompts. `swaps`: single tokens replaced by those with the nearest
embedding rows. `collapse`: long repeated-token runs and long contexts that differ at their start, by number format.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput
from sipit.collisions.causes import StandAlone
from sipit.collisions.examination import Examined
from sipit.collisions.findings import LOCAL, Search
from sipit.collisions.hunts.collapse import hunt_collapse
from sipit.collisions.hunts.continuations import hunt_continuations
from sipit.collisions.hunts.swaps import hunt_swaps
from sipit.prompts.corpora import Corpus
from sipit.record import Progress

__all__ = ["check_searches", "hunt"]

_NEAR_THE_CLOSEST = {"continuations": hunt_continuations, "swaps": hunt_swaps}


def check_searches(names: Sequence[str]) -> None:
    """Raises InvalidInput where there is no search of a name."""
    known = [*_NEAR_THE_CLOSEST, "collapse"]
    for name in names:
        if name not in known:
            raise InvalidInput(f"Expected searches of {', '.join(known)}, but got {name!r}; choose from them.")


def hunt(
    alone: StandAlone,
    corpus: Corpus,
    examined: Sequence[Examined],
    names: Sequence[str],
    *,
    folder: Path,
    threshold: float | None,
    seed: int,
    memory: float,
    listed: int,
    search: Search = LOCAL,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Runs the named searches at the layers that were examined; what each found, by name.

    Args:
        corpus: where the closest prompts come from.
        examined: layers, with their closest pairs.
        folder: for states while a search goes on.
        threshold: as for `sipit.collisions.examination.examine`.
        seed: as for `sipit.collisions.examination.examine`.
        listed: as for `sipit.collisions.examination.examine`.
        memory: GiB.
        search: who looks for close pairs.
    """
    found: dict[str, Any] = {}
    for name in names:
        if name == "collapse":
            families = {one.findings.layer: one.findings.known.families for one in examined}
            found[name] = hunt_collapse(alone.model, corpus, families, progress=progress)
        else:
            found[name] = _NEAR_THE_CLOSEST[name](
                alone, corpus, examined, folder=folder, threshold=threshold, seed=seed, memory=memory, listed=listed,
                search=search, progress=progress,
            )  # fmt: skip
    return found
