"""`compare_runs`: the first layer and position at which two runs differ by more than rounding.

states     of both runs, layer by layer; how far apart they are, in multiples of the spread of Monte Carlo runs
threshold  from captures that differ by rounding alone, at a stated rate of false alarms
replay     of two models in float64, where next to no rounding hides what differs
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from numerics.dtypes import name_of
from proofs.arguments import called, seed_of, share
from proofs.errors import InvalidInput, SipitError
from proofs.verdict import Verdict
from sipit.models import LanguageModel
from sipit.models.library import one_line
from sipit.noise.spread import rounding_unit
from sipit.privacy.calibration import Calibration, calibrate
from sipit.privacy.choices import behind_turns, chooses
from sipit.privacy.compared import Comparison, Place, compared_at, first_beyond
from sipit.privacy.replay import replayed
from sipit.privacy.rounded_weights import rounded_to
from sipit.privacy.runs import Captured, FileRun, ModelRun, Run, check_before_norm, coarsest, open_run
from sipit.privacy.spread import damped_distance, spread_at
from sipit.privacy.weights import Common, common_format
from sipit.prompts.calibration import calibration_prompts
from sipit.prompts.reading import tokenize
from sipit.record import Stages, silent
from sipit.states.layered import LayeredStates

RATE = 0.01  # of false alarms in one comparison


def compare_runs(
    first: Any,
    second: Any,
    prompts: Any = None,
    *,
    rate: float = RATE,
    special_tokens: bool = True,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    stages: Stages = silent,
) -> Comparison:
    """Compares two runs, each a loaded model, `MODEL@NAME=VALUE,…`, or states of several layers (a file, its path).

    Args:
        first: what is taken for right: distances are relative to it.
        second: what is compared with it. What rounding explains comes from the more exact model of the two, whichever
            it is; of two files from the model that one of them names.
        prompts: texts or token ids; None takes short ones of built-in text and of random tokens. Of states they say
            which prompts those are.
        rate: of false alarms in the whole comparison.
        special_tokens: whether text gets the tokenizer's special tokens.
        seed: of tiny models that are loaded.
        device: of models that are loaded and name none, or of the one that two files name.
        dtype: of the same.
        stages: is told how far the work is.

    Raises:
        InvalidInput: runs of different shape, a layer that only one has, prompts that are not those of the states, or
            states behind the final norm.
        Unsupported: a run that a model cannot do.
    """
    rate, seed = share("a rate of false alarms", rate), seed_of(seed)
    stages = called("stages", stages) or silent
    opened = partial(open_run, seed=seed, device=device, dtype=dtype)
    pair = _paired(opened(first), opened(second))
    model, missing = _reference(pair, opened)
    layers = _layers(pair)
    ids = _token_ids(model, missing, pair, prompts, special_tokens)
    with stages("capturing") as progress:
        both = _captured(pair, ids, layers, named=prompts is not None)
        progress(1, 1)
    distances = both.distances
    if model is None:
        return _without_model(both, rate, missing)
    unit = rounding_unit(both.coarsest, device=model.device)
    with stages("calibrating") as progress:
        calibration = calibrate(model, layers, both.coarsest, progress)
        each = rate / len(distances)  # of a prompt
        thresholds = [calibration.threshold(each, distance.shape[1]) for distance in distances]
    with stages("spreading rounding") as progress:
        widest = rounding_unit(both.coarsest, model.coarsest, device=model.device)
        expected = _expected(model, both, widest, calibration, progress)
    allowed = tuple(threshold * spread for threshold, spread in zip(thresholds, expected, strict=True))
    found = first_beyond(layers, distances, allowed)
    if found is not None and found.layer == model.layers and ids is not None:
        check_before_norm(both.captured, model, ids, allowed)
    exact, sharper = _in_float64(both, expected, unit, stages)
    found = sharper or found
    choices: dict[str, Any] | None = None
    if found is not None and sharper is None and chooses(model):
        if ids is None:
            return replace(_without_prompts(both, unit, rate), reference=model)
        with stages("turning choices") as progress:
            stacks = list(zip(both.ours, both.theirs, strict=True))
            found, allowed, choices = behind_turns(model, ids, layers, widest, stacks, distances, allowed, progress)
    alike = Verdict.UNDECIDED if pair.doubtful else Verdict.ROUNDING
    return Comparison(
        kind=alike if found is None else Verdict.NOT_ROUNDING,
        reason=_reason(found, pair, compared_at(layers, model.layers), sharper=sharper is not None, choices=choices),
        layers=layers,
        distances=distances,
        expected=allowed,
        first=found,
        unit=unit,
        rate=rate,
        calibration={
            "threshold": max(thresholds), "ways": list(calibration.ways), "prompts": len(calibration.spreads),
            "largest": max(calibration.maxima), "rate": each, "extrapolated": each * len(calibration.maxima) < 1,
            **calibration.exceeding(rate),
        },
        replay=exact,
        formats=pair.formats,
        choices=choices,
        reference=model,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two runs.

    Attributes:
        one: the first.
        two: the second.
        shared: of two models the most exact type that the weights of both are the same in, if there is one.
        formats: how many matrices are in which number format, where the finer model got the coarser one's weights.
    """

    one: Run
    two: Run
    shared: Common | None = None
    formats: dict[str, int] | None = None

    @property
    def type_shared(self) -> torch.dtype | None:
        """The type that the weights are the same in."""
        return None if self.shared is None else self.shared.dtype

    @property
    def doubtful(self) -> bool:
        """Whether weights lie steps of a type apart that neither run computes in, so that not rounding moved them."""
        if self.shared is None or self.shared.sure:
            return False
        # A step of the type that is computed in is rounding, whoever did it.
        computed = [torch.finfo(run.model.coarsest).eps for run in self.runs if isinstance(run, ModelRun)]
        return torch.finfo(self.shared.dtype).eps > max(computed)

    @property
    def runs(self) -> tuple[Run, Run]:
        """Both."""
        return self.one, self.two


