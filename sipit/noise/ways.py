"""The ways in which one prompt is captured, as far as they do nothing else than round differently.

Captures of a prompt by one forward, with a cache, or in a padded batch differ by rounding. Where they differ by more,
the library has done something else than was asked; such a way is named with its reason, and counted nowhere.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sipit.models import LanguageModel
from sipit.noise.distances import relative_distance
from sipit.observations.observation import Observation
from sipit.record import versions_in_words
from sipit.states.capturing import capture
from sipit.states.files import States

KINDS = (False, True)  # the plain distance, the damped one
_ROUNDING = 16  # times the spread that rounding explains; correct ways were seen to differ by 3 times at most


def sound_captures(
    model: LanguageModel, prompts: list[list[int]], observation: Observation, spread: Sequence[torch.Tensor]
) -> tuple[list[States], tuple[str, ...]]:
    """Captures of the prompts in every way that differs by rounding from one forward, which is the first of them."""
    plain = capture(model, prompts, observe=observation).beside(model)
    captures, left_out = [plain], list[str]()
    for name, how, refused in other_ways(model, len(prompts), longest=max(map(len, prompts))):
        if refused is not None:
            left_out.append(f"{name}: {refused}")
            continue
        other = capture(model, prompts, observe=observation, compared=False, **how).beside(model)
        apart = [
            torch.stack([relative_distance(o.double(), p.double(), damped=e) for e in KINDS])
            for o, p in zip(other, plain, strict=True)
        ]
        far = beyond_rounding(torch.cat(apart, dim=1), torch.cat(list(spread), dim=1))
        if far is None:
            captures.append(other)
        else:
            left_out.append(f"{name}: the states differ from one forward {far} ({versions_in_words()})")
    return captures, tuple(left_out)


def other_ways(model: LanguageModel, batch: int, *, longest: int) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """Other ways of capturing: the name, the arguments of `capture`, and why the body does not allow it, if so."""
    known = model.abilities
    refused = None if known.memory else known.refused["memory"]
    if refused is None and not model.lengths.alike(1, longest):
        refused = model.lengths.reason
    yield "token by token with a cache", {"cached": True}, refused
    for side in ("left", "right"):
        refused = None if side in known.padding else known.refused[f"padding on the {side}"]
        yield f"a batch padded on the {side}", {"batch": batch, "padding": side}, refused


def beyond_rounding(distance: torch.Tensor, spread: torch.Tensor) -> str | None:
    """By how much distances (2, T) exceed what rounding explains, in words; None where they do not.

    They come in pairs, plain and damped; the plain ones decide.
    """
    excess = (distance / spread)[0]
    beyond = excess > _ROUNDING
    if not bool(beyond.any()):
        return None
    return (
        f"by up to {float(distance[0][beyond].max()):.1e} (relative) at {int(beyond.sum())} of {beyond.numel()} "
        f"positions, up to {float(excess.max()):.0e} times what rounding explains there"
    )
