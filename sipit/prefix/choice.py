"""Which prefix is right for a model: tried on a short prompt, so that no model is trusted or refused by its name."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch

from sipit.models.abilities import agree, agree_closely
from sipit.models.length import whole_length
from sipit.models.network import Network
from sipit.models.refusals import Refusals
from sipit.prefix.compared import LOWEST, Tried
from sipit.prefix.kinds import CachedPrefix, Prefix, RecomputedPrefix
from sipit.prefix.packed import ROW, PackedPrefix, extend_together, room_behind

_Kind = TypeVar("_Kind", bound=Prefix)
PrefixOpener = Callable[[Network], Prefix]

_LENGTH = 19  # tokens of the prompt it is tried on


def prefix_opener(network: Network) -> PrefixOpener:
    """What opens a prefix: the first of packed, cached and recomputed ones whose states are those of plain runs."""
    single = single_opener(network)
    packing = network.model.abilities.packing
    if packing and single is CachedPrefix and _tried(network, partial(PackedPrefix, tried=_all_of_the_trial())):
        tried = _beyond_the_trial(network)
        if tried.agrees:
            return partial(PackedPrefix, tried=tried)
    return single


def _all_of_the_trial() -> Tried:
    """A note that has packed prefixes compare nothing on the trial prompt, where `_tried` does."""
    return Tried(first=1, last=2 * _LENGTH, position=2 * _LENGTH)


def _beyond_the_trial(network: Network) -> Tried:
    """What is known once a full row stood behind the trial prompt, and the lowest positions as far behind theirs."""
    prefix, model = PackedPrefix(network.anew(), Tried(position=_LENGTH - 1)), network.model
    with whole_length(2 * _LENGTH):
        prefix.extend(0, model.ordinary_ids(_LENGTH)[:1])
        prefix.keep(0)
        full = min(ROW, room_behind(model, _LENGTH - 1))
        tokens = torch.arange(full, device=model.device)
        positions = torch.where(tokens <= LOWEST, tokens, _LENGTH - 1)
        prefix.candidates(positions, tokens % model.vocabulary_size)
    return prefix.tried


def single_opener(network: Network) -> PrefixOpener:
    """The same among those that run one prompt at a time, one row for every candidate.

    Where padding did harm on the trial prompt nothing is put behind it: the very first token, which sees itself alone,
    would not show at each run that its keys are those of another position.
    """
    understood = network.model.abilities
    cached = understood.memory is not None and understood.mask is not None
    tried = _tried(network, CachedPrefix) if cached else None
    if tried is None:
        return RecomputedPrefix
    return CachedPrefix if tried.padded.agrees else partial(CachedPrefix, padding=False)


def kind_of(opener: PrefixOpener) -> str:
    """What an opener opens, in words."""
    return "prefixes recomputed" if opener is RecomputedPrefix else "shared keys and values"


def arithmetic_of(network: Network, opener: PrefixOpener) -> str:
    """What really runs where candidates are verified behind a prefix, in the words of a record."""
    return f"{network.model.arithmetic}; {kind_of(opener)}; residuals and decisions in float64"


def _tried(network: Network, opener: Callable[[Network], _Kind]) -> _Kind | None:
    """A prefix whose states were those of plain runs: it extends, cuts back, extends again, tries candidates.

    Packed prefixes are also run together with another prompt, and their candidates held closely to rows of their own.
    """
    model = network.model
    trial = network.anew()  # its runs are set-up, not work of an inversion
    prompt = model.ordinary_ids(_LENGTH)[0]
    plain, shared = RecomputedPrefix(trial), opener(trial)
    with Refusals(), whole_length(2 * _LENGTH):  # of one network, whatever its parts
        same = all(agree(a, b, model.dtype) for a, b in _pairs(plain, shared, prompt))
        return shared if same and (not isinstance(shared, PackedPrefix) or _packs_closely(shared, prompt)) else None
    return None  # the model keeps another kind of cache, such as a recurrent state


def _packs_closely(shared: PackedPrefix, prompt: torch.Tensor) -> bool:
    """Whether packing does no more than to round: a short window may add so little that it passes for rounding."""
    shared.keep(0)
    shared.extend(0, prompt[None])
    shared.keep(0)
    positions, tokens = _candidates(shared)
    plain, packed = (run(positions, tokens) for run in (shared.candidates_apart, shared.candidates))
    return agree_closely(plain, packed, shared.network.model.dtype)


def _candidates(prefix: Prefix) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and tokens to try behind the trial prompt."""
    model = prefix.network.model
    positions = torch.tensor([0, 3, 17, 18, 18], device=model.device)
    return positions, torch.tensor([5, 0, 2, 1, 3], device=model.device) % model.vocabulary_size


def _pairs(plain: RecomputedPrefix, shared: Prefix, prompt: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """States of the same tokens behind prefixes of two kinds."""
    positions, tokens = _candidates(plain)
    drafts = torch.stack([prompt[:10], prompt[5:15]])
    pairs = [(plain.extend(0, prompt[None]), shared.extend(0, prompt[None]))]
    plain.keep(0)
    shared.keep(0)
    pairs += [(plain.extend(9, drafts), shared.extend(9, drafts))]
    plain.keep(1)
    shared.keep(1)
    pairs += [
        (plain.candidates(positions, tokens), shared.candidates(positions, tokens)),
        (plain.candidates(positions[3:], tokens[3:]), shared.candidates(positions[3:], tokens[3:])),
    ]
    if isinstance(shared, PackedPrefix):
        other = PackedPrefix(plain.network, shared.tried)
        found = extend_together([(other, 0, prompt[None, 5:]), (shared, 12, drafts)])
        pairs += [
            (plain.extend(12, drafts), found[1]),
            (RecomputedPrefix(plain.network).extend(0, prompt[None, 5:]), found[0]),
        ]
    return pairs
