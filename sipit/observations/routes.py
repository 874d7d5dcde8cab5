"""Ids of chosen experts as files have them: layer by layer, in whatever order a router returned them."""

from collections.abc import Sequence

import torch

from proofs.errors import InvalidInput
from sipit.models import LanguageModel
from sipit.observations.network import ObservedNetwork, observed_network
from sipit.observations.observation import Observation
from sipit.observations.routers import Router


def routes_beside(model: LanguageModel, observation: Observation, arrays: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Ids (T, n) of the experts of every layer, ascending at each; in tables (T, layers, k) they are put side by side.

    Raises:
        InvalidInput: another shape, ids of no expert, or one named twice at a layer.
    """
    network = observed_network(model, observation)
    assert isinstance(network, ObservedNetwork)
    routers = [reader for reader in network.readers if isinstance(reader, Router)]
    rows: list[torch.Tensor] = []
    for number, array in enumerate(arrays):
        flat = array.flatten(1) if array.ndim == 3 else array
        counts = [router.chosen for router in routers]
        if flat.ndim != 2 or flat.shape[1] != sum(counts):
            raise InvalidInput(
                f"Expected the ids of {' and '.join(map(str, counts))} experts, shape (T, {sum(counts)}), but tensor "
                f"{number} has shape {tuple(array.shape)}; check --layer and the model."
            )
        parts = [part.sort(dim=1).values for part in flat.split(counts, dim=1)]
        for part, router in zip(parts, routers, strict=True):
            whole = bool(((part >= 0) & (part < router.experts) & (part == part.round())).all())
            if not whole or bool((part.diff(dim=1) == 0).any()):
                raise InvalidInput(
                    f"Expected ids of experts below {router.experts}, each once, but tensor {number} has others; save "
                    "them layer by layer, one row for every token."
                )
        rows.append(torch.cat(parts, dim=1))
    return rows
