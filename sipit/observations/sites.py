"""Where the tensor of a site is found in a model, and read from."""

import math
import re
from collections.abc import Callable

import torch

from numerics.grids import grid_type, moved_by
from proofs.errors import InvalidInput, Unsupported
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.observations.cached import cached_heads, find_cached, no_cache
from sipit.observations.halves import find_half
from sipit.observations.latent import find_latent
from sipit.observations.norms import find_normed
from sipit.observations.observation import KINDS, Kind
from sipit.observations.readers import AtHead, MadeOf, Reader
from sipit.observations.routers import find_router, find_scores
from sipit.observations.unrotated import find_unrotated

_COMPUTED = 1e-5  # mean of a row over its root mean square, where it was computed and taken away in float32
_ROUNDINGS = 16.0  # units of one number by which those of a row may be off together, over the root of their count
_BY_CHANCE = 1e-3
Find = Callable[[LanguageModel, int], Reader]


def add_site(name: str, kind: Kind, find: Find) -> None:
    """Makes a site of a name that can be observed: `find` gives its reader in a model at a layer.

    Raises:
        InvalidInput: there is one of that name, or it is not of small letters, digits and hyphens.
    """
    if name in KINDS or not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise InvalidInput(f"Expected a new name for a site, of small letters, but got {name!r}; choose another.")
    KINDS[name], FINDERS[name] = kind, find


def find_reader(model: LanguageModel, site: str, layer: int) -> Reader:
    """What reads a site at a layer of a model (for the sites of the whole network: its last).

    Raises:
        Unsupported: the model has no such tensor there.
    """
    return FINDERS[site](model, layer)


def heads_of(model: LanguageModel, site: str, layer: int) -> tuple[int, int]:
    """How many heads the keys or values of a layer have, and how many numbers each.

    Raises:
        Unsupported: the next block puts nothing into a cache.
    """
    stored = cached_heads(model, layer)
    if isinstance(stored, str):
        raise no_cache(model, layer, site, stored)
    part = stored[1 if site == "values" else 0]
    return part.shape[1], part.shape[3]


def find_logits(model: LanguageModel, layer: int) -> Reader:
    """The reader of a model's logits.

    Raises:
        Unsupported: it has no head.
    """
    if model.head is None or model.module is model.decoder.body:
        raise Unsupported(f"Expected a head that makes logits, but {model.name} has none; observe another site.")
    return AtHead(model.module, layer)


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of logits (…, V), in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def without_mean(rows: torch.Tensor, unit: float = 0.0) -> bool:
    """Whether every row (T, d) may have had its mean taken away, its numbers rounded since by no more than `unit`, or
    by the unit of the least exact type on whose grid they lie, relative to their size.

    The errors of the d numbers of a row average out; a stream that is a sum over many blocks was rounded many times.
    """
    exact = rows.double()
    off = exact.mean(1).abs() / exact.square().mean(1).sqrt().clamp_min(1e-300)
    return bool((off <= _allowed(rows, unit)).all())


def without_mean_by_chance(rows: torch.Tensor) -> bool:
    """Whether rows (T, d) with their means left in may well be as `without_mean` asks: of half types one or two are.

    A row of d numbers has a mean of about 1 / sqrt(d) of their size.
    """
    each = _allowed(rows, 0.0) * (2 * rows.shape[1] / math.pi) ** 0.5
    return float(each.prod()) > _BY_CHANCE


def _allowed(rows: torch.Tensor, unit: float) -> torch.Tensor:
    """The largest mean of each row, over its root mean square, that rounding leaves of none: (T,)."""
    stored = grid_type(rows)
    units = moved_by(stored, rows).clamp_min(max(unit, torch.finfo(stored).eps / 2))
    return (_ROUNDINGS * units / rows.shape[1] ** 0.5).clamp_min(_COMPUTED)


def _centred(model: LanguageModel, layer: int) -> Reader:
    return MadeOf(Network(model, layer), lambda states: states - states.mean(dim=-1, keepdim=True))


FINDERS: dict[str, Find] = {
    "residual": Network,
    "centred": _centred,
    "mid": lambda model, layer: find_half(model, layer, "mid"),
    "attention-out": lambda model, layer: find_half(model, layer, "attention-out"),
    "mlp-out": lambda model, layer: find_half(model, layer, "mlp-out"),
    "normed": find_normed,
    "latent": find_latent,
    "experts": find_router,
    "router-scores": find_scores,
    "logits": find_logits,
    "logprobs": lambda model, layer: MadeOf(find_logits(model, layer), log_probabilities),
    "keys-unrotated": find_unrotated,
    "keys": lambda model, layer: find_cached(model, layer, "keys"),
    "values": lambda model, layer: find_cached(model, layer, "values"),
}
