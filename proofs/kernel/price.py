"""What a check would cost, added up before anything is computed.

The unit is about a microsecond of one processor. What takes no longer than reading the file is not counted; what a few
characters of it can ask for is: repeated rows, entries that one number stands for, evaluations of large tensors, at
many points, in many digits. A certificate beyond the limit is undecided: nothing is said of its claim.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proofs.errors import InvalidInput
from proofs.kernel.collisions import looked_at
from proofs.kernel.generic_position import as_evaluated, regularity_of
from proofs.kernel.result import Rejected
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.folding import extent
from proofs.network.graph import LEAVES, Graph, Node
from proofs.operations.interpreter import live

USUAL = 1e7  # what a certificate may cost; and where what the commands make costs more:
DEARER = {"regularity": 1.3e7, "separation": 4e9, "vocabulary-margin": 4e9}  # (a network of 130 layers is one of them)
MEMORY = 5e8  # bytes at a time, beside what the program itself takes; and of what is computed with weights at hand:
_STEPS = ("enclosures", "steps in fixed point", "steps in Arb", "distances", "vocabulary", "sample in Arb")
LARGER: Mapping[str, float] = dict.fromkeys(_STEPS, 1.2e10)

ROW, READ, CHARACTER = 120.0, 80.0, 0.05  # of a graph written out; a row that is derived, or only read
ARGUMENT = 0.2  # of a row, for each of its arguments
CHOICES = 300.0  # more of a row where choices are silenced, and each line is derived several times
ENTRY, MASKED = 1.0, 0.003  # of a constant, of what is made of constants, or of a mask; and where a mask is only read
NODE, BALL, FUNCTION, SLOW, MOVE, TERM = 40.0, 0.5, 3.0, 6.0, 0.05, 0.06  # of an evaluation in balls of 128 bits
OBJECT, POINTER = 120, 8  # bytes of a ball, and of its place in an array
PASSES, LARGEST = 6, 10**6  # evaluations of a stored witness; a number of a claim
NUMBER, LOOKUP, READ_TERM = 40.0, 4.5, 0.5  # of a node where equal states are numbered, a number, a term of a sum
POWER, DRAWN = 70.0, 1.5  # of bounds, for each digit of an exponent; of an entry of a parameter at a point
TOKEN, PREFIX = 0.05, 3.0  # of a token of a prompt; of a pair of prompts, whose common prefix is looked for

MOVES = ("reshape", "permute", "expand", "slice", "concatenate", "take", "gather", "select")
SIGNS = ("add", "subtract", "multiply", "negate", "absolute", "relu", "clamp", "maximum", "minimum", "leaky_relu")
MALFORMED = (AssertionError, LookupError, TypeError, ValueError)  # met in graphs of which the kernel says more

Part = tuple[str, float, float]  # what, its cost, and how many bytes it holds at a time
More = Callable[[Mapping[str, Any], list[Graph]], Iterator[Part]]  # what a kind pays beside, by its graphs


class TooLarge(Exception):
    """A certificate that would cost more than the limit."""


def nothing_more(certificate: Mapping[str, Any], graphs: list[Graph]) -> Iterator[Part]:
    """Of a kind for which what all kinds pay is enough."""
    return iter(())


def afford(certificate: Mapping[str, Any], kind: str, limit: float, more: More = nothing_more) -> float:
    """What is left of `limit` times what is usual for a kind, once all is paid.

    Raises:
        TooLarge: a check would cost more.
    """
    left = limit * DEARER.get(kind, USUAL)
    for what, cost, size in parts(certificate, kind, more):
        left -= cost
        if not (left >= 0 and size <= LARGER.get(what, MEMORY) * limit):
            raise TooLarge(f"its {what} take more time or memory than the limit allows; raise it")
    return left


def parts(certificate: Mapping[str, Any], kind: str, more: More = nothing_more) -> Iterator[Part]:
    """What is paid for, one after the other: a graph is read only when what came before is paid."""
    graphs: list[Graph] = []
    choices = kind == "generic-position" and object_in(certificate.get("claim")).get("zeroed")
    for data, row in _written(certificate):
        try:
            rows, arguments, characters = extent(data)
            each = row + (CHOICES if choices else 0.0)
            work = each * (rows + ARGUMENT * arguments) + CHARACTER * characters
            yield "nodes", work, 1000.0 * rows + POINTER * arguments + 2.0 * characters
            graphs.append(Graph.from_json(data))
        except InvalidInput:
            continue  # which the kernel says better
        spread, read = _spread(graphs[-1])
        yield "constants and masks", ENTRY * spread + MASKED * read, 2.0 * POINTER * spread
        powers = sum(whole_of(node.attributes, "exponent").bit_length() for node in graphs[-1].nodes)
        yield "powers", POWER * powers, 0.0
    claim, witness = (object_in(certificate.get(name)) for name in ("claim", "witness"))
    if kind == "regularity" and witness:
        times = PASSES * max(whole_of(witness, "bits") / 128, 1)
        yield from (evaluations(graph, times, PASSES) for graph in graphs[:1])
    yield from _written_prompts(certificate, [graph.length for graph in graphs])
    evaluated, numbered, points = _prompts(certificate)
    zeroed = claim.get("zeroed")
    if kind == "generic-position" and isinstance(zeroed, list) and zeroed:
        graphs = _silenced(graphs, zeroed)
    if kind == "regularity" and certificate.get("structural_collisions") is not None:
        # the file has a say in whether, and none in which are looked at
        numbered = Counter(map(len, looked_at({graph.length for graph in graphs})))
    yield from numbering([graph for graph in graphs if numbered[graph.length]], numbered)
    for graph in graphs:
        if evaluated[graph.length]:
            yield evaluations(graph, evaluated[graph.length], points)
    yield from more(certificate, graphs)


def _written(certificate: Mapping[str, Any]) -> Iterator[tuple[Any, float]]:
    """Every graph in a certificate, and what its rows cost; that of a stored witness first, which is evaluated."""
    for place in (certificate.get("witness"), certificate, certificate.get("closest")):
        if "graph" in object_in(place):
            yield object_in(place)["graph"], ROW
        for name, row in (("graphs", ROW), ("other_lengths", READ)):
            graphs = object_in(place).get(name)
            yield from ((data, row) for data in (graphs.values() if isinstance(graphs, Mapping) else list_in(graphs)))


def _written_prompts(certificate: Mapping[str, Any], lengths: list[int]) -> Iterator[Part]:
    """Prompts that are looked at, on all graphs, or that stand in the file: each, and what each has in common."""
    listed = [
        len(list_in(prompt))
        for family in list_in(certificate.get("structural_collisions"))
        for pair in list_in(object_in(family).get("pairs"))
        for prompt in list_in(pair)
    ]
    tokens = len(lengths) * sum(lengths) + sum(listed)  # a run of one token for every two lengths
    pairs = sum(float(n) ** 2 for n in (*lengths, *lengths, *lengths, *lengths, *listed))
    yield "prompts", TOKEN * tokens + PREFIX * pairs, POINTER * float(tokens)


def _spread(graph: Graph) -> tuple[int, int]:
    """How many entries are written out whatever is checked, of constants, what is made of them, and masks; and how
    many entries of masks are only read.
    """
    written = read = 0
    known: set[int] = set()
    masked: set[int] = set()
    for index, node in enumerate(graph.nodes):
        value = graph.constant(node) if node.operation == "constant" else None
        if value is not None or (node.arguments and known.issuperset(node.arguments)):
            known.add(index)
        passes = node.operation in (*MOVES, "add", "subtract", "maximum") and masked.intersection(node.arguments)
        if passes or (value is not None and float("-inf") in value.values):
            masked.add(index)
        if index in known or index in masked or node.operation == "cumulative_sum":
            written += node.type.size
        elif masked.intersection(node.arguments):
            read += max(graph.nodes[i].type.size for i in node.arguments)
    return written, read


def _prompts(certificate: Mapping[str, Any]) -> tuple[Counter[int], Counter[int], int]:
    """Of how many prompts of a length states are evaluated at a point, of how many numbered; and how many points."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    lengths: dict[str, int] = {}
    rows = list(list_in(certificate.get("classes")))
    for family in list_in(certificate.get("structural_collisions")):
        rows += [[*list_in(pair), ""] for pair in list_in(object_in(family).get("pairs"))]
    for row in rows:
        if isinstance(row, list) and len(row) == 3:
            point = row[2] if str(row[2]).startswith("differ") else ""
            for prompt in row[:2]:
                name = f"{point} {prompt}"
                lengths[name] = len(list_in(prompt))
                found[bool(point)].add(name)
    evaluated, numbered = (Counter(lengths[name] for name in found[kind]) for kind in (True, False))
    return evaluated, numbered, len({str(row[2]) for row in rows if isinstance(row, list) and len(row) == 3})


