"""What the states of a prefix followed by very many tokens cost, in the unit of `proofs.kernel.price`."""

import math
from collections.abc import Iterator

from proofs.enclosures.closest import MOST_MEASURED, ROWS
from proofs.enclosures.continuations import BATCH
from proofs.kernel.price import MOVES, OBJECT, POINTER, Part, whole_of
from proofs.kernel.vocabulary import BITS, SAMPLE, TOGETHER
from proofs.network.graph import LEAVES, Graph, Node
from proofs.recomputed.evaluating import (
    WHOLE_BALL,
    computed,
    cut_again,
    held,
    in_balls,
    read_whole,
    shared,
    weight_views,
)
from proofs.recomputed.reach import Box, boxes

FLOAT, FLOAT_TERM, BY_ARB = 0.02, 0.0006, 4.0  # of an entry in floats, of a product; of a function that Arb evaluates
LEFT_TO_ARB = ("erf", "gelu", "mish", "softplus", "log", "log1p", "log_sum_exp", "expm1", "elu", "sin", "cos")
LANE = 150.0  # of a node, for every batch
DISTANCE, PAIR, HASHED = 0.00005, 0.008, 0.01  # of a pair of states, for each coordinate and besides; of an entry of a
# row that is hashed
DIRECT, MEASURED = 0.005, 5.0  # of a pair that matrix products do not exclude, likewise
MIDPOINT, COPIES, PARTS = 16.0, 4.0, 40.0  # bytes of a midpoint and its radius; of them at a time; of a weight in parts


def of_tokens(graph: Graph, tokens: int) -> Iterator[Part]:
    """All states in batches, all distances, and a sample in Arb.

    What all prompts share is evaluated once for a batch, and for each token what varies with it: all of the network,
    unless less is known to.
    """
    parts, width = _Parts(graph), max(graph.nodes[graph.output].type.shape[-1:], default=1)
    whole: dict[int, Box] = {index: node.type.shape for index, node, _ in parts.nodes}
    states = 3.0 * POINTER * tokens * width + PARTS * cut_again(graph)
    once, most = parts.work(whole) + LANE * len(parts.nodes), MIDPOINT * parts.held(whole)
    rows = HASHED * tokens * _of_rows(graph)
    yield "vocabulary", (tokens / BATCH + 3) * once + rows, states + most
    yield "distances", of_pairs(tokens, width), states
    varying = boxes(graph)  # which takes what has just been paid
    lanes = whole if varying is None else varying
    yield "vocabulary", tokens * parts.work(lanes), states + most + BATCH * MIDPOINT * parts.held(lanes)
    read = {name: size for names in read_whole(graph).values() for name, size in names.items()}
    entries, asked = sum(read.values()), min(tokens, SAMPLE)
    each = sum(in_balls(node, arguments, BITS) for _, node, arguments in parts.nodes)
    balls = WHOLE_BALL * entries * math.ceil(asked / TOGETHER)
    yield "sample in Arb", asked * each + balls, states + OBJECT * (entries + parts.held(whole))


def of_pairs(tokens: int, width: int) -> float:
    """Of all pairs of states, and of as many as are measured directly before it is given up."""
    direct = min(float(math.comb(tokens, 2)), MOST_MEASURED * math.ceil(tokens / ROWS))
    return float(tokens) ** 2 * (PAIR + DISTANCE * width) + direct * (MEASURED + DIRECT * width)


class _Parts:
    """The nodes of a graph that are evaluated, beside their arguments."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.weights = weight_views(graph)
        self.nodes = list(computed(graph))

    def work(self, boxes: dict[int, Box]) -> float:
        """What the nodes take on boxes of their entries; nothing those that have none."""
        return sum(self._of_node(*at, boxes[at[0]]) for at in self.nodes if at[0] in boxes)

    def held(self, boxes: dict[int, Box]) -> float:
        """The most entries of such boxes at once, with what is copied on the way."""
        sizes = {at[0]: self._read(*at, boxes[at[0]]) for at in self.nodes if at[0] in boxes}
        own = {index: float(math.prod(box)) for index, box in boxes.items()}
        return held(self.graph, lambda i: own.get(i, 0.0), lambda i: COPIES * sizes.get(i, 0.0))

    def _of_node(self, index: int, node: Node, arguments: list[Node], box: Box) -> float:
        each = BY_ARB if node.operation in LEFT_TO_ARB else FLOAT
        if node.operation == "power":
            each *= max(whole_of(node.attributes, "exponent"), 1)
        if node.operation == "scatter" and arguments:
            each *= max(arguments[-1].type.shape, default=1)
        products = math.prod(box) * shared(arguments) if node.operation == "matmul" else 0
        return each * self._read(index, node, arguments, box) + FLOAT_TERM * products

    def _read(self, index: int, node: Node, arguments: list[Node], box: Box) -> float:
        """Entries that are made and read for a box of a node's: whole rows and columns, and what is summed over."""
        made = float(math.prod(box))
        if node.operation == "matmul" and len(box) > 1:  # of weights nothing is copied
            sides = [made / max(box[-1], 1), made / max(box[-2], 1)]
            read = [side for side, i in zip(sides, node.arguments, strict=False) if i not in self.weights]
            return made + shared(arguments) * sum(read)
        if node.operation in MOVES:
            arguments = [one for one in arguments if one.operation not in LEAVES]
        return made + made / max(node.type.size, 1) * sum(one.type.size for one in arguments)


def _of_rows(graph: Graph) -> int:
    """Entries of the rows that tell tokens apart."""
    takes = [node for node in graph.nodes if node.operation == "take" and node.arguments]
    return sum(math.prod(graph.nodes[node.arguments[0]].type.shape[1:]) for node in takes)
