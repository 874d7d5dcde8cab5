"""Whether one model is another in a coarser number format of weights: every matrix is rounded again, and compared.

Formats are those of `numerics.formats` that round by the numbers of a matrix alone, those of 4 bits also with scales
that are rounded in their turn, as bitsandbytes does on request. A quantiser that looks at data (GPTQ, AWQ) leaves
weights that no such format makes; they are other weights.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import nn

from numerics.formats import FORMATS, Format, packed
from numerics.formats.layers import effective_weight
from proofs.errors import SipitError
from sipit.models import LanguageModel
from sipit.models.copies import copied
from sipit.models.refusals import REFUSALS
from sipit.privacy.weights import a_step_apart, are_weights, dense_weights, near, of_one_weight, unpack

_TIES = 1e-3  # the share of weights that may lie between two numbers of a format, and be rounded to the other one
_COARSE = [one for one in FORMATS.values() if one.subject == "weights"] + [
    replace(FORMATS[name], name=f"{name}-double-quant", convert=packed.bitsandbytes(name, double=True))
    for name in ("nf4", "fp4")
]


@dataclass(frozen=True, slots=True)
class Rounded:
    """A model with the weights of a coarser one, which are its own in number formats: how many matrices in each."""

    model: LanguageModel
    formats: dict[str, int]


def rounded_to(model: LanguageModel, coarse: LanguageModel) -> Rounded | None:
    """The model with the weights of the coarse one; None where a weight of that is not its own in a number format.

    Nothing else is taken from the coarse model: what its network does otherwise stays a difference.
    """
    ours, theirs = dense_weights(model), dense_weights(coarse)
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return None
    # Of the types that hold what was rounded: it may have been rounded a second time, when it was stored or loaded.
    held = _least_exact(model.dtype, coarse.dtype)
    found: Counter[tuple[str, torch.dtype]] = Counter()
    for name, weight in ours.items():
        wanted = theirs[name].cpu().float()
        both = weight.cpu().double(), wanted.double()
        if torch.equal(*both):
            continue
        if not are_weights(weight, theirs[name]):
            return None
        if of_one_weight(*both, held) or a_step_apart(*both, held):
            continue
        if not bool(weight.isfinite().all()):  # which no format rounds
            return None
        # What a model that computes in a half type keeps packed is held more exactly, and tells like formats apart.
        own = _least_exact(weight.dtype, theirs[name].dtype)
        ways = [(one, dtype) for dtype in dict.fromkeys((own, held)) for one in _COARSE]
        ways.sort(key=lambda way: -found[way[0].name, way[1]])
        made = next((way for way in ways if _makes(way[0], weight, wanted, torch.finfo(way[1]).eps)), None)
        if made is None:
            return None
        found[made[0].name, made[1]] += 1
    if not found:
        return None
    rounded = copied(model)
    unpack(rounded.module, model.dtype)
    with torch.no_grad():
        for path, part in rounded.module.named_modules():
            for name, parameter in part.named_parameters(recurse=False):
                parameter.copy_(theirs[f"{path}.{name}"])
    digest = hashlib.sha256(f"{model.digest}:weights of:{coarse.digest}".encode()).hexdigest()
    formats: Counter[str] = Counter()
    for (name, _), count in found.items():
        formats[name] += count
    return Rounded(replace(rounded, digest=digest), dict(formats))


def _least_exact(*dtypes: torch.dtype) -> torch.dtype:
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def _rounds_to(made: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor, step: float) -> bool:
    """Whether what a format makes of weights is what is wanted, but for ties, which other devices round otherwise."""
    hit = near(made, wanted, step)
    off, least = (wanted - weight).abs(), (made - weight).abs()
    return bool((hit | (off <= least * (1 + _TIES))).all()) and float((~hit).double().mean()) <= _TIES


def _makes(number_format: Format, weight: torch.Tensor, wanted: torch.Tensor, step: float) -> bool:
    """Whether a format rounds a weight, or what is stored of it transposed, to the one that is wanted."""
    if weight.ndim != 2:
        return False
    for turned in (False, True):
        given = weight.cpu().float()
        linear = nn.Linear(1, 1, bias=False)
        linear.weight = nn.Parameter(given.T.contiguous() if turned else given.clone(), requires_grad=False)
        linear.out_features, linear.in_features = linear.weight.shape
        holder = nn.Sequential(linear)
        try:
            number_format.convert(holder, [holder])
        except (*REFUSALS, SipitError):
            continue  # a width that its blocks do not divide, a library that is missing, or weights on its grid
        made = effective_weight(holder[0]).detach()
        if _rounds_to(made.T if turned else made, wanted, weight.cpu().float(), step):
            return True
    return False
