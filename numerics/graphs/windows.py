"""How far back a network sees. What configs name (windows, chunks, convolutions) is not believed: a small copy is run.

The small copy has every kind of block and windows of at most 8 tokens. If nothing of it sees the first of `FAR` tokens,
no block of the network sees everything, however wide its windows are.
"""

import copy
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import torch

from numerics.graphs.capture import capture_graph, find_blocks
from numerics.graphs.small_graphs import UNBUILDABLE
from numerics.networks.library import asked_of_a_class, unlogged
from numerics.networks.shrinking import small_copy
from numerics.networks.stream import hidden_of
from numerics.networks.text_class import context_of, new_text_model
from proofs.errors import Unsupported
from proofs.structure.dependence import LONGEST, influences

CHUNK = "attention_chunk_size"
WINDOWS = ("sliding_window", "sliding_window_size", CHUNK, "window_size", "attention_window_size")  # whatever the class
NARROW = 2  # tokens of a window in the trial
PADDING = 2  # rows of a table of positions that stand for none, in some classes
FAR = LONGEST  # tokens of the prompt on which it is tried whether a small copy sees the first
ORDINARY = 3  # the first token of a trial: those below may be treated otherwise, as padding is
ROWS = 64  # tokens of the trial lie below
APART = 1e-6  # relative; what rounds otherwise is nearer, also where a class rounds to float32 inside a float64 run
# How matrices are scaled, and the deviation of biases and rates of decay (None: all as a class draws them, by which a
# state may forget soon, or hardly look back).
DRAWS = ((1.0, None), (3.0, None), (10.0, None), (1.0, 3.0), (10.0, 3.0))


class Sight(Enum):
    """Whether a last state sees the first of many tokens."""

    SHOWN = "a run shows that it does"
    EXCLUDED = "its graph shows that it does not, whatever the weights"
    UNSHOWN = "its graph does not exclude it, and no run shows it"
    UNBUILT = "no small copy can be built"


@dataclass(frozen=True, slots=True)
class Window:
    """A bound of what the blocks of a network see.

    Attributes:
        size: the largest window that a config names, in tokens; None where it names none.
        every_layer: whether no block sees everything; None where nothing tells: no small copy can be built, or its
            graph does not exclude that a block sees everything, and no run shows it.
        reach: how many of the last tokens the last state sees, where a window alone says it.
    """

    size: int | None
    every_layer: bool | None
    reach: int | None

    def to_json(self) -> dict[str, Any]:
        """The window in a record."""
        return asdict(self)


def named_windows(config: Any) -> dict[str, int]:
    """The sizes of windows and chunks of a config, by name."""
    text = config.get_text_config()
    named = {name: getattr(text, name, None) for name in WINDOWS}
    return {name: size for name, size in named.items() if type(size) is int and size > 0}


def reach(name: str, size: int, blocks: int) -> int:
    """Of blocks with such a window each: w - 1 tokens further back with every block, but never out of a chunk."""
    return size if name == CHUNK else blocks * (size - 1) + 1


def window(config: Any, layer: int | None = None, attention: Any = "eager") -> Window | None:
    """What bounds what the state after so many blocks (None: all) sees; else a window that bounds some block's, if any.

    Blocks may be bounded without a name that is known here, as convolutions are.
    """
    named, far = named_windows(config), _sees_far(config, layer, attention)
    size = max(named.values(), default=None)
    if far is not Sight.EXCLUDED:
        unnamed = size is None and far is not Sight.UNSHOWN
        return None if unnamed else Window(size, False if far is Sight.SHOWN else None, None)
    blocks = getattr(config.get_text_config(), "num_hidden_layers", 1) if layer is None else layer
    reaches = [reach(name, size, blocks) for name, size in named.items() if _bounds(config, name, layer, attention)]
    return Window(size, True, min(reaches, default=None))


def sees_order(config: Any, layer: int | None = None) -> bool | None:
    """Whether runs of a small copy show that the last of many states depends on the order of two tokens.

    Windows behind a layer that does not look at order may hide that of the first two, however wide they are; those
    before it do not show that of two tokens with the same words around them. Here they are narrow, unless none is
    narrower than the context. One layer that counts tokens sees no order of the latter, two do: each kind of block is
    there twice, if the config has it twice. None where no small copy runs.
    """
    try:
        context = context_of(config)
        bounding = any(context is None or size < context for size in named_windows(config).values())
        narrow = with_windows(small_copy(config, times=2), NARROW if bounding else FAR)
        seen = [_apart_in_runs(narrow, pair(_many(narrow)), _depth(narrow, layer)) for pair in (_swapped, _between)]
        return False if False in seen else None if None in seen else True
    except UNBUILDABLE:
        return None


