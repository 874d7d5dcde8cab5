"""What a class's own initialisation does: which parameters it draws, and which it sets to the same numbers every time.

Almost-sure theorems ask for a law with a density on all parameters. A small copy of the class is built by the library
from several seeds; entries that are equal in all of them, whatever the seed, are taken to have none, and so are
matrices whose rows, or columns, are orthogonal and of one length in all of them. Other bonds are not looked for.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from numerics.networks.library import asked_of_a_class, unlogged
from numerics.networks.shrinking import small_copy
from numerics.networks.text_class import new_text_model, text_part
from proofs.errors import Unsupported
from proofs.threads import turn

SEEDS = (0, 1, 2)
ROUNDED = 1e-5  # how far products of float32 rows of length 1 may be from 0 and 1; drawn ones are far beyond
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True, slots=True)
class Initialisation:
    """Of the parameters of a small copy.

    Attributes:
        entries: how many numbers there are.
        fixed: how many of them are the same for every seed.
        always: the value (`1`, `0`, `several`) and the names of the parameters that are wholly fixed at it; numbers of
            blocks are written `*`.
        partly: names of parameters of which some entries are fixed, such as a row for padding.
        zero_matrices: names of matrices that begin at exactly 0.
        orthogonal: names of matrices that are drawn with orthogonal rows, or columns, of one length.
    """

    entries: int
    fixed: int
    always: Mapping[str, tuple[str, ...]]
    partly: tuple[str, ...]
    zero_matrices: tuple[str, ...]
    orthogonal: tuple[str, ...] = ()


def own_initialisation(config: Any) -> Initialisation | None:
    """What the library draws for a class with this configuration; None where it builds no small copy.

    torch's global generator is left as it was found.
    """
    try:
        models = [_built(config, seed) for seed in SEEDS]
    except Unsupported:
        return None
    entries = fixed = 0
    always: dict[str, dict[str, None]] = defaultdict(dict)
    partly: dict[str, None] = {}
    matrices: dict[str, None] = {}
    orthogonal: dict[str, None] = {}
    for name, tensors in _beside(models):
        first, label = tensors[0], _NUMBER.sub("*", name)
        same = torch.stack([(first == other) for other in tensors[1:]]).all(0)
        entries, fixed = entries + first.numel(), fixed + int(same.sum())
        if bool(same.all()):
            values = torch.unique(first)
            always[f"{values.item():g}" if values.numel() == 1 else "several"][label] = None
            if first.ndim > 1 and not bool(first.any()):
                matrices[label] = None
            continue
        if bool(same.any()):
            partly[label] = None
        if all(map(_is_orthogonal, tensors)):
            orthogonal[label] = None
    kinds = {value: tuple(names) for value, names in sorted(always.items())}
    return Initialisation(entries, fixed, kinds, tuple(partly), tuple(matrices), tuple(orthogonal))


def _is_orthogonal(value: torch.Tensor) -> bool:
    """Whether the rows of a matrix, or its columns if fewer, are orthogonal and of one length, but for rounding."""
    if value.ndim < 2:
        return False
    matrix = value.detach().flatten(1).double()
    rows = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    products = rows @ rows.T
    length = products.diagonal().mean()
    even = (products - length * torch.eye(len(rows), dtype=torch.float64)).abs() <= ROUNDED * length
    return len(rows) > 1 and bool(length > 0) and bool(even.all())


def constant_parameters(module: Any) -> tuple[str, ...]:
    """Names of parameters of given weights all of whose entries are one number, 0 or 1: as a library sets them."""
    found = (name for name, value in module.named_parameters() if value.numel() > 1 and _at_start(value))
    return tuple(dict.fromkeys(_NUMBER.sub("*", name) for name in found))


def _at_start(value: torch.Tensor) -> bool:
    first = value.flatten()[0]
    return bool((first == 0) | (first == 1)) and bool((value == first).all())


def _built(config: Any, seed: int) -> Any:
    text = text_part(config)
    if text is None:
        raise Unsupported(
            f"Expected a decoder that the library builds, but it has no class for {config.model_type!r}; give the "
            "config of a causal language model."
        )
    copy = small_copy(text)
    expected = f"Expected small sizes that {text.model_type!r} accepts, but it refuses"
    with (
        asked_of_a_class(Unsupported, expected, "give a config of another class"),
        turn,
        torch.random.fork_rng(devices=[]),
        unlogged(),
    ):
        torch.manual_seed(seed)
        return new_text_model(copy, dtype=torch.float32)


def _beside(models: list[Any]) -> Iterator[tuple[str, list[torch.Tensor]]]:
    """Every parameter by its name, as each of the models has it; those that are shared once."""
    others = [dict(model.named_parameters()) for model in models]
    return ((name, [each[name].detach() for each in others]) for name in others[0])
