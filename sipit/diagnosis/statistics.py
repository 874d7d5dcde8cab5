"""Which site states look like, and how far the usual arithmetics move them there; both from short prompts.

Only directions are looked at, x = sqrt(d) h/|h|, so that a constant factor does not matter. Coordinate by coordinate
they have a mean and a spread of their own at every site. A search begins at the likeliest site under these Gaussians;
with a small vocabulary at one where some row is nearest to that of a token alone. It is never the answer. How far an
arithmetic moves states is said in the damped distance of directions.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from numerics.dtypes import name_of
from proofs.errors import Unsupported
from sipit.diagnosis.sites import Site, Sites
from sipit.models import LanguageModel
from sipit.models.copies import copied, in_dtype
from sipit.models.length import whole_length
from sipit.models.structure import find_decoder
from sipit.noise.distances import direction_distance, directions
from sipit.prefix.choice import single_opener
from sipit.prompts.builtin_text import random_tokens, section_prompts, within_context

_PROMPTS, _LENGTH, _SEED = 12, 40, 20251122
_FARTHEST = 25.0  # squared standard deviations that one coordinate can count for: rows of padding shall not decide
_ROUNDINGS = 4  # units that any two captures may differ by
_FAR = 0.1  # distance of directions beyond which nearer is not likelier
_LOOKED_AT = 64  # rows
_KEPT = 2**26  # numbers
_LEAST = 1e-3  # standard deviation of a coordinate


def calibration(model: LanguageModel, count: int = _PROMPTS) -> list[list[int]]:
    """Prompts of one length, half text and half random tokens."""
    length = within_context(model, _LENGTH)
    generator = torch.Generator().manual_seed(_SEED)
    drawn = random_tokens(model, (count, length), generator=generator).tolist()
    text = section_prompts(model, count=count // 2, length=length)
    return [*text, *drawn[len(text) :]]


@dataclass(frozen=True, eq=False)
class SiteStatistics:
    """Means and standard deviations (d,) of the directions at every site, at position 0 and behind it."""

    first: dict[Site, tuple[torch.Tensor, torch.Tensor]]
    later: dict[Site, tuple[torch.Tensor, torch.Tensor]]
    alone: dict[Site, torch.Tensor]  # directions (V, d) of every token alone; none where they would be too many

    @classmethod
    def measure(cls, sites: Sites) -> "SiteStatistics":
        """One run of all calibration prompts, and one of many prompts of a token."""
        ids = torch.tensor(calibration(sites.model), device=sites.model.device)
        single = ids.flatten().unique()[:256, None]
        later = {site: _moments(states[:, 1:].flatten(0, 1)) for site, states in sites.read(ids).items()}
        first = {site: _moments(states[:, 0]) for site, states in sites.read(single).items()}
        model, alone = sites.model, dict[Site, torch.Tensor]()
        if len(sites.all()) * model.vocabulary_size * model.width <= _KEPT:
            everything = torch.arange(model.vocabulary_size, device=model.device)[:, None]
            alone = {site: directions(states[:, 0]) for site, states in sites.read(everything).items()}
        return cls(first, later, alone)

    def ranked(self, rows: torch.Tensor, sites: Sequence[Site]) -> list[Site]:
        """The sites with states of this width, the likeliest for most rows (T, d) first."""
        width = rows.shape[1]
        x = directions(rows) * width**0.5
        fitting = [site for site in sites if len(self.later[site][0]) == width]
        scores = {site: float(self._score(site, x).median()) for site in fitting}
        apart = {site: self._from_first(site, rows[:_LOOKED_AT]) for site in fitting}
        return sorted(scores, key=lambda site: (apart[site], -scores[site]))

    def _from_first(self, site: Site, rows: torch.Tensor) -> float:
        """How near some row (T, d) comes to a token alone, if that is near at all."""
        if site not in self.alone:
            return _FAR
        alone = self.alone[site]
        return min(_FAR, float(torch.cdist(directions(rows).to(alone), alone).min()))

    def _score(self, site: Site, x: torch.Tensor) -> torch.Tensor:
        """Log-likelihood of each row: behind position 0, and for a single row the better of the two."""
        mean, spread = self.later[site]
        later = _likelihood(x, mean, spread)
        return torch.maximum(later, _likelihood(x, *self.first[site])) if len(x) == 1 else later


def _moments(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = directions(states) * states.shape[1] ** 0.5
    return x.mean(0), x.std(0).clamp_min(_LEAST)


def _likelihood(x: torch.Tensor, mean: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    return -(((x - mean) / spread).square().clamp_max(_FARTHEST) / 2 + spread.log()).mean(1)


@dataclass(frozen=True, slots=True)
class Level:
    """How far an arithmetic moves the damped directions at a site: median and largest over calibration positions."""

    arithmetic: str
    median: float
    largest: float


Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def ordinary_level(sites: Sites, site: Site, distance: Distance = direction_distance) -> Level:
    """The noise of the model's own arithmetic: one forward against runs behind a cache."""
    model = sites.model
    ids = torch.tensor(calibration(model, 6), device=model.device)
    network = sites.network(site)
    opener = single_opener(network)
    again: list[torch.Tensor] = []
    for row in ids:
        with whole_length(len(row)):
            prefix = opener(network)
            prefix.extend(0, row[None])
            prefix.keep(0)
            again.append(prefix.candidates(torch.arange(len(row), device=row.device), row))
    own = name_of(model.dtype)
    level = _level(f"{own}, as here", _run(model, site, ids), torch.stack(again), distance)
    # Where both ways agree to the bit, as in recurrent models, captures of a third kind still differ by some roundings.
    return replace(level, largest=max(level.largest, _ROUNDINGS * torch.finfo(model.coarsest).eps))


def coarse_levels(sites: Sites, site: Site) -> list[Level]:
    """The noise of float16, bfloat16 and 8-bit weights against the model's own arithmetic, the least first.

    What the library does not run the model in is left out.
    """
    model = sites.model
    ids = torch.tensor(calibration(model, 6), device=model.device)
    plain = _run(model, site, ids)
    coarser = [d for d in (torch.float16, torch.bfloat16) if torch.finfo(d).eps > torch.finfo(model.dtype).eps]
    others: list[tuple[str, LanguageModel]] = []
    for dtype in coarser:
        with suppress(Unsupported):
            others.append((name_of(dtype), in_dtype(model, dtype)))
    others.append(("8-bit weights", _with_rounded_matrices(model)))
    return sorted((_level(name, plain, _run(other, site, ids)) for name, other in others), key=lambda one: one.largest)


def _level(name: str, plain: torch.Tensor, other: torch.Tensor, distance: Distance = direction_distance) -> Level:
    apart = distance(plain.double(), other.double())
    return Level(name, float(apart.median()), float(apart.max()))


def _run(model: LanguageModel, site: Site, ids: torch.Tensor) -> torch.Tensor:
    return Sites.of(model).network(site).run(ids)


def _with_rounded_matrices(model: LanguageModel) -> LanguageModel:
    """A copy with every matrix of a block rounded to 8 bits a row."""
    rounded = copied(model)
    _round_matrices(rounded.decoder.blocks)
    return replace(model, module=rounded.module, decoder=find_decoder(rounded.module))


def _round_matrices(blocks: Sequence[torch.nn.Module]) -> None:
    with torch.no_grad():
        for block in blocks:
            for parameter in block.parameters():
                if parameter.ndim >= 2:
                    scale = parameter.abs().amax(-1, keepdim=True).clamp_min(1e-30) / 127
                    parameter.copy_((parameter / scale).round() * scale)