def _silenced(graphs: list[Graph], zeroed: list[Any]) -> list[Graph]:
    """The networks that are evaluated; as they are where they are no networks, which the kernel says better."""
    lengths = dict(enumerate(graphs))
    try:
        return list(as_evaluated(lengths, regularity_of(lengths, zeroed), zeroed).values())
    except (Rejected, *MALFORMED):
        return graphs


def numbering(graphs: list[Graph], prompts: Counter[int]) -> Iterator[Part]:
    """So many prompts of each length, whose states are numbered."""
    if not graphs:
        return
    known = Numbering(graphs)
    for graph in graphs:
        try:
            found, terms = known.work(graph)
        except MALFORMED:
            continue
        each = NUMBER * len(live(graph)) + LOOKUP * found + READ_TERM * terms
        yield "equal states", prompts[graph.length] * each, POINTER * float(found + terms)


def evaluations(graph: Graph, times: float, points: int) -> Part:
    """So many of a graph, with parameters drawn at so many points."""
    work, size = evaluation(graph)
    parameters = sum(type_.size for _, type_ in graph.parameters())
    return "evaluations", times * work + DRAWN * points * parameters, size + OBJECT * points * parameters


def evaluation(graph: Graph) -> tuple[float, float]:
    """What one evaluation in balls takes, and its bytes."""
    work = size = 0.0
    for index in live(graph):
        node = graph.nodes[index]
        size += node.type.size * (POINTER if node.operation in MOVES else OBJECT)
        work += NODE + of_node(node, [graph.nodes[i] for i in node.arguments])
    return work, size


