"""The operations that a graph may be made of, by name."""

from proofs.operations import algebra, elementary, leaves, normalization, piecewise, selection, structure
from proofs.operations.base import Application, Operation, Proved, prove

REGISTRY: dict[str, Operation] = {
    operation.name: operation
    for family in (leaves, structure, algebra, elementary, normalization, piecewise, selection)
    for operation in family.OPERATIONS
}

__all__ = ["REGISTRY", "Application", "Operation", "Proved", "prove"]
