"""Symbols: the polynomial differential equation of an elementary function, checked by sympy.

Symbols suit single operations, not whole networks: sympy needs half a minute for a network of width 4.
"""

from typing import Any

import sympy

from proofs.operations.elementary import Certificate


def holds(certificate: Certificate) -> bool:
    """Whether every listed derivative is a polynomial in x, y and the companions, and is the true derivative.

    Then y is part of a solution of a polynomial system of differential equations, hence real-analytic wherever the
    expressions are defined on an interval.
    """
    x = sympy.Symbol("x", real=True)
    values: dict[str, Any] = {"y": _read(certificate.function, {"x": x})}
    values |= {name: _read(text, {"x": x}) for name, text in certificate.companions}
    derivatives = dict(certificate.derivatives)
    if set(derivatives) != set(values) or any(_is_piecewise(value) for value in values.values()):
        return False
    symbols = {name: sympy.Symbol(name) for name in values}
    for name, text in derivatives.items():
        right = _read(text, {"x": x, **symbols})
        if not right.is_polynomial(x, *symbols.values()) or right.free_symbols - {x, *symbols.values()}:
            return False
        claimed = right.subs({symbols[n]: value for n, value in values.items()}, simultaneous=True)
        difference = sympy.diff(values[name], x) - claimed
        if sympy.simplify(difference.rewrite(sympy.exp)) != 0:
            return False
    return True


def _read(text: str, names: dict[str, Any]) -> Any:
    parse: Any = sympy.sympify
    return parse(text, locals=names)


def _is_piecewise(value: Any) -> bool:
    return value.has(sympy.Abs, sympy.Max, sympy.Min, sympy.Heaviside, sympy.Piecewise, sympy.sign)
