"""What the measurements of all formats amount to: margins, guarantees, leaks, and what counting forces."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch

from numerics.formats.rounding import Rounding, add_noise, round_to_bits
from proofs.verdict import Verdict
from sipit.cache import keep_json, kept_json
from sipit.quantization.counting import forced_collision
from sipit.quantization.margins import Distances, Place, scan
from sipit.quantization.study import Study
from sipit.record import Progress, finite

BITS = range(16, 1, -1)
NOISES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
DRAWS = 4  # of Gaussian noise for each level
STORED_BITS = {  # of a coordinate, and of a row beside them, where states are rounded when they leave
    "bf16-states": (16, 0), "fp16-states": (16, 0), "fp8-states": (8, 32), "int8-states": (8, 32),
    "int4-states": (4, 32),
}  # fmt: skip
AS_COMPUTED = ("float32", "bf16", "fp16")  # states leave in the type that they come in, which need not be this one


def findings(
    study: Study, formats: Sequence[dict[str, Any]], progress: Progress | None = None, *, named: bool = False
) -> dict[str, Any]:
    """The result of a study: every format judged at every layer, and the leak curves.

    Args:
        study: the study.
        formats: from `Study.measured`.
        progress: of the scans of the vocabulary.
        named: whether somebody asked for just these formats.
    """
    ran = [one for one in formats if one["reason"] is None]
    scans = [_scanned(study, number, ran, progress) for number in range(len(study.places))]
    judged = [_judged(study, one, ran.index(one), scans) if one["reason"] is None else one for one in formats]
    return {
        "formats": judged,
        "formats_named": named,
        "layers": list(study.layers),
        "prompts": len(study.prompts),
        "length": max(map(len, study.prompts)),
        "places": [{"prompt": place.prompt, "position": place.position} for place in study.places],
        "scanned": scans[0]["candidates"],
        "whole_vocabulary": scans[0]["candidates"] == study.reference.model.vocabulary_size,
        "margins": _margins(study, scans),
        "leaks": _leaks(study, scans),
        "counting": _counting(study, ran),
    }


def verdict_of(result: dict[str, Any]) -> Verdict:
    """`void` where a format's guarantee is void at some layer, a token came back wrong or states collide; else `held`.

    `undecided` where no format was measured, and where one was not that was asked for by name, or that ran here.
    """
    formats = result["formats"]
    if any(one["first_layer_void"] is not None or one["wrong"] or one["collisions"] for one in formats):
        return Verdict.VOID
    open_ones = [one for one in formats if one["reason"] is not None]
    if len(open_ones) == len(formats) or any(result["formats_named"] or one["ran_here"] for one in open_ones):
        return Verdict.UNDECIDED
    return Verdict.HELD


def _scanned(study: Study, number: int, ran: Sequence[dict[str, Any]], progress: Progress | None) -> dict[str, Any]:
    """One scan of the vocabulary at a place, kept: what every observed state lies near to.

    By layer: row 0 is the float64 state; at the layers of the study the formats, then the leaks follow.
    """
    place = study.places[number]
    drawn = repr(([one["at_places"][number] for one in ran], study.seed, BITS, NOISES, DRAWS))
    path = f"{study.kept_under}-scan-{number}-{hashlib.sha256(drawn.encode()).hexdigest()[:12]}.json"
    found = kept_json(path)
    if found is None:
        exact = study.exact[place.prompt][:, place.position].float()
        observed = {layer: exact[layer - 1 : layer] for layer in range(1, len(exact) + 1)}
        for layer in study.layers:
            formats = [torch.tensor(one["at_places"][number][layer - 1]) for one in ran]
            leaks = [rounding(exact[layer - 1][None])[0] for rounding in _leaking(study.seed, number, layer)]
            observed[layer] = torch.stack([exact[layer - 1], *formats, *leaks])
        distances = scan(study.reference.model, place, observed, _tokens(study, place), progress)
        found = {
            "candidates": distances[1].candidates,
            "layers": [_row(distances[layer]) for layer in sorted(distances)],
        }
        keep_json(path, found)
    return found


def _tokens(study: Study, place: Place) -> torch.Tensor | None:
    """All tokens, or for a short scan the nearest rows and others at random."""
    model, count = study.reference.model, study.extent.scanned
    if count is None or count >= model.vocabulary_size:
        return None
    near = model.nearest_rows(torch.tensor([place.token], device=model.device), count // 4)[0].cpu()
    drawn = torch.randperm(model.vocabulary_size, generator=torch.Generator().manual_seed(study.seed))
    rest = drawn[~torch.isin(drawn, near) & (drawn != place.token)]
    return torch.cat([near, rest[: count - 1 - len(near)]])


def _row(distances: Distances) -> dict[str, list[float] | list[int]]:
    return {
        "truth": distances.truth.tolist(),
        "rival": distances.rival.tolist(),
        "nearest_rival": distances.nearest_rival.tolist(),
    }


def _judged(study: Study, one: dict[str, Any], row: int, scans: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A format with its guarantee at every layer."""
    layers = [_guarantee(study, one, row, layer, scans) for layer in range(1, len(one["noise"]) + 1)]
    void = [layer["layer"] for layer in layers if layer["guarantee"] == "void"]
    kept = {key: value for key, value in one.items() if key not in {"noise", "at_places", "searched"}}
    searched = {found["layer"]: found for found in one["searched"]}
    for layer in layers:
        layer |= {key: value for key, value in searched.get(layer["layer"], {}).items() if key != "layer"}
    return {**kept, "layers": layers, "first_layer_void": void[0] if void else None}


