"""All rules of `numerics.lowering`, by the name of torch's operator."""

from numerics import operators_algebra, operators_layers, operators_structure
from numerics.lowering import Rule
from numerics.operators_complex import complex_rule

RULES: dict[str, Rule] = {**operators_structure.STRUCTURE, **operators_algebra.ALGEBRA, **operators_layers.LAYERS}


def rule_of(name: str, of_complex: bool) -> Rule | None:
    """The rule for an operator, or None; complex tensors have rules of their own."""
    return complex_rule(name) if of_complex else RULES.get(name)
