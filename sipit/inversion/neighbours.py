"""Which other layer states fit that belong to no prompt at the layer that was named.

Programs count differently: `hidden_states[1]` is the state after the first block in most families of `transformers`,
and after the second in Mamba's; the last of them lies behind the final norm. Only a hint comes of it: it is looked for
at the first position alone, among every token of a small vocabulary, or the nearest that were tested.
"""

import torch

from sipit.inversion.decision import fits
from sipit.inversion.outcome import Alternative, Outcome
from sipit.inversion.search import Search
from sipit.models import LanguageModel
from sipit.models.network import Layer, Network
from sipit.noise.distances import relative_distance

SMALL = 4096  # rows of a vocabulary that is tried whole
NEAREST = 64  # candidates of a larger one


def other_layers(search: Search) -> list[Alternative]:
    """The layer at which the first state is that of a token, for a search that found none at its own; mostly empty."""
    trial = search.verifier.trials.get(0)
    if trial is None or not search.results or search.results[0].outcome is not Outcome.NOT_FOUND:
        return []
    network = search.prefix.network
    model, layer = search.verifier.model, network.layer
    if type(network) is not Network:
        return []  # only the residual stream is counted in several ways
    nearest = trial.token_ids[trial.residuals.argsort(stable=True)][:NEAREST]
    rows = model.vocabulary_size
    tokens = torch.arange(rows, device=model.device) if rows <= SMALL else nearest
    observed = search.verifier.observed[0]
    for other in _others(model, layer):
        if model.width_at(other) != len(observed):
            continue
        states = Network(model, other).run(tokens[:, None])[:, 0].double()
        residuals = relative_distance(states, observed, damped=False)
        if fits(float(residuals.min()), search.verifier.tolerance.value):
            reason = (
                f"the states fit layer {other}, not {layer}; name layer {other}, where this token has the first of them"
            )
            return [Alternative(0, [int(tokens[residuals.argmin()])], reason)]
    return []


def _others(model: LanguageModel, layer: Layer) -> list[Layer]:
    """The layers that others are likeliest to mean, the next ones first."""
    at = model.layers if layer == "final" else int(layer)
    near: list[Layer] = [number for number in (at + 1, at - 1) if 0 <= number <= model.layers]
    further: list[Layer] = ["final", model.layers, 0]
    none = "final" if model.decoder.chain.final_width is None else layer
    return [other for other in dict.fromkeys(near + further) if other not in (layer, none)]
