"""What a number system has to offer so that every operation can be evaluated in it.

Real tensors are whatever the system likes (numpy arrays of balls, torch tensors ...); integers and truth values are
numpy arrays in every system, because they steer the evaluation (`whole.known`): the one exception is a comparison that
differs from prompt to prompt, which is a `midpoint.Sign` and only selects real numbers. A comparison that a system
cannot decide raises `Undecided`; nothing else asks a ball for a truth value.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.errors import SipitError, Unsupported
from proofs.network.graph import Constant, Number

Reals = Any
Discrete = np.ndarray[Any, Any]

ELEMENTARY = (
    "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "softplus", "erf", "sqrt", "rsqrt", "absolute",
)  # fmt: skip

ENCLOSED = (
    "Expected truth values and whole numbers that are known, but they follow from numbers that are enclosed, or that "
    "differ from token to token; bound the distances of pairs of prompts instead."
)


class Undecided(SipitError, ArithmeticError):
    """An enclosure is too wide to say which branch is taken; more bits may help."""


class Enclosures:
    """A tensor that is no array. numpy, and an `if`, would take such an object for True."""

    __slots__ = ()

    def __array__(self, *arguments: object, **keywords: object) -> Any:
        raise Unsupported(ENCLOSED)

    def __bool__(self) -> bool:
        raise Unsupported(ENCLOSED)


def real_entries(value: Constant) -> tuple[Number, ...]:
    """The entries of a constant of reals, -inf among them as a mask; Unsupported where it holds +inf."""
    if math.inf in value.values:
        raise Unsupported("Expected constants that are real, or -inf as a mask, but got +inf; leave out what holds it.")
    return value.entries()


def taken(x: Discrete, index: Discrete, axis: int) -> Discrete:
    """Entries of an array along an axis by index, as an array: numpy hands out a bare entry where no axis is left."""
    flat = np.take(x, index.ravel(), axis)
    return flat.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


class Arithmetic(ABC):
    """A number system; tensors have numpy's broadcasting rules."""

    @abstractmethod
    def constant(self, value: Constant) -> Any:
        """A tensor of known entries; integers and truth values as numpy arrays."""

    @abstractmethod
    def scalar(self, value: Fraction) -> Reals:
        """A rational number as a tensor without axes."""

    @abstractmethod
    def real(self, value: Discrete) -> Reals:
        """Integers or truth values as real numbers."""

    @abstractmethod
    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        """The same entries, row-major, in another shape."""

    @abstractmethod
    def permute(self, x: Any, order: Sequence[int]) -> Any:
        """Axes in another order."""

    @abstractmethod
    def expand(self, x: Any, shape: Sequence[int]) -> Any:
        """Repeated along axes of size one."""

    @abstractmethod
    def slice(self, x: Any, axis: int, start: int, stop: int, step: int) -> Any:
        """Every step-th entry along one axis."""

    @abstractmethod
    def concatenate(self, parts: Sequence[Any], axis: int) -> Any:
        """Tensors one after the other along an axis."""

    @abstractmethod
    def take(self, x: Any, index: Discrete, axis: int) -> Any:
        """x along `axis` at the entries of `index`, whose axes replace that axis."""

    @abstractmethod
    def gather(self, x: Any, index: Discrete, axis: int) -> Any:
        """result[..i..] = x[..index[..i..]..], the other axes unchanged."""

    @abstractmethod
    def select(self, condition: Discrete, x: Any, y: Any) -> Any:
        """x where the condition holds, else y."""

    @abstractmethod
    def add(self, x: Any, y: Any) -> Any:
        """x + y."""

    @abstractmethod
    def subtract(self, x: Any, y: Any) -> Any:
        """x - y."""

    @abstractmethod
    def multiply(self, x: Any, y: Any) -> Any:
        """x * y, entry by entry."""

    @abstractmethod
    def divide(self, x: Reals, y: Reals) -> Reals:
        """x / y, entry by entry."""

    @abstractmethod
    def power(self, x: Any, exponent: int) -> Any:
        """x to a whole power >= 0."""

    @abstractmethod
    def matmul(self, x: Reals, y: Reals) -> Reals:
        """Matrix product over the last two axes, broadcast over the others."""

    @abstractmethod
    def sum(self, x: Any, axes: Sequence[int], keep: bool) -> Any:
        """The sum over some axes."""

    @abstractmethod
    def cumulative_sum(self, x: Any, axis: int) -> Any:
        """Partial sums along an axis."""

    @abstractmethod
    def apply(self, name: str, x: Reals) -> Reals:
        """One of the ELEMENTARY functions, entry by entry."""

    @abstractmethod
    def shift(self, x: Reals, axis: int) -> Reals:
        """Any finite tensor to subtract before exponentials, one per row, so that they do not overflow."""

    @abstractmethod
    def greater(self, x: Reals, y: Reals) -> Discrete:
        """Whether x > y, entry by entry; raises Undecided."""

    @abstractmethod
    def top(self, x: Reals, axis: int, count: int) -> Discrete:
        """Places of the largest entries of each row, in order, the first of equals first; raises Undecided."""

    @abstractmethod
    def floor(self, x: Reals) -> Discrete:
        """The greatest integer at most x; raises Undecided."""

    def negate(self, x: Any) -> Any:
        """-x."""
        return self.subtract(self.scalar(Fraction(0)), x)

    def constant_like(self, value: Fraction, shape: Sequence[int]) -> Reals:
        """A tensor of one number."""
        return self.expand(self.reshape(self.scalar(value), [1] * len(shape)), shape)
