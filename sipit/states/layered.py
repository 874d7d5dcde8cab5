"""The states of prompts at several layers at once: captured by the same runs, and in one file.

In a file they stand under `<prompt>.<layer>`, one T x d tensor each; the manifest says which layers. Files by other
tools may be named alike, without a manifest.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from proofs.errors import InvalidInput
from sipit.models import LanguageModel
from sipit.models.abilities import Side
from sipit.models.layers import check_numbers, reading
from sipit.models.network import Network
from sipit.record import Progress
from sipit.states.arrays import check_finite
from sipit.states.capturing import Ran, capture, changed_by_padding, expect_as_one_forward, way_out_of
from sipit.states.files import write_tensors
from sipit.states.manifest import Manifest, read_manifest
from sipit.states.readers.containers import LAYER_WORDS, NUMBER, PART_WORDS, read_container

_KEY = re.compile(rf"(.+)\.({NUMBER})")
_NO_PROMPT = re.compile(rf"(?:.*[^a-z])?(?:{LAYER_WORDS}|{PART_WORDS})", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class LayeredStates:
    """For every prompt its states at `layers` (increasing), shape (layers, T, d)."""

    layers: tuple[int, ...]
    stacks: tuple[torch.Tensor, ...]
    manifest: Manifest | None = None


def capture_layers(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[int],
    *,
    cached: bool = False,
    batch: int = 1,
    padding: Side = "right",
    finite: bool = True,
    progress: Progress | None = None,
    ran: Ran | None = None,
) -> LayeredStates:
    """The states of prompts (token ids) at several layers, by the runs that `capture` makes for the last of them.

    Args:
        model: who computes them.
        prompts: token ids.
        layers: numbers from 0, the embedding, to L, the residual stream before the final norm.
        cached: as for `capture`.
        batch: as for `capture`.
        padding: as for `capture`.
        finite: as for `capture`, of every layer.
        progress: called with (prompts done, prompts in all).
        ran: as for `capture`.

    Raises:
        InvalidInput: no such layer, or what `capture` refuses.
        Unsupported: what `capture` cannot do with this body.
    """
    chosen = sorted(set(layers))
    if not chosen:
        raise InvalidInput("Expected at least one layer, but got none; name some, such as 1,15,30.")
    check_numbers(model, chosen)
    given, groups = [list(ids) for ids in prompts], list[tuple[int, bool]]()
    with reading(model, chosen) as runs:
        last = capture(
            model, given, layer=chosen[-1], cached=cached, batch=batch, padding=padding, finite=False, compared=False,
            progress=progress, ran=lambda *group: groups.append(group),
        )  # fmt: skip
    network = Network(model, chosen[-1])
    if cached:
        expect_as_one_forward(network, given, last.arrays)
    elif any(
        changed_by_padding(network, given[start : start + batch], last.arrays[start : start + batch])
        for start in range(0, len(given), batch)
    ):
        if ran is not None:
            for count, _ in groups:
                ran(count, count == 1)
        return capture_layers(model, given, chosen, finite=finite, progress=progress)
    if ran is not None:
        for group in groups:
            ran(*group)
    stacked = [torch.stack([runs[layer][run] for layer in chosen]) for run in range(len(runs[chosen[0]]))]
    stacks: list[torch.Tensor] = []
    for start in range(0, len(given), batch):
        lengths = list(map(len, given[start : start + batch]))
        # All in one run, or one run for each prompt, or one for each token of a prompt.
        count = lengths[0] if cached else 1 if stacked[0].shape[1] == len(lengths) else len(lengths)
        group, stacked = stacked[:count], stacked[count:]
        rows = [torch.cat(group, dim=2)[:, 0]] if cached else [row for one in group for row in one.unbind(1)]
        stacks += [
            (row[:, row.shape[1] - length :] if padding == "left" else row[:, :length]).clone()
            for row, length in zip(rows, lengths, strict=True)
        ]
    if finite:
        for number, stack in enumerate(stacks):
            check_finite(f"prompt {number}", stack, way_out_of(model))
    assert last.manifest is not None  # `capture` says where its states come from
    return LayeredStates(tuple(chosen), tuple(stacks), replace(last.manifest, layers=tuple(chosen)))


def write_layers(path: Path, states: LayeredStates) -> None:
    """Writes states of several layers, whole or not at all, under `<prompt>.<layer>`.

    Raises:
        InvalidInput: the file cannot be written.
    """
    digits = max(6, len(str(len(states.stacks) - 1)))
    tensors = {
        f"{number:0{digits}d}.{layer}": stack[place].cpu().contiguous()
        for number, stack in enumerate(states.stacks)
        for place, layer in enumerate(states.layers)
    }
    write_tensors(path, tensors, states.manifest)


def read_layers(path: Path) -> LayeredStates:
    """Reads a file with states of several layers, ours or another tool's.

    Raises:
        InvalidInput: not such a file, or one in which a prompt lacks a layer or has another length at one.
    """
    container = read_container(path)
    text = container.metadata.get("sipit")
    manifest = None if text is None else read_manifest(path, text)
    found: dict[str, dict[int, torch.Tensor]] = {}
    for tensor in container.tensors:
        key = _KEY.fullmatch(tensor.name)
        if key is None or not tensor.floating or len(tensor.shape) != 2 or 0 in tensor.shape:
            raise InvalidInput(
                f"Expected floating-point tensors of shape (T, d) named <prompt>.<layer>, but {path} has {tensor}; "
                "capture it with --layer all."
            )
        if manifest is None and _NO_PROMPT.fullmatch(key[1]):
            raise InvalidInput(
                f"Expected tensors named <prompt>.<layer>, but {path} has {tensor.name!r}, and programs count blocks "
                "from 0 and end hidden_states behind the final norm; name the state after the first block prompt0.1."
            )
        found.setdefault(key[1], {})[int(key[2])] = tensor.read()
    if not found:
        raise InvalidInput(f"Expected at least one tensor of states, but {path} has none; capture them again.")
    layers = tuple(sorted(next(iter(found.values()))))
    for prompt, states in found.items():
        shapes = {tuple(array.shape) for array in states.values()}
        if tuple(sorted(states)) != layers or len(shapes) != 1:
            raise InvalidInput(
                f"Expected the same layers and shape for every tensor of a prompt, but prompt {prompt} of {path} has "
                f"layers {sorted(states)} with shapes {sorted(shapes)}; capture it again."
            )
    stacks = tuple(torch.stack([states[layer] for layer in layers]) for states in found.values())
    for number, stack in enumerate(stacks):
        check_finite(f"prompt {number} of {path}", stack)
    return LayeredStates(layers, stacks, manifest)
