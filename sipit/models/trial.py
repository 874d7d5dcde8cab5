"""Finds out what the body of a model understands, by running a short prompt and looking at what came back.

A library swallows arguments that it does not know, and renames them with a release. So nothing is believed for its
name: each thing that is wanted of a body is done once, under the usual name and then under every other argument that
the body has, and the states of all blocks are compared with those of the plain forward.

    positions   explicit position ids give the plain states, and equal ids others
    mask        it hardly matters which tokens stand behind it; padding that it hides leaves the plain states
    memory      what the body returns is handed back, and the prompt goes on as in one forward
    packing     two tokens behind one prefix, kept apart by a mask of four dimensions, give the states of two prompts
"""

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from numerics.networks.stream import Stream
from sipit.models.abilities import Abilities, Side, agree, fields
from sipit.models.hooks import Reached, hooked
from sipit.models.refusals import Refusals

# Names that releases have used: tried before the other arguments of a body.
_POSITIONS, _MASKS, _MEMORIES = ("position_ids",), ("attention_mask",), ("past_key_values", "cache", "cache_params")
_NEVER = {"input_ids", "inputs_embeds", "use_cache", "return_dict", "output_attentions", "output_hidden_states"}
TRIED = 8  # tokens of the prompt
LEAST = 4  # of the tokens of any prompt that a model is tried on
_AFTER = 3  # of which so many run one by one, over the memory of those before them
PADS = 6  # tokens of padding


def find_abilities(
    body: nn.Module,
    blocks: Sequence[nn.Module],
    stream: Stream,
    table: nn.Embedding,
    special_tokens: Sequence[int] = (),
    *,
    longest: int | None = None,
) -> Abilities:
    """What a body of these blocks, which hold states in the form of `stream`, understands; its ids index `table`.

    `special_tokens` are ids that a library may treat otherwise, the padding token first;
    `longest` is the context, None where there is none.
    """
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a body that is handed the wrong thing may say so
        rows = table.weight
        running = _Body(body, tuple(blocks), stream, rows.device, rows.dtype)
        trial = _Trial.of(running, len(rows), special_tokens, trial_length(TRIED, longest))
        found = Abilities(flag=trial.flag)
        for step in (_positions, _mask, _memory, _ending, _packing):
            found = step(trial, found)
    return found


def trial_length(wanted: int, context: int | None) -> int:
    """So many tokens of a trial prompt, or as many as the context has; no fewer than the chain was found with."""
    return wanted if context is None else min(wanted, max(context, LEAST))


def without_memory(body: nn.Module, ids: torch.Tensor) -> dict[str, Any]:
    """The arguments with which a body remembers nothing, where it can be told so; it runs once to see whether."""
    arguments = {"use_cache": False}
    try:
        body(input_ids=ids, **arguments)
    except TypeError:
        return {}
    return arguments


@dataclass(frozen=True)
class _Body:
    """A body to run; the states of its blocks are brought to one device."""

    module: nn.Module
    blocks: tuple[nn.Module, ...]
    stream: Stream
    device: torch.device
    dtype: torch.dtype

    def run(self, ids: torch.Tensor, arguments: dict[str, Any], last: int | None = None) -> tuple[torch.Tensor, Any]:
        """The states of all blocks, shape (L, B, T, d), and what the body returned; block `last` ends the run."""
        states: list[torch.Tensor] = []
        output: Any = None

        def keep(_module: Any, _arguments: Any, output: Any) -> None:
            states.append(self.stream.handed_on(output).to(self.device, copy=True))
            if len(states) - 1 == last:
                raise Reached

        with hooked(lambda: [block.register_forward_hook(keep) for block in self.blocks]), suppress(Reached):
            output = self.module(input_ids=ids, **arguments)
        return torch.stack(states), output


