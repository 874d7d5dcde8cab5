"""Following -inf through the graph: which entries a mask excludes, for every value of the parameters."""

import math

import numpy as np
from numpy.typing import NDArray

from proofs.network.graph import Constant
from proofs.operations.base import Application, integer, integers
from proofs.regularity import CONSTANT, Pattern

LARGEST_PATTERN = 2**22  # entries; beyond it a mask is not followed, and the graph is unproved


def of_constant(value: Constant) -> Pattern | None:
    """The pattern of -inf in a constant, or None where there is none."""
    if value.kind != "real" or not any(v == float("-inf") for v in value.values):
        return None
    excluded = bytes(v == float("-inf") for v in value.values)
    return Pattern(value.shape, excluded * math.prod(value.shape) if len(excluded) == 1 else excluded)


def array(pattern: Pattern) -> NDArray[np.bool_]:
    """The truth values of a pattern in its shape."""
    return np.frombuffer(pattern.excluded, dtype=np.bool_).reshape(pattern.shape)


def pattern_of(excluded: NDArray[np.bool_]) -> Pattern:
    """The pattern of an array of truth values."""
    return Pattern(excluded.shape, excluded.tobytes())


def broadcast_to(pattern: Pattern, shape: tuple[int, ...]) -> Pattern:
    """The same pattern, repeated to a full shape."""
    return pattern_of(np.broadcast_to(array(pattern), shape))


def union(first: Pattern | None, second: Pattern | None, shape: tuple[int, ...]) -> Pattern | None:
    """Excluded in either, for a sum of that shape. One pattern keeps its small shape."""
    if first is None or second is None:
        pattern = first or second
        return (
            None
            if pattern is None
            else Pattern((1,) * (len(shape) - len(pattern.shape)) + pattern.shape, pattern.excluded)
        )
    return pattern_of(np.broadcast_to(array(first) | array(second), shape))


def moved(at: Application) -> tuple[Pattern | None, str]:
    """The pattern after an operation that only moves entries, or the reason why it cannot be followed."""
    patterns = [at.facts[i].excluded for i in at.node.arguments]
    if all(pattern is None for pattern in patterns):
        return None, ""
    shape, attributes = at.node.type.shape, at.node.attributes
    if at.node.operation == "select":
        small = _selected_small(at, patterns)
        if small is not None:
            return (small if any(small.excluded) else None), ""
    if at.node.type.size > LARGEST_PATTERN:
        return None, f"a mask of {at.node.type.size} entries is too large to follow"
    first = patterns[0]
    if at.node.operation == "reshape" and first is not None:
        small = _reshaped_small(first, at.argument(0).type.shape, shape)
        return small or Pattern(shape, broadcast_to(first, at.argument(0).type.shape).excluded), ""
    if at.node.operation == "expand" and first is not None:
        return Pattern((1,) * (len(shape) - len(first.shape)) + first.shape, first.excluded), ""
    full = [
        np.broadcast_to(np.False_ if pattern is None else array(pattern), at.argument(i).type.shape)
        for i, pattern in enumerate(patterns)
    ]
    if at.node.operation == "permute":
        return pattern_of(np.transpose(full[0], integers(attributes, "order"))), ""
    if at.node.operation == "slice":
        axis, start, stop, step = (at.integer(name) for name in ("axis", "start", "stop", "step"))
        return _nonempty(full[0][(slice(None),) * axis + (slice(start, stop, step),)]), ""
    if at.node.operation == "concatenate":
        return pattern_of(np.concatenate(full, integer(attributes, "axis"))), ""
    if at.node.operation == "select":
        return _selected(at, full)
    return None, f"{at.node.operation} is not known to move a mask"


def _selected(at: Application, full: list[NDArray[np.bool_]]) -> tuple[Pattern | None, str]:
    condition = at.graph.constant(at.argument(0)) if at.argument(0).operation == "constant" else None
    if condition is None or at.known(0).regularity != CONSTANT:
        return None, "the condition of a masked selection is not a known constant"
    chosen = np.array(condition.values, dtype=np.bool_)
    chosen = chosen[0] if chosen.size == 1 else chosen.reshape(condition.shape)
    return _nonempty(np.broadcast_to(np.where(chosen, full[1], full[2]), at.node.type.shape)), ""


def _selected_small(at: Application, patterns: list[Pattern | None]) -> Pattern | None:
    """The pattern on the condition's own shape, where each value is excluded everywhere or nowhere."""
    condition = at.graph.constant(at.argument(0)) if at.argument(0).operation == "constant" else None
    if condition is None or math.prod(condition.shape) > LARGEST_PATTERN:
        return None
    if any(pattern is not None and len(pattern.excluded) != 1 for pattern in patterns[1:]):
        return None
    first, second = (pattern is not None and bool(pattern.excluded[0]) for pattern in patterns[1:])
    excluded = bytes(first if chosen else second for chosen in condition.values)
    return Pattern(condition.shape, excluded * math.prod(condition.shape) if len(excluded) == 1 else excluded)


def _nonempty(excluded: NDArray[np.bool_]) -> Pattern | None:
    return pattern_of(excluded) if excluded.any() else None


def _reshaped_small(pattern: Pattern, old: tuple[int, ...], new: tuple[int, ...]) -> Pattern | None:
    """A pattern on the last two axes alone stays one, if the reshape leaves those axes as they are."""
    if len(old) < 2 or len(new) < 2 or old[-2:] != new[-2:] or any(n != 1 for n in pattern.shape[:-2]):
        return None
    return Pattern((1,) * (len(new) - 2) + pattern.shape[-2:], pattern.excluded)
