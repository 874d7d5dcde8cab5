"""Rules of `numerics.graphs.lowering` for complex tensors, as in rotary embeddings: pairs of real ones.

A complex value never becomes a node: it is kept as its real and imaginary parts, and what moves its entries moves both.
"""

from collections.abc import Sequence
from typing import Any

from numerics.graphs.builder import Builder, Complex, Rule, Term, Value
from numerics.graphs.operators.structure import STRUCTURE, concatenate, cut, real, reshape

Arguments = Sequence[Any]
Keywords = dict[str, Any]
MOVES = {
    "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "flatten", "clone", "alias", "detach", "contiguous",
    "permute", "transpose", "t", "expand", "slice", "select",
}  # fmt: skip


def _polar(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    radius, angle = real(b, a[0]), real(b, a[1])
    parts = [b.emit("multiply", (radius, b.emit(name, (angle,)))) for name in ("cos", "sin")]
    return Complex(parts[0], parts[1])


def _from_real(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """The last axis, of size two, holds both parts."""
    axis = len(b.type(a[0]).shape) - 1
    parts = [reshape(b, cut(b, a[0], axis, i, i + 1), value.shape) for i in (0, 1)]
    return Complex(parts[0], parts[1])


def _to_real(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    shape = (*value.shape[:-1], 1)
    return concatenate(b, [reshape(b, part, shape) for part in (a[0].real, a[0].imaginary)], len(shape) - 1)


def _multiply(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """(x + iy)(u + iv), or a complex number times a real one."""
    x, y = a[:2] if isinstance(a[0], Complex) else (a[1], a[0])
    if not isinstance(y, Complex):
        return Complex(*(b.emit("multiply", (part, real(b, y))) for part in (x.real, x.imaginary)))

    def product(first: Value, second: Value) -> Term:
        return b.emit("multiply", (first, second))

    return Complex(
        b.emit("subtract", (product(x.real, y.real), product(x.imaginary, y.imaginary))),
        b.emit("add", (product(x.real, y.imaginary), product(x.imaginary, y.real))),
    )


def _moved(name: str) -> Rule:
    def rule(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
        parts = [STRUCTURE[name](b, value, (part, *a[1:]), k) for part in (a[0].real, a[0].imaginary)]
        return NotImplemented if NotImplemented in parts else Complex(parts[0], parts[1])

    return rule


_MAKE: dict[str, Rule] = {"polar": _polar, "view_as_complex": _from_real}
_USE: dict[str, Rule] = {
    "view_as_real": _to_real,
    "real": lambda b, value, a, k: a[0].real,
    "imag": lambda b, value, a, k: a[0].imaginary,
    "mul": _multiply,
    **{name: _moved(name) for name in MOVES},
}


def complex_rule(name: str) -> Rule | None:
    """The rule for an operator that takes or gives complex numbers; None for any other."""
    if name in _MAKE:
        return _MAKE[name]
    rule = _USE.get(name)
    if rule is None:
        return None
    known = any if name == "mul" else all
    return lambda b, v, a, k: (
        rule(b, v, a, k) if known(isinstance(x, Complex) for x in a[: 2 if name == "mul" else 1]) else NotImplemented
    )
