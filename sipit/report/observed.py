"""What a record says was observed, in words: the hidden states at a layer, or another tensor of the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sipit.report.reading import mapping, sequence
from sipit.report.wording import plain

NAMES = {  # of a site: what one token has there, and what several have
    "residual": ("hidden state", "hidden states"),
    "centred": ("centred hidden state", "centred hidden states"),
    "mid": ("state between attention and MLP", "states between attention and MLP"),
    "attention-out": ("output of attention", "outputs of attention"),
    "mlp-out": ("output of the MLP", "outputs of the MLP"),
    "normed": ("normed state", "normed states"),
    "keys": ("keys", "keys"),
    "values": ("values", "values"),
    "keys-unrotated": ("unrotated keys", "unrotated keys"),
    "latent": ("latent", "latents"),
    "experts": ("choice of experts", "choices of experts"),
    "router-scores": ("router scores", "router scores"),
    "logits": ("logits", "logits"),
    "logprobs": ("log-probabilities", "log-probabilities"),
}


@dataclass(frozen=True, slots=True)
class Observed:
    """What was observed `of_one` token and `of_all`, and `at` which layers: ` at layer 3`, nothing without one."""

    of_one: str
    of_all: str
    at: str

    @property
    def where(self) -> str:
        """`hidden states at layer 3`."""
        return self.of_all + self.at


def observed(result: Mapping[str, Any]) -> Observed:
    """What a `result` with an `observation` and a `layer` is of; without the first it is of the residual stream."""
    entry = mapping(result.get("observation"))
    sites = list(map(plain, sequence(entry.get("sites")))) or ["residual"]
    names = [NAMES.get(site, (site, site)) for site in sites]
    top = "" if entry.get("top") is None else f" (the {plain(entry.get('top'))} largest)"
    of_one, of_all = (" and ".join(name[several] for name in names) + top for several in (0, 1))
    layer = result.get("layer")
    several = "s" if len(sequence(layer)) > 1 else ""
    return Observed(of_one, of_all, "" if layer is None else f" at layer{several} {plain(layer)}")
