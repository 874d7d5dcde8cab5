"""Where the rows of a part of a prompt stand, and which tokens are the true ones up to the last of them.

Ids that a file has beside its rows may be those of the whole prompt or those of the rows; rows may be all of a prompt,
or those behind a known prefix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from proofs.errors import InvalidInput
from sipit.inversion.decision import clearly_farther
from sipit.models import LanguageModel
from sipit.noise.distances import relative_distance
from sipit.observations.network import observed_network
from sipit.states.files import States

_ALIKE = 0.01  # relative; readings of which each lies within this of the rows are not told apart by rounding

Places = Sequence[int] | Literal["last"] | None


@dataclass(frozen=True, slots=True)
class Placed:
    """Positions in the prompt, the indices of their rows, and the true tokens up to the last; None where unknown."""

    at: list[int]
    chosen: list[int]
    truth: tuple[int, ...] | None


def placed(
    model: LanguageModel,
    states: States,
    number: int,
    positions: Places,
    prefix: Sequence[int],
    truth: Sequence[int] | None,
) -> Placed:
    """Where the rows of prompt `number` stand, of which those at `positions` are used.

    As many names as rows place the rows; fewer choose among them. Without names they are all of the prompt's, or those
    from the prefix on: as the ids beside them, `truth`, say.

    Raises:
        InvalidInput: positions that have no row, no row behind the prefix, rows that may stand in two places, or ids
            beside them that contradict the prefix.
    """
    rows = len(states[number])
    own = truth if truth is not None and len(truth) == rows else None  # an id for every row
    if positions is not None and positions != "last" and len(positions) == rows > 0:
        named = list(positions)
        return Placed(
            named, list(range(rows)), _at(model, named, prefix, own) if own is not None else _whole(truth, named)
        )
    begin = len(prefix)
    if own is not None:
        begin = 0 if _begins_at_the_start(model, states, number, prefix, own) else begin
        truth = own if begin == 0 else (*prefix, *own)
    at = _named(positions, begin, rows, len(prefix))
    if not at:
        raise InvalidInput(
            f"Expected a row behind the prefix of {len(prefix)} tokens, but prompt {number} has {rows} rows from "
            "position 0 on; shorten --prefix, or say with --positions where the rows stand."
        )
    return Placed(at, [position - begin for position in at], _whole(truth, at))


def alike(model: LanguageModel, some: Sequence[int], others: Sequence[int]) -> bool:
    """Whether tokens are the same, class by class."""
    one, other = (model.token_classes[torch.tensor(list(ids), dtype=torch.long)].tolist() for ids in (some, others))
    return one == other


def agreed(model: LanguageModel, prefix: Sequence[int], others: Mapping[int, int], source: str) -> dict[int, int]:
    """The tokens of a prefix and others by position; `source` is what errors call where those are from.

    Raises:
        InvalidInput: a position at which they are of two classes: neither is taken for right.
    """
    known = dict(enumerate(prefix))
    for place, token in others.items():
        other, ids = known.setdefault(place, token), range(model.vocabulary_size)
        if other != token and not (other in ids and token in ids and alike(model, [other], [token])):
            raise InvalidInput(
                f"Expected one token at every position, but position {place} is {other} by --prefix and {token} "
                f"by {source}; correct one of them."
            )
    return known


def _whole(truth: Sequence[int] | None, at: Sequence[int]) -> tuple[int, ...] | None:
    return None if truth is None else tuple(truth[: at[-1] + 1])


def _at(
    model: LanguageModel, named: Sequence[int], prefix: Sequence[int], own: Sequence[int]
) -> tuple[int, ...] | None:
    """The tokens up to the last position, where the prefix and the rows leave none of them out."""
    known = agreed(model, prefix, dict(zip(named, own, strict=True)), "the ids beside the rows")
    needed = range(max(named, default=-1) + 1)
    return tuple(known[position] for position in needed) if all(position in known for position in needed) else None


def _begins_at_the_start(
    model: LanguageModel, states: States, number: int, prefix: Sequence[int], own: Sequence[int]
) -> bool:
    """Whether rows with an id each are those of the whole prompt, and not those behind the prefix.

    Ids that begin otherwise than the prefix stand behind it. Those that begin alike may stand there as well, where a
    prompt says the same twice: then the model tells, whose states of the two prompts differ.
    """
    if not alike(model, own[: len(prefix)], prefix):
        return False
    if not prefix or states.manifest is not None:
        return True  # what is captured here is captured from the first token on
    if model.limit is not None and len(prefix) + len(own) > model.limit:
        return True
    part = replace(states, arrays=(states[number],), source=None).beside(model)
    part.check(model)
    network, (rows,) = observed_network(model, states.observation), part
    apart: list[float] = []
    for front in ([], list(prefix)):
        run = network.run(torch.tensor([[*front, *own]], device=model.device))[0, len(front) :]
        apart.append(float(relative_distance(rows.double(), run.cpu().double(), damped=False).mean()))
    if not clearly_farther(max(apart), min(apart), _ALIKE):
        raise InvalidInput(
            f"Expected rows behind the prefix or of the whole prompt, but those of prompt {number} may be either, "
            "since their ids begin like the prefix; say with --positions where each row stands."
        )
    return apart[0] < apart[1]


def _named(positions: Places, begin: int, rows: int, known: int) -> list[int]:
    """Positions in the prompt, where `rows` rows stand from `begin` on: without names those behind the known prefix."""
    everything = list(range(max(begin, known), begin + rows))
    if positions is None or positions == "last":
        return everything[-1:] if positions == "last" else everything
    named = list(positions)
    if not all(begin <= position < begin + rows for position in named):
        written = ",".join(map(str, named))
        raise InvalidInput(
            f"Expected one position for each of {rows} rows, or some of {begin} to {begin + rows - 1}, but got "
            f"{written}; correct them."
        )
    return named
