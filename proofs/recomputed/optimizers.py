"""The Jacobian of one optimizer step, its determinant in closed form, and the symbolic check of that form.

H is the matrix of second derivatives of the loss, g its gradient, eta the rate, c = 1 - eta * decay. Each rule is one
of the rows of the table in docs/training-step.md. Rules with state are maps of (parameters, state) to the same; their
determinants do not depend on H: subtract multiples of the rows of the new state from those of the new parameters,
and what is left is block triangular.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal

import sympy
from sympy.polys.matrices import DomainMatrix

Rule = Literal["gd", "weight-decay", "clip-value", "clip-norm", "sign", "heavy-ball", "adam", "adamw"]
ADAPTIVE = ("adam", "adamw")  # which divide by the roots of second moments
Matrix = list[list[Any]]
MOMENTUM = Fraction(9, 10)
SECOND = Fraction(999, 1000)
DECAY = Fraction(1, 100)
STABILISER = Fraction(1, 10**8)
THRESHOLD = Fraction(1)  # beyond which clip-norm cuts the length of the gradient
MOST_SUMS = 2**16  # of parts of w for each coordinate, that clipping by value is looked at for
STEP = 2  # the step whose bias corrections enter


def kept(rule: Rule, rate: Fraction) -> Fraction:
    """c: the share of every parameter that the rule keeps before the step."""
    return 1 - rate * DECAY if rule in ("weight-decay", "adamw", "sign") else Fraction(1)


def states(rule: Rule) -> int:
    """How many tensors of the size of the parameters the rule carries, the parameters included."""
    return {"heavy-ball": 2, "adam": 3, "adamw": 3}.get(rule, 1)


def jacobian(
    rule: Rule, second: Matrix, gradient: Sequence[Any], *, rate: Fraction, draws: Callable[[], Fraction], base: Any
) -> Matrix:
    """The Jacobian of one step, in the numbers of `base`.

    Args:
        rule: which optimizer.
        second: H, a square matrix.
        gradient: g.
        rate: eta.
        draws: gives exact numbers between 0 and 1 for what is free: the clipping mask, the state before the step.
        base: the number system of H and g.
    """
    p, q = len(gradient), base.number
    if rule == "clip-value":
        mask = [q(Fraction(int(draws() * 2))) for _ in range(p)]
        second = [[mask[i] * entry for entry in row] for i, row in enumerate(second)]
    c, eta = q(kept(rule, rate)), q(rate)
    if rule == "sign":
        return _diagonal([c] * p, q)
    if states(rule) == 1:
        return _combine(c, [eta] * p, second, q)
    if rule == "heavy-ball":
        mu = q(MOMENTUM)
        top = _beside(_combine(c, [eta] * p, second, q), _diagonal([-(eta * mu)] * p, q))
        return top + _beside(second, _diagonal([mu] * p, q))
    return _adam(c, second, gradient, rate, draws, base)


def clipped(second: Matrix, gradient: Sequence[Any], *, rate: Fraction, sign: int, base: Any) -> Matrix:
    """I - (eta threshold / r) (I - g g^T / r^2) H with r = sign |g|: of a step whose gradient is cut to the threshold.

    r^(p+1) times the determinant is A + r B with A and B analytic everywhere, since r^2 = g . g. So if it does not
    vanish at one point, neither for r = |g| nor for r = -|g|, then A^2 - r^2 B^2 is not identically zero, and the
    determinant is non-zero almost everywhere (docs/training-step.md).
    """
    p, q = len(gradient), base.number
    square = sum((g * g for g in gradient[1:]), gradient[0] * gradient[0])
    length = q(sign) * base.elementary("sqrt")(square)
    across = [sum((g * row[j] for g, row in zip(gradient, second, strict=True)), q(0)) / square for j in range(p)]
    factor = q(rate * THRESHOLD) / length
    return [[q(int(i == j)) - factor * (second[i][j] - gradient[i] * across[j]) for j in range(p)] for i in range(p)]


def _adam(
    c: Any, second: Matrix, gradient: Sequence[Any], rate: Fraction, draws: Callable[[], Fraction], base: Any
) -> Matrix:
    """(theta, m, v) -> (c theta - eta m^ / (sqrt v^ + epsilon), beta1 m + (1-beta1) g, beta2 v + (1-beta2) g^2)."""
    p, q = len(gradient), base.number
    keep = [Fraction(1, 1) - MOMENTUM**STEP, Fraction(1, 1) - SECOND**STEP]
    by_m, by_v, speed = [], [], []
    for g in gradient:
        m = q(MOMENTUM * (draws() - Fraction(1, 2))) + q(1 - MOMENTUM) * g
        v = q(SECOND * (draws() + Fraction(1, 2))) + q(1 - SECOND) * g * g
        root = base.elementary("sqrt")(v * q(1 / keep[1]))
        below = q(Fraction(1)) / (root + q(STABILISER))
        by_m.append(q(rate / keep[0]) * below)
        by_v.append(-(q(rate / keep[0] / keep[1] / 2) * m * below * below / root))
        speed.append(q(2 * (1 - SECOND)) * g)
    share = q(1 - MOMENTUM)
    weights = [a * share + b * s for a, b, s in zip(by_m, by_v, speed, strict=True)]
    b1, b2 = q(MOMENTUM), q(SECOND)
    zero = _diagonal([q(0)] * p, q)
    top = _beside(_combine(c, weights, second, q), _diagonal([-(a * b1) for a in by_m], q))
    top = _beside(top, _diagonal([-(b * b2) for b in by_v], q))
    first = _beside(_beside([[share * x for x in row] for row in second], _diagonal([b1] * p, q)), zero)
    squares = [[s * x for x in row] for s, row in zip(speed, second, strict=True)]
    return top + first + _beside(_beside(squares, zero), _diagonal([b2] * p, q))


def _combine(c: Any, weights: Sequence[Any], second: Matrix, q: Any) -> Matrix:
    """c I - diag(weights) H."""
    zero = q(0)
    return [
        [(c if i == j else zero) - weight * entry for j, entry in enumerate(row)]
        for i, (weight, row) in enumerate(zip(weights, second, strict=True))
    ]


def _diagonal(entries: Sequence[Any], q: Any) -> Matrix:
    zero = q(0)
    return [[entry if i == j else zero for j in range(len(entries))] for i, entry in enumerate(entries)]


def _beside(left: Matrix, right: Matrix) -> Matrix:
    return [a + b for a, b in zip(left, right, strict=True)]


def closed_form(rule: Rule, *, parameters: int, rate: Fraction) -> Fraction | None:
    """The determinant at every parameter, for the rules whose determinant does not depend on H; else None."""
    c = kept(rule, rate)
    if rule == "sign":
        return c**parameters
    if rule == "heavy-ball":
        return MOMENTUM**parameters
    return (MOMENTUM * SECOND * c) ** parameters if rule in ADAPTIVE else None


def by_gate(
    rule: Rule, *, parameters: int, strengths: Sequence[Fraction], square: Fraction, rate: Fraction
) -> Fraction | None:
    """The determinant where the gate lemma gives the second derivatives (`proofs.recomputed.gate`), or everywhere.

    The eigenvalues of H are then the roots of `square` times a strength, of either sign, and 0; `square` is |w|^2.
    None for clipping by value, where it depends on the mask.
    """
    if rule not in ("gd", "weight-decay", "clip-norm"):
        return closed_form(rule, parameters=parameters, rate=rate)
    c = kept(rule, rate)
    factors = [c**2 - rate**2 * square * strength for strength in strengths]
    return c ** (parameters - 2 * len(factors)) * math.prod(factors)


def every_mask_passes(w: Sequence[Fraction], strengths: Sequence[Fraction], rate: Fraction, *, shift: bool) -> bool:
    """Whether the determinant of a step clipped by value is non-zero at a base point, whatever is clipped.

    Of a coordinate i it keeps some tokens v, and beta, gamma or both: 1 - eta^2 (sum of w[v]^2) (1, x^[i]^2 or both).
    """
    kinds = {part for s in strengths for part in ((Fraction(1), s - 1, s) if shift else (s,))}
    sums = {Fraction(0)}
    for entry in w:
        sums |= {total + entry**2 for total in sums}
        if len(sums) * len(kinds) > MOST_SUMS:
            return False
    return all(rate**2 * total * part != 1 for total in sums for part in kinds)


def formula(rule: Rule, *, layer_norm: bool) -> str:
    """The closed form in words of mathematics, for records."""
    if rule in ("gd", "clip-norm"):
        return "(1 - eta^2 |w|^2)^d at 0" if layer_norm else "1 at 0"
    if rule == "weight-decay":
        return (
            "(1-eta lambda)^(p-2d) ((1-eta lambda)^2 - eta^2 |w|^2)^d at 0" if layer_norm else "(1-eta lambda)^p at 0"
        )
    everywhere = {"sign": "(1-eta lambda)^p", "heavy-ball": "mu^p", "adam": "(beta1 beta2)^p",
                  "adamw": "(beta1 beta2 (1-eta lambda))^p"}  # fmt: skip
    return everywhere.get(rule, "at least (1 - eta^2 |w|^2)^d at 0, for every 0/1 mask")


def symbolically(rule: Rule, tokens: int) -> bool:
    """Whether sympy finds the closed form from the matrix of symbols, for one block of `tokens` + 1 or for p = 2."""
    eta, c, mu, beta = sympy.symbols("eta c mu beta")
    if states(rule) == 1 and rule != "sign":
        w: tuple[Any, ...] = sympy.symbols(f"w:{tokens}")
        s: Sequence[Any] = (
            sympy.symbols(f"s:{tokens + 1}") if rule == "clip-value" else [sympy.Integer(1)] * (tokens + 1)
        )
        keep = c if rule == "weight-decay" else sympy.Integer(1)
        block = keep * sympy.eye(tokens + 1)
        for v in range(tokens):
            block[v, tokens] = -eta * s[v] * w[v]
            block[tokens, v] = -eta * s[tokens] * w[v]
        masked = s[tokens] * sum(s[v] * w[v] ** 2 for v in range(tokens))
        return _equal(_determinant(block), keep ** (tokens - 1) * (keep**2 - eta**2 * masked))
    h = sympy.Matrix(2, 2, sympy.symbols("h0 h1 h1 h2"))
    one, zero = sympy.eye(2), sympy.zeros(2)
    if rule == "sign":
        return _equal(_determinant(c * one), c**2)
    if rule == "heavy-ball":
        step = sympy.Matrix(sympy.BlockMatrix([[one - eta * h, -eta * mu * one], [h, mu * one]]))
        return _equal(_determinant(step), mu**2)
    a, b, g = (sympy.diag(*sympy.symbols(f"{name}0 {name}1")) for name in "abg")
    first, squares = (1 - mu) * h, 2 * (1 - beta) * g * h
    step = sympy.Matrix(
        sympy.BlockMatrix(
            [[c * one - a * first - b * squares, -a * mu, -b * beta], [first, mu * one, zero],
             [squares, zero, beta * one]]
        )
    )  # fmt: skip
    return _equal(_determinant(step), (c * mu * beta) ** 2)


def _determinant(matrix: Any) -> Any:
    """Over the ring of polynomials in the symbols, which is a thousand times faster than over expressions."""
    ring = DomainMatrix.from_Matrix(matrix)
    last = ring.charpoly()[-1]  # of det(x - M) at x = 0
    return ring.domain.to_sympy(last if matrix.rows % 2 == 0 else -last)


def _equal(x: Any, y: Any) -> bool:
    return sympy.expand(x - y) == 0
