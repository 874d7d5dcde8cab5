"""What the kinds that are computed whole cost beside their graphs, in the unit of `proofs.kernel.price`."""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

from proofs.arithmetic.surds import TooLong, at_most
from proofs.kernel.claim import Claim
from proofs.kernel.door import Given
from proofs.kernel.price import OBJECT, Part, TooLarge, evaluation, evaluations, list_in, object_in, whole_of
from proofs.network.graph import Graph
from proofs.recomputed.published_witness import names_do_not_matter

ALGEBRA = 2e6  # at most for exact algebra, which nothing but doing it can price (`proofs.arithmetic.surds`)
PAIR, NEW_POINT, SURD = 20.0, 3, 1.5  # a pair of prompts; pairs to a point; an exact number as against a ball
STEP, CUBE, DIGITS = 1.0, 0.12, 200  # a derivative as against a value; a determinant, of numbers of few digits
ENTRIES = 4.0  # of a matrix that is written down
SYMBOLS, GROWTH = 4.5, 2.75  # of a determinant of symbols: how much dearer another token makes it
GATES = 1  # zero and a base point, in exact algebra, where most entries are zero: each as half a point in balls
DETERMINANTS = {"clip-norm": 3, "clip-value": 3, "heavy-ball": 3, "adam": 4, "adamw": 4}  # on both sides of the norm;
# exactly, for several masks; of several steps from zero state
STATES = {"heavy-ball": 2, "adam": 3, "adamw": 3}  # tensors of the size of the parameters that a rule carries


def paid_as_it_is_done(
    derive: Callable[[Mapping[str, Any]], Claim], certificate: Mapping[str, Any], given: Given
) -> Claim:
    """What a certificate shows, while the exact algebra keeps within what is left of the limit.

    Raises:
        TooLarge: it does not.
    """
    try:
        with at_most(min(given.left, ALGEBRA * given.limit)):
            return derive(certificate)
    except TooLong as fault:
        raise TooLarge(str(fault)) from None


def of_witness(certificate: Mapping[str, Any], graphs: list[Graph]) -> Iterator[Part]:
    """Of the published witness every pair of prompts, and an evaluation for each pattern of them."""
    vocabulary = whole_of(object_in(certificate.get("claim")), "vocabulary")
    words = sum(vocabulary**n for n in range(1, min(len(graphs), DIGITS) + 1))
    yield "pairs of prompts", PAIR * float(words**2), 0.0
    alike = all(map(names_do_not_matter, graphs))  # then one pair of each pattern is evaluated
    settled = float(relabelled_pairs(vocabulary, len(graphs)) if alike else words**2)
    yield from (evaluations(graph, SURD * settled / NEW_POINT / len(graphs), 1) for graph in graphs)


def relabelled_pairs(vocabulary: int, context: int) -> int:
    """How many ordered pairs of prompts of at most `context` tokens there are up to relabelling, equal ones too."""
    words = [1] + [0] * vocabulary  # of the length so far, by the number of letters in them
    by_length = [0]
    for _ in range(2 * context):
        words = [0] + [k * words[k] + words[k - 1] for k in range(1, vocabulary + 1)]
        by_length.append(sum(words))
    return sum(by_length[n + m] for n, m in product(range(1, context + 1), repeat=2))


def of_step(certificate: Mapping[str, Any], graphs: list[Graph]) -> Iterator[Part]:
    """Of a training step, for every graph."""
    return (part for graph in graphs for part in _derivatives(graph, certificate))


def _derivatives(graph: Graph, certificate: Mapping[str, Any]) -> Iterator[Part]:
    """Of every sample a column for each parameter, forwards and backwards; and the determinants of the Jacobian."""
    numbers = [object_in(sample).get("target") for sample in list_in(certificate.get("samples"))]
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
