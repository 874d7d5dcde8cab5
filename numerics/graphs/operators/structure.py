"""Rules of `numerics.graphs.lowering` for operators that move entries about, in operations of `proofs`.

A rule takes the builder, torch's (fake) result, and the arguments, and returns a term, several, or NotImplemented
where the variant at hand has no counterpart. Shapes are checked against torch's by the caller.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from numerics.graphs.builder import Builder, Rule, Term, Value, kind_of
from proofs.errors import InvalidInput
from proofs.network.graph import Attribute

Arguments = Sequence[Any]
Keywords = dict[str, Any]


def _axis(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


def _shape(b: Builder, x: Value) -> tuple[int, ...]:
    return b.type(x).shape


def tensor(b: Builder, value: Any, like: str = "real") -> Value:
    """A value as an operand: numbers become constants of the kind asked for."""
    if isinstance(value, Term | torch.Tensor):
        return value
    return torch.tensor(value, dtype=torch.float64 if like == "real" else torch.int64)


def real(b: Builder, value: Any) -> Value:
    """A value as a real tensor."""
    if isinstance(value, torch.Tensor):
        return value.double()
    if isinstance(value, Term):
        return value if b.type(value).kind == "real" else b.emit("as_real", (value,))
    return torch.tensor(float(value), dtype=torch.float64)


def reshape(b: Builder, x: Value, shape: Sequence[int]) -> Value:
    """x in another shape."""
    return x if _shape(b, x) == tuple(shape) else b.emit("reshape", (x,), shape=tuple(int(n) for n in shape))


def _to_result_shape(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """The same entries; a view in another number type reads their bits."""
    return NotImplemented if isinstance(a[-1], torch.dtype) else reshape(b, a[0], value.shape)


def _identity(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return a[0]


def _cast(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    wanted, found = kind_of(value.dtype), b.type(a[0]).kind
    if wanted == found:
        return a[0]
    if wanted == "real":
        return b.emit("as_real", (a[0],))
    if wanted == "integer" and found == "boolean":
        return b.emit("as_integer", (a[0],))
    return NotImplemented  # floats to integers: truncation


def _copied(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """What is written over a tensor, in its shape and of its kind."""
    return _cast(b, value, (_expand(b, value, (a[1],), k),), k)


def _permute(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    rank = len(_shape(b, a[0]))
    return b.emit("permute", (a[0],), order=tuple(_axis(i, rank) for i in a[1]))


def _transpose(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    order = list(range(len(_shape(b, a[0]))))
    first, second = (_axis(i, len(order)) for i in (a[1:3] if len(a) > 1 else (-2, -1)))
    order[first], order[second] = order[second], order[first]
    return b.emit("permute", (a[0],), order=tuple(order))


def transposed(b: Builder, x: Value) -> Term:
    """The last two axes swapped."""
    return _transpose(b, None, (x, -2, -1), {})


def _expand(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    shape = tuple(value.shape)
    return a[0] if _shape(b, a[0]) == shape else b.emit("expand", (a[0],), shape=shape)


def cut(b: Builder, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
    """x[start:stop:step] along an axis."""
    size = _shape(b, x)[axis]
    if start == 0 and stop >= size and step == 1:
        return x
    parts = _parts_within(b, x, axis, start, stop) if step == 1 else []
    return concatenate(b, parts, axis) if parts else b.emit("slice", (x,), axis=axis, start=start, stop=stop, step=step)


def _parts_within(b: Builder, x: Value, axis: int, start: int, stop: int) -> list[Value]:
    """The parts of a concatenation that a slice is made of, so that what it leaves out (uninitialised memory that
    was overwritten, say) does not enter; none where it cuts through a part.
    """
    node = b.nodes[x.node] if isinstance(x, Term) else None
    if node is None or node.operation != "concatenate" or node.attributes["axis"] != axis:
        return []
    parts: list[Value] = []
    place = 0
    for part in node.arguments:
        end = place + b.nodes[part].type.shape[axis]
        if start < end and place < stop:
            if place < start or end > stop:
                return []
            parts.append(Term(part))
        place = end
    return parts


def _slice(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    values = [*a[1:], *[None] * (5 - len(a))]
    axis = _axis(values[0] or 0, len(_shape(b, a[0])))
    size = _shape(b, a[0])[axis]
    start, stop = (default if n is None else min(max(n + size if n < 0 else n, 0), size)
                   for n, default in ((values[1], 0), (values[2], size)))  # fmt: skip
    return cut(b, a[0], axis, start, max(start, stop), values[3] or 1)


def _select(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axis = _axis(a[1], len(_shape(b, a[0])))
    place = _axis(a[2], _shape(b, a[0])[axis])
    return reshape(b, cut(b, a[0], axis, place, place + 1), value.shape)


def _split(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axis = _axis(a[2] if len(a) > 2 else k.get("dim", 0), len(_shape(b, a[0])))
    parts: list[Value] = []
    start = 0
    for part in value:
        parts.append(cut(b, a[0], axis, start, start + part.shape[axis]))
        start += part.shape[axis]
    return parts


def _unbind(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axis = _axis(a[1] if len(a) > 1 else 0, len(_shape(b, a[0])))
    return [reshape(b, cut(b, a[0], axis, i, i + 1), part.shape) for i, part in enumerate(value)]


def concatenate(b: Builder, parts: Sequence[Value], axis: int) -> Value:
    """Parts one after the other; empty ones are left out."""
    full = [part for part in parts if _shape(b, part)[axis] != 0] or list(parts[:1])
    return full[0] if len(full) == 1 else b.emit("concatenate", full, axis=axis)


def _cat(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    parts = [p for p in a[0] if len(_shape(b, p)) == value.dim()]  # torch lets a legacy empty vector join anything
    parts = [real(b, p) for p in parts] if value.is_floating_point() else parts
    return concatenate(b, parts, _axis(a[1] if len(a) > 1 else k.get("dim", 0), value.dim()))


def _stack(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axis = _axis(a[1] if len(a) > 1 else k.get("dim", 0), value.dim())
    shape = [1 if i == axis else n for i, n in enumerate(value.shape)]
    return concatenate(b, [reshape(b, part, shape) for part in a[0]], axis)


def _pad(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    x, filler = a[0], a[2] if len(a) > 2 else k.get("value", 0)
    rank = len(_shape(b, x))
    for pair in range(len(a[1]) // 2):
        axis = rank - 1 - pair
        before, after = a[1][2 * pair : 2 * pair + 2]
        size = _shape(b, x)[axis]
        if before < 0 or after < 0:
            x = cut(b, x, axis, max(-before, 0), size - max(-after, 0))
        fill = [_filled(b, x, axis, max(n, 0), filler) for n in (before, after)]
        x = concatenate(b, [fill[0], x, fill[1]], axis)
    return x


def _filled(b: Builder, x: Value, axis: int, count: int, filler: float) -> torch.Tensor:
    shape = [count if i == axis else n for i, n in enumerate(_shape(b, x))]
    dtype = {"real": torch.float64, "integer": torch.int64, "boolean": torch.bool}[b.type(x).kind]
    return torch.full(shape, filler or 0, dtype=dtype)


def _embedding(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("take", (a[0], a[1]), axis=0)


def _index(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """x[..., ids, ...] for one index tensor; several are flattened into one where they lead."""
    x, places = a[0], [(axis, i) for axis, i in enumerate(a[1]) if i is not None]
    if any(b.type(i).kind == "boolean" for _, i in places):
        return NotImplemented
    if len(places) == 1:
        return b.emit("take", (x, _non_negative(b, places[0][1], _shape(b, x)[places[0][0]])), axis=places[0][0])
    axes = [axis for axis, _ in places]
    if axes != list(range(axes[0], axes[0] + len(axes))):
        return NotImplemented
    shape = _shape(b, x)
    flat = reshape(b, x, (*shape[: axes[0]], _product(shape[axes[0] : axes[-1] + 1]), *shape[axes[-1] + 1 :]))
    combined: Value = torch.zeros((), dtype=torch.int64)
    if not all(_counts_from_zero(b, place) for _, place in places[1:]):
        return NotImplemented  # a negative place would be one of the row before
    for axis, place in places:
        scaled = _integers(b, "multiply", combined, torch.tensor(shape[axis]))
        combined = _integers(b, "add", scaled, _non_negative(b, place, shape[axis]))
    return b.emit("take", (flat, combined), axis=axes[0])


def _counts_from_zero(b: Builder, index: Value) -> bool:
    """Whether an index is known to have no negative entry: torch counts those from the end."""
    if isinstance(index, torch.Tensor):
        return True  # `_non_negative` sees to it
    node = b.nodes[index.node]
    while node.operation in ("reshape", "permute", "expand", "slice"):
        node = b.nodes[node.arguments[0]]
    return node.operation in ("tokens", "top_indices", "remainder")


def _integers(b: Builder, operation: str, x: Value, y: Value) -> Value:
    if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
        return x * y if operation == "multiply" else x + y
    return b.emit(operation, (x, y))


def _non_negative(b: Builder, index: Value, size: int) -> Value:
    return torch.where(index < 0, index + size, index) if isinstance(index, torch.Tensor) else index


def _product(shape: Sequence[int]) -> int:
    result = 1
    for n in shape:
        result *= n
    return result


def _index_select(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("take", (a[0], a[2]), axis=_axis(a[1], len(_shape(b, a[0]))))


def _gather(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("gather", (a[0], a[2]), axis=_axis(a[1], len(_shape(b, a[0]))))


def _where(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    if len(a) != 3:
        return NotImplemented
    x, y = (real(b, v) if value.is_floating_point() else tensor(b, v, "integer") for v in a[1:])
    return b.emit("select", (a[0], x, y))


def _masked_fill(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    filler = real(b, a[2]) if value.is_floating_point() else tensor(b, a[2], "integer")
    return b.emit("select", (a[1], filler, a[0]))


def _triangle(keep_lower: bool) -> Rule:
    def rule(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
        if not value.is_floating_point():
            return NotImplemented
        ones = torch.ones(value.shape[-2:], dtype=torch.bool)
        diagonal = a[1] if len(a) > 1 else 0
        kept = torch.tril(ones, diagonal) if keep_lower else torch.triu(ones, diagonal)
        return b.emit("select", (kept, a[0], torch.zeros((), dtype=torch.float64)))

    return rule


def _flip(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    x = a[0]
    for axis in a[1]:
        axis = _axis(axis, value.dim())
        x = b.emit("take", (x, torch.arange(value.shape[axis] - 1, -1, -1)), axis=axis)
    return x


def _roll(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    x = a[0]
    axes = a[2] if len(a) > 2 else k.get("dims", [])
    if not axes:
        return NotImplemented
    for shift, axis in zip(a[1], axes, strict=True):
        axis = _axis(axis, value.dim())
        x = b.emit("take", (x, torch.roll(torch.arange(value.shape[axis]), shift)), axis=axis)
    return x


def _repeat(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    x = reshape(b, a[0], [1] * (value.dim() - len(_shape(b, a[0]))) + list(_shape(b, a[0])))
    for axis, times in enumerate(a[1]):
        x = x if times == 1 else concatenate(b, [x] * times, axis)
    return x


def _slice_scatter(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    values = [*a[2:], *[None] * (6 - len(a))]
    axis = _axis(k.get("dim", values[0]) or 0, value.dim())
    size = value.shape[axis]
    start, stop = k.get("start", values[1]), k.get("end", values[2])
    start = 0 if start is None else min(start + size if start < 0 else start, size)
    stop = size if stop is None else min(stop + size if stop < 0 else stop, size)
    if (k.get("step", values[3]) or 1) != 1:
        return NotImplemented
    return concatenate(b, [cut(b, a[0], axis, 0, start), a[1], cut(b, a[0], axis, stop, size)], axis)


def _select_scatter(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axis = _axis(a[2], value.dim())
    place = _axis(a[3], value.shape[axis])
    part = reshape(b, a[1], [1 if i == axis else n for i, n in enumerate(value.shape)])
    return _slice_scatter(b, value, (a[0], part, axis, place, place + 1), {})


def _scatter(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axis = _axis(a[1], value.dim())
    index_shape = _shape(b, a[2])
    if k.get("reduce") is not None or any(n > m for n, m in zip(index_shape, value.shape, strict=True)):
        return NotImplemented
    if any(n != m for i, (n, m) in enumerate(zip(index_shape, value.shape, strict=True)) if i != axis):
        return NotImplemented
    source = a[3]
    if isinstance(source, Term | torch.Tensor) and _shape(b, source) != ():
        if _shape(b, source) != index_shape:
            return NotImplemented
    elif not isinstance(source, Term):
        dtype = torch.float64 if value.is_floating_point() else value.dtype
        source = torch.full(index_shape, float(a[3]) if value.is_floating_point() else int(a[3]), dtype=dtype)
    else:
        return NotImplemented
    if (
        isinstance(source, torch.Tensor)
        and _is_permutation(b, a[2], axis)
        and bool((source == source.flatten()[0]).all())
    ):
        return source  # every entry is replaced, by the same number
    return b.emit("scatter", (a[0], a[2], source), axis=axis)


def _is_permutation(b: Builder, index: Value, axis: int) -> bool:
    """Whether an index is the order of all entries along an axis, as top-k gives it where k is the length."""
    node = b.nodes[index.node] if isinstance(index, Term) else None
    if node is None or node.operation != "top_indices" or node.attributes["axis"] != axis:
        return False
    return node.type.shape == b.nodes[node.arguments[0]].type.shape


def _filled_like(filler: float | None) -> Rule:
    """A constant of the result's shape, whatever the tensor it is to be like holds."""

    def rule(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
        number = a[1] if filler is None else filler
        if isinstance(number, Term | torch.Tensor):
            return NotImplemented
        return torch.full(value.shape, number, dtype=torch.float64 if value.is_floating_point() else value.dtype)

    return rule


def attribute(value: float | None) -> Attribute:
    """A Python number as an exact attribute.

    Raises:
        InvalidInput: NaN or an infinity, which no config should hold.
    """
    if value is not None and not math.isfinite(value):
        raise InvalidInput(f"Expected a model whose constants are finite, but it computes with {value}; correct it.")
    return None if value is None else Fraction(value)


STRUCTURE: dict[str, Rule] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "flatten"), _to_result_shape),
    "view_copy": _to_result_shape,
    **dict.fromkeys(("clone", "alias", "detach", "contiguous", "lift_fresh_copy", "lift_fresh"), _identity),
    **dict.fromkeys(("_to_copy", "to", "type_as"), _cast),
    "permute": _permute, "transpose": _transpose, "t": _transpose, "expand": _expand, "slice": _slice,
    "select": _select, "split_with_sizes": _split, "split": _split, "chunk": _split, "unbind": _unbind,
    "cat": _cat, "stack": _stack, "constant_pad_nd": _pad, "embedding": _embedding, "index": _index,
    "index_select": _index_select, "gather": _gather, "where": _where, "masked_fill": _masked_fill,
    "tril": _triangle(True), "triu": _triangle(False), "flip": _flip, "roll": _roll, "repeat": _repeat,
    "full_like": _filled_like(None), "zeros_like": _filled_like(0), "ones_like": _filled_like(1),
    "slice_scatter": _slice_scatter, "select_scatter": _select_scatter, "scatter": _scatter,
    "copy": _copied,
    "dropout": lambda b, value, a, k: a[0] if a[1] == 0 or not a[2] else NotImplemented,
}  # fmt: skip