def of_node(node: Node, arguments: list[Node]) -> float:
    """What one node takes in balls."""
    operation, entries, read = node.operation, node.type.size, sum(argument.type.size for argument in arguments)
    if operation in MOVES or operation in LEAVES:
        return MOVE * (entries + read)
    if operation in SIGNS:
        return BALL * entries
    if operation == "power":
        return 2 * BALL * entries * whole_of(node.attributes, "exponent").bit_length()
    if operation == "matmul" and arguments:
        return TERM * entries * max(arguments[0].type.shape, default=1) + BALL * (entries + read)
    if operation == "scatter" and arguments:
        return MOVE * entries * max(arguments[-1].type.shape, default=1)
    return (SLOW if operation in ("erf", "gelu") else FUNCTION) * (entries + read)


def list_in(data: Any) -> list[Any]:
    """What stands in a file, if it is a list, else none."""
    return data if isinstance(data, list) else []


def object_in(data: Any) -> Mapping[str, Any]:
    """What stands in a file, if it is an object, else an empty one."""
    return data if isinstance(data, Mapping) else {}


def whole_of(data: Mapping[str, Any], name: str) -> int:
    """A whole number below a million that stands under a name, else 0."""
    value = data.get(name)
    return value if type(value) is int and 0 <= value < LARGEST else 0
