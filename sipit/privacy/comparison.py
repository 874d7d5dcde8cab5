"""`compare_runs`: the first layer and position at which two runs differ by more than rounding.

states     of both runs, layer by layer; how far apart they are, in multiples of the spread of Monte Carlo runs
threshold  from captures that differ by rounding alone, at a stated rate of false alarms
replay     of two models in float64, where next to no rounding hides what differs
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from numerics.dtypes import name_of
from proofs.arguments import called, seed_of, share
from proofs.errors import InvalidInput, SipitError
from proofs.verdict import Verdict
from sipit.models import LanguageModel
from sipit.noise.spread import rounding_unit
from sipit.privacy.calibration import Calibration, calibrate
from sipit.privacy.choices import RUNS, chooses, nearest_turned
from sipit.privacy.compared import Comparison, Place
from sipit.privacy.replay import in_exact_arithmetic
from sipit.privacy.rounded_weights import rounded_to
from sipit.privacy.runs import FileRun, ModelRun, Run, check_before_norm, coarsest, open_run
from sipit.privacy.spread import damped_distance, spread_at
from sipit.privacy.weights import common_format, rounds_alike
from sipit.prompts.calibration import calibration_prompts
from sipit.prompts.reading import tokenize
from sipit.record import Stages, silent
from sipit.states.layered import LayeredStates

RATE = 0.01  # of false alarms in one comparison
_EXACT = 64  # multiples of the spread that float64 may leave between two ways of computing one function


def compare_runs(
    first: Any,
    second: Any,
    prompts: Any = None,
    *,
    rate: float = RATE,
    special_tokens: bool = True,
    seed: int = 0,
    stages: Stages = silent,
) -> Comparison:
    """Compares two runs, each a loaded model, `MODEL@NAME=VALUE,…`, or states of several layers (a file, its path).

    Args:
        first: what is taken for right; its spread is what is expected, where it is a model.
        second: what is compared with it.
        prompts: texts or token ids; None takes short ones of built-in text and of random tokens. Of states they say
            which prompts those are.
        rate: of false alarms in the whole comparison.
        special_tokens: whether text gets the tokenizer's special tokens.
        seed: of tiny models that are loaded.
        stages: is told how far the work is.

    Raises:
        InvalidInput: runs of different shape, a layer that only one has, prompts that are not those of the states, or
            states behind the final norm.
        Unsupported: a run that a model cannot do.
    """
    rate, seed = share("a rate of false alarms", rate), seed_of(seed)
    stages = called("stages", stages) or silent
    one, two = open_run(first, seed=seed), open_run(second, seed=seed)
    shared: torch.dtype | None = None
    formats: dict[str, int] | None = None
    if isinstance(one, ModelRun) and isinstance(two, ModelRun):
        shared = common_format(one.model, two.model)
        if shared is None:
            one, two, formats = _in_one_format(one, two)
            shared = None if formats is None else common_format(one.model, two.model)
    model = _reference(one, two, seed)
    layers = _layers(one, two)
    ids = _token_ids(model, one, two, prompts, special_tokens)
    with stages("capturing") as progress:
        ours, theirs = _captured(one, ids, layers), _captured(two, ids, layers)
        progress(1, 1)
    _check_alike(one, two, ours, theirs, ids if prompts is not None else None)
    distances = tuple(damped_distance(b, a) for a, b in zip(ours, theirs, strict=True))
    coarse = coarsest([(one, ours), (two, theirs)], shared)
    if model is None:
        return _without_model(layers, distances, rounding_unit(coarse), rate)
    unit = rounding_unit(coarse, device=model.device)
    with stages("calibrating") as progress:
        calibration = calibrate(model, layers, coarse, progress)
        threshold = calibration.threshold(rate / len(distances))
    with stages("spreading rounding") as progress:
        widest = rounding_unit(coarse, model.dtype, device=model.device)
        expected = _expected(model, ids, layers, widest, distances, calibration, progress)
    allowed = tuple(threshold * spread for spread in expected)
    found = _first_beyond(layers, distances, allowed)
    if found is not None and found.layer == model.layers and ids is not None:
        check_before_norm([(one, ours), (two, theirs)], model, ids, allowed)
    exact: dict[str, Any] | None = None
    if isinstance(one, ModelRun) and isinstance(two, ModelRun) and one.model is not two.model and ids is not None:
        with stages("in float64") as progress:
            exact, sharper = _replayed(one, two, ids, layers, expected, unit, shared)
            progress(1, 1)
        found = sharper or found
    choices: dict[str, Any] | None = None
    if found is not None and (exact is None or exact.get("first") is None) and chooses(model):
        if ids is None:
            return _without_prompts(layers, distances, unit, rate)
        with stages("turning choices") as progress:
            pairs = list(zip(ours, theirs, strict=True))
            found, allowed, choices = _behind_turns(model, ids, layers, widest, pairs, distances, allowed, progress)
    return Comparison(
        kind=Verdict.ROUNDING if found is None else Verdict.NOT_ROUNDING,
        reason=_reason(found, formats, sharper=exact is not None and exact.get("first") is not None, choices=choices),
        layers=layers,
        distances=distances,
        expected=allowed,
        first=found,
        unit=unit,
        rate=rate,
        calibration={
            "threshold": threshold, "ways": list(calibration.ways), "prompts": len(calibration.spreads),
            "largest": max(calibration.maxima), **calibration.exceeding(threshold),
        },
        replay=exact,
        formats=formats,
        choices=choices,
    )  # fmt: skip


def _in_one_format(one: ModelRun, two: ModelRun) -> tuple[ModelRun, ModelRun, dict[str, int] | None]:
    """Two runs, the finer with the weights of the coarser where those are its own in number formats, which are named.

    So what the format does counts as no difference; whatever else differs is left.
    """
    if (found := rounded_to(one.model, two.model)) is not None:
        return replace(one, model=found.model), two, found.formats
    if (found := rounded_to(two.model, one.model)) is not None:
        return one, replace(two, model=found.model), found.formats
    return one, two, None


def _reason(
    found: Place | None, formats: dict[str, int] | None, *, sharper: bool, choices: dict[str, Any] | None
) -> str:
    coarse = "" if formats is None else f"with the weights of both in {', '.join(sorted(formats))}, "
    if found is None:
        turned = "" if choices is None else ", which turns a choice between near equals there (of experts, or of keys)"
        return f"{coarse}the runs differ nowhere up to the last block by more than rounding explains{turned}"
    how = f"{coarse}computed in float64, where next to no rounding is left, " if sharper else coarse
    return (
        f"{how}the runs differ by {found.distance:.1e} at layer {found.layer}, position {found.position} of prompt "
        f"{found.prompt}, where rounding explains {found.expected:.1e}"
    )


def _reference(one: Run, two: Run, seed: int) -> LanguageModel | None:
    """The model whose rounding says what is expected: the more exact of those given, else that which states name."""
    given = [run.model for run in (one, two) if isinstance(run, ModelRun)]
    if given:
        return min(given, key=lambda model: torch.finfo(model.dtype).eps)
    for run in (one, two):
        manifest = run.states.manifest if isinstance(run, FileRun) else None
        if manifest is None:
            continue
        try:
            found = open_run(manifest.model, seed=seed)
        except SipitError:  # a model that is not here, or cannot be loaded here, explains nothing
            continue
        if isinstance(found, ModelRun) and found.model.digest == manifest.digest:
            return found.model
    return None


def _layers(one: Run, two: Run) -> tuple[int, ...]:
    """The layers that both have."""
    held = [run.states.layers if isinstance(run, FileRun) else tuple(range(run.model.layers + 1)) for run in (one, two)]
    if all(isinstance(run, ModelRun) for run in (one, two)) and held[0] != held[1]:
        raise InvalidInput(
            f"Expected two models of the same depth, but got {len(held[0]) - 1} and {len(held[1]) - 1} blocks; "
            "compare two runs of one network."
        )
    shared = tuple(layer for layer in held[0] if layer in held[1])
    if not shared:
        raise InvalidInput(
            f"Expected runs with a layer in common, but got {list(held[0])} and {list(held[1])}; capture with "
            "--layer all."
        )
    return shared


def _token_ids(
    model: LanguageModel | None, one: Run, two: Run, prompts: Any, special_tokens: bool
) -> list[list[int]] | None:
    """The prompts by token ids; None where states are compared and nobody says of which prompts they are."""
    files = [run for run in (one, two) if isinstance(run, FileRun)]
    if prompts is not None:
        if model is None:
            raise InvalidInput("Expected a model for the prompts, but the states name none; compare with a model.")
        return tokenize(model, prompts, special_tokens=special_tokens)
    if not files:
        assert model is not None  # neither is a file, so both are models
        return calibration_prompts(model)
    if len(files) == 1:
        raise InvalidInput(
            f"Expected the prompts of the states in {files[0].name}, but got none; give --prompts with the same ones."
        )
    return None


def _captured(run: Run, ids: list[list[int]] | None, layers: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    if isinstance(run, ModelRun):
        assert ids is not None  # `_token_ids` asks for them where a model runs
        return tuple(stack.cpu() for stack in run.capture(ids, layers).stacks)
    states: LayeredStates = run.states
    places = [states.layers.index(layer) for layer in layers]
    return tuple(stack[places] for stack in states.stacks)


def _check_alike(
    one: Run, two: Run, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], ids: list[list[int]] | None
) -> None:
    shapes = [[tuple(stack.shape[1:]) for stack in stacks] for stacks in (ours, theirs)]
    if ids is not None and [shape[0] for shape in shapes[0]] != list(map(len, ids)):
        lengths = [shape[0] for shape in shapes[0]]
        raise InvalidInput(
            f"Expected states of the prompts that are named, of {list(map(len, ids))[:8]} tokens, but {one.name} has "
            f"{lengths[:8]} rows; name the prompts that they are of."
        )
    if shapes[0] != shapes[1]:
        differing = next((n for n, pair in enumerate(zip(*shapes, strict=False)) if pair[0] != pair[1]), None)
        what = (
            f"{len(ours)} and {len(theirs)} prompts" if differing is None
            else f"shapes {shapes[0][differing]} and {shapes[1][differing]} of prompt {differing}"
        )  # fmt: skip
        raise InvalidInput(
            f"Expected {one.name} and {two.name} to hold states of the same prompts and width, but got {what}; "
            "capture both of the same prompts."
        )


def _without_model(
    layers: tuple[int, ...], distances: tuple[torch.Tensor, ...], unit: float, rate: float
) -> Comparison:
    """What two files say by themselves: what storing alone explains is rounding, of more nothing is known."""
    alike = all(bool((distance <= unit).all()) for distance in distances)
    reason = (
        "the states differ by no more than the rounding of what they are stored in"
        if alike
        else "the states differ by more than storing them explains, and no model says how rounding spreads; compare "
        "one of them with the model, or capture them from one that can be loaded by name"
    )
    kind = Verdict.ROUNDING if alike else Verdict.UNDECIDED
    return Comparison(kind, reason, layers, distances, None, None, unit, rate, None, None)


def _without_prompts(
    layers: tuple[int, ...], distances: tuple[torch.Tensor, ...], unit: float, rate: float
) -> Comparison:
    """What two files say of a model that chooses, where nobody says of which prompts they are."""
    reason = (
        "the states differ by more than rounding spreads them, but the model chooses (experts, or keys), and rounding "
        "may turn a choice; of which prompts the states are is not said: give --prompts"
    )
    return Comparison(Verdict.UNDECIDED, reason, layers, distances, None, None, unit, rate, None, None)


def _behind_turns(
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
    while (found := _first_beyond(layers, distances, wider)) is not None and found.prompt not in seen:
        number = found.prompt
        progress(len(seen), len(ids))
        seen.append(number)
        nearest = nearest_turned(model, ids[number], layers, unit, captured[number]).amax(0)
        turned = (distances[number] > allowed[number]) & (nearest <= allowed[number])
        wider[number] = torch.where(turned, distances[number], allowed[number])
        places += int(turned.sum())
    return found, tuple(wider), {"runs": RUNS, "prompts": sorted(seen), "places": places}


def _expected(
    model: LanguageModel,
    ids: list[list[int]] | None,
    layers: tuple[int, ...],
    unit: float,
    distances: tuple[torch.Tensor, ...],
    calibration: Calibration,
    progress: Any,
) -> tuple[torch.Tensor, ...]:
    """The spread by prompt (layers, T): of the prompts themselves, or the widest of calibration ones at each layer."""
    if ids is None:
        widest = torch.stack([spread.amax(1) for spread in calibration.spreads]).amax(0)
        return tuple(widest[:, None].expand_as(distance) for distance in distances)
    if ids == calibration_prompts(model):
        return calibration.spreads
    spreads: list[torch.Tensor] = []
    for prompt in ids:
        spreads.append(spread_at(model, prompt, layers, unit).largest)
        progress(len(spreads), len(ids))
    return tuple(spreads)


def _first_beyond(
    layers: tuple[int, ...], distances: Sequence[torch.Tensor], allowed: Sequence[torch.Tensor]
) -> Place | None:
    """The first layer, at it the first position, where a distance of a prompt is not within what is allowed."""
    beyond = [~(distance <= most) for distance, most in zip(distances, allowed, strict=True)]
    for place, layer in enumerate(layers):
        hits = [(int(torch.nonzero(one[place])[0]), number) for number, one in enumerate(beyond) if one[place].any()]
        if hits:
            position, number = min(hits)
            return Place(
                layer, position, number,
                float(distances[number][place, position]), float(allowed[number][place, position]),
            )  # fmt: skip
    return None


def _replayed(
    one: ModelRun,
    two: ModelRun,
    ids: list[list[int]],
    layers: tuple[int, ...],
    spreads: tuple[torch.Tensor, ...],
    unit: float,
    shared: torch.dtype | None,
) -> tuple[dict[str, Any], Place | None]:
    """What two models do in float64: told in words and by layer, and where they first differ."""
    rounded = max((one.model.dtype, two.model.dtype, shared or torch.float64), key=lambda t: torch.finfo(t).eps)
    if shared is not None and not rounds_alike(one.model, two.model, rounded):
        return {"done": False, "reason": f"their weights are steps of {name_of(shared)} apart, rounded twice"}, None
    stacks = [in_exact_arithmetic(run.model, ids, layers, rounded) for run in (one, two)]
    for run, stack in zip((one, two), stacks, strict=True):
        if isinstance(stack, str):
            return {"done": False, "reason": f"{run.name}: {stack}"}, None
    distances = [damped_distance(b, a) for a, b in zip(*stacks, strict=True)]  # pyright: ignore[reportArgumentType]
    exact = torch.finfo(torch.float64).eps
    allowed = [_EXACT * spread * (exact / unit) for spread in spreads]
    found = _first_beyond(layers, distances, allowed)
    return {
        "done": True,
        "weights_rounded_to": name_of(rounded),
        "first": None if found is None else {"layer": found.layer, "position": found.position},
        "layers": [
            {"layer": layer, "distance": max(float(d[n].max()) for d in distances),
             "expected": max(float(a[n].max()) for a in allowed)}
            for n, layer in enumerate(layers)
        ],
    }, found  # fmt: skip