def _sees_far(config: Any, layer: int | None, attention: Any) -> Sight:
    """Whether the last state of the small copy sees the first of many tokens."""
    try:
        narrow = small_copy(config)
        depth, length = _depth(narrow, layer), _many(narrow)
        if _apart_in_runs(narrow, _another_first(length), depth):
            return Sight.SHOWN
        return Sight.UNSHOWN if _sees_first(narrow, length, depth, attention) else Sight.EXCLUDED
    except UNBUILDABLE:
        return Sight.UNBUILT


def _many(narrow: Any) -> int:
    return min(FAR, (context_of(narrow) or 2 * FAR) - PADDING)


def _word(length: int) -> torch.Tensor:
    """Ids of so many tokens, none twice below `ROWS`."""
    return ORDINARY + torch.arange(length) % (ROWS - ORDINARY)


def _another_first(length: int) -> torch.Tensor:
    ids = _word(length).repeat(2, 1)
    ids[1, 0] = ids[1, 1]
    return ids


def _swapped(length: int) -> torch.Tensor:
    ids = _word(length).repeat(2, 1)
    ids[1, :2] = ids[1, :2].flip(0)
    return ids


def _between(length: int) -> torch.Tensor:
    """Prompts w a w b w and w b w a w: whatever sees no farther than w is long sees the same in both."""
    each = (length - 2) // 3
    word, (first, second) = _word(each + 2)[2:], _word(2)[:, None]
    return torch.stack([torch.cat([word, *two, word]) for two in ((first, word, second), (second, word, first))])


def _apart_in_runs(narrow: Any, pair: torch.Tensor, depth: int | None) -> bool | None:
    """Whether a run of random weights shows that two prompts have two last states; None if none runs."""
    if depth == 0:
        return False
    for dtype in (torch.float64, torch.float32):  # some classes run in one alone
        runs = (_apart(narrow, pair, depth, dtype, draw) for draw in DRAWS)
        first = next(runs)
        if first is not None:
            return first or any(runs)
    return None


def _apart(
    narrow: Any, pair: torch.Tensor, depth: int | None, dtype: torch.dtype, draw: tuple[float, float | None]
) -> bool | None:
    told = asked_of_a_class(Unsupported, "Expected a small copy that runs, but it does not", "its graph is asked")
    with suppress(Unsupported), told, unlogged(), torch.random.fork_rng(devices=()), torch.inference_mode():
        torch.manual_seed(0)
        narrow = copy.deepcopy(narrow)
        narrow.vocab_size = max(narrow.vocab_size, ROWS)
        narrow._experts_implementation = "eager"  # others are not there for float64
        model = new_text_model(narrow).to(dtype).eval()
        factor, deviation = draw
        for part in model.parameters():
            if part.ndim > 1:
                part.mul_(factor)
            elif deviation is not None:
                part.normal_(std=deviation)
        reached: list[torch.Tensor] = []
        if depth:
            last = find_blocks(model)[depth - 1]
            last.register_forward_hook(lambda _module, _arguments, output: reached.append(hidden_of(output)))
        states = model.base_model(input_ids=pair, use_cache=False)[0]
        first, second = (reached[0] if depth else states)[:, -1].double()
        return bool((first - second).norm() > APART * first.norm())
    return None


def _bounds(config: Any, name: str, layer: int | None, attention: Any) -> bool:
    """Whether a window alone bounds what is seen: made narrow, the first of more tokens than it reaches is not seen."""
    try:
        narrow = small_copy(config)
        setattr(narrow.get_text_config(), name, NARROW)
        depth = _depth(narrow, layer)
        blocks = narrow.get_text_config().num_hidden_layers if depth is None else depth
        return not _sees_first(narrow, reach(name, NARROW, blocks) + 1, depth, attention)
    except UNBUILDABLE:
        return False


def _sees_first(narrow: Any, length: int, depth: int | None, attention: Any) -> bool:
    """Whether the last of so many states may depend on the first token, for some value of the parameters."""
    return 0 in influences(capture_graph(narrow, depth, attention, length=length))[-1]


def _depth(narrow: Any, layer: int | None) -> int | None:
    """The blocks of a small copy that stand for so many of the network."""
    blocks = getattr(narrow.get_text_config(), "num_hidden_layers", None)
    return None if layer is None or blocks is None or layer >= blocks else layer


def with_windows(config: Any, size: int) -> Any:
    """A copy of a config whose windows and chunks are of so many tokens."""
    changed = copy.deepcopy(config)
    for name in named_windows(config):
        setattr(changed.get_text_config(), name, size)
    return changed
