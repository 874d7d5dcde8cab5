"""One graph for many prompts that share a prefix: what they share is evaluated once.

A tensor either is the same for all prompts, or it is `Laned`: its values for the first prompt, truth values that say
which entries may vary at all, and the values of every prompt on the smallest box that holds those entries. Which
entries vary follows entry by entry from the operations: a causal mask needs no rule of its own, because what it
multiplies by an exact 0 does not vary.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.base import Arithmetic, Discrete, Enclosures
from proofs.arithmetic.midpoint import Middle, Midpoint, Sign, enclosed
from proofs.arithmetic.whole import known
from proofs.errors import Unsupported
from proofs.network.graph import Constant

Tensor = Any  # Laned, or a tensor of `Midpoint`
Box = tuple[slice, ...]
Truth = NDArray[np.bool_]

DIFFERENT = "Expected choices that are the same for all tokens, but the network ranks or rounds what varies with them."


class Laned(Enclosures):
    """`base` of shape S for the first prompt; `varies` (S); `lanes` of shape (prompts, *sides of `box`)."""

    __slots__ = ("base", "box", "lanes", "varies")

    def __init__(self, base: Tensor, lanes: Tensor, varies: Truth, box: Box) -> None:
        self.base = base
        self.lanes = lanes
        self.varies = varies
        self.box = box

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor of one prompt."""
        return self.varies.shape

    @property
    def ndim(self) -> int:
        """The number of axes of one prompt's tensor."""
        return self.varies.ndim


