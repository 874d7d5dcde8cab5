"""What a file of states holds, whoever wrote it: places in a network, with one tensor of rows per prompt at each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sipit.models.network import Layer
from sipit.observations.observation import Observation


class Place(NamedTuple):
    """A tensor of a network: a site of `sipit.observations`, at a layer."""

    site: str
    layer: Layer | None

    def __str__(self) -> str:
        return self.site if self.layer is None else f"{self.site} at layer {self.layer}"


UNPLACED = Place("rows that the file does not place", None)

TokenIds = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """The tensors (T, n) of every prompt, place by place, and its token ids where the file has them.

    `origin` says in a few words what the file was taken for; `check` raises InvalidInput for a place whose tensors
    can be something else, or do not go with what stands beside them: what is not read need not be clear.
    """

    origin: str
    places: Mapping[Place, tuple[torch.Tensor, ...]]
    token_ids: TokenIds | None = None
    check: Callable[[Place], None] = lambda _place: None


@dataclass(frozen=True, slots=True)
class Source:
    """What was read from which file: `read` of its `places`; its `token_ids` are the truth to compare with."""

    path: str
    origin: str
    read: Observation
    places: tuple[Place, ...]
    rows: tuple[int, ...]
    token_ids: TokenIds | None

    @property
    def sentence(self) -> str:
        """What was read, for people."""
        total, prompts = sum(self.rows), len(self.rows)
        rows = f"{total} row{'s' * (total != 1)} of {prompts} prompt{'s' * (prompts != 1)}"
        others = f", one of {len(self.places)} places in it" if len(self.places) > 1 else ""
        ids = "with their token ids, which are compared" if self.token_ids is not None else "without token ids"
        return f"{self.path}: {self.origin}; read as {self.read}{others}: {rows}, {ids}."

    def to_json(self) -> dict[str, Any]:
        """The entry of a record; never the token ids."""
        return {
            "origin": self.origin,
            "observation": self.read.to_json(),
            "places": [str(place) for place in self.places],
            "rows": list(self.rows),
            "has_token_ids": self.token_ids is not None,
        }


def joined_source(folder: Path, sources: Sequence[Source]) -> Source | None:
    """What was read from the files of a folder that other programs wrote; None where there are none.

    The ids are the truth only where every file has them.
    """
    if not sources:
        return None
    known = [one.token_ids for one in sources if one.token_ids is not None]
    token_ids = tuple(ids for part in known for ids in part) if len(known) == len(sources) else None
    rows = tuple(count for one in sources for count in one.rows)
    origins = " and ".join(dict.fromkeys(one.origin for one in sources))
    return Source(str(folder), origins, sources[0].read, sources[0].places, rows, token_ids)
