"""Width and head lifting: along which axes may a network grow so that it contains the small one? Read off the graph.

*Repetition.* In a network whose states are k times as wide, write every state k times: rows of tables, output columns
and biases, scales and shifts of norms are repeated, and matrices that read the state read the first copy. A mean over
the width is a mean over k equal copies, so every node computes the repetition of what it computed.
*Padding.* Along an axis that is only carried entry by entry until a parameter matrix contracts it (heads, inner
units), further entries with zero rows in that matrix add nothing.
Both hold for the network with the same nodes and constants in which only that axis is longer; what stands in the way
is named. Proofs: docs/generic-position.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from proofs.network.axes import groups
from proofs.network.graph import Graph, Node
from proofs.operations.base import integer, integers
from proofs.operations.interpreter import live
from proofs.structure.entrywise import ENTRYWISE, WHOLE

# What is made of whole numbers are places, which entries are read from; docs/generic-position.md has no proof for axes
# of places, so that along them nothing grows.
_CARRIED = ENTRYWISE - WHOLE


@dataclass(eq=False, slots=True)
class Axis:
    """Axes that must have one length.

    Attributes:
        size: the length.
        fixed: why no entry can be added; empty where nothing is in the way.
        unequal: why the entries cannot be repeated, alike.
        leader: the class that this one has been made one with; what else stands here is then stale.
        parts: the axes that this one is laid out of, the slowest first, where a reshape fuses or cuts it.
        within: the axes that it is a part or a slice of: what keeps one of those from growing keeps this one too.
        read: names of parameters that sum over it: of repeated entries they read the first copy.
        written: names of parameters that lie along it otherwise, and are repeated with it; none may do both.
        cuts: the slices of it, by start and stop.
    """

    size: int
    fixed: str = ""
    unequal: str = ""
    leader: "Axis | None" = None
    parts: "tuple[Axis, ...]" = ()
    within: "list[Axis]" = field(default_factory=list["Axis"])
    read: set[str] = field(default_factory=set[str])
    written: set[str] = field(default_factory=set[str])
    cuts: "dict[tuple[int, int], Axis]" = field(default_factory=dict[tuple[int, int], "Axis"])


@dataclass(slots=True)
class Value:
    """The axes of a node (None where the length is one), and the parameter that it merely lays out, if any."""

    axes: list[Axis | None]
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class Widening:
    """Why the state's width, the heads and the inner units cannot grow: an empty text where they can."""

    width: str
    heads: str
    units: str

    def to_json(self) -> dict[str, bool | str]:
        """True where the axis may grow, else the reason."""
        return {name: getattr(self, name) or True for name in ("width", "heads", "units")}


def widening(graph: Graph) -> Widening:
    """Decides on the graph whether repetition of the width and padding of heads and units apply."""
    return _Walk(graph).result()


def _find(axis: Axis) -> Axis:
    while axis.leader is not None:
        axis = axis.leader
    return axis


def _unify(first: Axis | None, second: Axis | None) -> Axis | None:
    """One class of both; sizes of one broadcast."""
    if first is None or second is None:
        return first or second
    a, b = _find(first), _find(second)
    if a is b:
        return a
    b.leader = a
    a.fixed, a.unequal = a.fixed or b.fixed, a.unequal or b.unequal
    a.within += b.within
    a.read |= b.read
    a.written |= b.written
    for place, part in b.cuts.items():
        _unify(a.cuts.setdefault(place, part), part)
    if a.parts and b.parts and [p.size for p in a.parts] == [p.size for p in b.parts]:
        for p, q in zip(a.parts, b.parts, strict=True):
            _unify(p, q)
    elif a.parts and b.parts:
        _spoil(a, "it is cut in two ways")
        _spoil_all(b.parts, "it is cut in two ways")
    a.parts = a.parts or b.parts
    return a


def _spoil(axis: Axis | None, reason: str) -> None:
    """Neither longer nor repeated."""
    if axis is not None:
        found = _find(axis)
        found.fixed, found.unequal = found.fixed or reason, found.unequal or reason


def _spoil_all(axes: Sequence[Axis | None], reason: str) -> None:
    for axis in axes:
        _spoil(axis, reason)


