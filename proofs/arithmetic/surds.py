"""Exact algebra with square roots: what an interval can never show, that something is zero.

A number is a sum of terms q * logarithm^k * sqrt(r), with rational q and a squarefree integer r. The square roots of
distinct squarefree integers are linearly independent over the rationals (Besicovitch 1940), so a sum without powers of
the logarithm is zero exactly if it has no terms. The logarithm stands for log(argument) of one positive rational,
and e^logarithm is that rational. Whatever leaves this ring is `unknown`: a real number, of which only 0 * unknown = 0
is used. So it serves only networks in which every value is real: those that `prove_analytic` proves analytic.

What it costs cannot be read off a graph, in which most entries may be zero or long sums of roots. So it can be paid as
it is done (`at_most`).
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from proofs.arithmetic.base import Discrete, Reals, Undecided
from proofs.arithmetic.objects import ObjectArithmetic
from proofs.network.graph import Number

Terms = Mapping[tuple[int, int], flint.fmpq]  # (power of the logarithm, squarefree radicand) -> coefficient
_ONE = flint.fmpq(1)
MOST_TERMS, MOST_BITS = 8, 512  # of a number that is followed; a longer one is unknown
SMALL, LARGEST_FACTOR = 20, 160  # bits of factors that are found in any number, and of one that can be factored at all
PRODUCT, WORD = 4.0, 128  # microseconds that a product of two terms takes for each word of the result, of so many bits
SMOOTH, FACTOR = 25.0, 40.0  # and the search for small factors for each bit; a factor of b bits: FACTOR 2^(b / 12)
_purse: ContextVar["_Purse | None"] = ContextVar("what is left to pay for exact algebra", default=None)


class TooLong(Exception):
    """Exact algebra that takes longer than is allowed."""


@contextmanager
def at_most(microseconds: float) -> Generator[None]:
    """Inside, exact algebra that takes longer in all raises TooLong; by a tariff, so that it always does or never."""
    token = _purse.set(_Purse(microseconds, {}))
    try:
        yield
    finally:
        _purse.reset(token)


@dataclass(slots=True)
class _Purse:
    """What is left to pay, in microseconds, and the roots that were paid for."""

    left: float
    roots: "dict[flint.fmpq, Surd]"


def _pay(microseconds: float) -> None:
    purse = _purse.get()
    if purse is not None:
        purse.left -= microseconds
        if purse.left < 0:
            raise TooLong("its sums of square roots take more time than the limit allows; raise it")


class Surd:
    """An exact number; `terms` is None where it is unknown, `masked` marks minus infinity."""

    __slots__ = ("masked", "terms")

    def __init__(self, terms: Terms | None, masked: bool = False) -> None:
        self.terms = terms
        self.masked = masked

    @classmethod
    def of(cls, value: Fraction | int, logarithms: int = 0) -> "Surd":
        """A rational, times a power of the logarithm."""
        return _short({(logarithms, 1): flint.fmpq(value.numerator, value.denominator)}) if value else ZERO

    @property
    def rational(self) -> flint.fmpq | None:
        """The number, where it is known and rational."""
        if self.terms is None or any(key != (0, 1) for key in self.terms):
            return None
        return self.terms.get((0, 1), flint.fmpq(0))

    @property
    def zero(self) -> bool | None:
        """Whether it is zero; None where the algebra cannot tell."""
        if self.terms is None or self.masked:
            return None
        return True if not self.terms else None if any(power for power, _ in self.terms) else False

    def __add__(self, other: "Surd") -> "Surd":
        if self.masked or other.masked:
            return MASKED
        if self.terms is None or other.terms is None:
            return UNKNOWN
        if not self.terms or not other.terms:
            return other if not self.terms else self
        total = dict(self.terms)
        for key, value in other.terms.items():
            total[key] = total[key] + value if key in total else value
        return _paid(total, len(total))

    def __neg__(self) -> "Surd":
        return self if self.terms is None else Surd({key: -value for key, value in self.terms.items()})

    def __sub__(self, other: "Surd") -> "Surd":
        return self + (-other)

    def __mul__(self, other: "Surd") -> "Surd":
        if self.masked or other.masked:
            return MASKED
        if self.terms == {} or other.terms == {}:
            return ZERO
        if self.terms is None or other.terms is None:
            return UNKNOWN
        total: dict[tuple[int, int], flint.fmpq] = {}
        for (k, r), a in self.terms.items():
            for (m, s), b in other.terms.items():
                common = math.gcd(r, s)
                key = (k + m, r * s // common**2)
                value = a * b * common
                total[key] = total[key] + value if key in total else value
        return _paid(total, len(self.terms) * len(other.terms))

    def __truediv__(self, other: "Surd") -> "Surd":
        divisor = other.rational
        if not divisor:
            return ZERO if self.terms == {} and divisor is None else UNKNOWN
        return self * Surd({(0, 1): 1 / divisor})


def _paid(total: Terms, products: int) -> Surd:
    """A sum of so many products of terms, once they are paid."""
    terms = {key: value for key, value in total.items() if value}
    _pay(PRODUCT * products * (1 + _bits(terms) // WORD))
    return _short(terms)


def _short(terms: Terms) -> Surd:
    """The number, or an unknown one where it takes more terms or digits than are worth it."""
    return UNKNOWN if _bits(terms) > MOST_BITS or len(terms) > MOST_TERMS else Surd(terms)


def _bits(terms: Terms) -> int:
    return max((value.height_bits() for value in terms.values()), default=0)


ZERO, UNKNOWN, MASKED = Surd({}), Surd(None), Surd(None, masked=True)


def reciprocal_root(value: flint.fmpq) -> Surd:
    """value^(-1/2) for a positive rational, as a rational times the root of a squarefree integer.

    Within `at_most` each is paid once: what was computed before that must not decide what is too long.
    """
    purse = _purse.get()
    if purse is None:
        return _remembered_root(value)
    if value not in purse.roots:
        purse.roots[value] = _root(value)
    return purse.roots[value]


@functools.lru_cache(maxsize=4096)
def _remembered_root(value: flint.fmpq) -> Surd:
    return _root(value)


def _root(value: flint.fmpq) -> Surd:
    product = value.p * value.q
    if product.bit_length() > MOST_BITS:
        return UNKNOWN
    _pay(SMOOTH * product.bit_length())
    exponents: Counter[int] = Counter()
    for factor, exponent in product.factor_smooth(SMALL):
        if not factor.is_prime() and factor.bit_length() > LARGEST_FACTOR:
            return UNKNOWN
        _pay(FACTOR * 2 ** (factor.bit_length() / 12))
        exponents.update({int(prime): int(power * exponent) for prime, power in factor.factor()})
    radicand = math.prod(prime for prime, exponent in exponents.items() if exponent % 2)
    # sqrt(n / d) = sqrt(n d) / d, and 1 / sqrt(v) = sqrt(v) / v
    return Surd({(0, radicand): (product // radicand).isqrt() / (value.q * value)})


class Surds(ObjectArithmetic):
    """The ring above as a number system; `argument` is the rational whose logarithm it knows."""

    def __init__(self, argument: Fraction | int = 1) -> None:
        self.argument = flint.fmpq(argument.numerator, argument.denominator)

    def number(self, value: Number) -> Surd:
        """A rational; minus infinity as a mask."""
        if isinstance(value, float):
            return MASKED if value < 0 else UNKNOWN
        return Surd.of(value)

    def elementary(self, name: str) -> Callable[[Any], Any]:
        """The few values that are known: e^0, e^(k log), tanh 0, erf 0, and reciprocal roots of rationals."""
        known: dict[str, Callable[[Surd], Surd]] = {"exp": self._exp, "rsqrt": self._rsqrt}
        if name in ("tanh", "erf", "sin"):
            return lambda x: ZERO if x.zero else UNKNOWN
        return known.get(name, lambda _: UNKNOWN)

    def _exp(self, x: Surd) -> Surd:
        if x.masked:
            return ZERO
        if x.terms is None:
            return UNKNOWN
        if not x.terms:
            return Surd({(0, 1): _ONE})
        factor = x.terms.get((1, 1))
        if set(x.terms) == {(1, 1)} and factor is not None and factor.q == 1 and abs(factor) <= MOST_TERMS:
            return _short({(0, 1): self.argument ** int(factor.p)})
        return UNKNOWN

    def _rsqrt(self, x: Surd) -> Surd:
        value = x.rational
        return UNKNOWN if value is None or value <= 0 else reciprocal_root(value)

    def shift(self, x: Reals, axis: int) -> Reals:
        """Nothing is subtracted: nothing overflows here."""
        shape = tuple(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape))
        return np.full(shape, ZERO, dtype=object)

    def greater(self, x: Reals, y: Reals) -> Discrete:
        """Never decided: the witnesses meet no comparison."""
        raise Undecided("Expected no comparison, but the network makes one; use balls.")

    def top(self, x: Reals, axis: int, count: int) -> Discrete:
        """Never decided."""
        raise Undecided("Expected no ranking, but the network makes one; use balls.")

    def floor(self, x: Reals) -> Discrete:
        """Never decided."""
        raise Undecided("Expected no rounding, but the network makes one; use balls.")
