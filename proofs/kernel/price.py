"""What a check would cost, added up before anything is computed.

The unit is about a microsecond of one processor. What takes no longer than reading the file is not counted; what a few
characters of it can ask for is: repeated rows, entries that one number stands for, evaluations of large tensors, at
many points, in many digits. A certificate beyond the limit is undecided: nothing is said of its claim.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from proofs.errors import InvalidInput
from proofs.kernel.collisions import looked_at
from proofs.kernel.generic_position import as_evaluated, regularity_of
from proofs.kernel.patterns import relabelled_pairs
from proofs.kernel.published_witness import names_do_not_matter
from proofs.kernel.result import Rejected
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.folding import extent
from proofs.network.graph import LEAVES, Graph, Node
from proofs.operations.interpreter import live

USUAL = 1e7  # what a certificate may cost; and where what the commands make costs more:
DEARER = {"regularity": 1.3e7, "separation": 1e9, "vocabulary-margin": 1e9}  # (a network of 130 layers is one of them)
ALGEBRA = 2e6  # of it at most for exact algebra, which nothing but doing it can price (`proofs.arithmetic.surds`)
MEMORY = 5e8  # bytes at a time, beside what the program itself takes

ROW, READ, CHARACTER = 120.0, 80.0, 0.05  # of a graph written out; a row that is derived, or only read
ARGUMENT = 0.2  # of a row, for each of its arguments
CHOICES = 300.0  # more of a row where choices are silenced, and each line is derived several times
ENTRY, MASKED = 1.0, 0.003  # of a constant, of what is made of constants, or of a mask; and where a mask is only read
NODE, BALL, FUNCTION, SLOW, MOVE, TERM = 40.0, 0.5, 3.0, 6.0, 0.05, 0.06  # of an evaluation in balls of 128 bits
DRAWN = 1.5  # of an entry of a parameter at a point
OBJECT, POINTER = 120, 8  # bytes of a ball, and of its place in an array
PASSES, LARGEST = 6, 10**6  # evaluations of a stored witness; a number of a claim
NUMBER, LOOKUP, READ_TERM = 40.0, 4.5, 0.5  # of a node where equal states are numbered, a number, a term of a sum
POWER = 70.0  # of bounds, for each digit of an exponent
TOKEN, PREFIX = 0.05, 3.0  # of a token of a prompt; of a pair of prompts, whose common prefix is looked for
PAIR, NEW_POINT, SURD = 20.0, 3, 1.5  # a pair of prompts; pairs to a point; an exact number as against a ball
STEP, CUBE, DIGITS = 1.0, 0.12, 200  # a derivative as against a value; a determinant, of numbers of few digits
ENTRIES = 4.0  # of a matrix that is written down
SYMBOLS, GROWTH = 4.5, 2.75  # of a determinant of symbols: how much dearer another token makes it
GATES = 1  # zero and a base point, in exact algebra, where most entries are zero: each as half a point in balls
DETERMINANTS = {"clip-norm": 3, "clip-value": 3, "heavy-ball": 3, "adam": 4, "adamw": 4}  # on both sides of the norm;
# exactly, for several masks; of several steps from zero state
STATES = {"heavy-ball": 2, "adam": 3, "adamw": 3}  # tensors of the size of the parameters that a rule carries

MOVES = ("reshape", "permute", "expand", "slice", "concatenate", "take", "gather", "select")
SIGNS = ("add", "subtract", "multiply", "negate", "absolute", "relu", "clamp", "maximum", "minimum", "leaky_relu")
MALFORMED = (AssertionError, LookupError, TypeError, ValueError)  # met in graphs of which the kernel says more

Part = tuple[str, float, float]  # what, its cost, and how many bytes it holds at a time


class TooLarge(Exception):
    """A certificate that would cost more than the limit."""


def afford(certificate: Mapping[str, Any], kind: str, limit: float) -> float:
    """What may be spent on exact algebra, once all else is paid of `limit` times what is usual for a kind.

    Raises:
        TooLarge: a check would cost more.
    """
    left = limit * DEARER.get(kind, USUAL)
    for what, cost, size in parts(certificate, kind):
        left -= cost
        if not (left >= 0 and size <= MEMORY * limit):
            raise TooLarge(f"its {what} take more time or memory than the limit allows; raise it")
    return min(left, ALGEBRA * limit)


def parts(certificate: Mapping[str, Any], kind: str) -> Iterator[Part]:
    """What is paid for, one after the other: a graph is read only when what came before is paid."""
    graphs: list[Graph] = []
    choices = kind == "generic-position" and _object(certificate.get("claim")).get("zeroed")
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
        powers = sum(_whole(node.attributes, "exponent").bit_length() for node in graphs[-1].nodes)
        yield "powers", POWER * powers, 0.0
    claim, witness = (_object(certificate.get(name)) for name in ("claim", "witness"))
    if kind == "regularity" and witness:
        times = PASSES * max(_whole(witness, "bits") / 128, 1)
        yield from (_evaluations(graph, times, PASSES) for graph in graphs[:1])
    yield from _written_prompts(certificate, [graph.length for graph in graphs])
    evaluated, numbered, points = _prompts(certificate)
    zeroed = claim.get("zeroed")
    if kind == "generic-position" and isinstance(zeroed, list) and zeroed:
        graphs = _silenced(graphs, zeroed)
    if kind == "regularity" and certificate.get("structural_collisions") is not None:
        # the file has a say in whether, and none in which are looked at
        numbered = Counter(map(len, looked_at({graph.length for graph in graphs})))
    yield from _numbering([graph for graph in graphs if numbered[graph.length]], numbered)
    for graph in graphs:
        if evaluated[graph.length]:
            yield _evaluations(graph, evaluated[graph.length], points)
    if kind == "witness":
        vocabulary = _whole(claim, "vocabulary")
        words = sum(vocabulary**n for n in range(1, min(len(graphs), DIGITS) + 1))
        yield "pairs of prompts", PAIR * float(words**2), 0.0
        alike = all(map(names_do_not_matter, graphs))  # then one pair of each pattern is evaluated
        settled = float(relabelled_pairs(vocabulary, len(graphs)) if alike else words**2)
        yield from (_evaluations(graph, SURD * settled / NEW_POINT / len(graphs), 1) for graph in graphs)
    if kind == "training-step":
        yield from (part for graph in graphs for part in _derivatives(graph, certificate))


def _written(certificate: Mapping[str, Any]) -> Iterator[tuple[Any, float]]:
    """Every graph in a certificate, and what its rows cost; that of a stored witness first, which is evaluated."""
    for place in (certificate.get("witness"), certificate, certificate.get("closest")):
        if "graph" in _object(place):
            yield _object(place)["graph"], ROW
        for name, row in (("graphs", ROW), ("other_lengths", READ)):
            graphs = _object(place).get(name)
            yield from ((data, row) for data in (graphs.values() if isinstance(graphs, Mapping) else _list(graphs)))


def _written_prompts(certificate: Mapping[str, Any], lengths: list[int]) -> Iterator[Part]:
    """Prompts that are looked at, on all graphs, or that stand in the file: each, and what each has in common."""
    listed = [
        len(_list(prompt))
        for family in _list(certificate.get("structural_collisions"))
        for pair in _list(_object(family).get("pairs"))
        for prompt in _list(pair)
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
    rows = list(_list(certificate.get("classes")))
    for family in _list(certificate.get("structural_collisions")):
        rows += [[*_list(pair), ""] for pair in _list(_object(family).get("pairs"))]
    for row in rows:
        if isinstance(row, list) and len(row) == 3:
            point = row[2] if str(row[2]).startswith("differ") else ""
            for prompt in row[:2]:
                name = f"{point} {prompt}"
                lengths[name] = len(_list(prompt))
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


def _numbering(graphs: list[Graph], prompts: Counter[int]) -> Iterator[Part]:
    if not graphs:
        return
    numbering = Numbering(graphs)
    for graph in graphs:
        try:
            found, terms = numbering.work(graph)
        except MALFORMED:
            continue
        each = NUMBER * len(live(graph)) + LOOKUP * found + READ_TERM * terms
        yield "equal states", prompts[graph.length] * each, 0.0


def _evaluations(graph: Graph, times: float, points: int) -> Part:
    work, size = evaluation(graph)
    parameters = sum(type_.size for _, type_ in graph.parameters())
    return "evaluations", times * work + DRAWN * points * parameters, size + OBJECT * points * parameters


def _derivatives(graph: Graph, certificate: Mapping[str, Any]) -> Iterator[Part]:
    """Of every sample a column for each parameter, forwards and backwards; and the determinants of the Jacobian."""
    numbers = [_object(sample).get("target") for sample in _list(certificate.get("samples"))]
    parameters = sum(type_.size for _, type_ in graph.parameters())
    work, size = evaluation(graph)
    columns = (1 + STEP * parameters * len(numbers)) * work + ENTRIES * (1 + len(numbers)) * parameters**2
    yield "second derivatives", (1 + GATES) * columns, 2 * size
    rule = str(certificate.get("rule"))
    tokens = graph.nodes[graph.output].type.shape[-1] if graph.nodes[graph.output].type.shape else 1
    yield "symbols", SYMBOLS * GROWTH ** min(tokens, DIGITS), 0.0
    rows = parameters * STATES.get(rule, 1)
    digits = max(len(str(number)) for number in [certificate.get("rate"), *numbers]) / DIGITS
    each = CUBE * float(parameters**3) * max(digits, 1) ** 2
    yield "determinants", DETERMINANTS.get(rule, 1) * each + ENTRIES * float(rows**2), 2.0 * OBJECT * rows**2


def evaluation(graph: Graph) -> tuple[float, float]:
    """What one evaluation in balls takes, and its bytes."""
    work = size = 0.0
    for index in live(graph):
        node = graph.nodes[index]
        size += node.type.size * (POINTER if node.operation in MOVES else OBJECT)
        work += NODE + _of_node(node, [graph.nodes[i] for i in node.arguments])
    return work, size


def _of_node(node: Node, arguments: list[Node]) -> float:
    operation, entries, read = node.operation, node.type.size, sum(argument.type.size for argument in arguments)
    if operation in MOVES or operation in LEAVES:
        return MOVE * (entries + read)
    if operation in SIGNS:
        return BALL * entries
    if operation == "power":
        return 2 * BALL * entries * _whole(node.attributes, "exponent").bit_length()
    if operation == "matmul" and arguments:
        return TERM * entries * max(arguments[0].type.shape, default=1) + BALL * (entries + read)
    if operation == "scatter" and arguments:
        return MOVE * entries * max(arguments[-1].type.shape, default=1)
    return (SLOW if operation in ("erf", "gelu") else FUNCTION) * (entries + read)


def _list(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []


def _object(data: Any) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}


def _whole(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    return value if type(value) is int and 0 <= value < LARGEST else 0
