"""The states of every token at the first position: the same for every prompt, so no token is run there twice.

What belongs to no prompt is only found out when the whole vocabulary has been run at its first row. The states of that
are kept in the cache, for a model, a layer and a number type; the next such file is answered without a run.
"""

from dataclasses import dataclass, field

import torch

from numerics.dtypes import name_of
from sipit.cache import keep_tensors, kept_tensors, measured_with
from sipit.models.network import Network

SMALLEST = 8192  # tokens below which a vocabulary is run again in no time
LARGEST = 2**28  # bytes of the states of one layer that are held, and kept


@dataclass
class FirstStates:
    """States (V, d) by token, as far as `known` (V,) says that they are there."""

    key: str
    table: torch.Tensor
    known: torch.Tensor
    _kept: bool = field(default=False)

    @classmethod
    def of(cls, network: Network) -> "FirstStates | None":
        """Those that are kept of a network, or none yet; None where holding them is not worth it, or not sound."""
        model, rows = network.model, network.model.vocabulary_size
        size = rows * network.width * model.dtype.itemsize
        if rows < SMALLEST or size > LARGEST or model.lengths.lengths:
            return None
        dtype = name_of(model.dtype)
        key = f"{measured_with(model.device)}/first/{model.digest[:32]}-{network.place}-{dtype}.safetensors"
        table = (kept_tensors(key) or {}).get("states")
        if table is not None and table.shape == (rows, network.width) and table.dtype == model.dtype:
            return cls(key, table.to(model.device), torch.ones(rows, dtype=torch.bool, device=model.device), True)
        empty = torch.empty(rows, network.width, dtype=model.dtype, device=model.device)
        return cls(key, empty, torch.zeros(rows, dtype=torch.bool, device=model.device))

    def states(self, positions: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor | None:
        """The states (N, d) of tokens (N,) that all stand at the first position, if all are known."""
        if bool((positions == 0).all()) and bool(self.known[tokens].all()):
            return self.table[tokens]
        return None

    def enter(self, positions: torch.Tensor, tokens: torch.Tensor, states: torch.Tensor) -> None:
        """Remembers the states of those tokens that stand at the first position; keeps all once all are known."""
        first = positions == 0
        self.table[tokens[first]] = states[first].to(self.table.dtype)
        self.known[tokens[first]] = True
        if not self._kept and bool(self.known.all()):
            keep_tensors(self.key, {"states": self.table.cpu()})
            self._kept = True
