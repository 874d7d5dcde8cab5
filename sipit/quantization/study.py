"""Where number formats void or break the guarantees: one model, many formats, the same prompts and places.

    for every format: convert a copy; states of the prompts at all layers; invert them; search collisions
    one scan of the vocabulary at a few places in float32: step margins, and what each rounded state is nearest to
    2 noise + rounding of float32 < margin at all places -> held, else void (Theorem 3.2, arXiv 2510.15511)

Every finished format is kept under the cache folder, so that interrupted work goes on where it stopped.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from numerics.dtypes import name_of, spelled_out
from numerics.formats import FORMATS, Format
from proofs.errors import InvalidInput, MissingResource, Unsupported
from sipit.cache import forget, keep_json, kept_json, measured_with
from sipit.inversion.policies import Policy, make_policy
from sipit.memory import return_freed_memory
from sipit.models import LanguageModel
from sipit.models.layers import layered_states
from sipit.models.network import Network
from sipit.noise.distances import quotient
from sipit.noise.number_grid import HALVES
from sipit.noise.tolerance import Tolerance, derive_tolerance, stored_type
from sipit.prefix.choice import prefix_opener
from sipit.prompts.calibration import calibration_prompts
from sipit.prompts.reading import different
from sipit.quantization.crowds import Crowd, Floats, crowd_of
from sipit.quantization.formatted import Formatted, in_format
from sipit.quantization.margins import Place, sampled_places, scan
from sipit.quantization.output import divergences, predictions, summary
from sipit.quantization.recovery import Tally, recovery, tolerance_between
from sipit.record import Progress, finite, installed_version
from sipit.states.files import States

CROSSED = ("float32", "bf16", "fp16", "int8", "int4")  # all ordered pairs of those that are chosen
SMALL_VOCABULARY = 1024  # tokens of a vocabulary that is scanned whole for a format's own margin


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is looked at.

    Attributes:
        prompts: how many prompts are inverted, of `length` tokens each.
        places: sampled positions with a scan of the vocabulary; fewer where there are not so many different ones.
        scanned: tokens of each scan; None for the whole vocabulary.
        nearest: rows nearest to the true one that give a format's own margin where the vocabulary is large, at the
            first place and the last.
        states: prompts whose states are searched for collisions.
        crossed: prompts for each ordered pair of formats.
        budget: seconds for each inversion.
    """

    prompts: int = 20
    length: int = 16
    places: int = 5
    scanned: int | None = None
    nearest: int = 1024
    states: int = 10_000
    crossed: int = 4
    budget: float = 3.0


QUICK = Extent(prompts=4, length=12, places=3, scanned=2048, nearest=256, states=500, crossed=1, budget=1.5)


def extent_of(quick: bool) -> Extent:
    """How much is looked at by a quick study, or by a whole one."""
    return QUICK if quick else Extent()


def chosen_formats(names: Sequence[str]) -> list[Format]:
    """The formats of their names, each once; their types may be spelled as torch spells them.

    Raises:
        InvalidInput: no such format.
    """
    known = {spelled_out(name): one for name, one in FORMATS.items()}
    for name in names:
        if spelled_out(name) not in known:
            raise InvalidInput(f"Expected formats of {', '.join(FORMATS)}, but got {name!r}; choose from them.")
    return [known[name] for name in dict.fromkeys(map(spelled_out, names))]


