"""Choices that rounding turns: the experts of a token, the keys that a sparse attention looks at.

A choice between near equals turns seldom. The 16 runs that a spread is measured with may show none of the turns, and
a run in which one did turn then lies far beyond them. So a prompt is perturbed many times more, and more widely, only
to see which choices turn. The plain run is then made again with the choices of each of these runs: what somebody has
captured is explained by a turn if it is one of those up to rounding. A fault that comes on top of a turn stays seen.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from proofs.threads import turn
from sipit.models import LanguageModel
from sipit.models.layers import reading
from sipit.models.length import whole_length
from sipit.models.network import Network
from sipit.models.refusals import Refusals
from sipit.noise.distances import relative_distance
from sipit.noise.spread import SAMPLES, perturbed_runs
from sipit.privacy.compared import Place, first_beyond

RUNS = 768  # perturbed runs of a prompt in which choices are looked for
_WIDER = (1, 4, 16)  # times as far as rounding they are perturbed, in turn: scores are rounded one by one as well
_LENGTH = 8  # tokens of the prompt with which a model is asked whether it chooses at all
_CHOOSERS = {torch.topk, torch.argmax, torch.max, torch.Tensor.topk, torch.Tensor.argmax, torch.Tensor.max}


class _Watched(TorchFunctionMode):
    """Notes the choices of a batch of runs, or has those taken that were noted before."""

    def __init__(self, wanted: Sequence[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []
        self._wanted = None if wanted is None else iter(wanted)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        found = func(*args, **named)
        ids = getattr(found, "indices", found)
        if func not in _CHOOSERS or not isinstance(ids, torch.Tensor) or ids.dtype != torch.int64 or not ids.ndim:
            return found
        self.seen.append(ids)
        other = None if self._wanted is None else next(self._wanted, None)
        if other is None or other.shape != ids.shape:
            return found
        return other if ids is found else type(found)((_values(func, args, named, other), other))


def _values(func: Callable[..., Any], args: Sequence[Any], named: dict[str, Any], ids: torch.Tensor) -> torch.Tensor:
    """What stands at chosen ids, in the shape that `topk` or `max` returns it."""
    given = args[0] if args else named["input"]
    place = 2 if func in (torch.topk, torch.Tensor.topk) else 1
    axis = named.get("dim", args[place] if len(args) > place else -1)
    if ids.ndim == given.ndim:
        return given.gather(axis, ids)
    return given.gather(axis, ids.unsqueeze(axis)).squeeze(axis)


def chooses(model: LanguageModel) -> bool:
    """Whether a model chooses by the largest of numbers anywhere, as the routers of mixtures do."""
    watched = _Watched()
    with turn, Refusals(), torch.inference_mode(), watched:
        model.decoder.body(input_ids=model.ordinary_ids(_LENGTH), **model.abilities.arguments())
    return bool(watched.seen)


def nearest_turned(
    model: LanguageModel,
    token_ids: Sequence[int],
    layers: Sequence[int],
    unit: float,
    captured: Sequence[torch.Tensor],
) -> torch.Tensor:
    """How far captured states, each (layers, T, d), lie from the plain run or one with turned choices, the nearest.

    Damped and relative, layer by layer and position by position: shape (captured, layers, T). `unit` is that of
    rounding.
    """
    ids = torch.tensor(list(token_ids), device=model.device)
    network = Network(model, max(layers))
    nearest = torch.full((len(captured), len(layers), len(ids)), torch.inf, dtype=torch.float64)
    known: set[bytes] = set()
    for draw in range(RUNS // SAMPLES):
        watched = _Watched()
        with whole_length(len(ids)), watched:
            perturbed_runs(network, ids, unit * _WIDER[draw % len(_WIDER)], seed=draw)
        new = _new(watched.seen, known)
        if not new:
            continue
        with reading(model, layers) as runs, whole_length(len(ids)), _Watched(watched.seen):
            network.run(ids.expand(SAMPLES + 1, -1))
        for place, layer in enumerate(layers):
            made = runs[layer][0][new].cpu().double()
            for number, stack in enumerate(captured):
                apart = relative_distance(stack[place].cpu().double().expand_as(made), made, damped=True).amin(0)
                nearest[number, place] = torch.minimum(nearest[number, place], apart)
    return nearest


def behind_turns(
    model: LanguageModel,
    ids: list[list[int]],
    layers: tuple[int, ...],
    unit: float,
    captured: Sequence[tuple[torch.Tensor, torch.Tensor]],
    distances: tuple[torch.Tensor, ...],
    allowed: tuple[torch.Tensor, ...],
    progress: Any,
) -> tuple[Place | None, tuple[torch.Tensor, ...], dict[str, Any]]:
    """What no turned choice explains, what is allowed where one does, and what was run for it.

    A place is explained where both runs are what the model makes of choices that rounding turns. Prompts are looked
    at as long as what comes first is explained.
    """
    wider, places, seen = list(allowed), 0, list[int]()
    while (found := first_beyond(layers, distances, wider)) is not None and found.prompt not in seen:
        number = found.prompt
        progress(len(seen), len(ids))
        seen.append(number)
        nearest = nearest_turned(model, ids[number], layers, unit, captured[number]).amax(0)
        turned = (distances[number] > allowed[number]) & (nearest <= allowed[number])
        wider[number] = torch.where(turned, distances[number], allowed[number])
        places += int(turned.sum())
    return found, tuple(wider), {"runs": RUNS, "prompts": sorted(seen), "places": places}


def _new(choices: Sequence[torch.Tensor], known: set[bytes]) -> list[int]:
    """Which runs of a batch chose as none before them did; these are known from then on."""
    rows = SAMPLES + 1
    told = [ids.reshape(rows, -1).cpu() for ids in choices if ids.shape[0] % rows == 0]
    found: list[int] = []
    for run in range(rows if told else 0):
        key = b"".join(ids[run].numpy().tobytes() for ids in told)
        if key not in known:
            known.add(key)
            found.append(run)
    return found