class _Walk:
    """The axes of every node, one node after the other."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values: dict[int, Value] = {}
        self.batches: list[Axis] = []  # along which products of two states are taken side by side: heads
        self.contracted: list[Axis] = []  # along which a parameter sums
        for index in live(graph):
            node = graph.nodes[index]
            arguments = [self.values[i] for i in node.arguments]
            self.values[index] = self._of(node, arguments, graph.where(index))

    def result(self) -> Widening:
        output = self.values[self.graph.output].axes
        width = output[-1]
        _spoil_all(output[:-1], "it is an axis of the prompt")
        heads = [leaf for axis in self.batches for leaf in _leaves(axis)]
        if width is not None:
            state = _find(width)
            state.fixed = state.fixed or "it is the width of the state"
        stream = _find(width) if width is not None else None
        units = [axis for axis in map(_find, self.contracted) if axis is not stream and not axis.parts]
        return Widening(
            width=_repeats(width),
            heads=next(filter(None, map(_reason, heads)), "") if heads else "there is one head",
            units=next(filter(None, map(_reason, units)), "") if units else "there are none",
        )

    def _of(self, node: Node, arguments: list[Value], where: str) -> Value:
        operation, shape, attributes = node.operation, node.type.shape, node.attributes
        if operation in ("tokens", "constant"):
            return Value(self._leaf(node, where))
        if operation == "parameter":
            return Value(_fresh(shape), str(attributes["name"]))
        if operation == "permute":
            return Value([arguments[0].axes[i] for i in integers(attributes, "order")], arguments[0].parameter)
        if operation == "reshape":
            return Value(_reshaped(arguments[0].axes, self._argument_shape(node), shape), arguments[0].parameter)
        if operation == "expand":
            lead = len(shape) - len(arguments[0].axes)
            own = [None] * lead + arguments[0].axes
            new = [axis or (Axis(n) if n > 1 else None) for axis, n in zip(own, shape, strict=True)]
            return Value(new, arguments[0].parameter)
        if operation == "take":
            axis, table = integer(attributes, "axis"), arguments[0]
            _spoil(table.axes[axis], f"{where} selects along it")
            result = Value([*table.axes[:axis], *arguments[1].axes, *table.axes[axis + 1 :]], table.parameter)
            return result if self.graph.nodes[node.arguments[1]].operation != "tokens" else self._state(result)
        if operation == "slice":
            return self._sliced(arguments[0], node, where)
        if operation == "matmul":
            return self._product(arguments[0], arguments[1], where)
        self._write(arguments)
        if operation in ("mean", "layer_norm"):
            return self._averaged(node, arguments, where)
        if operation == "softmax":
            _spoil(arguments[0].axes[integer(attributes, "axis")], f"{where} normalises along it")
            return Value(arguments[0].axes)
        if operation in _CARRIED:
            return Value(_broadcast([value.axes for value in arguments]))
        if operation in ("sum", "largest"):
            return self._summed(node, arguments[0], where)
        return self._mixed(node, arguments, where)

    def _state(self, value: Value) -> Value:
        """Rows of a table, read as states: written, and never as a matrix that reads."""
        self._write([value])
        return Value(value.axes)

    def _summed(self, node: Node, value: Value, where: str) -> Value:
        axes = integers(node.attributes, "axes")
        _spoil_all([value.axes[i] for i in axes], f"{where} sums or compares along it")
        return Value(_without(value.axes, axes, node.attributes["keep"] is True))

    def _mixed(self, node: Node, arguments: list[Value], where: str) -> Value:
        """Entries along one axis are put together anew; for an operation that is not known, along every axis."""
        known = node.operation in ("concatenate", "cumulative_sum", "gather", "scatter", "top_values", "top_indices")
        rank = len(node.type.shape)
        mixed = {integer(node.attributes, "axis")} if known else {*range(rank)}
        result = _fresh(node.type.shape)
        for value in arguments:
            for i, axis in enumerate(value.axes):
                if i in mixed or len(value.axes) != rank:
                    _spoil(axis, f"{where} mixes along it")
                else:
                    result[i] = _unify(result[i], axis)
        _spoil_all([result[i] for i in mixed], f"{where} mixes along it")
        return Value(result)

    def _argument_shape(self, node: Node) -> tuple[int, ...]:
        return self.graph.nodes[node.arguments[0]].type.shape

    def _leaf(self, node: Node, where: str) -> list[Axis | None]:
        axes = _fresh(node.type.shape)
        value = self.graph.constant(node) if node.operation == "constant" else None
        if value is None or len(set(value.values)) > 1:
            _spoil_all(axes if value is None else _varying(axes, value.shape, value.entries()),
                       f"{where} varies along it")  # fmt: skip
        return axes

    def _write(self, arguments: Sequence[Value]) -> None:
        for value in arguments:
            for axis in value.axes:
                if axis is not None and value.parameter:
                    _find(axis).written.add(value.parameter)

    def _sliced(self, value: Value, node: Node, where: str) -> Value:
        """Pieces of a fused axis may grow on their own, as long as they do not overlap."""
        axis, start, stop, step = (integer(node.attributes, name) for name in ("axis", "start", "stop", "step"))
        whole = value.axes[axis]
        if whole is None or _find(whole).size == node.type.shape[axis]:
            return value
        found = _find(whole)
        found.unequal = found.unequal or f"{where} cuts it"
        part = found.cuts.setdefault((start, stop), Axis(node.type.shape[axis], within=[found]))
        _find(part).unequal = _find(part).unequal or f"{where} cuts it"
        if step != 1 or any(a < stop and start < b and (a, b) != (start, stop) for a, b in found.cuts):
            _spoil_all([found, *found.cuts.values()], f"{where} cuts it into pieces that overlap")
        kept = part if node.type.shape[axis] > 1 else None
        return Value([*value.axes[:axis], kept, *value.axes[axis + 1 :]], value.parameter)

    def _product(self, x: Value, y: Value, where: str) -> Value:
        rank = max(len(x.axes), len(y.axes))
        left, right = ([None] * (rank - len(v.axes)) + v.axes for v in (x, y))
        batch = [_unify(a, b) for a, b in zip(left[:-2], right[:-2], strict=True)]
        inner = _unify(left[-1], right[-2])
        if bool(x.parameter) == bool(y.parameter):
            _spoil(inner, f"{where} sums over it, and neither side is a parameter")
            self.batches += [axis for axis in batch if axis is not None]
        elif inner is not None:
            _find(inner).read.add(x.parameter or y.parameter)
            self.contracted.append(inner)
        for value, axes in ((x, [*left[:-1]]), (y, [*right[:-2], right[-1]])):
            self._write([Value(axes, value.parameter)])
        return Value([*batch, left[-2], right[-1]])

    def _averaged(self, node: Node, arguments: list[Value], where: str) -> Value:
        rank = len(arguments[0].axes)
        if node.operation == "layer_norm":
            axes = range(rank - integer(node.attributes, "axes"), rank)
            result = _broadcast([value.axes for value in arguments])
        else:
            axes = integers(node.attributes, "axes")
            result = _without(arguments[0].axes, axes, node.attributes["keep"] is True)
        for i in axes:
            axis = arguments[0].axes[i]
            if axis is not None:
                found = _find(axis)
                found.fixed = found.fixed or f"{where} averages over it"
        return Value(result)


def _fresh(shape: Sequence[int]) -> list[Axis | None]:
    return [Axis(n) if n > 1 else None for n in shape]


def _without(axes: list[Axis | None], gone: Sequence[int], keep: bool) -> list[Axis | None]:
    """The axes after a reduction."""
    kept = [None if i in gone else axis for i, axis in enumerate(axes)]
    return kept if keep else [axis for i, axis in enumerate(kept) if i not in gone]


def _broadcast(several: Sequence[Sequence[Axis | None]]) -> list[Axis | None]:
    rank = max(len(axes) for axes in several)
    result: list[Axis | None] = [None] * rank
    for axes in several:
        for place, axis in enumerate(axes, start=rank - len(axes)):
            result[place] = _unify(result[place], axis)
    return result


def _varying(axes: list[Axis | None], shape: tuple[int, ...], entries: Sequence[object]) -> list[Axis | None]:
    """The axes along which a constant is not constant."""
    found: list[Axis | None] = []
    step = 1
    for axis, n in zip(reversed(axes), reversed(shape), strict=True):
        block = step * n
        if any(entries[i] != entries[i - i % block + i % step] for i in range(len(entries))):
            found.append(axis)
        step = block
    return found


def _reshaped(axes: list[Axis | None], old: tuple[int, ...], new: tuple[int, ...]) -> list[Axis | None]:
    """Axes that are cut become composites of their pieces, and the other way round."""
    result = _fresh(new)
    for left, right in groups(old, new):
        olds, places = [axes[i] for i in left if axes[i] is not None], [i for i in right if new[i] != 1]
        if len(olds) == len(places) == 1:
            result[places[0]] = olds[0]
        elif len(olds) == 1 and len(places) > 1:
            piece = _cut(olds[0], [new[i] for i in places])
            for i, axis in zip(places, piece, strict=True):
                result[i] = axis
        elif len(places) == 1 and len(olds) > 1:
            result[places[0]] = _composite(new[places[0]], tuple(axis for axis in olds if axis is not None))
        else:
            _spoil_all([*olds, *(result[i] for i in places)], "a reshape cuts it otherwise")
    return result


def _cut(axis: Axis | None, sizes: list[int]) -> Sequence[Axis | None]:
    assert axis is not None
    found = _find(axis)
    if [part.size for part in found.parts] != sizes:
        pieces = _composite(found.size, tuple(Axis(n) for n in sizes))
        return _find(_unify(found, pieces) or pieces).parts if not found.parts else _mismatch(found, pieces)
    return found.parts


def _mismatch(axis: Axis, pieces: Axis) -> Sequence[Axis | None]:
    _spoil_all([axis, *axis.parts, *pieces.parts], "it is cut in two ways")
    return pieces.parts


def _composite(size: int, parts: tuple[Axis, ...]) -> Axis:
    whole = Axis(size, parts=parts)
    for part in parts:
        _find(part).within.append(whole)
    return whole


def _leaves(axis: Axis) -> list[Axis]:
    found = _find(axis)
    return [leaf for part in found.parts for leaf in _leaves(part)] if found.parts else [found]


def _reason(axis: Axis) -> str:
    """Why no entry can be added: its own reason, or that of an axis it is a piece of."""
    seen: list[Axis] = []
    todo = [_find(axis)]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        if at.fixed:
            return at.fixed
        seen.append(at)
        todo += [_find(whole) for whole in at.within]
    return ""


def _repeats(axis: Axis | None) -> str:
    if axis is None:
        return "the state has width one"
    found = _find(axis)
    both = sorted(found.read & found.written)
    if found.unequal or found.parts or found.within:
        return found.unequal or "it is cut into pieces"
    return f"{both[0]} is read and written along it" if both else ""
