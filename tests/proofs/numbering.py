"""Small networks whose rows are numbered, and whether two prompts have one number there."""

from collections.abc import Callable

from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from tests.proofs.building import Net

VOCABULARY, WIDTH = 9, 2


def rows(length: int) -> tuple[Net, int]:
    """A net with the rows of the tokens."""
    net = Net()
    return net, net.op("take", net.parameter("embedding", VOCABULARY, WIDTH), net.tokens(length, VOCABULARY), axis=0)


def last_row(net: Net, x: int, length: int) -> int:
    """The last of so many rows (1, length, …)."""
    return net.op("slice", x, axis=1, start=length - 1, stop=length, step=1)


def equal(networks: Callable[[int], Graph], first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    graphs = {n: networks(n) for n in {len(first), len(second)}}
    return Numbering(graphs.values()).equal(graphs[len(first)], first, graphs[len(second)], second)
