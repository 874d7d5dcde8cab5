"""The rules of operations that move entries about: which entry of the result is which entry of the argument."""

from collections.abc import Callable
from typing import Any

import numpy as np

from proofs.kernel.value_numbering.table import Shape, Table
from proofs.kernel.value_numbering.values import At, Numbers, Value, congruent, mixing, stacked
from proofs.network.axes import groups

Move = Callable[[Any], Any]  # of the entries of a sub-tensor, as a numpy array


def moved(table: Table, number: int, key: tuple[Any, ...], shape: Shape, move: Move) -> int:
    """The number of a moved sub-tensor, with what is known of it moved along."""
    known = table.known.get(number)
    if known is not None:
        if len(known.values) == 1:
            return table.constant(known.kind, shape, known.values)
        entries = np.empty(len(known.values), dtype=object)
        entries[:] = known.values
        return table.constant(known.kind, shape, tuple(move(entries.reshape(known.shape)).ravel().tolist()))
    result = table.of(*key, number)
    score = table.weight.get(number)
    if score is not None and result not in table.weight:
        base, shift, row = score
        by = moved(table, shift, key, shape, move) if shift else 0
        table.weight[result] = (table.of(*key, base), 0 if table.is_zero(by) else by, row)
    return result


def whole(at: At, position: int, *summed: int) -> Shape:
    """The shape of a sub-tensor of an argument, of size one along axes that are summed over."""
    shape, places = at.shape(position), at.numbers[position].shape
    return tuple(1 if places[axis] != 1 or axis - len(shape) in summed else size for axis, size in enumerate(shape))


def repeated(at: At, number: int, shape: Shape) -> int:
    """A sub-tensor of some shape, repeated to the size of those of the result."""
    target = at.whole
    if shape == target:
        return number
    return moved(at.table, number, ("expand", target), target, lambda e: np.broadcast_to(e, target))


def reshaped(at: At) -> Value:
    """Groups of axes are read as one; what is cut is cut on both sides of its group, and the rest is reshaped whole."""
    old, new = at.shape(), at.node.type.shape
    numbers, value = at.numbers[0], at.arguments[0]
    own = whole(at, 0)
    target = at.whole
    places = numbers.reshape(at.places)
    result = places if own == target else at.each(
        lambda n: moved(at.table, n, ("reshape", target), target, lambda e: e.reshape(target)), places
    ).numbers  # fmt: skip
    kept: set[int] = set()
    for left, right in groups(old, new):
        wide, narrow = [a for a in left if old[a] != 1], [a for a in right if new[a] != 1]
        if len(wide) == len(narrow) == 1 and wide[0] in value.sums_to_one:
            kept.update(narrow)
    return Value(result, frozenset(kept))


def permuted(at: At) -> Value:
    """Axes in another order, of places and of sub-tensors alike."""
    order, value = at.get("order"), at.arguments[0]
    places = np.transpose(value.numbers, order)
    key, shape = ("permute", order), at.whole
    result = at.each(lambda n: moved(at.table, n, key, shape, lambda e: np.transpose(e, order)), places)
    return Value(result.numbers, frozenset(i for i, axis in enumerate(order) if axis in value.sums_to_one))


def expanded(at: At) -> Value:
    """Repeated along new axes and axes of size one."""
    value, shape = at.arguments[0], at.node.type.shape
    lead = len(shape) - value.numbers.ndim
    places = np.broadcast_to(value.numbers.reshape((1,) * lead + value.numbers.shape), at.places)
    own = whole(at, 0)
    result = at.each(lambda n: repeated(at, n, own), places)
    kept = (axis + lead for axis in value.sums_to_one if at.shape()[axis] == shape[axis + lead])
    return Value(result.numbers, frozenset(kept))  # a row of one entry that is repeated sums to more


def sliced(at: At) -> Value:
    """Some places of an axis that is cut; of one that stays whole the same slice of every sub-tensor."""
    axis, start, stop, step = (at.get(name) for name in ("axis", "start", "stop", "step"))
    value = at.arguments[0]
    if at.shape()[axis] == 1 or not at.is_cut(axis):
        cut = (slice(None),) * axis + (slice(start, stop, step),)
        key, target = ("slice", axis, start, stop, step), at.whole
        if target == whole(at, 0):
            return value
        found = at.each(lambda n: moved(at.table, n, key, target, lambda e: e[cut]), value.numbers).numbers
        return Value(found, value.sums_to_one)
    chosen = value.numbers[(slice(None),) * axis + (slice(start, stop, step),)]
    everything = (start, step) == (0, 1) and stop == at.shape()[axis]
    return Value(chosen, value.sums_to_one if everything else value.sums_to_one - {axis})


def concatenated(at: At) -> Value:
    """One after the other along an axis that is cut, else of equal parts the same; what has no entries adds nothing."""
    axis = at.get("axis")
    sizes = [at.shape(i)[axis] for i in range(len(at.arguments))]
    filled = [(numbers, size) for numbers, size in zip(at.numbers, sizes, strict=True) if size]
    if axis not in at.cut:
        only = [numbers for numbers, _ in filled]
        return Value(only[0]) if len(only) == 1 else congruent(at, only)
    parts = [np.broadcast_to(numbers, (*at.places[:axis], n, *at.places[axis + 1 :])) for numbers, n in filled]
    return Value(np.concatenate(parts, axis))


def taken(at: At) -> Value:
    """Rows of a table by their indices: of one table, rows by equal indices are equal."""
    axis, (table, places) = at.get("axis"), at.numbers
    if table.shape[axis] != 1:
        index = _known_places(at, places, table.shape[axis])
        if index is not None:
            return _rows(at, np.asarray(np.take(table, index, axis)))
        table = stacked(at.table, table, (axis,))
    left = table.reshape((*table.shape[:axis], *(1,) * places.ndim, *table.shape[axis + 1 :]))
    right = places.reshape((1,) * axis + places.shape + (1,) * (table.ndim - axis - 1))
    return at.each(lambda t, i: at.table.of("take", axis, t, i), left, right)


def gathered(at: At) -> Value:
    """One entry per index along an axis; by known indices it is known which."""
    axis, (source, places) = at.get("axis"), at.numbers
    if axis not in at.cut and source.shape[axis] == 1:
        return mixing(at, ())
    index = _known_places(at, places, source.shape[axis])
    same = all(a == b for i, (a, b) in enumerate(zip(at.shape(), at.node.type.shape, strict=True)) if i != axis)
    if index is None or not same or source.shape[axis] == 1:
        return mixing(at, (axis,))
    shape = np.broadcast_shapes((*source.shape[:axis], 1, *source.shape[axis + 1 :]), index.shape)
    wide = np.broadcast_to(source, (*shape[:axis], source.shape[axis], *shape[axis + 1 :]))
    return Value(np.take_along_axis(wide, np.broadcast_to(index, shape), axis))


def _rows(at: At, places: Numbers) -> Value:
    """Rows that were cut from a table, in the shape of the result's sub-tensors."""
    target = at.whole
    return at.each(lambda n: moved(at.table, n, ("reshape", target), target, lambda e: e.reshape(target)), places)


def _known_places(at: At, places: Numbers, size: int) -> Any:
    """The indices as an integer array, where every one is a known constant from 0 to size - 1: others read nothing."""
    if any(size != 1 and count == 1 for size, count in zip(at.shape(1), places.shape, strict=True)):
        return None
    known = [at.table.known.get(int(n)) for n in places.ravel()]
    if any(k is None or k.only is None or not 0 <= k.only < size for k in known):
        return None
    return np.array([int(k.only) for k in known if k is not None], dtype=np.int64).reshape(places.shape)
