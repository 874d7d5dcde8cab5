"""Places where programs read a block: its output, its halves, what they add, and what a norm or a mean makes of them.

They are sites of `sipit.observations`, found in the model by running it; all of a prompt come from one run.
"""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from proofs.threads import turn
from sipit.models import LanguageModel
from sipit.models.hooks import Reached
from sipit.models.network import Layer, Network
from sipit.observations.halves import HALVES, halves_of
from sipit.observations.norms import input_norms
from sipit.observations.readers import Keep, MadeOf, Reader
from sipit.observations.sites import find_reader, without_mean

_WORDS = {
    "residual": "output of {}",
    "centred": "output of {}, less the mean of every row",
    "mid": "{}, behind attention and before the MLP",
    "attention-out": "{}, what attention adds",
    "mlp-out": "{}, what the MLP adds",
}
READ = frozenset({*_WORDS, "normed"})  # names of sites that a diagnosis looks at
_COARSEST = 2.0**-8  # unit of rounding of the coarsest grids that states are kept in: bfloat16, int8


@dataclass(frozen=True, slots=True)
class Site:
    """A site of `sipit.observations` at a layer."""

    layer: Layer
    name: str = "residual"

    def __str__(self) -> str:
        if self.layer == "final":
            return "after the final norm"
        place = "the embedding" if self.layer == 0 else f"block {self.layer}"
        if self.name == "normed":
            return f"{place}, after the input norm of block {int(self.layer) + 1}"
        return _WORDS[self.name].format(place)


@dataclass(frozen=True)
class SiteNetwork(Network):
    """A model read by a reader; `shift` is added to every position id (a prompt that does not start at position 0)."""

    reader: Reader = field(kw_only=True)
    shift: int = 0

    @contextmanager
    def reading(self, keep: Keep, memory: Any = None) -> Generator[None]:
        """See `Network.reading`."""
        with self.reader.reading(keep, memory):
            yield

    def run(
        self,
        token_ids: torch.Tensor,
        *,
        memory: Any = None,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Network.run`."""
        if self.shift and self.model.abilities.positions is not None:
            plain = torch.arange(token_ids.shape[1], device=token_ids.device).expand(len(token_ids), -1)
            positions = (plain if positions is None else positions) + self.shift
        return super().run(token_ids, memory=memory, mask=mask, positions=positions)


@dataclass(frozen=True)
class Sites:
    """All sites of a model, by depth, with what reads each."""

    model: LanguageModel
    readers: dict[Site, Reader]

    @classmethod
    def of(cls, model: LanguageModel) -> "Sites":
        """Finds them by running short prompts; a site that the blocks do not have is none."""
        readers: dict[Site, Reader] = {Site(layer): Network(model, layer) for layer in range(model.layers + 1)}
        for layer, norm in enumerate(input_norms(model)):
            if norm is not None:
                readers[Site(layer, "normed")] = MadeOf(Network(model, layer), norm)
        for layer in range(model.layers + 1):
            readers[Site(layer, "centred")] = find_reader(model, "centred", layer)
        halves = {layer: halves_of(model, layer) for layer in range(1, model.layers + 1)}
        for name in HALVES:
            readers |= {Site(layer, name): found[name] for layer, found in halves.items() if name in found}
        if model.decoder.chain.final_width is not None:
            readers[Site("final")] = Network(model, "final")
        return cls(model, readers)

    def all(self) -> list[Site]:
        """Every site, by kind and depth."""
        return [*self.readers]

    def possible(self, rows: torch.Tensor) -> list[Site]:
        """The sites that rows (T, d) may be of: those without a mean only where the rows have none."""
        meanless = without_mean(rows, _COARSEST)
        return [site for site in self.readers if meanless or site.name != "centred"]

    def network(self, site: Site, *, shift: int = 0) -> SiteNetwork:
        """The model read at a site."""
        reader = self.readers[site]
        layer: Layer = "final" if site.layer == "final" else reader.depth
        return SiteNetwork(self.model, layer, reader=reader, shift=shift)

    def read(
        self,
        token_ids: torch.Tensor,
        wanted: Sequence[Site] | None = None,
        *,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> dict[Site, torch.Tensor]:
        """The states of one batch of ids (B, T) at the wanted sites (all by default), each (B, T, d), from one run.

        The run ends behind the deepest of them.
        """
        chosen = self.all() if wanted is None else wanted
        found: dict[Site, torch.Tensor] = {}

        def keep(site: Site, states: torch.Tensor) -> None:
            found[site] = states
            if len(found) == len(chosen):
                raise Reached

        with turn, ExitStack() as stack, torch.inference_mode(), suppress(Reached):
            for site in chosen:
                stack.enter_context(self.readers[site].reading(partial(keep, site)))
            output = self.model.decoder.body(
                input_ids=token_ids, **self.model.abilities.arguments(mask=mask, positions=positions)
            )
            found.setdefault(Site("final"), output[0])  # where it is what the body returns, no reader has it
        return {site: found[site] for site in chosen}
