"""How far back attention sees, where a config names windows or chunks: what a name does is tried on a small copy."""

import copy
from dataclasses import asdict, dataclass
from typing import Any

from numerics.graphs.capture import capture_graph
from numerics.graphs.small_graphs import UNBUILDABLE
from numerics.networks.shrinking import small_copy
from proofs.structure.dependence import influences

CHUNK = "attention_chunk_size"
WINDOWS = ("sliding_window", "sliding_window_size", CHUNK, "window_size", "attention_window_size")  # whatever the class
NARROW = 2  # tokens of a window in the trial


@dataclass(frozen=True, slots=True)
class Window:
    """A window that a config names.

    Attributes:
        size: in tokens.
        every_layer: whether nothing sees beyond it; None where no small copy tells.
        reach: how many of the last tokens the last state sees, if so.
    """

    size: int
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
    """The window that bounds what the state after so many blocks (None: all) sees, else one that bounds some layer's.

    A network that sees all of a prompt with a window of two tokens in its config has other layers as well.
    """
    blocks = config.get_text_config().num_hidden_layers if layer is None else layer
    found: list[Window] = []
    for name, size in named_windows(config).items():
        every = _everywhere(config, name, layer, attention)
        found.append(Window(size, every, reach(name, size, blocks) if every else None))
    return min(found, key=lambda one: (not one.every_layer, one.reach or 0), default=None)


def _everywhere(config: Any, name: str, layer: int | None, attention: Any) -> bool | None:
    try:
        narrow = small_copy(config)
        text = narrow.get_text_config()
        setattr(text, name, NARROW)
        depth = text.num_hidden_layers if layer is None else min(layer, text.num_hidden_layers)
        length = reach(name, NARROW, depth) + 1
        graph = capture_graph(narrow, depth, attention, length=length)
    except UNBUILDABLE:
        return None
    return 0 not in influences(graph)[-1]


def without_windows(config: Any, wide: int) -> Any:
    """A copy of a config whose windows and chunks are so many tokens wide."""
    opened = copy.deepcopy(config)
    for name in named_windows(config):
        setattr(opened.get_text_config(), name, wide)
    return opened
