"""The states of every token at the first position: the same for every prompt, so no token is run there twice.

What belongs to no prompt is only found out when the whole vocabulary has been run at its first row. The states of that
are kept in the cache, for a model, a layer and a number type; the next such file is answered without a run.
"""

from collections.abc import Generator
from dataclasses import dataclass, field

import torch

from numerics.dtypes import name_of
from sipit.cache import forget, keep_tensors, kept_tensors, measured_with
from sipit.inversion.wanted import Candidates
from sipit.models.network import Network

SMALLEST = 8192  # tokens below which a vocabulary is run again in no time
LARGEST = 2**28  # bytes of the states of one layer that are held, and kept


@dataclass(eq=False)
class FirstStates:
    """States (V, d) by token, as far as `known` (V,) says that they are there."""

    key: str
    table: torch.Tensor
    known: torch.Tensor
    _kept: bool = field(default=False)

    def __post_init__(self) -> None:
        self._asked = torch.zeros_like(self.known)  # by some search, which enters them before it ends

    @property
    def complete(self) -> bool:
        """Whether the states of all tokens are there."""
        return bool(self.known.all())

    @classmethod
    def of(cls, network: Network) -> "FirstStates | None":
        """Those that are kept of a network, or none yet; None where holding them is not worth it, or not sound."""
        model, rows = network.model, network.model.vocabulary_size
        size = rows * network.width * model.dtype.itemsize
        if rows < SMALLEST or size > LARGEST or model.lengths.lengths:
            return None
        dtype = name_of(model.dtype)
        key = f"{measured_with(model.device)}/first-states/{model.digest[:32]}-{network.place}-{dtype}.safetensors"
        table = (kept_tensors(key) or {}).get("states")
        if table is not None and table.shape == (rows, network.width):
            return cls(key, table.to(model.device), torch.ones(rows, dtype=torch.bool, device=model.device), True)
        empty = torch.empty(rows, network.width, dtype=model.dtype, device=model.device)
        return cls(key, empty, torch.zeros(rows, dtype=torch.bool, device=model.device))

    def served(
        self, positions: torch.Tensor, tokens: torch.Tensor
    ) -> Generator[Candidates, torch.Tensor, torch.Tensor]:
        """The states (N, d) of tokens at positions; what of them is not known at the first one is wanted.

        Searches run side by side: what one has asked for at the first position, the others wait for, for one round.
        """
        first, waited = positions == 0, False
        done, states = first & self.known[tokens], self.table[tokens]
        while not bool(done.all()):
            run = ~done & ~(first & self._asked[tokens])
            if not bool(run.any()):
                run[done.long().argmin()] = True  # something has to be wanted till then
                run = ~done if waited else run
                waited = True
            self._asked[tokens[first & run]] = True
            found = yield Candidates(positions[run], tokens[run])
            self.enter(positions[run], tokens[run], found)
            states = states.to(torch.promote_types(states.dtype, found.dtype))
            states[run] = found.to(states.dtype)
            known = first & self.known[tokens]
            states[known] = self.table[tokens[known]].to(states.dtype)
            done |= run | known
        return states

    def forget(self) -> None:
        """Drops all states, and what is kept of them: they are not those of plain runs."""
        self.known.zero_()
        self._asked.zero_()
        self._kept = False
        forget(self.key)

    def enter(self, positions: torch.Tensor, tokens: torch.Tensor, states: torch.Tensor) -> None:
        """Remembers the states of those tokens that stand at the first position; keeps all once all are known."""
        first = positions == 0
        # Some observations of a half type are read in float32: rounded to it, their rows would be others.
        self.table = self.table.to(torch.promote_types(self.table.dtype, states.dtype))
        self.table[tokens[first]] = states[first].to(self.table.dtype)
        self.known[tokens[first]] = True
        if not self._kept and self.complete:
            keep_tensors(self.key, {"states": self.table.cpu()})
            self._kept = True
