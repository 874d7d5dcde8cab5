"""Following -inf through the graph: which entries a mask excludes, for every value of the parameters."""

from proofs.network.graph import Constant
from proofs.operations.base import Application, integer, integers
from proofs.regularity import CONSTANT, Pattern

LARGEST_PATTERN = 2**22  # entries; beyond it a mask is not followed, and the graph is unproved


def of_constant(value: Constant) -> Pattern | None:
    """The pattern of -inf in a constant, or None where there is none."""
    if value.kind != "real" or not any(v == float("-inf") for v in value.values):
        return None
    return Pattern(value.shape, bytes(v == float("-inf") for v in value.entries()))


def broadcast_to(pattern: Pattern, shape: tuple[int, ...]) -> Pattern:
    """The same pattern, repeated to a full shape."""
    padded = (1,) * (len(shape) - len(pattern.shape)) + pattern.shape
    excluded = pattern.excluded
    block = 1  # entries below the axis at hand, already repeated
    for axis in range(len(shape) - 1, -1, -1):
        block *= padded[axis]
        if padded[axis] == 1 and shape[axis] > 1:
            excluded = b"".join(excluded[i : i + block] * shape[axis] for i in range(0, len(excluded), block))
            block *= shape[axis]
    return Pattern(shape, excluded)


def union(first: Pattern | None, second: Pattern | None, shape: tuple[int, ...]) -> Pattern | None:
    """Excluded in either, for a sum of that shape. One pattern keeps its small shape."""
    if first is None or second is None:
        pattern = first or second
        return (
            None
            if pattern is None
            else Pattern((1,) * (len(shape) - len(pattern.shape)) + pattern.shape, pattern.excluded)
        )
    both = [broadcast_to(pattern, shape).excluded for pattern in (first, second)]
    return Pattern(shape, bytes(a | b for a, b in zip(*both, strict=True)))


def moved(at: Application) -> tuple[Pattern | None, str]:
    """The pattern after an operation that only moves entries, or the reason why it cannot be followed."""
    patterns = [at.facts[i].excluded for i in at.node.arguments]
    if all(pattern is None for pattern in patterns):
        return None, ""
    shape, attributes = at.node.type.shape, at.node.attributes
    if at.node.operation == "select":
        small = _selected_small(at, patterns)
        if small is not None:
            return _nonempty(small), ""
    if at.node.type.size > LARGEST_PATTERN:
        return None, f"a mask of {at.node.type.size} entries is too large to follow"
    first = patterns[0]
    if at.node.operation == "reshape" and first is not None:
        small = _reshaped_small(first, at.argument(0).type.shape, shape)
        return small or Pattern(shape, broadcast_to(first, at.argument(0).type.shape).excluded), ""
    if at.node.operation == "expand" and first is not None:
        return Pattern((1,) * (len(shape) - len(first.shape)) + first.shape, first.excluded), ""
    full = [
        broadcast_to(pattern, at.argument(i).type.shape).excluded if pattern else bytes(at.argument(i).type.size)
        for i, pattern in enumerate(patterns)
    ]
    shapes = [at.argument(i).type.shape for i in range(len(full))]
    if at.node.operation == "permute":
        return Pattern(shape, _permuted(full[0], shapes[0], integers(attributes, "order"))), ""
    if at.node.operation == "slice":
        return _nonempty(Pattern(shape, _sliced(full[0], shapes[0], at))), ""
    if at.node.operation == "concatenate":
        axis = integer(attributes, "axis")
        blocks = [_size(s[axis:]) for s in shapes]
        rows = _size(shape[:axis])
        return Pattern(
            shape, b"".join(f[r * b : (r + 1) * b] for r in range(rows) for f, b in zip(full, blocks, strict=True))
        ), ""
    if at.node.operation == "select":
        return _selected(at, full, shape)
    return None, f"{at.node.operation} is not known to move a mask"


def _selected(at: Application, full: list[bytes], shape: tuple[int, ...]) -> tuple[Pattern | None, str]:
    condition = at.graph.constant(at.argument(0)) if at.argument(0).operation == "constant" else None
    if condition is None or at.known(0).regularity != CONSTANT:
        return None, "the condition of a masked selection is not a known constant"
    values = broadcast_to(Pattern(condition.shape, bytes(bool(v) for v in condition.entries())), shape).excluded
    first, second = (broadcast_to(Pattern(at.argument(i).type.shape, full[i]), shape).excluded for i in (1, 2))
    return _nonempty(Pattern(shape, bytes(a if c else b for c, a, b in zip(values, first, second, strict=True)))), ""


def _selected_small(at: Application, patterns: list[Pattern | None]) -> Pattern | None:
    """The pattern on the condition's own shape, where each value is excluded everywhere or nowhere."""
    condition = at.graph.constant(at.argument(0)) if at.argument(0).operation == "constant" else None
    if condition is None or _size(condition.shape) > LARGEST_PATTERN:
        return None
    if any(pattern is not None and len(pattern.excluded) != 1 for pattern in patterns[1:]):
        return None
    first, second = (pattern is not None and bool(pattern.excluded[0]) for pattern in patterns[1:])
    return Pattern(condition.shape, bytes(first if chosen else second for chosen in condition.entries()))


def _nonempty(pattern: Pattern) -> Pattern | None:
    return pattern if any(pattern.excluded) else None


def _reshaped_small(pattern: Pattern, old: tuple[int, ...], new: tuple[int, ...]) -> Pattern | None:
    """A pattern on the last two axes alone stays one, if the reshape leaves those axes as they are."""
    if len(old) < 2 or len(new) < 2 or old[-2:] != new[-2:] or any(n != 1 for n in pattern.shape[:-2]):
        return None
    return Pattern((1,) * (len(new) - 2) + pattern.shape[-2:], pattern.excluded)


def _permuted(excluded: bytes, shape: tuple[int, ...], order: tuple[int, ...]) -> bytes:
    strides = [_size(shape[axis + 1 :]) for axis in range(len(shape))]
    offsets = [0]
    for axis in order:
        offsets = [offset + strides[axis] * i for offset in offsets for i in range(shape[axis])]
    return bytes(excluded[offset] for offset in offsets)


def _sliced(excluded: bytes, shape: tuple[int, ...], at: Application) -> bytes:
    axis, start, stop, step = (at.integer(name) for name in ("axis", "start", "stop", "step"))
    below = _size(shape[axis + 1 :])
    rows = _size(shape[:axis])
    pick = range(start, stop, step)
    return b"".join(
        excluded[(r * shape[axis] + i) * below : (r * shape[axis] + i + 1) * below] for r in range(rows) for i in pick
    )


def _size(shape: tuple[int, ...]) -> int:
    product = 1
    for n in shape:
        product *= n
    return product
