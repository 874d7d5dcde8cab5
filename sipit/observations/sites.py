"""Where the tensor of a site is found in a model, and read from."""

from collections.abc import Callable

from proofs.errors import Unsupported
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.observations.cached import cached_heads, find_cached, no_cache
from sipit.observations.readers import MadeOf, Reader

Find = Callable[[LanguageModel, int], Reader]


def find_reader(model: LanguageModel, site: str, layer: int) -> Reader:
    """What reads a site at a layer of a model (for the sites of the whole network: its last).

    Raises:
        Unsupported: the model has no such tensor there.
    """
    if site not in FINDERS:
        raise Unsupported(f"Expected one of {', '.join(FINDERS)}, but {site} cannot be read yet; observe one of them.")
    return FINDERS[site](model, layer)


def heads_of(model: LanguageModel, site: str, layer: int) -> tuple[int, int]:
    """How many heads the keys or values of a layer have, and how many numbers each."""
    stored = cached_heads(model, layer)
    if isinstance(stored, str):
        raise no_cache(model, layer, site, stored)
    part = stored[1 if site == "values" else 0]
    return part.shape[1], part.shape[3]


def _centred(model: LanguageModel, layer: int) -> Reader:
    return MadeOf(Network(model, layer), lambda states: states - states.mean(dim=-1, keepdim=True))


FINDERS: dict[str, Find] = {
    "residual": Network,
    "centred": _centred,
    "keys": lambda model, layer: find_cached(model, layer, "keys"),
    "values": lambda model, layer: find_cached(model, layer, "values"),
}
