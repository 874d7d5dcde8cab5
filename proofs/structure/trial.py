"""What is claimed to collide is tried as well: a separation in balls would be a fault of ours."""

from collections.abc import Mapping, Sequence

from proofs.errors import Fault
from proofs.kernel.generic_position import Point
from proofs.kernel.patterns import Prompt
from proofs.network.graph import Graph


def expect_equal(graphs: Mapping[int, Graph], pairs: Sequence[tuple[Prompt, Prompt]], seed: int = 0) -> None:
    """Evaluates pairs of prompts that are proved equal, at a random point. A test, never evidence.

    Args:
        graphs: the network by length, small enough to be evaluated in balls.
        pairs: prompts that value numbering calls equal.
        seed: draws the point.

    Raises:
        Fault: balls show two of the states to differ.
    """
    point = Point(graphs, seed, ())
    for first, second in pairs:
        if point.separates(first, second):
            raise Fault(f"{list(first)} and {list(second)} were proved to have one state, but balls keep them apart")
