"""One line of a proof: what the kernel derives for a node, from the types and lines of its arguments."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import mpmath
import pytest

from proofs.arithmetic.bounds import EVERYTHING, Interval
from proofs.kernel.lemmas.instance import Instance, Line
from proofs.kernel.lemmas.table import establish
from proofs.kernel.result import Rejected
from proofs.network.graph import Constant, Graph, Node, TensorType
from proofs.regularity import CONSTANT, POLYNOMIAL

HALF = Fraction(1, 2)
Argument = tuple[tuple[int, ...], str, Line]


def real(shape: tuple[int, ...] = (4,), line: Line = Line(POLYNOMIAL)) -> Argument:  # noqa: B008 - it is frozen
    return shape, "real", line


def whole(shape: tuple[int, ...] = (4,), bounds: Interval = EVERYTHING, regularity: Any = CONSTANT) -> Argument:
    return shape, "integer", Line(regularity, bounds)


def truth(shape: tuple[int, ...] = (4,), regularity: Any = CONSTANT) -> Argument:
    return shape, "boolean", Line(regularity)


def within(lower: Any, upper: Any, opened: bool = False) -> Line:
    ends = (None if end is None else Fraction(end) for end in (lower, upper))
    lower, upper = ends
    return Line(POLYNOMIAL, Interval(lower, opened and lower is not None, upper, opened and upper is not None))


def derived(
    operation: str, arguments: Sequence[Argument], shape: Any = (4,), /, result: Any = "real", constants: Any = (),
    values: Sequence[Constant] = (Constant((), "real", (0,)),), **attributes: Any,
) -> Line:  # fmt: skip
    """What the kernel derives for one node whose arguments have these types and lines.

    Args:
        constants: by argument the node of a constant, or None.
        values: the constants of the graph.
    """
    nodes = [Node("input", (), {}, TensorType(s, k)) for s, k, _ in arguments]
    nodes = [constants[i] if i < len(constants) and constants[i] is not None else node for i, node in enumerate(nodes)]
    node = Node(operation, tuple(range(len(nodes))), attributes, TensorType(shape, result))
    return last_line([*nodes, node], [line for *_, line in arguments], values)


def last_line(nodes: Sequence[Node], lines: Sequence[Line], values: Sequence[Constant] = ()) -> Line:
    """What the kernel derives for the last of some nodes from the lines of those before."""
    node = nodes[-1]
    graph = Graph(tuple(nodes), tuple(values), len(nodes) - 1, 1)
    arguments = tuple(lines[i] for i in node.arguments)
    return establish(Instance(graph, node, arguments, tuple(nodes[i] for i in node.arguments), lines.__getitem__))


def refused(operation: str, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(Rejected):
        derived(operation, *args, **kwargs)


def over(function: Any) -> Any:
    """A function of mpmath, of a Fraction and to one, to 50 digits."""

    def at(x: Fraction) -> Fraction:
        with mpmath.workdps(60):
            return Fraction(mpmath.nstr(function(mpmath.mpf(x.numerator) / x.denominator), 50))

    return at


def inside(value: Any, bounds: Interval) -> bool:
    """Whether a value is one of those that bounds allow."""
    above = bounds.lower is None or value > bounds.lower or (value == bounds.lower and not bounds.open_below)
    return above and (bounds.upper is None or value < bounds.upper or (value == bounds.upper and not bounds.open_above))