@dataclass(frozen=True, eq=False)
class _Trial:
    """A body, a prompt `ids` (1, T), its plain states `plain` (L, 1, T, d), and a token to pad with."""

    body: _Body
    ids: torch.Tensor
    pad: int
    flag: bool
    plain: torch.Tensor
    names: tuple[str, ...]

    @classmethod
    def of(cls, body: _Body, rows: int, special_tokens: Sequence[int], length: int) -> "_Trial":
        special = [token for token in dict.fromkeys(special_tokens) if 0 <= token < rows][:2]
        ordinary = [number * (rows - 1) // TRIED for number in range(1, TRIED + 1)]
        # Special tokens stand in the middle: a body that passes over them is found out.
        prompt = [*ordinary[:2], *special, *ordinary[2:]][:length]
        ids = torch.tensor([prompt], device=body.device)
        parameters = inspect.signature(body.module.forward).parameters.values()
        names = tuple(p.name for p in parameters if p.name not in _NEVER and p.kind is not p.VAR_KEYWORD)
        arguments = without_memory(body.module, ids)
        plain, _ = body.run(ids, arguments)
        return cls(body, ids, special[0] if special else 0, bool(arguments), plain, names)

    @property
    def places(self) -> torch.Tensor:
        """Where the tokens stand, counted from 0, shape (1, T)."""
        return torch.arange(self.ids.shape[1], device=self.ids.device)[None]

    def candidates(self, usual: Sequence[str]) -> Iterator[str]:
        """The arguments that may be meant: the usual names first, then all others of the body."""
        yield from dict.fromkeys((*usual, *self.names))

    def states(self, ids: torch.Tensor, arguments: dict[str, Any]) -> torch.Tensor | None:
        """The states of all blocks (L, B, T, d), or None where the body raises."""
        with Refusals():
            return self.body.run(ids, arguments)[0]
        return None

    def padded(self, side: Side, token: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The prompt with some of a token beside it on one side, and the mask that hides these."""
        pads = self.ids.new_full((1, PADS), token)
        pairs = ((pads, torch.zeros_like(pads)), (self.ids, torch.ones_like(self.ids)))
        ids, mask = (torch.cat(parts, dim=1) for parts in zip(*(pairs if side == "left" else pairs[::-1]), strict=True))
        return ids, mask

    def fits(
        self, states: torch.Tensor | None, plain: torch.Tensor | None = None, *, ignored: torch.Tensor | None = None
    ) -> bool:
        """Whether states are there, and are the plain ones (by default those of the prompt).

        `ignored` are the states that come without the argument that is tried. The others have to be much nearer to the
        plain ones: in a half type a body that hardly looks back would pass otherwise, whatever it ignores.
        """
        plain = self.plain if plain is None else plain
        if states is None or not agree(plain, states, self.body.dtype):
            return False
        return ignored is None or bool((states - plain).norm() < (ignored - plain).norm() / 4)


def _positions(trial: _Trial, known: Abilities) -> Abilities:
    for name in trial.candidates(_POSITIONS):
        for first in dict.fromkeys((0, trial.pad + 1, 1, 2)):  # RoBERTa counts from behind its padding token
            with_positions = replace(known, positions=name, first_position=first)
            places = trial.places
            if trial.fits(trial.states(trial.ids, with_positions.arguments(positions=places))):
                equal = trial.states(trial.ids, with_positions.arguments(positions=torch.zeros_like(places)))
                if equal is not None and not trial.fits(equal):
                    return with_positions
                break  # it is not read
    reason = f"no argument of {_name(trial)} takes position ids that give the states of a plain run"
    return replace(known, refused=known.refused | {"positions": reason})


def _mask(trial: _Trial, known: Abilities) -> Abilities:
    refused = dict(known.refused)
    mask = next((name for name in trial.candidates(_MASKS) if _hides(trial, replace(known, mask=name))), None)
    if mask is None:
        refused["mask"] = f"no argument of {_name(trial)} takes a mask that hides padding in front of a prompt"
    known = replace(known, mask=mask)
    padding: dict[Side, tuple[str, ...]] = {}
    for side in ("left", "right"):
        if (needed := _padded(trial, known, side)) is not None:
            padding[side] = needed
        else:
            refused[f"padding on the {side}"] = f"padding on the {side} changes the states of {_name(trial)}"
    return replace(known, padding=padding, refused=refused)


def _hides(trial: _Trial, known: Abilities) -> bool:
    """Whether it hardly matters behind a mask, and does without one, which token stands there.

    A mask that hides nothing has to change nothing: position ids that are all alike would pass else.
    """
    if not trial.fits(trial.states(trial.ids, known.arguments(mask=torch.ones_like(trial.ids)))):
        return False
    apart: list[torch.Tensor] = []
    for masked in (True, False):
        found: list[torch.Tensor] = []
        for token in (trial.pad, int(trial.ids[0, -1])):
            ids, mask = trial.padded("left", token)
            states = trial.states(ids, known.arguments(mask=mask) if masked else known.arguments())
            if states is None or states.shape[2] != ids.shape[1]:
                return False
            found.append(states[:, :, PADS:])
        apart.append((found[0] - found[1]).norm())
    return bool(apart[0] < apart[1] / 4)


def _padded(trial: _Trial, known: Abilities, side: Side) -> tuple[str, ...] | None:
    """What has to be passed so that padding on a side does no harm, or None where nothing helps."""
    ids, mask = trial.padded(side, trial.pad)
    own = slice(PADS, None) if side == "left" else slice(0, -PADS)
    places = (mask.cumsum(1) - 1).clamp_min(0)
    known_names = {name for name, value in (("mask", known.mask), ("positions", known.positions)) if value is not None}
    for needed in (("mask", "positions"), ("mask",), *([()] if side == "right" else [])):
        if known_names.issuperset(needed):
            hiding, counting = (mask if "mask" in needed else None), (places if "positions" in needed else None)
            states = trial.states(ids, known.arguments(mask=hiding, positions=counting))
            if states is not None and trial.fits(states[:, :, own]):
                return needed
    return None


def _memory(trial: _Trial, known: Abilities) -> Abilities:
    returned = dict[str, Any]()
    with Refusals():
        returned = fields(_begin(trial, known))
    for returned_as in list(returned)[1:]:
        for argument in trial.candidates((returned_as, *_MEMORIES)):
            candidate = replace(known, memory=(returned_as, argument))
            if _continues(trial, candidate):
                return candidate
    reason = f"nothing that {_name(trial)} returns, handed back to it, continues a prompt as in one forward"
    return replace(known, refused=known.refused | {"memory": reason})


def _begin(trial: _Trial, known: Abilities) -> Any:
    """What the body returns for all but the last tokens."""
    begun = slice(0, -_AFTER)
    positions = None if known.positions is None else trial.places[:, begun]
    return trial.body.module(input_ids=trial.ids[:, begun], **known.arguments(positions=positions, remember=True))


def _continues(trial: _Trial, known: Abilities) -> bool:
    """Whether the last tokens, one by one over the memory of those before them, have the plain states."""
    with Refusals():
        memory = known.memory_in(_begin(trial, known))
        for at in range(trial.ids.shape[1] - _AFTER, trial.ids.shape[1]):
            here = slice(at, at + 1)
            positions = None if known.positions is None else trial.places[:, here]
            ignored = trial.states(trial.ids[:, here], known.arguments(positions=positions))
            states, output = trial.body.run(trial.ids[:, here], known.arguments(memory=memory, positions=positions))
            if not trial.fits(states, trial.plain[:, :, here], ignored=ignored):
                return False
            memory = known.memory_in(output)
        return True
    return False


def _ending(trial: _Trial, known: Abilities) -> Abilities:
    """Whether an empty memory serves runs that end at a block, of which the later ones know nothing."""
    if known.memory is None:
        return known
    memory = known.memory_in(_begin(trial, known))
    layers: list[Any] = getattr(memory, "layers", [])
    # The recurrent state of one block may be asked for by another.
    if not layers or not all(hasattr(layer, "keys") and not hasattr(layer, "conv_states") for layer in layers):
        return known
    config: Any = trial.body.module.config
    empty = partial(type(memory), config=config.get_text_config())
    with Refusals():
        if all(_continues_to(trial, known, empty(), last) for last in {0, len(trial.plain) // 2}):
            return replace(known, empty_memory=empty)
    return known


def _continues_to(trial: _Trial, known: Abilities, memory: Any, last: int) -> bool:
    """Whether tokens one by one, in runs that block `last` ends, have the plain states there."""
    for at in range(_AFTER):
        here = slice(at, at + 1)
        positions = None if known.positions is None else trial.places[:, here]
        told = known.arguments(memory=memory, positions=positions)
        states, _ = trial.body.run(trial.ids[:, here], told, last)
        if not trial.fits(states, trial.plain[: last + 1, :, here]):
            return False
    return True


def _packing(trial: _Trial, known: Abilities) -> Abilities:
    if known.mask is None or known.positions is None:
        reason = "it takes a mask and positions, which are not both understood"
        return replace(known, refused=known.refused | {"packing": reason})
    seen = 3  # tokens of the prefix; behind it the next one of the prompt and the last one of it, side by side
    other = torch.cat([trial.ids[:, :seen], trial.ids[:, -1:]], dim=1)
    apart = trial.states(other, known.arguments())
    ids = torch.cat([trial.ids[:, : seen + 1], trial.ids[:, -1:]], dim=1)
    visible = torch.ones(seen + 2, seen + 2, device=ids.device).tril().bool()
    visible[-1, -2] = False
    mask = torch.zeros(1, 1, *visible.shape, dtype=trial.body.dtype, device=ids.device)
    mask.masked_fill_(~visible, torch.finfo(mask.dtype).min)
    places = torch.tensor([[*range(seen + 1), seen]], device=ids.device)
    packed = trial.states(ids, known.arguments(mask=mask, positions=places))
    ignored = trial.states(ids, known.arguments(positions=places))
    if (
        packed is not None
        and apart is not None
        and ignored is not None
        and trial.fits(packed[:, :, :-1], trial.plain[:, :, : seen + 1])
        and trial.fits(packed[:, :, -1:], apart[:, :, -1:], ignored=ignored[:, :, -1:])
    ):
        return replace(known, packing=True)
    reason = f"a mask of four dimensions does not keep tokens of {_name(trial)} apart"
    return replace(known, refused=known.refused | {"packing": reason})


def _name(trial: _Trial) -> str:
    return type(trial.body.module).__name__
