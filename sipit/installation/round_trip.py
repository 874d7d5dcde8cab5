"""A round trip: states captured in every way that the body of a model allows, inverted, and compared with the truth."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from sipit.installation.checks import REPORT, Check, broken, degraded, ok
from sipit.inversion.inverter import Inverter
from sipit.inversion.outcome import Inversion, Outcome
from sipit.inversion.policies.draft import DraftPolicy
from sipit.inversion.probes import trained_probes
from sipit.models import LanguageModel
from sipit.models.network import Network
from sipit.models.tokenizers import token_ids_of
from sipit.noise.distances import relative_distance
from sipit.noise.spread import perturbed_runs, rounding_unit, spread_of
from sipit.noise.ways import KINDS, beyond_rounding, other_ways
from sipit.prompts.builtin_text import random_tokens, within_context
from sipit.prompts.reading import tokenize
from sipit.report.wording import number
from sipit.states.capturing import capture
from sipit.states.files import States

TEXTS = ("The quick brown fox", "Hello")  # of unequal lengths, so that a batch is padded
LAYER = 1  # where a probe of a few tokens is enough
_BUDGET = 30.0  # seconds per prompt
_LEAST = {"memory", "packing", "padding on the left", "padding on the right"}  # without which something is slower


def check_abilities(model: LanguageModel) -> Check:
    """The line about what the body of a model was found to understand."""
    reasons = [reason for ability, reason in model.abilities.refused.items() if ability in _LEAST]
    if reasons:
        remedy = "use versions within the ranges; where they are, states are computed anew instead: right, and slower"
        return degraded("abilities", "; ".join(reasons), remedy)
    return ok("abilities", "a memory, padding on both sides and packed candidates give the states of plain runs")


def check_round_trip(model: LanguageModel, *, seed: int) -> Iterator[Check]:
    """One line for each way of capturing: what was recovered, and whether it differs by rounding at full depth."""
    prompts = _prompts(model, seed)
    others = other_ways(model, len(prompts), longest=max(map(len, prompts)))
    ways = {"one forward": dict[str, Any]()} | {name: how for name, how, refused in others if refused is None}
    shallow = [capture(model, prompts, layer=LAYER, compared=False, **how) for how in ways.values()]
    joined = States(tuple(state for states in shallow for state in states), LAYER, shallow[0].manifest)
    # Opened with a policy that trains nothing; one from a few tokens is enough at this layer.
    inverter = Inverter.open(model, joined, policy="nearest", budget=_BUDGET)
    inverter = replace(inverter, policy=DraftPolicy(trained_probes(inverter.network, positions=1)))
    found = inverter.invert_all(joined, truth=prompts * len(ways))
    deep = Network(model, model.layers)
    plain, spread = capture(model, prompts, layer=deep.layer), _spread(deep, prompts)
    for place, (way, how) in enumerate(ways.items()):
        captured = capture(model, prompts, layer=deep.layer, compared=False, **how)
        apart = [torch.stack([relative_distance(o.double(), p.double(), damped=e) for e in KINDS])
                 for o, p in zip(captured, plain, strict=True)]  # fmt: skip
        far = beyond_rounding(torch.cat(apart, dim=1), spread)
        faults = [said for said in inverter.tolerance.left_out if said.startswith(f"{way}: ")]
        if far is not None:
            faults.append(f"at layer {deep.layer} the states differ from one forward {far}")
        inversions = found[place * len(prompts) : (place + 1) * len(prompts)]
        yield _line(f"round trip, {way}", inversions, faults)


def _prompts(model: LanguageModel, seed: int) -> list[list[int]]:
    """Short prompts of unequal lengths: text where there is a tokenizer that makes tokens of it, else drawn ids."""
    if model.tokenizer is not None and all(ids := [token_ids_of(model.tokenizer, text) for text in TEXTS]):
        return tokenize(model, ids)
    generator = torch.Generator().manual_seed(seed)
    lengths = [within_context(model, length) for length in (6, 3)]
    return [random_tokens(model, (length,), generator=generator).tolist() for length in lengths]


def _spread(network: Network, prompts: list[list[int]]) -> torch.Tensor:
    """How much rounding is amplified at each position of the prompts, plain and damped, shape (2, positions)."""
    unit = rounding_unit(network.model.coarsest, device=network.model.device)
    runs = [perturbed_runs(network, torch.tensor(ids, device=network.model.device), unit) for ids in prompts]
    spread = [torch.stack([spread_of(run, damped=damped) for damped in KINDS]) for run in runs]
    return torch.cat(spread, dim=1).clamp_min(unit)


def _line(name: str, inversions: list[Inversion], faults: list[str]) -> Check:
    """What a way of capturing shows: whether its prompts came back, and what it does that is no rounding."""
    tokens = [token for inversion in inversions for token in inversion.tokens]
    residual = max((token.residual for token in tokens if token.residual is not None), default=None)
    margin = min((token.margin for token in tokens if token.margin is not None), default=None)
    known = sum(token.token_id is not None for token in tokens)
    said = f"{known} of {len(tokens)} tokens recovered at layer {LAYER}, residuals up to {number(residual)}"
    if faults:
        return broken(name, "; ".join(faults), "do not capture in this way; mend what other lines say of versions")
    if any(inversion.outcome is Outcome.RECOVERED and not inversion.matches_truth for inversion in inversions):
        return broken(name, f"a wrong token was accepted at layer {LAYER}", REPORT)
    if any(inversion.outcome is Outcome.NOT_FOUND for inversion in inversions):
        return broken(name, f"{said}; no token fits the next", REPORT)
    others = [inversion.outcome for inversion in inversions if inversion.outcome is not Outcome.RECOVERED]
    if others:
        return degraded(name, f"{said}; {others[0].explanation}", "take a --dtype that rounds less")
    return ok(name, f"{said}, rivals from {number(margin)}; nothing but rounding at full depth")
