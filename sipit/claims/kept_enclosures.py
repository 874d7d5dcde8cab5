"""Enclosures of prompts kept in the cache while a certification runs, so that an interrupted one resumes."""

import hashlib
import shutil
import time
from collections.abc import Sequence

from proofs.enclosures.enclosure import Enclosure, whole
from proofs.enclosures.segments import cuts
from proofs.enclosures.trail import Trail
from proofs.errors import InvalidInput
from proofs.kernel.result import digest
from proofs.network.graph import Graph
from sipit.cache import cache_folder, keep_json, kept_json, measured_with

WORTH = 1.0  # seconds of work since the last one that make it worth writing a file


class KeptTrails:
    """The trails of one network and its weights, one file per prompt."""

    def __init__(self, name: str, graphs: Sequence[Graph]) -> None:
        self._graphs = {graph.length: graph for graph in graphs}
        names = {length: digest(graph.to_json())[:16] for length, graph in self._graphs.items()}
        self._folder = f"{measured_with()}/certify/{name}"
        self._names = names
        self._last = time.monotonic()

    def read(self, rows: Sequence[Sequence[int]]) -> dict[tuple[int, ...], Trail]:
        """The trails that an interrupted run has left; damaged ones are none."""
        found: dict[tuple[int, ...], Trail] = {}
        for row in {tuple(row) for row in rows}:
            data = kept_json(self._key(row))
            if data is None or data.get("token_ids") != list(row):
                continue
            graph = self._graphs[len(row)]
            width = graph.nodes[graph.output].type.shape[-1]
            sizes = [*[len(row)] * (len(cuts(graph)) - 1), 1]
            try:
                steps = [
                    Enclosure.from_json(entry, size, width)
                    for entry, size in zip(data["enclosures"], sizes, strict=True)
                ]
                found[row] = Trail(row, whole(data, "bits"), tuple(steps))
            except (InvalidInput, KeyError, TypeError, ValueError):
                continue
        return found

    def keep(self, trail: Trail) -> None:
        """Keeps a trail where it took long enough to make."""
        now = time.monotonic()
        worth, self._last = now - self._last > WORTH, now
        if worth:
            data = {
                "token_ids": list(trail.tokens),
                "bits": trail.bits,
                "enclosures": [step.to_json() for step in trail.steps],
            }
            keep_json(self._key(trail.tokens), data)

    def forget(self) -> None:
        """Removes the trails: the run is complete."""
        shutil.rmtree(cache_folder() / self._folder, ignore_errors=True)

    def _key(self, row: Sequence[int]) -> str:
        name = hashlib.sha256(repr(tuple(row)).encode()).hexdigest()[:32]
        return f"{self._folder}/{self._names[len(row)]}-{name}.json"
