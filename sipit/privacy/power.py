"""What an audit would notice: states that are not what is claimed, made on held-out prompts and scored alike."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from scipy import stats

from numerics.formats import FORMATS
from proofs.errors import SipitError
from sipit.models import load_model
from sipit.models.copies import in_dtype
from sipit.models.library import one_line
from sipit.models.names import TINY
from sipit.models.structure import find_decoder
from sipit.models.trial import REFUSALS
from sipit.privacy.scores import Claim, Threshold, held_out_prompts
from sipit.quantization.formatted import in_format
from sipit.record import Progress
from sipit.states.capturing import capture

_PROMPTS = 12
_ADAPTER = 1e-3  # norm of an adapter's update over that of the matrix it is added to
RATES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)  # of false alarms, for the curves

Rows = list[torch.Tensor]


def power_of(claim: Claim, threshold: Threshold, rate: float, progress: Progress) -> list[dict[str, Any]]:
    """By alternative, how many of some held-out prompts the audit calls inconsistent, with a Wilson interval.

    An alternative that this model does not have, or that cannot be computed, is named with the reason.
    """
    prompts = held_out_prompts(claim.model)[:_PROMPTS]
    right = [claim.recomputed(ids) for ids in prompts]
    found: list[dict[str, Any]] = []
    made = _alternatives(claim, prompts)
    for name, make in made.items():
        try:
            rows = make()
        except (*REFUSALS, SipitError) as error:
            found.append({"alternative": name, "reason": one_line(error)})
            continue
        scores = [float(one.scores(claim.seen(other.to(claim.stored))).max()) for one, other in
                  zip(right, rows, strict=True)]  # fmt: skip
        noticed = {at: sum(s > threshold.at(at, len(ids)) for s, ids in zip(scores, prompts, strict=True))
                   for at in (*RATES, rate)}  # fmt: skip
        detected = noticed[rate]
        interval = stats.binomtest(detected, len(scores)).proportion_ci(0.95, method="wilson")
        found.append({
            "alternative": name, "prompts": len(scores), "detected": detected,
            "interval": [float(interval.low), float(interval.high)],
            "curve": [{"rate": at, "detected": noticed[at] / len(scores)} for at in RATES],
        })  # fmt: skip
        progress(len(found), len(made))
    return found


def _alternatives(claim: Claim, prompts: Sequence[list[int]]) -> dict[str, Callable[[], Rows]]:
    model, layer = claim.model, claim.layer

    def states(other: Any = model, ids: Sequence[list[int]] = prompts, at: Any = layer) -> Rows:
        return [rows.cpu() for rows in capture(other, [list(one) for one in ids], layer=at)]

    half = torch.float32 if torch.finfo(model.dtype).eps > 1e-4 else torch.bfloat16
    beside = 1 if layer in (0, "final") else int(layer) - 1
    middle = len(prompts[0]) // 2
    wrong = [[*ids[:middle], (ids[middle] + 1) % model.vocabulary_size, *ids[middle + 1 :]] for ids in prompts]
    others = [*prompts[1:], prompts[0]]
    stale = [[*other[:middle], *ids[middle:]] for ids, other in zip(prompts, others, strict=True)]
    return {
        "another number format": lambda: states(in_dtype(model, half)),
        "weights in int8": lambda: states(in_format(model, FORMATS["int8"]).model),
        f"an adapter of relative norm {_ADAPTER:g}": lambda: states(_adapted(claim)),
        "another layer": lambda: states(at=beside),
        "swapped prompts": lambda: states(ids=others),
        "one wrong token": lambda: states(ids=wrong),
        "another seed": lambda: states(_other_seed(claim)),
        "a truncated prefix": lambda: _behind(states(), states(ids=[ids[1:] for ids in prompts]), 1, 0),
        "stale cache rows": lambda: _behind(states(), states(ids=stale), middle, middle),
    }


def _behind(whole: Rows, others: Rows, start: int, since: int) -> Rows:
    """The rows of whole prompts, from `start` on those of others from `since` on."""
    return [torch.cat([one[:start], other[since:]]) for one, other in zip(whole, others, strict=True)]


def _adapted(claim: Claim) -> Any:
    """The model with a random update of rank one on every matrix of its blocks."""
    module = copy.deepcopy(claim.model.module)
    generator = torch.Generator().manual_seed(0)
    decoder = find_decoder(module)
    with torch.no_grad():
        for parameter in (p for block in decoder.blocks for p in block.parameters() if p.ndim == 2):
            left, right = (torch.randn(size, 1, generator=generator) for size in parameter.shape)
            update = left @ right.T
            parameter += (_ADAPTER * parameter.norm() / update.norm() * update).to(parameter)
    return replace(claim.model, module=module, decoder=decoder)


def _other_seed(claim: Claim) -> Any:
    """A tiny model of another seed."""
    name = claim.model.name
    if not name.startswith(TINY):
        raise SipitError(f"{name} is drawn from no seed")
    one = load_model(name, dtype=claim.model.dtype, seed=1)
    return one if one.digest != claim.model.digest else load_model(name, dtype=claim.model.dtype, seed=0)
