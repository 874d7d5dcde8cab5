"""What an interrupted inversion leaves behind, and goes on from.

A folder of the cache holds one file for each prompt that was begun: answers decided, working tokens, and which
candidates were tested, with their residuals, at positions still open. It is written every few seconds and when a
prompt has ended, and removed with the whole inversion. Whoever goes on runs the working prompt again first, and
begins anew where it does not fit.
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
from proofs.network.tensor_file import read_header
from sipit.cache import cache_folder, measured_with
from sipit.inversion.outcome import Alternative, Outcome, TokenResult
from sipit.inversion.search import Search
from sipit.inversion.verifier import Trial
from sipit.models import LanguageModel
from sipit.noise.tolerance import Tolerance

SCHEMA = "sipit/inversion/1"
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

    def restore(self, number: int, search: Search) -> None:
        """Lets a search of a prompt that has not begun go on where an earlier one stopped."""
        from safetensors.torch import load_file

        path = self.folder / f"{number:06d}.safetensors"
        try:
            data: Any = json.loads(read_header(path).metadata["search"])
            results = [TokenResult(**(one | {"outcome": Outcome(one["outcome"])})) for one in data["results"]]
            alternatives = [Alternative(**one) for one in data["alternatives"]]
            tensors = {name: tensor.to(search.verifier.model.device) for name, tensor in load_file(path).items()}
            trials = {
                position: Trial(tensors[f"tokens.{position}"], tensors[f"residuals.{position}"])
                for position in data["open"]
            }
        except (InvalidInput, OSError, KeyError, TypeError, ValueError, RecursionError):
            return  # none, or a damaged one: it is begun anew
        search.go_on_from(data["working"], results, alternatives, trials, tensors["allowed"])
        search.clock.used += data["seconds"]
        work = search.verifier.prefix.network.work
        work.forward_passes += data["forward_passes"]
        work.token_positions += data["token_positions"]

    def keep(self, number: int, search: Search) -> None:
        """Writes where a search is, unless that was done a moment ago; never an error."""
        ended, now = len(search.results) == search.length, time.monotonic()
        if not ended and now - self._written.setdefault(number, now) < INTERVAL:
            return
        self._written[number] = now
        from safetensors.torch import save

        verifier = search.verifier
        work = verifier.prefix.network.work
        still_open = [position for position in verifier.trials if position >= len(search.results)]
        data = {
            "results": [asdict(result) for result in search.results],
            "alternatives": [asdict(alternative) for alternative in search.alternatives],
            "working": search.working,
            "open": still_open,
            "seconds": search.clock.seconds,
            "forward_passes": work.forward_passes,
            "token_positions": work.token_positions,
        }
        tensors = {"allowed": verifier.limits.cpu()}
        for position in still_open:
            trial = verifier.trials[position]
            tensors[f"tokens.{position}"] = trial.token_ids.cpu().contiguous()
            tensors[f"residuals.{position}"] = trial.residuals.cpu().contiguous()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / f"{number:06d}.safetensors", save(tensors, {"search": json.dumps(data)}))
        except (OSError, InvalidInput):
            return  # a cache that cannot be written only costs time

    def remove(self) -> None:
        """Removes the folder, once everything is answered."""
        shutil.rmtree(self.folder, ignore_errors=True)
