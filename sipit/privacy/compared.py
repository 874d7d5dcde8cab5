"""What a comparison of two runs found, and how a record tells it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from proofs.evidence import Record
from proofs.showing import Shown
from proofs.verdict import Verdict
from sipit.models import LanguageModel
from sipit.record import finite

DRAWN = 64  # cells of a row of the map that a page draws


@dataclass(frozen=True, slots=True)
class Place:
    """Where two runs first differ by more than rounding, and by how much (damped, relative)."""

    layer: int
    position: int
    prompt: int
    distance: float
    expected: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Comparison(Shown):
    """Two runs, compared.

    Attributes:
        kind: `rounding`, `not_rounding` or `undecided`.
        reason: why, in a sentence.
        layers: which were compared.
        distances: by prompt, damped and relative, shape (layers, T).
        expected: the largest distances that rounding explains, alike; None where no model says how rounding spreads.
        first: where the runs first differ by more; None where they do not, or nothing says so.
        unit: the rounding unit that was counted with.
        rate: of false alarms in the whole comparison.
        calibration: what the threshold comes from.
        formats: where weights are the same in coarser number formats, how many matrices in each; both ran with those.
        choices: where the blocks choose experts or keys, and the runs lay beyond the spread: which prompts were
            perturbed more widely, in how many runs, and at how many layers and positions a turned choice explains it.
        replay: in words, what computing both models in float64 showed; by layer the distance and what it may be.
        reference: the model whose rounding was expected; None where there is none.
    """

    kind: Verdict
    reason: str
    layers: tuple[int, ...]
    distances: tuple[torch.Tensor, ...]
    expected: tuple[torch.Tensor, ...] | None
    first: Place | None
    unit: float
    rate: float
    calibration: dict[str, Any] | None
    replay: dict[str, Any] | None
    formats: dict[str, int] | None = None
    choices: dict[str, Any] | None = None
    reference: LanguageModel | None = field(default=None, repr=False)

    @property
    def verdict(self) -> Verdict:
        """The kind: `rounding` holds, `not_rounding` fails."""
        return self.kind

    def to_json(self) -> dict[str, Any]:
        """The `result` field of a record, but for what the runs were."""
        return {
            "kind": self.kind.value,
            "reason": self.reason,
            "false_alarm_rate": self.rate,
            "first_divergence": None if self.first is None else _place_json(self.first),
            "layers": _by_layer(self),
            "prompts": len(self.distances),
            "positions": sum(distance.shape[1] for distance in self.distances),
            "unit": self.unit,
            "calibration": self.calibration,
            "in_float64": self.replay,
            "weights_in": self.formats,
            "choices": self.choices,
            "map": _map(self),
        }

    def to_record(self) -> Record:
        """The record of this comparison; what the runs were is not in it."""
        return Record("compare", self.verdict, self.to_json())


def _place_json(place: Place) -> dict[str, Any]:
    """A distance is null where it is beyond all numbers: beside a state that is zero."""
    return asdict(place) | {"distance": finite(place.distance), "expected": finite(place.expected)}


def _by_layer(found: Comparison) -> list[dict[str, Any]]:
    """By layer the distance that is largest beside what is expected, and that; where nothing is, the largest."""
    rows: list[dict[str, Any]] = []
    for place, layer in enumerate(found.layers):
        distance = torch.cat([one[place] for one in found.distances])
        expected = None if found.expected is None else torch.cat([one[place] for one in found.expected])
        at = int((distance if expected is None else distance / expected).argmax())
        rows.append({"layer": layer, "distance": finite(distance[at]),
                     "expected": None if expected is None else float(expected[at])})  # fmt: skip
    return rows


def _map(found: Comparison) -> dict[str, Any] | None:
    """Distances over what is expected, layer by layer along the positions, for the prompt where most shows."""
    if found.expected is None:
        return None
    ratios = [distance / most for distance, most in zip(found.distances, found.expected, strict=True)]
    number = found.first.prompt if found.first is not None else max(
        range(len(ratios)), key=lambda n: float(ratios[n].max()))  # fmt: skip
    each = positions_a_cell(ratios[number].shape[1])
    return {"prompt": number, "ratios": [cells(row, each) for row in ratios[number]], "positions_a_cell": each}


def positions_a_cell(positions: int) -> int:
    """How many positions a cell of a map stands for, so that a row of so many has no more cells than a page draws."""
    return max(1, -(-positions // DRAWN))


def cells(row: torch.Tensor, each: int) -> list[float | None]:
    """The largest of every `each` numbers of a row (T,): null where it is beyond all numbers."""
    return [finite(part.max()) for part in row.split(each)]


def first_beyond(
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


def compared_at(layers: tuple[int, ...], depth: int) -> str:
    """Where two runs of so many blocks were compared, in words: of layers that no file holds nothing is known."""
    if {*range(1, depth + 1)} <= {*layers}:
        return "up to the last block"
    return f"at layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}, which is all that both have,"