class Lanes(Arithmetic):
    """Midpoint-radius arithmetic for several prompts at a time."""

    def __init__(self, inner: Midpoint) -> None:
        self.inner = inner

    def constant(self, value: Constant) -> Tensor:
        """A tensor of known entries."""
        return self.inner.constant(value)

    def scalar(self, value: Fraction) -> Tensor:
        """A rational number."""
        return self.inner.scalar(value)

    def real(self, value: Any) -> Tensor:
        """Integers or truth values, exactly; a comparison as far as it is decided."""
        if isinstance(value, Sign):
            return self.select(value, self.scalar(Fraction(1)), self.scalar(Fraction(0)))
        return self.inner.real(value)

    # Moving entries: the same move of the places tells where each entry comes from

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same entries in another shape."""
        return self._moved(x, lambda a: self.inner.reshape(a, shape))

    def permute(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """Axes in another order."""
        return self._moved(x, lambda a: self.inner.permute(a, order))

    def expand(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Repeated along axes of size one."""
        return self._moved(x, lambda a: self.inner.expand(a, shape))

    def slice(self, x: Tensor, axis: int, start: int, stop: int, step: int) -> Tensor:
        """Every step-th entry along one axis."""
        return self._moved(x, lambda a: self.inner.slice(a, axis, start, stop, step))

    def take(self, x: Tensor, index: Discrete, axis: int) -> Tensor:
        """Entries along an axis by index."""
        return self._moved(x, lambda a: self.inner.take(a, index, axis))

    def gather(self, x: Tensor, index: Discrete, axis: int) -> Tensor:
        """One entry per index."""
        return self._moved(x, lambda a: self.inner.gather(a, index, axis))

    def _moved(self, x: Tensor, move: Callable[[Any], Any]) -> Tensor:
        if isinstance(x, Sign):
            return Sign(self._moved(x.difference, move))
        if not isinstance(x, Laned):
            return move(x)
        places = np.arange(math.prod(x.shape)).reshape(x.shape)
        moved = move(places)
        base, varies = move(x.base), x.varies.ravel()[moved]
        box = _box(varies)
        if box is None:
            return base
        wanted = moved[box].ravel()
        column = np.full(places.size, -1)
        held = places[x.box].ravel()
        column[held] = np.arange(held.size)
        columns = column[wanted]
        flat = self.inner.reshape(x.lanes, (-1, held.size))
        if (columns < 0).any():  # entries of the box that do not vary and lie outside the old one
            shared = self.inner.reshape(x.base, (1, places.size))
            missing = wanted[columns < 0]
            shared = self.inner.expand(self.inner.take(shared, missing, 1), (flat.shape[0], missing.size))
            flat = self.inner.concatenate([flat, shared], 1)
            columns = columns.copy()
            columns[columns < 0] = held.size + np.arange(missing.size)
        if columns.size != flat.shape[1] or (columns != np.arange(columns.size)).any():
            flat = self.inner.take(flat, columns, 1)
        return Laned(base, self.inner.reshape(flat, (-1, *_sides(box))), varies, box)

    def concatenate(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Tensors one after the other."""
        base = self.inner.concatenate([_base(part) for part in parts], axis)
        varies = np.concatenate([_varies(part) for part in parts], axis)
        box = _box(varies)
        if box is None:
            return base
        pieces: list[Tensor] = []
        begin = 0
        for part in parts:
            start, stop = max(box[axis].start - begin, 0), min(box[axis].stop - begin, part.shape[axis])
            if start < stop:
                pieces.append(self.on(part, (*box[:axis], slice(start, stop), *box[axis + 1 :])))
            begin += part.shape[axis]
        prompts = max(piece.shape[0] for piece in pieces)
        pieces = [self.inner.expand(piece, (prompts, *piece.shape[1:])) for piece in pieces]
        return Laned(base, self.inner.concatenate(pieces, axis + 1), varies, box)

    def select(self, condition: Any, x: Tensor, y: Tensor) -> Tensor:
        """x where the condition holds, else y."""
        if isinstance(condition, Sign):
            parts = (condition.difference, x, y)
            return self._each(lambda d, a, b: self.inner.select(Sign(d), a, b), *parts)
        condition = known(condition)
        if not (isinstance(x, Laned) or isinstance(y, Laned)):
            return self.inner.select(condition, x, y)
        base = self.inner.select(condition, _base(x), _base(y))
        varies = np.where(condition, _varies(x), _varies(y))
        box = _box(varies)
        if box is None:
            return base
        chosen = np.broadcast_to(condition, varies.shape)[box][None]
        return Laned(base, self.inner.select(chosen, self.on(x, box), self.on(y, box)), varies, box)

    # Arithmetic

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x + y."""
        return self._each(self.inner.add, x, y)

    def subtract(self, x: Tensor, y: Tensor) -> Tensor:
        """x - y."""
        return self._each(self.inner.subtract, x, y)

    def negate(self, x: Tensor) -> Tensor:
        """-x."""
        return self._each(self.inner.negate, x)

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """x * y."""
        return self._each(self.inner.multiply, x, y)

    def divide(self, x: Tensor, y: Tensor) -> Tensor:
        """x / y."""
        return self._each(self.inner.divide, x, y)

    def power(self, x: Tensor, exponent: int) -> Tensor:
        """x to a whole power."""
        return self._each(lambda a: self.inner.power(a, exponent), x)

    def apply(self, name: str, x: Tensor) -> Tensor:
        """An elementary function, entry by entry."""
        return self._each(lambda a: self.inner.apply(name, a), x)

    def _each(self, operation: Callable[..., Tensor], *parts: Tensor) -> Tensor:
        """An operation entry by entry; -inf, which only a mask brings in, does not vary."""
        base = operation(*(_base(part) for part in parts))
        if not any(isinstance(part, Laned) for part in parts):
            return base
        varies = np.zeros(base.shape, dtype=np.bool_)
        for part in parts:
            if isinstance(part, Laned):
                varies |= part.varies
        if isinstance(base, Middle) and base.masked is not None:
            varies &= ~base.masked
        box = _box(varies)
        if box is None:
            return base
        return Laned(base, operation(*(self.on(part, box) for part in parts)), varies, box)

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """Matrix products; an entry varies if some term does that is not a product with an exact 0."""
        base = self.inner.matmul(_base(x), _base(y))
        if not (isinstance(x, Laned) or isinstance(y, Laned)):
            return base
        varies = self._terms_vary(x, y)
        box = _box(varies)
        if box is None:
            return base
        terms = (slice(0, x.shape[-1]),)
        left = x if _exact_matrix(x) else self.on(x, (*box[:-1], *terms))
        if _exact_matrix(y):
            right = self.inner.slice(y, 1, box[-1].start, box[-1].stop, 1)
        else:
            right = self.on(y, (*box[:-2], *terms, box[-1]))
        if _exact_matrix(x):
            left = self.inner.slice(x, 0, box[-2].start, box[-2].stop, 1)
        return Laned(base, self.inner.matmul(left, right), varies, box)

    @staticmethod
    def _terms_vary(x: Tensor, y: Tensor) -> Truth:
        if _exact_matrix(y):
            rows = _varies(x).any(axis=-1, keepdims=True)
            return np.broadcast_to(rows, (*x.shape[:-1], y.shape[1]))
        first, second = _varies(x), _varies(y)
        return _some_term(first, ~_zero(y)) | _some_term(~_zero(x), second)

    def sum(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        """The sum over some axes."""
        if not isinstance(x, Laned):
            return self.inner.sum(x, axes, keep)
        return self._along(x, axes, lambda a, shift: self.inner.sum(a, [axis + shift for axis in axes], True), keep)

    def shift(self, x: Tensor, axis: int) -> Tensor:
        """The largest midpoint of each row, taken as that exact number."""
        if not isinstance(x, Laned):
            return self.inner.shift(x, axis)
        return self._along(x, (axis,), lambda a, shift: self.inner.shift(a, axis + shift), True)

    def _along(self, x: Laned, axes: Sequence[int], reduce: Callable[[Tensor, int], Tensor], keep: bool) -> Tensor:
        """A reduction over whole axes, which are kept as axes of size one, or dropped afterwards."""
        base, varies = reduce(x.base, 0), np.asarray(x.varies.any(axis=tuple(axes), keepdims=True))
        box = _box(varies)
        result = base
        if box is not None:
            whole = tuple(slice(0, n) if axis in axes else box[axis] for axis, n in enumerate(x.shape))
            result = Laned(base, reduce(self.on(x, whole), 1), varies, box)
        return result if keep else self.reshape(result, [n for i, n in enumerate(varies.shape) if i not in axes])

    def cumulative_sum(self, x: Tensor, axis: int) -> Tensor:
        """Partial sums along an axis."""
        if not isinstance(x, Laned):
            return self.inner.cumulative_sum(x, axis)
        base, varies = self.inner.cumulative_sum(x.base, axis), np.logical_or.accumulate(x.varies, axis)
        box = _box(varies)
        assert box is not None  # what varies stays
        until = (*box[:axis], slice(0, box[axis].stop), *box[axis + 1 :])
        sums = self.inner.cumulative_sum(self.on(x, until), axis + 1)
        return Laned(base, self.inner.slice(sums, axis + 1, box[axis].start, box[axis].stop, 1), varies, box)

    # Comparisons

    def greater(self, x: Tensor, y: Tensor) -> Any:
        """x > y; for tensors that vary a `Sign`, which only selects entries."""
        if isinstance(x, Laned) or isinstance(y, Laned):
            return Sign(self.subtract(x, y))
        return self.inner.greater(x, y)

    def top(self, x: Tensor, axis: int, count: int) -> Discrete:
        """Places of the largest entries, if they do not vary."""
        if isinstance(x, Laned):
            raise Unsupported(DIFFERENT)
        return self.inner.top(x, axis, count)

    def floor(self, x: Tensor) -> Discrete:
        """The greatest integer at most x, if it does not vary."""
        if isinstance(x, Laned):
            raise Unsupported(DIFFERENT)
        return self.inner.floor(x)

    def on(self, x: Tensor, box: Box) -> Tensor:
        """A tensor on a box of a shape it broadcasts to: (prompts, *sides), or (1, *sides) where nothing varies."""
        rank = len(box)
        own = tuple(slice(0, 1) if n == 1 else wanted for n, wanted in zip(x.shape, box[rank - x.ndim :], strict=True))
        if not isinstance(x, Laned):
            return self._fitted(self.inner.reshape(self._cut(x, own, 0), (1, *_sides(own))), rank)
        inside = all(h.start <= w.start and w.stop <= h.stop for h, w in zip(x.box, own, strict=True))
        if not inside:
            spread = np.zeros(x.shape, dtype=np.bool_)
            spread[own] = True
            spread[x.box] = True
            wider = Laned(x.base, x.lanes, spread, x.box)  # the lanes of a larger box, filled with what is shared
            x = self._moved(wider, lambda a: a)
        local = tuple(slice(w.start - h.start, w.stop - h.start) for h, w in zip(x.box, own, strict=True))
        return self._fitted(self._cut(x.lanes, local, 1), rank)

    def _cut(self, x: Tensor, box: Box, first: int) -> Tensor:
        for axis, side in enumerate(box):
            if (side.start, side.stop) != (0, x.shape[axis + first]):
                x = self.inner.slice(x, axis + first, side.start, side.stop, 1)
        return x

    def _fitted(self, x: Tensor, rank: int) -> Tensor:
        """Axes of size one after the first, so that there are `rank` besides it."""
        missing = rank + 1 - x.ndim
        return self.inner.reshape(x, (x.shape[0], *[1] * missing, *x.shape[1:])) if missing else x


def _base(x: Tensor) -> Tensor:
    return x.base if isinstance(x, Laned) else x


def _varies(x: Tensor) -> Truth:
    return x.varies if isinstance(x, Laned) else np.broadcast_to(np.False_, x.shape)


def _zero(x: Tensor) -> Truth:
    """Which entries are exactly 0 for all prompts."""
    middle = enclosed(_base(x))
    return (middle.mid == 0) & (middle.radius == 0) & ~_varies(x)


def _some_term(x: Truth, y: Truth) -> Truth:
    """Whether some term of a matrix product has both factors true."""
    return np.matmul(x.astype(np.float32), y.astype(np.float32)) > 0


def _exact_matrix(x: Tensor) -> bool:
    """Weights: the same for all prompts, and not to be copied."""
    return isinstance(x, np.ndarray) and x.ndim == 2


def _box(varies: Truth) -> Box | None:
    """The smallest box that holds all true entries; None where there are none."""
    sides: list[slice] = []
    for axis in range(varies.ndim):
        line = np.flatnonzero(varies.any(axis=tuple(i for i in range(varies.ndim) if i != axis)))
        if not line.size:
            return None
        sides.append(slice(int(line[0]), int(line[-1]) + 1))
    return tuple(sides) if sides or varies.any() else None


def _sides(box: Box) -> tuple[int, ...]:
    return tuple(side.stop - side.start for side in box)