@dataclass(frozen=True, slots=True, eq=False)
class _Both:
    """What both runs made of the same prompts at the layers that both have.

    Attributes:
        pair: the runs.
        ids: the prompts; None where nobody says of which prompts the states in two files are.
        layers: which.
        ours: the states of the first run, (layers, T, d) for every prompt.
        theirs: those of the second.
        distances: of theirs from ours, (layers, T) for every prompt.
    """

    pair: _Pair
    ids: list[list[int]] | None
    layers: tuple[int, ...]
    ours: tuple[torch.Tensor, ...]
    theirs: tuple[torch.Tensor, ...]
    distances: tuple[torch.Tensor, ...]

    @property
    def captured(self) -> list[Captured]:
        """Each run with its states."""
        return [(self.pair.one, self.ours), (self.pair.two, self.theirs)]

    @property
    def coarsest(self) -> torch.dtype:
        """The least exact type that a difference can come from."""
        return coarsest(self.captured, self.pair.type_shared)


def _paired(one: Run, two: Run) -> _Pair:
    """Two runs, of two models in one number format where the weights are the same in one."""
    if not (isinstance(one, ModelRun) and isinstance(two, ModelRun)):
        return _Pair(one, two)
    shared = common_format(one.model, two.model)
    if shared is not None:
        return _Pair(one, two, shared)
    one, two, formats = _in_one_format(one, two)
    return _Pair(one, two, None if formats is None else common_format(one.model, two.model), formats)


def _in_one_format(one: ModelRun, two: ModelRun) -> tuple[ModelRun, ModelRun, dict[str, int] | None]:
    """Two runs, the finer with the weights of the coarser where those are its own in number formats, which are named.

    So what the format does counts as no difference; whatever else differs is left.
    """
    if (found := rounded_to(one.model, two.model)) is not None:
        return replace(one, model=found.model), two, found.formats
    if (found := rounded_to(two.model, one.model)) is not None:
        return one, replace(two, model=found.model), found.formats
    return one, two, None


def _reason(found: Place | None, pair: _Pair, where: str, *, sharper: bool, choices: dict[str, Any] | None) -> str:
    coarse = "" if pair.formats is None else f"with the weights of both in {', '.join(sorted(pair.formats))}, "
    if found is None and pair.shared is not None and pair.doubtful:
        steps = name_of(pair.shared.dtype)
        return (
            f"the states differ by no more than {steps} explains, in which neither run computes, and the weights are "
            f"steps of {steps} apart: one of them was rounded twice, or they are other weights"
        )
    if found is None:
        turned = "" if choices is None else ", which turns a choice between near equals there (of experts, or of keys)"
        return f"{coarse}the runs differ nowhere {where} by more than rounding explains{turned}"
    how = f"{coarse}computed in float64, where next to no rounding is left, " if sharper else coarse
    return (
        f"{how}the runs differ by {found.distance:.1e} at layer {found.layer}, position {found.position} of prompt "
        f"{found.prompt}, where rounding explains {found.expected:.1e}"
    )


def _reference(pair: _Pair, opened: Callable[[str], Run]) -> tuple[LanguageModel | None, str]:
    """The model whose rounding says what is expected, or why there is none.

    It is the more exact of those given, else that which the states name.
    """
    given = [run.model for run in pair.runs if isinstance(run, ModelRun)]
    if given:
        return min(given, key=lambda model: torch.finfo(model.coarsest).eps), ""
    reasons: list[str] = []
    for run in pair.runs:
        manifest = run.states.manifest if isinstance(run, FileRun) else None
        if manifest is None:
            reasons.append(f"none is named by {run.name}")
            continue
        try:
            found = opened(manifest.model)
        except SipitError as error:  # a model that is not here, or cannot be loaded here, explains nothing
            reasons.append(f"{manifest.model}, which {run.name} names, cannot be loaded ({one_line(error)})")
            continue
        if isinstance(found, ModelRun) and found.model.digest == manifest.digest:
            return found.model, ""
        told = f"{manifest.model}, which {run.name} names, is not the model that they were captured from"
        reasons.append(told + manifest.doubt)
    return None, ", and ".join(dict.fromkeys(reasons))


