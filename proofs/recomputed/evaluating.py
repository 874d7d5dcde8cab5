"""What an evaluation with weights at hand reads, makes and holds at once: shared by the prices of claims about them."""

from collections import defaultdict
from collections.abc import Callable, Iterator

from proofs.kernel.price import BALL, MOVES, NODE, of_node
from proofs.network.graph import LEAVES, Graph, Node
from proofs.operations.interpreter import live

BALL_TERM, BALL_BITS = 0.015, 128  # of a product in balls, of up to twice so many bits
WHOLE_BALL = 0.3  # of a weight that is made a ball
VIEWS = ("reshape", "permute", "expand", "slice")  # of the same entries, which stay as long as any of them


def weight_views(graph: Graph) -> set[int]:
    """Parameters, and views of them, which no evaluation computes."""
    found: set[int] = set()
    for index in live(graph):
        node = graph.nodes[index]
        if node.operation == "parameter" or (node.operation in VIEWS and found.issuperset(node.arguments)):
            found.add(index)
    return found


def computed(graph: Graph) -> Iterator[tuple[int, Node, list[Node]]]:
    """Every node that is evaluated, beside its arguments: no leaves, nor views of weights."""
    weights = weight_views(graph)
    for index in live(graph):
        node = graph.nodes[index]
        if node.operation not in LEAVES and index not in weights:
            yield index, node, [graph.nodes[i] for i in node.arguments]


def terms(node: Node, arguments: list[Node]) -> int:
    """Products that a matrix product adds up."""
    return node.type.size * shared(arguments) if node.operation == "matmul" else 0


def shared(arguments: list[Node]) -> int:
    """The axis that is summed over in a matrix product."""
    return max(arguments[0].type.shape[-1:], default=1) if arguments else 1


def held(graph: Graph, kept: Callable[[int], float], beside: Callable[[int], float]) -> float:
    """The most bytes at once, where a node keeps some until its last use and needs others beside while it is made."""
    order = live(graph)
    roots: dict[int, int] = {}
    last: dict[int, int] = {}
    for index in order:
        node = graph.nodes[index]
        roots[index] = roots[node.arguments[0]] if node.operation in VIEWS and node.arguments else index
        last[roots[index]] = index
        for argument in node.arguments:
            last[roots[argument]] = index
    ends: dict[int, list[int]] = defaultdict(list)
    for root, index in last.items():
        ends[index].append(root)
    own: dict[int, float] = defaultdict(float)
    now = most = 0.0
    for index in order:
        own[roots[index]] += kept(index)
        now += kept(index)
        most = max(most, now + beside(index))
        now -= sum(own.pop(root) for root in ends[index])
    return most


def in_balls(node: Node, arguments: list[Node], bits: int) -> float:
    """What a node takes in balls of so many bits over weights that are given: of a table rows alone are read."""
    if node.operation == "matmul" and len(arguments) == 2:
        longer = max(bits / (2 * BALL_BITS), 1)
        entries = node.type.size + sum(factors(node, arguments))
        return NODE + BALL_TERM * longer * terms(node, arguments) + BALL * entries
    if node.operation in MOVES:
        arguments = [one for one in arguments if one.operation not in LEAVES]
    return NODE + of_node(node, arguments)


def factors(node: Node, arguments: list[Node]) -> tuple[float, float]:
    """Entries of the two factors of a matrix product, as often as they are used in several."""
    (*_, rows, inner), (*_, columns) = ((1, 1, *one.type.shape) for one in arguments)
    return node.type.size / max(columns, 1) * inner, node.type.size / max(rows, 1) * inner


def read_whole(graph: Graph) -> dict[int, dict[str, int]]:
    """Of nodes that read more of parameters than rows the names of those, and their entries."""
    weights, found = weight_views(graph), dict[int, dict[str, int]]()
    for index in live(graph):
        node = graph.nodes[index]
        if index in weights:
            continue
        rows = node.arguments[:1] if node.operation == "take" and graph.nodes[node.arguments[0]].arguments == () else ()
        if read := [i for i in node.arguments if i in weights and i not in rows]:
            nodes = [graph.nodes[_parameter(graph, i)] for i in read]
            found[index] = {str(one.attributes.get("name")): one.type.size for one in nodes}
    return found


def cut_again(graph: Graph) -> float:
    """Entries of views of weights that products read, beyond one of each parameter, which whoever verifies has."""
    weights, first = weight_views(graph), dict[int, int]()
    read = {argument for index in live(graph) if graph.nodes[index].operation == "matmul"
            for argument in graph.nodes[index].arguments if argument in weights}  # fmt: skip
    for index in read:
        first[_parameter(graph, index)] = max(first.get(_parameter(graph, index), 0), graph.nodes[index].type.size)
    return sum(graph.nodes[index].type.size for index in read) - sum(first.values())


def _parameter(graph: Graph, index: int) -> int:
    while graph.nodes[index].operation != "parameter":
        index = graph.nodes[index].arguments[0]
    return index
