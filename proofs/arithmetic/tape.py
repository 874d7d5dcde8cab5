"""First and second derivatives of a scalar, exactly or in balls, by one record of its scalar steps.

A graph is evaluated once over `Tape`, which writes down every addition, product and elementary function of scalars.
The gradient is one pass backwards; a column of the second derivative is one pass forwards (how every step moves with
one parameter) and one backwards (how its adjoint moves). Numbers are those of any exact or enclosing number system, so
a column of enclosures encloses the column.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.arithmetic.base import Discrete, Reals, Undecided
from proofs.arithmetic.objects import ObjectArithmetic
from proofs.errors import Unsupported
from proofs.network.graph import Number

TapeEntry = tuple[str, int, int]
NO_CHOICE = "Expected a smooth network, but it makes a choice; derivatives of branches are not followed."


class Scalar:
    """One entry of the record; the usual signs write further ones."""

    __slots__ = ("place", "tape")

    def __init__(self, tape: "Tape", place: int) -> None:
        self.tape = tape
        self.place = place

    def __add__(self, other: "Scalar") -> "Scalar":
        return self.tape.write("add", self, other)

    def __sub__(self, other: "Scalar") -> "Scalar":
        return self + (-other)

    def __neg__(self) -> "Scalar":
        return self.tape.number(-1) * self

    def __mul__(self, other: "Scalar") -> "Scalar":
        return self.tape.write("multiply", self, other)

    def __truediv__(self, other: "Scalar") -> "Scalar":
        return self * self.tape.elementary("reciprocal")(other)


class Tape(ObjectArithmetic):
    """A number system that computes in `base` and remembers how."""

    def __init__(self, base: ObjectArithmetic) -> None:
        self.base = base
        self.values: list[Any] = []
        self.steps: list[TapeEntry] = []
        self._constants: dict[Number, Scalar] = {}

    def variable(self, value: Any) -> Scalar:
        """A new independent scalar with a value of the base."""
        return self._append(value, ("leaf", -1, -1))

    def number(self, value: Number) -> Scalar:
        """A constant."""
        if value not in self._constants:
            self._constants[value] = self.variable(self.base.number(value))
        return self._constants[value]

    def write(self, kind: str, x: Scalar, y: Scalar) -> Scalar:
        """The sum or product of two scalars."""
        a, b = self.values[x.place], self.values[y.place]
        return self._append(a + b if kind == "add" else a * b, (kind, x.place, y.place))

    def elementary(self, name: str) -> Callable[[Any], Any]:
        """An elementary function of one scalar."""
        if name != "reciprocal" and name not in _DERIVATIVES:
            raise Unsupported(f"Expected functions with known derivatives, but got {name}; use another activation.")
        one = self.base.number(1)
        function = (lambda v: one / v) if name == "reciprocal" else self.base.elementary(name)
        return lambda x: self._append(function(self.values[x.place]), (name, x.place, -1))

    def shift(self, x: Reals, axis: int) -> Reals:
        """Nothing is subtracted: values are small."""
        shape = tuple(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape))
        return np.full(shape, self.number(0), dtype=object)

    def greater(self, x: Reals, y: Reals) -> Discrete:
        """Never decided."""
        raise Undecided(NO_CHOICE)

    def top(self, x: Reals, axis: int, count: int) -> Discrete:
        """Never decided."""
        raise Undecided(NO_CHOICE)

    def floor(self, x: Reals) -> Discrete:
        """Never decided."""
        raise Undecided(NO_CHOICE)

    def _append(self, value: Any, step: TapeEntry) -> Scalar:
        self.values.append(value)
        self.steps.append(step)
        return Scalar(self, len(self.values) - 1)


def derivatives(output: Scalar, variables: Sequence[Scalar]) -> tuple[list[Any], list[list[Any]]]:
    """The gradient and the symmetric matrix of second derivatives of `output`, in the numbers of its tape's base."""
    tape, last = output.tape, output.place
    slopes = {
        i: _DERIVATIVES[kind](tape.base, tape.values[a], tape.values[i])
        for i, (kind, a, _) in enumerate(tape.steps[: last + 1]) if kind in _DERIVATIVES
    }  # fmt: skip
    one, zero = tape.base.number(1), tape.base.number(0)
    adjoint = _adjoints(tape, last, slopes, one)
    gradient = [zero if adjoint[v.place] is None else adjoint[v.place] for v in variables]
    places = [v.place for v in variables]
    columns = [_column(tape, last, slopes, adjoint, place, one) for place in places]
    return gradient, [[zero if column[row] is None else column[row] for column in columns] for row in places]


