"""All rules of `numerics.graphs.lowering`, by the name of torch's operator."""

from numerics.graphs.builder import Rule
from numerics.graphs.operators import algebra, layers, structure
from numerics.graphs.operators.complex import complex_rule

RULES: dict[str, Rule] = {**structure.STRUCTURE, **algebra.ALGEBRA, **layers.LAYERS}


def rule_of(name: str, of_complex: bool) -> Rule | None:
    """The rule for an operator, or None; complex tensors have rules of their own."""
    return complex_rule(name) if of_complex else RULES.get(name)
