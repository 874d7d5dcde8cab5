"""Step margins over the whole vocabulary: how far the state of every other token lies from the true one.

One scan of the vocabulary behind a true prefix serves all formats: each observed state at that position is compared
with the state of every token in float32. By Theorem 3.2 (arXiv 2510.15511) the nearest token is the true one wherever
an observed state lies within half the step margin of the true state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sipit.models import LanguageModel
from sipit.models.layers import reading
from sipit.models.network import Network
from sipit.prefix.choice import single_opener
from sipit.record import Progress

BATCH = 1024  # candidates at a time


@dataclass(frozen=True, slots=True)
class Place:
    """A position of a prompt: the prefix, and the token that stands there."""

    prompt: int
    prefix: tuple[int, ...]
    token: int

    @property
    def position(self) -> int:
        """Tokens in front."""
        return len(self.prefix)


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """How far observed states at one place and layer lie from the states of tokens.

    Attributes:
        truth: shape (observations,), to the state of the true token's class; absolute L2.
        rival: shape (observations,), to the nearest state of another class among those scanned.
        nearest_rival: shape (observations,), the id of that token.
        candidates: how many tokens were scanned.
    """

    truth: torch.Tensor
    rival: torch.Tensor
    nearest_rival: torch.Tensor
    candidates: int


def scan(
    model: LanguageModel,
    place: Place,
    observed: dict[int, torch.Tensor],
    tokens: torch.Tensor | None = None,
    progress: Progress | None = None,
) -> dict[int, Distances]:
    """Compares observed states with the states of all tokens behind a prefix, at several layers in one scan.

    Args:
        observed: by layer, shape (observations, d), any dtype; differences are taken in float32.
        tokens: the ids to scan; None for the whole vocabulary. The true token is always among them.
    """
    layers = sorted(observed)
    classes = model.token_classes
    ids = torch.arange(model.vocabulary_size, device=model.device) if tokens is None else tokens.to(model.device)
    ids = torch.cat([ids.new_tensor([place.token]), ids[ids != place.token]])
    network = Network(model, layers[-1])
    # One row for every candidate, so that the hooks see each state where it is computed.
    prefix = single_opener(network)(network)
    if place.prefix:
        prefix.extend(0, torch.tensor([list(place.prefix)], device=model.device))
        prefix.keep(0)
    own = classes[place.token]
    found = {
        layer: [torch.full((len(rows),), torch.inf), torch.full((len(rows),), torch.inf), torch.zeros(len(rows)).long()]
        for layer, rows in observed.items()
    }
    points = {layer: rows.to(model.device, torch.float32) for layer, rows in observed.items()}
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        with reading(model, layers) as states:
            prefix.candidates(torch.full_like(part, place.position), part)
        rival = classes[part] != own
        for layer in layers:
            rows = torch.cat([one[:, -1] for one in states[layer]]).float()
            apart = torch.cdist(points[layer], rows, compute_mode="donot_use_mm_for_euclid_dist").cpu()
            truth, least, nearest = found[layer]
            if not bool(rival.all()):
                torch.minimum(truth, apart[:, ~rival.cpu()].amin(1), out=truth)
            if bool(rival.any()):
                closest = apart[:, rival.cpu()].min(1)
                closer = closest.values < least
                nearest[closer] = part[rival].cpu()[closest.indices][closer]
                torch.minimum(least, closest.values, out=least)
        if progress is not None:
            progress(min(start + BATCH, len(ids)), len(ids))
    return {layer: Distances(*values, candidates=len(ids)) for layer, values in found.items()}


def sampled_places(prompts: Sequence[Sequence[int]], count: int) -> list[Place]:
    """Positions spread over prompts: the first one apart, because it is the weak spot, then later and later ones.

    Each place once: fewer than `count` where prompts are short, or the same token stands behind the same prefix.
    """
    length = min(map(len, prompts))
    positions = [0, *(round(step * (length - 1) / max(1, count - 1)) for step in range(1, count))]
    places: dict[tuple[int, ...], Place] = {}
    for number, at in enumerate(positions):
        prompt = number % len(prompts)
        *prefix, token = seen = tuple(prompts[prompt][: at + 1])
        places.setdefault(seen, Place(prompt, tuple(prefix), token))
    return list(places.values())