def _adjoints(tape: Tape, last: int, slopes: dict[int, Any], one: Any) -> list[Any]:
    adjoint: list[Any] = [None] * (last + 1)
    adjoint[last] = one
    for i in range(last, -1, -1):
        kind, a, b = tape.steps[i]
        here = adjoint[i]
        if here is None or kind == "leaf":
            continue
        if kind == "add":
            adjoint[a] = _plus(adjoint[a], here)
            adjoint[b] = _plus(adjoint[b], here)
        elif kind == "multiply":
            adjoint[a] = _plus(adjoint[a], here * tape.values[b])
            adjoint[b] = _plus(adjoint[b], here * tape.values[a])
        else:
            adjoint[a] = _plus(adjoint[a], here * slopes[i][0])
    return adjoint


def _column(tape: Tape, last: int, slopes: dict[int, Any], adjoint: list[Any], variable: int, one: Any) -> list[Any]:
    """How every adjoint moves with one variable."""
    moves = _moves(tape, last, slopes, variable, one)
    result: list[Any] = [None] * (last + 1)
    for i in range(last, -1, -1):
        kind, a, b = tape.steps[i]
        change, here = result[i], adjoint[i]
        if kind == "leaf" or here is None:
            continue
        if kind == "add":
            if change is not None:
                result[a] = _plus(result[a], change)
                result[b] = _plus(result[b], change)
        elif kind == "multiply":
            for x, y in ((a, b), (b, a)):
                if change is not None:
                    result[x] = _plus(result[x], change * tape.values[y])
                if moves[y] is not None:
                    result[x] = _plus(result[x], here * moves[y])
        else:
            first, second = slopes[i]
            if change is not None:
                result[a] = _plus(result[a], change * first)
            if moves[a] is not None:
                result[a] = _plus(result[a], here * second * moves[a])
    return result


def _moves(tape: Tape, last: int, slopes: dict[int, Any], variable: int, one: Any) -> list[Any]:
    """How every step moves with one variable; None where it does not."""
    moves: list[Any] = [None] * (last + 1)
    moves[variable] = one
    for i in range(variable + 1, last + 1):
        kind, a, b = tape.steps[i]
        if kind == "leaf":
            continue
        if kind == "add":
            moves[i] = moves[a] if moves[b] is None else _plus(moves[a], moves[b])
        elif kind == "multiply":
            for x, y in ((a, b), (b, a)):
                if moves[x] is not None:
                    moves[i] = _plus(moves[i], moves[x] * tape.values[y])
        elif moves[a] is not None:
            moves[i] = moves[a] * slopes[i][0]
    return moves


def _plus(x: Any, y: Any) -> Any:
    return y if x is None else x + y


def _q(base: ObjectArithmetic, numerator: int, denominator: int = 1) -> Any:
    return base.number(Fraction(numerator, denominator))


def _tanh(base: ObjectArithmetic, x: Any, y: Any) -> tuple[Any, Any]:
    slope = _q(base, 1) - y * y
    return slope, _q(base, -2) * y * slope


def _sigmoid(base: ObjectArithmetic, x: Any, y: Any) -> tuple[Any, Any]:
    slope = y * (_q(base, 1) - y)
    return slope, slope * (_q(base, 1) - _q(base, 2) * y)


def _rsqrt(base: ObjectArithmetic, x: Any, y: Any) -> tuple[Any, Any]:
    cube = y * y * y
    return _q(base, -1, 2) * cube, _q(base, 3, 4) * cube * y * y


def _erf(base: ObjectArithmetic, x: Any, y: Any) -> tuple[Any, Any]:
    slope = base.elementary("erf_slope")(x)
    return slope, _q(base, -2) * x * slope


def _softplus(base: ObjectArithmetic, x: Any, y: Any) -> tuple[Any, Any]:
    slope = base.elementary("sigmoid")(x)
    return slope, slope * (_q(base, 1) - slope)


_DERIVATIVES: dict[str, Callable[[ObjectArithmetic, Any, Any], tuple[Any, Any]]] = {
    "exp": lambda base, x, y: (y, y),
    "tanh": _tanh,
    "erf": _erf,
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "rsqrt": _rsqrt,
    "reciprocal": lambda base, x, y: (_q(base, -1) * y * y, _q(base, 2) * y * y * y),
    "log": lambda base, x, y: (_q(base, 1) / x, _q(base, -1) / (x * x)),
    "sin": lambda base, x, y: (base.elementary("cos")(x), -y),
    "cos": lambda base, x, y: (-base.elementary("sin")(x), -y),
}