@dataclass(frozen=True, eq=False)
class Study:
    """One model with its prompts, places and layers: what all formats share.

    Attributes:
        layers: where prompts are inverted and collisions searched; margins and noise are taken at every layer.
        exact: by prompt, states of the float32 weights in float64, shape (L, T, d), on the CPU.
    """

    reference: Formatted
    extent: Extent
    layers: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    places: tuple[Place, ...]
    exact: tuple[torch.Tensor, ...]
    policies: dict[int, Policy]
    crowd: Crowd
    seed: int

    @classmethod
    def open(
        cls,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        *,
        layers: Sequence[int],
        extent: Extent,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> "Study":
        """Takes the reference states and prepares the drafts of every layer; each is looked at once, in their order.

        Args:
            prompts: of which the first different ones are taken, as many as the extent has, each once.

        Raises:
            InvalidInput: a model that does not compute in float32.
        """
        if model.dtype != torch.float32:
            raise InvalidInput(
                f"Expected a model in float32 to round, but got {name_of(model.dtype)}; leave --dtype away."
            )
        return_freed_memory()  # what is freed from here on as well
        kept = tuple(map(tuple, different(prompts)))[: extent.prompts]
        in_float64 = in_format(model, FORMATS["float64"]).model
        every, chosen = range(1, model.layers + 1), sorted(set(layers))
        return cls(
            reference=in_format(model, FORMATS["float32"]),
            extent=extent,
            layers=tuple(chosen),
            prompts=kept,
            places=tuple(sampled_places(kept, extent.places)),
            exact=tuple(layered_states(in_float64, ids, every).cpu() for ids in kept),
            policies={layer: make_policy("draft", Network(model, layer), progress=progress) for layer in chosen},
            crowd=crowd_of(model, chosen, extent.states),
            seed=seed,
        )

    @property
    def kept_under(self) -> str:
        """What the keys of kept results begin with."""
        model = self.reference.model
        parts = (model.key, self.extent, self.layers, self.prompts, "output of these ids", "type of states")
        return f"{measured_with(model.device)}/quantization/{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}"

    def measured(self, number_format: Format) -> dict[str, Any]:
        """What one format does, margins apart; what was kept is taken as it is."""
        path = self._kept_as(number_format)
        found = kept_json(path)
        if found is None:
            found = self._measure(number_format)
            return_freed_memory()
            if found["reason"] is None:  # what is missing now may be there another time
                keep_json(path, found)
        return found

    def forget(self, number_format: Format) -> None:
        """Removes what is kept of a format: where a budget has ended, another time may find more."""
        forget(self._kept_as(number_format))

    def _kept_as(self, number_format: Format) -> str:
        return f"{self.kept_under}-{number_format.name}-{installed_version(number_format.library)}.json"

    def _measure(self, number_format: Format) -> dict[str, Any]:
        try:
            formatted = in_format(self.reference.model, number_format)
        except (MissingResource, Unsupported) as error:
            return _left_out(number_format, error)
        states = [self._rounded(formatted, ids) for ids in self.prompts]
        crowd = self.crowd.states(formatted)
        overflow = _first_overflow(states, crowd)
        if overflow is not None:
            error = Unsupported(f"its states are not finite behind block {overflow}")
            return _left_out(number_format, error, ran_here=True) | {"first_layer_void": overflow}
        target = self.reference if number_format.subject == "states" else formatted
        margins = self._own_margins(formatted) if target is formatted else dict.fromkeys(self.layers)
        total, layers = Tally(), list[dict[str, Any]]()
        for layer in self.layers:
            try:
                tally, searched = self._layer(formatted, target, layer, crowd.pop(layer))
            except (InvalidInput, Unsupported) as error:  # its captures differ by more than tells states apart
                return _left_out(number_format, error, ran_here=True)
            total.add(tally)
            layers.append({**asdict(tally), **searched, "own_margin": margins[layer]})
        return {
            "format": number_format.name,
            "subject": number_format.subject,
            "arithmetic": formatted.arithmetic,
            "state_type": name_of(states[0].dtype),
            "degenerate": formatted.degenerate,
            "weight_change": formatted.conversion.change,
            "table_change": formatted.conversion.table_change,
            "merged_tokens": int(formatted.merged.sum()),
            "ran_here": True,
            "reason": None,
            **asdict(total),
            "collisions": sum(layer["collisions"] for layer in layers),
            "searched": layers,
            "output": self._output(formatted),
            "noise": _noise(states, self.exact),
            "at_places": [states[place.prompt][:, place.position].double().tolist() for place in self.places],
        }

    def _rounded(self, formatted: Formatted, ids: Sequence[int]) -> torch.Tensor:
        """States at every layer as the format hands them out, shape (L, T, d), on the CPU."""
        return formatted.handed_out(layered_states(formatted.model, ids, range(1, formatted.model.layers + 1))).cpu()

    def _output(self, formatted: Formatted) -> dict[str, Any]:
        """How far the predictions of a format lie from those in float32, over all positions of the prompts.

        States that are rounded when they leave go on through the rest of the network from half depth.
        """
        model, ours = self.reference.model, formatted.format.subject == "states"
        layer = max(1, model.layers // 2) if ours else None
        apart: list[tuple[torch.Tensor, torch.Tensor]] = []
        for ids in self.prompts if model.head is not None else ():
            before = predictions(model, ids)
            after = predictions(formatted.model, ids, layer=layer, changed=formatted.handed_out)
            if before is not None and after is not None:
                apart.append(divergences(before, after))
        return summary([kl for kl, _ in apart], [same for _, same in apart])

    def _layer(
        self, formatted: Formatted, target: Formatted, layer: int, states: Floats
    ) -> tuple[Tally, dict[str, Any]]:
        """Inversions with the format's own model, and collisions among many states, at one layer."""
        truth = [list(ids) for ids in self.prompts]
        observed = formatted.capture(truth, layer=layer)
        tolerance = _repeated(observed, formatted.format, target) or tolerance_between(
            *self._calibration(formatted, target, layer)
        )
        tally = self._recovery(target, layer)(observed, truth, tolerance)
        # Pairs of states are searched in the plain distance.
        plain = derive_tolerance(target.model, observed, damped=False) if tolerance.damped else tolerance
        searched = self.crowd.searched(formatted, layer, states, noise=plain.value)
        return tally, {"layer": layer, "tolerance": tolerance.value, **searched}

    def _recovery(self, target: Formatted, layer: int) -> Callable[[States, list[list[int]], Tolerance], Tally]:
        """Inverts states of a layer with the model in a format; which prefix is right for it is found once."""
        opener = prefix_opener(Network(target.model, layer))
        return partial(recovery, target, open_prefix=opener, policy=self.policies[layer], budget=self.extent.budget)

    def _calibration(self, source: Formatted, target: Formatted, layer: int) -> tuple[States, States, tuple[str, str]]:
        prompts = calibration_prompts(self.reference.model)
        names = source.format.name, target.format.name
        return source.capture(prompts, layer=layer), target.capture(prompts, layer=layer), names

    def _own_margins(self, formatted: Formatted) -> dict[int, float | None]:
        """By layer the least relative step margin of the format's own map, over nearest rows or the vocabulary."""
        least = dict.fromkeys(self.layers, float("inf"))
        model = formatted.model
        for place in (self.places[0], self.places[-1]):
            if bool(formatted.merged[place.token]):
                return dict.fromkeys(self.layers, 0.0)  # a token with the same row is a rival, at no distance
            token = torch.tensor([place.token], device=model.device)
            near = (
                model.nearest_rows(token, self.extent.nearest)[0] if model.vocabulary_size > SMALL_VOCABULARY else None
            )
            states = layered_states(model, (*place.prefix, place.token), self.layers)[:, -1:]
            found = scan(model, place, dict(zip(self.layers, states, strict=True)), near)
            for layer, state in zip(self.layers, states, strict=True):
                least[layer] = min(least[layer], float(found[layer].rival[0] / state.float().norm()))
        return {layer: finite(margin) for layer, margin in least.items()}  # none where there is one token

    def crossed(self, chosen: Collection[str] = CROSSED, progress: Progress | None = None) -> list[dict[str, Any]]:
        """States of one format inverted with the model in another, for all ordered pairs that run here.

        Args:
            chosen: names of formats; of these, those of `CROSSED` are crossed. One alone is crossed with nothing: what
                it makes of its own states is measured already.
        """
        names = [name for name in CROSSED if name in chosen]
        if len(names) < 2:
            return []
        layer = self.layers[len(self.layers) // 2]
        truth = [list(ids) for ids in self.prompts[: self.extent.crossed]]
        sources: dict[str, tuple[States, States]] = {}
        calibration = calibration_prompts(self.reference.model)
        for name in names:
            formatted = self._converted(name)
            if formatted is not None:
                sources[name] = formatted.capture(truth, layer=layer), formatted.capture(calibration, layer=layer)
        rows: list[dict[str, Any]] = []
        for target in sources:
            rows += self._inverted_in(target, sources, layer, truth)
            return_freed_memory()
            if progress is not None:
                progress(len(rows), len(sources) ** 2)
        return rows

    def _inverted_in(
        self, target: str, sources: dict[str, tuple[States, States]], layer: int, truth: list[list[int]]
    ) -> list[dict[str, Any]]:
        """States of all formats, inverted with the model in one; it is gone when the next is converted."""
        formatted = self._converted(target)
        assert formatted is not None  # it was converted a moment ago
        recovered = self._recovery(formatted, layer)
        rows: list[dict[str, Any]] = []
        for source, (states, known) in sources.items():
            try:
                tolerance = _repeated(states, FORMATS[source], formatted) or tolerance_between(
                    known, sources[target][1], (source, target)
                )
            except (InvalidInput, Unsupported):  # the format's own line says why
                continue
            tally = recovered(states, truth, tolerance)
            rows.append({"source": source, "target": target, "layer": layer, "tolerance": tolerance.value,
                         **asdict(tally)})  # fmt: skip
        return rows

    def _converted(self, name: str) -> Formatted | None:
        try:
            return in_format(self.reference.model, FORMATS[name])
        except (MissingResource, Unsupported):
            return None


def _first_overflow(states: Sequence[torch.Tensor], crowd: Mapping[int, Floats]) -> int | None:
    """The first layer at which a state is not finite, of the prompts (L, T, d) or of those searched, by layer."""
    finite = torch.stack([one.isfinite().all(2).all(1) for one in states]).all(0)
    found = [layer for layer, sound in enumerate(finite.tolist(), start=1) if not sound]
    found += [layer for layer, rows in crowd.items() if not np.isfinite(rows).all()]
    return min(found, default=None)


def _left_out(number_format: Format, error: Exception, *, ran_here: bool = False) -> dict[str, Any]:
    """A format of which nothing was measured: the fields of one that was, with no prompt and no layer.

    Args:
        number_format: which.
        error: why.
        ran_here: whether it ran all the same, so that no library or device is missing.
    """
    return {
        "format": number_format.name,
        "subject": number_format.subject,
        "arithmetic": None,
        "state_type": None,
        "degenerate": None,
        "weight_change": None,
        "table_change": None,
        "merged_tokens": None,
        "ran_here": ran_here,
        "reason": str(error),
        **asdict(Tally()),
        "collisions": None,
        "output": None,
        "layers": [],
        "first_layer_void": None,
    }


def _repeated(states: States, source: Format, target: Formatted) -> Tolerance | None:
    """The tolerance from captures repeated with the target's model; None where it cannot repeat those of the source.

    It can repeat its own, and in float32 those that differ from its own by a half type alone, as `sipit invert` does.
    """
    cast = source.library == "torch" and target.format.name == "float32" and stored_type(states) in HALVES.values()
    return derive_tolerance(target.model, states) if source == target.format or cast else None


def _noise(states: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> list[float]:
    """By layer, the largest relative L2 distance from the float64 states over all positions of all prompts."""
    errors = [quotient(a.double() - b, b.norm(dim=2)) for a, b in zip(states, exact, strict=True)]
    return torch.stack([error.amax(1) for error in errors]).amax(0).tolist()
