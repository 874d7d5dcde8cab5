"""What an interrupted inversion leaves behind, so that the next one continues there.

A folder of the cache holds one file for each prompt that was begun: answers decided, working tokens, and which
candidates were tested, with their residuals, at positions still open, and at the first where nothing fits there. It is
written every few seconds and when a prompt has ended, and removed once the whole inversion is done. The search that
continues runs the working prompt again first, and begins anew where it does not fit.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from proofs.errors import InvalidInput
from proofs.evidence import write_atomically
from sipit.cache import cache_folder, full_disk, measured_with, opened_tensors, sealed_tensors
from sipit.inversion.decision import Condition
from sipit.inversion.outcome import Alternative, Outcome, TokenResult
from sipit.inversion.search import Search
from sipit.inversion.standing import Standing, Tested
from sipit.models import LanguageModel
from sipit.noise.tolerance import Tolerance

SCHEMA = "sipit/inversion/2"
INTERVAL = 10.0  # seconds between two writings of one prompt


@dataclass
class Kept:
    """The folder of one inversion."""

    folder: Path
    _written: dict[int, float] = field(default_factory=dict[int, float])

    @classmethod
    def of(
        cls, model: LanguageModel, arrays: Sequence[torch.Tensor], layer: Any, tolerance: Tolerance, *also: Any
    ) -> "Kept":
        """The folder for these states of a model, held against a tolerance; `also` is what else answers depend on."""
        digest = hashlib.sha256(repr((SCHEMA, model.digest, model.dtype, layer, tolerance, also)).encode())
        for array in arrays:
            digest.update(repr((array.shape, array.dtype)).encode())
            digest.update(array.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return cls(cache_folder() / measured_with(model.device) / "inversions" / digest.hexdigest()[:32])

    def standing(self, number: int) -> Standing | None:
        """Where an earlier search for a prompt stopped; None where there was none, or its file is damaged."""
        found = opened_tensors(self.folder / f"{number:06d}.safetensors")
        if found is None:
            return None
        tensors, note = found
        try:
            data: Any = json.loads(note)
            return Standing(
                working=tuple(data["working"]),
                results=tuple(map(_result, data["results"])),
                alternatives=tuple(Alternative(**one) for one in data["alternatives"]),
                tested={at: Tested(tensors[f"tokens.{at}"], tensors[f"residuals.{at}"]) for at in data["open"]},
                allowed=tensors["allowed"],
                seconds=data["seconds"],
                forward_passes=data["forward_passes"],
                token_positions=data["token_positions"],
            )
        except (KeyError, TypeError, ValueError):  # of another version
            return None

    def keep(self, number: int, search: Search) -> None:
        """Writes where a search is, unless that was done a moment ago; never an error."""
        now = time.monotonic()
        if not search.ended and now - self._written.setdefault(number, now) < INTERVAL:
            return
        self._written[number] = now
        standing = search.standing()
        data = {
            "results": [asdict(result) for result in standing.results],
            "alternatives": [asdict(alternative) for alternative in standing.alternatives],
            "working": standing.working,
            "open": list(standing.tested),
            "seconds": standing.seconds,
            "forward_passes": standing.forward_passes,
            "token_positions": standing.token_positions,
        }
        tensors = {"allowed": standing.allowed}
        for position, tested in standing.tested.items():
            tensors[f"tokens.{position}"] = tested.token_ids
            tensors[f"residuals.{position}"] = tested.residuals
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / f"{number:06d}.safetensors", sealed_tensors(tensors, json.dumps(data)))
        except (*full_disk(), InvalidInput):
            return  # a cache that cannot be written only costs time

    def remove(self) -> None:
        """Removes the folder, once everything is answered."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _result(entry: dict[str, Any]) -> TokenResult:
    known = entry["condition"]
    named = dict[str, Any](outcome=Outcome(entry["outcome"]), condition=None if known is None else Condition(known))
    return TokenResult(**entry | named)
