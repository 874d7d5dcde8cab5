"""All rules of `numerics.lowering`, by the name of torch's operator."""

from numerics import operators_algebra, operators_layers, operators_structure
from numerics.lowering import Rule

RULES: dict[str, Rule] = {**operators_structure.STRUCTURE, **operators_algebra.ALGEBRA, **operators_layers.LAYERS}