def _guarantee(
    study: Study, one: dict[str, Any], row: int, layer: int, scans: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Twice the noise, with the rounding of float32, against the margin at every place of a layer: the worst counts.

    Noise and margin are from the float64 state, but what is nearest is a state recomputed in float32: by the error of
    the true one (the rounding of float32) the margin has to be larger than twice the noise.
    """
    worst: dict[str, Any] = {}
    most = -1.0  # of twice the noise and that error, over the margin
    nearest_is_true = 0
    for number, (place, found) in enumerate(zip(study.places, scans, strict=True)):
        exact = study.exact[place.prompt][layer - 1, place.position]
        observed = torch.tensor(one["at_places"][number][layer - 1], dtype=torch.float64)
        norm = float(exact.norm()) or 1.0
        seen = found["layers"][layer - 1]
        margin = seen["rival"][0] / norm
        noise = float((observed - exact).norm()) / norm
        used = 2 * noise + seen["truth"][0] / norm
        share = used / margin if margin else math.inf
        at = {"noise": noise, "margin": finite(margin), "position": place.position, "prompt": place.prompt,
              "token": place.token, "rival": seen["nearest_rival"][0]}  # fmt: skip
        if layer in study.layers:
            right = seen["truth"][row + 1] < seen["rival"][row + 1]
            nearest_is_true += right
            at |= {"nearest": place.token if right else seen["nearest_rival"][row + 1]}
        if share > most:
            worst, most = at, share
    held = most < 1
    return {
        "layer": layer,
        "noise": worst["noise"],
        "margin": worst["margin"],
        "noise_everywhere": finite(one["noise"][layer - 1]),
        "positions": len(study.places),
        "share": finite(most),
        "guarantee": "held" if held else "void",
        "counterexample": None if held else worst,
        **({"nearest_is_true": nearest_is_true} if layer in study.layers else {}),
    }


def _margins(study: Study, scans: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By layer the least relative step margin, at position 0 and behind it."""
    rows: list[dict[str, Any]] = []
    for layer in range(1, len(study.exact[0]) + 1):
        relative = {
            number: found["layers"][layer - 1]["rival"][0]
            / (float(study.exact[place.prompt][layer - 1, place.position].norm()) or 1.0)
            for number, (place, found) in enumerate(zip(study.places, scans, strict=True))
        }
        first = [value for number, value in relative.items() if study.places[number].position == 0]
        later = [value for number, value in relative.items() if study.places[number].position > 0]
        least, behind = finite(min(first)), finite(min(later, default=None))  # none where there is one token
        rows.append({"layer": layer, "first_position": least, "later_positions": behind})
    return rows


def _leaking(*where: int) -> list[Rounding]:
    """States with fewer bits a coordinate, then with Gaussian noise.

    Args:
        *where: the seed, the number of the place, and the layer: the noise of each is drawn apart.
    """
    noisy = [add_noise(level, *where, level, draw) for level in NOISES for draw in range(DRAWS)]
    return [*map(round_to_bits, BITS), *noisy]


def _leaks(study: Study, scans: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By layer, at how many places the nearest token behind the true prefix is still the true one."""
    rows: list[dict[str, Any]] = []
    count = len(BITS) + len(NOISES) * DRAWS
    for layer in study.layers:
        right = [
            [truth < rival for truth, rival in zip(seen["truth"][-count:], seen["rival"][-count:], strict=True)]
            for seen in (found["layers"][layer - 1] for found in scans)
        ]
        share = [sum(one[index] for one in right) / len(right) for index in range(count)]
        noisy = share[len(BITS) :]
        rows.append(
            {
                "layer": layer,
                "bits": [{"bits": bits, "recovered": share[index]} for index, bits in enumerate(BITS)],
                "noise": [
                    {"relative": level, "recovered": sum(noisy[index * DRAWS : (index + 1) * DRAWS]) / DRAWS}
                    for index, level in enumerate(NOISES)
                ],
            }
        )
    return rows


def _counting(study: Study, ran: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """From which prompt length on a format's states must collide."""
    model = study.reference.model
    found: list[dict[str, Any]] = []
    for one in ran:
        name = one["format"]
        if name in STORED_BITS or name in AS_COMPUTED:
            computed = torch.finfo(getattr(torch, one["state_type"])).bits
            bits, row_bits = STORED_BITS.get(name, (computed, 0))
            counted = forced_collision(
                bits=bits, row_bits=row_bits, width=model.width, vocabulary=model.vocabulary_size,
                context=model.context,
            )  # fmt: skip
            found.append({"format": name, "bits": bits, "length": counted.length, "in_context": counted.in_context})
    return found
