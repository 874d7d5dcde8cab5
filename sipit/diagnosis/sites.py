"""Places where programs read the residual stream: a block's output, or what a norm makes of it.

Site(l) is h^l; Site(l, normed=True) is h^l after the input norm of block l+1, which many hooks see; Site("final") is
the state after the final norm. All sites of a prompt come from one run.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from sipit.models import LanguageModel
from sipit.models.hooks import Reached, hooked
from sipit.models.network import Layer, Network, reading_final


@dataclass(frozen=True, slots=True)
class Site:
    """A layer, and whether the next block's input norm has been applied."""

    layer: Layer
    normed: bool = False

    def __str__(self) -> str:
        if self.layer == "final":
            return "after the final norm"
        place = "the embedding" if self.layer == 0 else f"block {self.layer}"
        return f"{place}, after the input norm of block {int(self.layer) + 1}" if self.normed else f"output of {place}"


@dataclass(frozen=True)
class SiteNetwork(Network):
    """A model read at a site; `shift` is added to every position id (a prompt that does not start at position 0)."""

    norm: Any = None
    shift: int = 0

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
        states = super().run(token_ids, memory=memory, mask=mask, positions=positions)
        with torch.inference_mode():
            return states if self.norm is None else self.norm(states)


@dataclass(frozen=True)
class Sites:
    """All sites of a model; `norms[l]` is the input norm of block l+1, None where a block does not begin with one."""

    model: LanguageModel
    norms: list[Any] = field(default_factory=list[Any])

    @classmethod
    def of(cls, model: LanguageModel) -> "Sites":
        """Finds the input norms by running a short prompt: the first norm whose input is the block's own."""
        return cls(model, _input_norms(model))

    def all(self) -> list[Site]:
        """Every site, by depth."""
        plain = [Site(layer) for layer in range(self.model.layers + 1)]
        normed = [Site(layer, True) for layer, norm in enumerate(self.norms) if norm is not None]
        return [*plain, *normed, *([Site("final")] if self.model.decoder.chain.final_width is not None else [])]

    def network(self, site: Site, *, shift: int = 0) -> SiteNetwork:
        """The model read at a site."""
        return SiteNetwork(self.model, site.layer, norm=self._norm(site), shift=shift)

    def _norm(self, site: Site) -> Any:
        return self.norms[int(site.layer)] if site.normed else None

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
        layers = [site.layer for site in chosen]
        end = None if "final" in layers else max(int(layer) for layer in layers)
        plain: dict[Layer, torch.Tensor] = {}
        final = self.model.decoder.chain.final
        with (
            torch.inference_mode(),
            _collected(self.model, plain, end),
            reading_final(final, lambda states: plain.update({"final": states})),
            suppress(Reached),
        ):
            given = self.model.abilities.arguments(mask=mask, positions=positions)
            output = self.model.decoder.body(input_ids=token_ids, **given)
            plain.setdefault("final", output[0])
        with torch.inference_mode():
            return {site: self._norm(site)(plain[site.layer]) if site.normed else plain[site.layer] for site in chosen}


@contextmanager
def _collected(model: LanguageModel, states: dict[Layer, torch.Tensor], end: int | None = None) -> Generator[None]:
    """Collects what enters the first block and what every block hands on; ends the run behind block `end`."""

    stream = model.decoder.chain.stream

    def before(_module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        states[0] = stream.entered(arguments, named)
        if end == 0:
            raise Reached

    def after(layer: int) -> Any:
        def keep(_module: Any, _arguments: Any, output: Any) -> None:
            states[layer] = stream.handed_on(output)
            if layer == end:
                raise Reached

        return keep

    blocks = model.decoder.blocks
    handles = [blocks[0].register_forward_pre_hook(before, with_kwargs=True)]
    handles += [block.register_forward_hook(after(index)) for index, block in enumerate(blocks, start=1)]
    with hooked(handles):
        yield


def _input_norms(model: LanguageModel) -> list[Any]:
    entered: dict[Layer, torch.Tensor] = {}
    seen: list[tuple[Any, torch.Tensor]] = []
    norms = [part for part in model.decoder.body.modules() if "norm" in type(part).__name__.lower()]

    def keep(module: Any, arguments: tuple[Any, ...], _output: Any) -> None:
        if arguments:
            seen.append((module, arguments[0]))

    ids = torch.arange(4, device=model.device)[None] % model.vocabulary_size
    with hooked(norm.register_forward_hook(keep) for norm in norms), torch.inference_mode(), _collected(model, entered):
        model.decoder.body(input_ids=ids, **model.abilities.arguments())
    found: list[Any] = []
    for layer in range(model.layers):
        inside = {id(part) for part in model.decoder.blocks[layer].modules()}
        fits = [m for m, x in seen if id(m) in inside and x.shape == entered[layer].shape]
        equal = [m for m, x in seen if id(m) in inside and x.shape == entered[layer].shape and x.equal(entered[layer])]
        found.append(equal[0] if equal and equal[0] is fits[0] else None)
    return found
