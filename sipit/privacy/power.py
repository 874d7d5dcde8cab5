"""What an audit would notice: states that are not what is claimed, made on fresh prompts and scored as states are.

Honest states of the same prompts, captured in every way that differs by rounding, say how often it is wrong.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from scipy import stats

from numerics.formats import FORMATS
from proofs.errors import SipitError
from sipit.models import LanguageModel, load_model
from sipit.models.copies import in_dtype
from sipit.models.library import one_line
from sipit.models.names import drawn_family
from sipit.models.refusals import REFUSALS
from sipit.models.structure import find_decoder
from sipit.privacy.scores import Claim, Recomputed, Threshold, honest_ways
from sipit.prompts.builtin_text import random_tokens, text_windows, within_context
from sipit.quantization.formatted import in_format
from sipit.record import Progress
from sipit.states.capturing import capture

_PROMPTS, _LENGTH, _SEED = 64, 32, 20261127  # fresh prompts: 2048 rows that no threshold was measured on
_TRIED = 32  # of them that alternatives are tried on
_ADAPTER = 1e-3  # norm of an adapter's update over that of the matrix it is added to
_SOME_ROWS = (1, 4, 16)
RATES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)  # of false alarms, for the curves, where runs speak of them

Rows = list[torch.Tensor]


@dataclass(frozen=True, slots=True)
class Power:
    """What an audit calls inconsistent on fresh prompts: honest states, by way of capturing, and what are none."""

    false_alarms: list[dict[str, Any]]
    alternatives: list[dict[str, Any]]


def power_of(claim: Claim, threshold: Threshold, rate: float, progress: Progress) -> Power:
    """How many of some fresh prompts the audit calls inconsistent, with Wilson intervals, also by first rows alone.

    The first n rows of a prompt are those of the prompt of n tokens. An alternative that this model does not have, or
    that cannot be computed, is named with the reason.
    """
    prompts = _fresh_prompts(claim.model)
    right: list[Recomputed] = []
    for ids in prompts:
        right.append(claim.recomputed(ids))
        progress(len(right), 2 * len(prompts))
    honest = [{"way": way, **_noticed(right, seen, threshold, rate)} for way, seen in honest_ways(claim, prompts)]
    made, found = _alternatives(claim, prompts[:_TRIED]), list[dict[str, Any]]()
    for name, make in made.items():
        try:
            seen = [claim.kept(rows) for rows in make()]
        except (*REFUSALS, SipitError) as error:
            found.append({"alternative": name, "reason": one_line(error)})
            continue
        found.append({"alternative": name, **_noticed(right[:_TRIED], seen, threshold, rate)})
        progress(len(prompts) + len(prompts) * len(found) // len(made), 2 * len(prompts))
    return Power(honest, found)


def _noticed(right: Sequence[Recomputed], seen: Rows, threshold: Threshold, rate: float) -> dict[str, Any]:
    """Of how many prompts a row lies beyond the threshold: at the rate, by number of rows, and at other rates."""
    scores = [one.scores(rows) for one, rows in zip(right, seen, strict=True)]
    length = len(scores[0])

    def count(at: float, rows: int) -> int:
        if not threshold.speaks_of(at):
            return 0  # what is undecided is not called inconsistent
        most = threshold.at(at, rows)
        return sum(not bool((one[:rows] <= most).all()) for one in scores)

    detected = count(rate, length)
    interval = stats.binomtest(detected, len(scores)).proportion_ci(0.95, method="wilson")
    return {
        "prompts": len(scores), "rows": length * len(scores), "detected": detected,
        "interval": [float(interval.low), float(interval.high)],
        "by_rows": [{"rows": rows, "detected": count(rate, rows) / len(scores)}
                    for rows in (*(few for few in _SOME_ROWS if few < length), length)],
        "curve": [{"rate": at, "detected": count(at, length) / len(scores)} for at in RATES if threshold.speaks_of(at)],
    }  # fmt: skip


def _fresh_prompts(model: LanguageModel) -> list[list[int]]:
    """Prompts of one length, text and random tokens, none of which a threshold was measured on."""
    length = within_context(model, _LENGTH)
    generator = torch.Generator().manual_seed(_SEED)
    text = list(islice(text_windows(model, length=length, generator=generator), _PROMPTS // 2))
    return text + random_tokens(model, (_PROMPTS - len(text), length), generator=generator).tolist()


def _alternatives(claim: Claim, prompts: Sequence[list[int]]) -> dict[str, Callable[[], Rows]]:
    model, layer = claim.model, claim.layer

    def states(other: Any = model, ids: Sequence[list[int]] = prompts, at: Any = layer) -> Rows:
        return [rows.cpu() for rows in capture(other, [list(one) for one in ids], layer=at)]

    def wide() -> LanguageModel:
        return in_dtype(model, torch.float32)  # what formats are made of

    half = torch.float32 if torch.finfo(model.dtype).eps > 1e-4 else torch.bfloat16
    beside = 1 if layer in (0, "final") else int(layer) - 1
    middle = len(prompts[0]) // 2
    wrong = [[*ids[:middle], (ids[middle] + 1) % model.vocabulary_size, *ids[middle + 1 :]] for ids in prompts]
    others = [*prompts[1:], prompts[0]]  # of the same length
    stale = [[*other[:middle], *ids[middle:]] for ids, other in zip(prompts, others, strict=True)]
    return {
        "another number format": lambda: states(in_dtype(model, half)),
        "weights in int8": lambda: states(in_format(wide(), FORMATS["int8"]).model),
        "weights in int4": lambda: states(in_format(wide(), FORMATS["int4"]).model),
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
    if drawn_family(name) is None:
        raise SipitError(f"{name} is drawn from no seed")
    one = load_model(name, dtype=claim.model.dtype, seed=1)
    return one if one.digest != claim.model.digest else load_model(name, dtype=claim.model.dtype, seed=0)
