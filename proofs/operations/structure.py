"""Moving entries about: polynomial (indeed linear) maps, whatever the data."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from proofs.arithmetic import whole
from proofs.arithmetic.base import Arithmetic
from proofs.arithmetic.bounds import Interval
from proofs.errors import Unsupported
from proofs.network.graph import TensorType
from proofs.operations.base import (
    Application,
    Attributes,
    Operation,
    Proved,
    broadcast,
    expect,
    integer,
    integers,
    unmet,
)
from proofs.operations.masks import moved
from proofs.regularity import CONSTANT, DISCONTINUOUS, Facts

LINEAR = "linear in its argument, hence polynomial; -inf moves with its entry"


def _reshape_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    result = TensorType(integers(attributes, "shape"), types[0].kind)
    expect(len(types) == 1 and all(n >= 0 for n in result.shape) and result.size == types[0].size, "as many entries")
    return result


def _permute_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    order = integers(attributes, "order")
    expect(len(types) == 1 and sorted(order) == list(range(len(types[0].shape))), "a permutation of the axes")
    return TensorType(tuple(types[0].shape[axis] for axis in order), types[0].kind)


def _expand_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    shape = integers(attributes, "shape")
    expect(len(types) == 1 and broadcast([types[0].shape, shape]) == shape, "a shape that the argument broadcasts to")
    return TensorType(shape, types[0].kind)


def _slice_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axis, start, stop, step = (integer(attributes, name) for name in ("axis", "start", "stop", "step"))
    shape = types[0].shape
    expect(len(types) == 1 and 0 <= axis < len(shape), f"an axis of {shape}")
    expect(0 <= start <= stop <= shape[axis] and step >= 1, f"a range within axis {axis} of {shape}")
    return TensorType((*shape[:axis], -(-(stop - start) // step), *shape[axis + 1 :]), types[0].kind)


def _concatenate_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axis = integer(attributes, "axis")
    first = types[0].shape
    expect(0 <= axis < len(first), f"an axis of {first}")
    for other in types:
        fits = len(other.shape) == len(first) and other.kind == types[0].kind
        expect(
            fits and all(a == b for i, (a, b) in enumerate(zip(other.shape, first, strict=True)) if i != axis),
            "parts that fit",
        )
    return TensorType((*first[:axis], sum(t.shape[axis] for t in types), *first[axis + 1 :]), types[0].kind)


def _take_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axis = integer(attributes, "axis")
    expect(len(types) == 2 and types[1].kind == "integer", "a tensor and integers")
    expect(0 <= axis < len(types[0].shape), f"an axis of {types[0].shape}")
    shape = types[0].shape
    return TensorType((*shape[:axis], *types[1].shape, *shape[axis + 1 :]), types[0].kind)


def _gather_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    axis = integer(attributes, "axis")
    expect(len(types) == 2 and types[1].kind == "integer", "a tensor and integers")
    shape, index = types[0].shape, types[1].shape
    fits = len(shape) == len(index) and all(
        i <= n for a, (i, n) in enumerate(zip(index, shape, strict=True)) if a != axis
    )
    expect(fits and 0 <= axis < len(shape), "indices of the same rank")
    return TensorType(index, types[0].kind)


def _select_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    fits = len(types) == 3 and types[0].kind == "boolean" and types[1].kind == types[2].kind
    expect(fits, "a truth value and two tensors of one kind")
    return TensorType(broadcast([t.shape for t in types]), types[1].kind)


def _moved_facts(at: Application) -> Proved:
    bounds = at.known().bounds
    for position in range(1, len(at.node.arguments)):
        bounds = bounds.hull(at.known(position).bounds)
    pattern, problem = moved(at)
    if problem:
        return unmet(at, at.condition("masked entries can be followed", False, problem))
    return Proved(Facts(at.worst(), bounds, pattern))


def _indexed_facts(at: Application) -> Proved:
    table, index = at.known(0), at.known(1)
    size = at.argument(0).type.shape[at.integer("axis")]
    inside = index.bounds.at_least(Fraction(0)) and index.bounds.at_most(Fraction(size - 1))
    condition = at.condition(f"indices lie in 0..{size - 1}", inside, "bounds of the indices")
    if table.excluded is not None or not inside:
        return unmet(at, condition)
    worst = table.regularity
    if index.regularity != CONSTANT:
        worst = max(worst, DISCONTINUOUS, index.regularity)
    return Proved(Facts(worst, table.bounds), (condition,))


def _select_facts(at: Application) -> Proved:
    bounds: Interval = at.known(1).bounds.hull(at.known(2).bounds)
    worst = max(at.known(1).regularity, at.known(2).regularity)
    if at.known(0).regularity != CONSTANT:
        worst = max(worst, DISCONTINUOUS, at.known(0).regularity)
    pattern, problem = moved(at)
    if problem:
        return unmet(at, at.condition("masked entries can be followed", False, problem))
    return Proved(Facts(worst, bounds, pattern))


def _slice(a: Arithmetic, v: Sequence[Any], p: Attributes) -> Any:
    return a.slice(v[0], integer(p, "axis"), integer(p, "start"), integer(p, "stop"), integer(p, "step"))


def placed(index: Any, x: Any, attributes: Attributes) -> Any:
    """The indices, once they lie in the axis; numpy would count negative ones from its end."""
    size, index = x.shape[integer(attributes, "axis")], whole.known(index)
    if index.size and not 0 <= index.min() <= index.max() < size:
        raise Unsupported(f"Expected indices from 0 to {size - 1}, but got others; the network reads nothing there.")
    return index


OPERATIONS = (
    Operation("reshape", "the same entries in row-major order", LINEAR, _reshape_type, _moved_facts,
              lambda a, v, p: a.reshape(v[0], integers(p, "shape")), masked=True),
    Operation("permute", "axes in another order", LINEAR, _permute_type, _moved_facts,
              lambda a, v, p: a.permute(v[0], integers(p, "order")), masked=True),
    Operation("expand", "repeated along axes of size one", LINEAR, _expand_type, _moved_facts,
              lambda a, v, p: a.expand(v[0], integers(p, "shape")), masked=True),
    Operation("slice", "x[..., start:stop:step, ...]", LINEAR, _slice_type, _moved_facts, _slice, masked=True),
    Operation("concatenate", "parts one after the other", LINEAR, _concatenate_type, _moved_facts,
              lambda a, v, p: a.concatenate(v, integer(p, "axis")), masked=True),
    Operation("take", "rows of a table at given indices (an embedding)",
              "linear where the indices do not depend on data; else it jumps with them", _take_type, _indexed_facts,
              lambda a, v, p: a.take(v[0], placed(v[1], v[0], p), integer(p, "axis"))),
    Operation("gather", "one entry per index along an axis",
              "linear where the indices do not depend on data; else it jumps with them", _gather_type, _indexed_facts,
              lambda a, v, p: a.gather(v[0], placed(v[1], v[0], p), integer(p, "axis"))),
    Operation("select", "x where the condition holds, else y",
              "linear where the condition does not depend on data; else it may jump", _select_type, _select_facts,
              lambda a, v, p: a.select(v[0], v[1], v[2]), masked=True),
)  # fmt: skip
