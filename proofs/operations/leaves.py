"""Where a graph begins: tokens, parameters and constants."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from proofs.arithmetic.base import Arithmetic
from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.errors import InvalidInput
from proofs.network.graph import TensorType
from proofs.operations.base import Application, Attributes, Operation, Proved, expect, integer, integers, unmet
from proofs.operations.masks import of_constant
from proofs.regularity import CONSTANT, POLYNOMIAL, Facts


def _leaf_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(not types, "a leaf without arguments")
    kind = attributes.get("kind")
    expect(kind in ("real", "integer", "boolean"), "a kind of numbers")
    shape = integers(attributes, "shape")
    return TensorType(shape, "real" if kind == "real" else "integer" if kind == "integer" else "boolean")


def _tokens_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(integer(attributes, "vocabulary") >= 1, "a vocabulary of at least one token")
    expect(attributes.get("kind") == "integer", "tokens that are integers")
    return _leaf_type(types, attributes)


def _parameter_type(types: Sequence[TensorType], attributes: Attributes) -> TensorType:
    expect(attributes.get("kind") == "real", "a parameter that is real")
    return _leaf_type(types, attributes)


def _tokens_facts(at: Application) -> Proved:
    last = Fraction(at.integer("vocabulary") - 1)
    return Proved(Facts(CONSTANT, Interval(Fraction(0), False, last, False)))


def _constant_facts(at: Application) -> Proved:
    value = at.graph.constant(at.node)
    if value is None:
        return Proved(Facts(CONSTANT, EVERYTHING))
    finite = [Fraction(v) for v in value.values if not isinstance(v, float)]
    if any(v == float("inf") for v in value.values):
        return unmet(at, at.condition("a constant is real, or -inf as a mask", False, "it holds +inf"))
    bounds = Interval(min(finite), False, max(finite), False) if finite else EVERYTHING
    return Proved(Facts(CONSTANT, bounds, of_constant(value)))


def _supplied(a: Arithmetic, values: Sequence[Any], attributes: Attributes) -> Any:
    raise InvalidInput("Expected the value of every leaf to be given; pass tokens and parameters by name.")


OPERATIONS = (
    Operation("tokens", "the token ids of the prompt", "fixed: the statement is made for each prompt of this length",
              _tokens_type, _tokens_facts, _supplied),
    Operation("parameter", "a tensor of real parameters", "a coordinate function, polynomial",
              _parameter_type, lambda at: Proved(Facts(POLYNOMIAL)), _supplied),
    Operation("constant", "a tensor fixed by the architecture", "constant", _leaf_type, _constant_facts, _supplied),
)  # fmt: skip