def _layers(pair: _Pair) -> tuple[int, ...]:
    """The layers that both have."""
    held = [run.states.layers if isinstance(run, FileRun) else tuple(range(run.model.layers + 1)) for run in pair.runs]
    if all(isinstance(run, ModelRun) for run in pair.runs) and held[0] != held[1]:
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
    model: LanguageModel | None, missing: str, pair: _Pair, prompts: Any, special_tokens: bool
) -> list[list[int]] | None:
    """The prompts by token ids; None where states are compared and nobody says of which prompts they are."""
    files = [run for run in pair.runs if isinstance(run, FileRun)]
    if prompts is not None:
        if model is None:
            raise InvalidInput(f"Expected a model for the prompts, but {missing}; compare with a model.")
        return tokenize(model, prompts, special_tokens=special_tokens)
    if not files:
        assert model is not None  # neither is a file, so both are models
        return calibration_prompts(model)
    if len(files) == 1:
        raise InvalidInput(
            f"Expected the prompts of the states in {files[0].name}, but got none; give --prompts with the same ones."
        )
    return None


def _captured(pair: _Pair, ids: list[list[int]] | None, layers: tuple[int, ...], *, named: bool) -> _Both:
    """Both runs on the prompts, which somebody has `named` or which were chosen here."""
    ours, theirs = (_states_of(run, ids, layers) for run in pair.runs)
    _check_alike(pair, ours, theirs, ids if named else None)
    distances = tuple(damped_distance(b, a) for a, b in zip(ours, theirs, strict=True))
    return _Both(pair, ids, layers, ours, theirs, distances)


def _states_of(run: Run, ids: list[list[int]] | None, layers: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    if isinstance(run, ModelRun):
        assert ids is not None  # `_token_ids` asks for them where a model runs
        return tuple(stack.cpu() for stack in run.capture(ids, layers).stacks)
    states: LayeredStates = run.states
    places = [states.layers.index(layer) for layer in layers]
    return tuple(stack[places] for stack in states.stacks)


def _check_alike(
    pair: _Pair, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], ids: list[list[int]] | None
) -> None:
    one, two = pair.runs
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


def _without_model(both: _Both, rate: float, missing: str) -> Comparison:
    """What two files say by themselves: what storing alone explains is rounding, of more nothing is known."""
    unit = rounding_unit(both.coarsest)
    alike = all(bool((distance <= unit).all()) for distance in both.distances)
    reason = (
        "the states differ by no more than the rounding of what they are stored in"
        if alike
        else "the states differ by more than storing them explains, and no model says how rounding spreads: "
        f"{missing}; compare one of them with the model, or capture them from one that can be loaded by name"
    )
    return _unexplained(Verdict.ROUNDING if alike else Verdict.UNDECIDED, reason, both, unit, rate)


def _without_prompts(both: _Both, unit: float, rate: float) -> Comparison:
    """What two files say of a model that chooses, where nobody says of which prompts they are."""
    reason = (
        "the states differ by more than rounding spreads them, but the model chooses (experts, or keys), and rounding "
        "may turn a choice; of which prompts the states are is not said: give --prompts"
    )
    return _unexplained(Verdict.UNDECIDED, reason, both, unit, rate)


def _unexplained(kind: Verdict, reason: str, both: _Both, unit: float, rate: float) -> Comparison:
    """A comparison in which no model says what rounding explains."""
    return Comparison(
        kind=kind,
        reason=reason,
        layers=both.layers,
        distances=both.distances,
        expected=None,
        first=None,
        unit=unit,
        rate=rate,
        calibration=None,
        replay=None,
    )


def _in_float64(
    both: _Both, spreads: tuple[torch.Tensor, ...], unit: float, stages: Stages
) -> tuple[dict[str, Any] | None, Place | None]:
    """What two models do in float64, as `replayed` tells it; nothing where not two models were run."""
    one, two = both.pair.runs
    if not (isinstance(one, ModelRun) and isinstance(two, ModelRun)) or one.model is two.model or both.ids is None:
        return None, None
    with stages("in float64") as progress:
        found = replayed(one, two, both.ids, both.layers, spreads, unit, both.pair.type_shared)
        progress(1, 1)
    return found


def _expected(
    model: LanguageModel, both: _Both, unit: float, calibration: Calibration, progress: Any
) -> tuple[torch.Tensor, ...]:
    """The spread by prompt (layers, T): of the prompts themselves, or the widest of calibration ones at each layer."""
    if both.ids is None:
        widest = torch.stack([spread.amax(1) for spread in calibration.spreads]).amax(0)
        return tuple(widest[:, None].expand_as(distance) for distance in both.distances)
    if both.ids == calibration_prompts(model):
        return calibration.spreads
    spreads: list[torch.Tensor] = []
    for prompt in both.ids:
        spreads.append(spread_at(model, prompt, both.layers, unit).largest)
        progress(len(spreads), len(both.ids))
    return tuple(spreads)
