"""The operations that a graph may be made of, by name."""

from proofs.operations import algebra, elementary, leaves, normalization, piecewise, selection, structure
from proofs.operations.base import Application, Operation, Proved, prove

REGISTRY: dict[str, Operation] = {
    operation.name: operation
    for family in (leaves, structure, algebra, elementary, normalization, piecewise, selection)
    for operation in family.OPERATIONS
}
VANISHING = frozenset({
    "expm1", "sin", "tanh", "erf", "log1p", "sqrt", "silu", "gelu", "tanh_gelu", "mish", "relu", "absolute",
    "leaky_relu", "elu",
})  # fmt: skip
"""Those of one argument that make 0 of 0."""

__all__ = ["REGISTRY", "VANISHING", "Application", "Operation", "Proved", "prove"]
