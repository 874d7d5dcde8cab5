"""Collisions that hold for every parameter value, read off the graph: which lemma's hypotheses does it meet?

Each family is a lemma with hypotheses that are decided on the graph alone, and a predicate on pairs of prompts. The
statements and proofs are in docs/generic-position.md.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from math import gcd

from proofs.kernel.patterns import Prompt
from proofs.network.graph import Graph
from proofs.operations.interpreter import live
from proofs.structure.collisions import positions, repeated_tokens_collide
from proofs.structure.dependence import causal, influences

Predicate = Callable[[Prompt, Prompt], bool]
_BIAS = ("add", "reshape", "expand", "permute", "slice", "softmax")


def families(graphs: Mapping[int, Graph]) -> dict[str, Predicate]:
    """The families whose hypotheses the network meets, by name; the first that holds explains a pair.

    Args:
        graphs: the network captured for each length; the longest one is read.
    """
    graph = graphs[max(graphs)]
    found: dict[str, Predicate] = {}
    if graph.length < 2 or not causal(graph):
        return found
    reach = graph.length - min(influences(graph)[-1], default=0)
    if repeated_tokens_collide(graph):
        found["repeated tokens"] = repeated
        if one_full_mixture(graph):
            if positions(graph).scheme == "none":
                found["proportional multisets"] = proportional
            if _linear_bias(graph):
                found["powers of one word"] = powers_of_one_word
    if 1 <= reach < graph.length:
        relative = repeated_tokens_collide(graph)
        found["window reach"] = lambda s, t: (
            min(len(s), len(t)) >= reach and s[-reach:] == t[-reach:] and (relative or len(s) == len(t))
        )
    return found


def repeated(first: Prompt, second: Prompt) -> bool:
    """One token, repeated: all rows are equal, and a mixture of equal rows is that row."""
    return len(set(first + second)) == 1


def proportional(first: Prompt, second: Prompt) -> bool:
    """Same last token and proportional counts: one mixture without positions sees relative frequencies only."""
    counts = [Counter(prompt) for prompt in (first, second)]
    tokens = set(first + second)
    equal = all(counts[0][u] * len(second) == counts[1][u] * len(first) for u in tokens)
    return first[-1] == second[-1] and equal


def powers_of_one_word(first: Prompt, second: Prompt) -> bool:
    """Powers of one word: with weights geometric in the distance every copy is the last one times one factor."""
    size = gcd(len(first), len(second))
    return all(prompt == prompt[:size] * (len(prompt) // size) for prompt in (first, second)) and (
        first[:size] == second[:size]
    )


def one_full_mixture(graph: Graph) -> bool:
    """Whether positions meet once only, in one softmax over all earlier ones, with a mask that adds nothing else."""
    nodes = [graph.nodes[i] for i in live(graph)]
    if sum(node.operation == "softmax" for node in nodes) != 1 or len(influences(graph)[-1]) != graph.length:
        return False
    for node in nodes:
        value = graph.constant(node) if node.operation == "constant" else None
        masks = value is not None and value.kind == "real" and float("-inf") in value.values
        if value is not None and masks and len(set(value.values)) > 2:
            return False
    return True


def _linear_bias(graph: Graph) -> bool:
    """Whether the only thing that varies with the position is a bias on scores, linear in the key's position."""
    reached = set(live(graph))
    found = False
    for index in sorted(reached):
        node = graph.nodes[index]
        value = graph.constant(node) if node.operation == "constant" else None
        if value is None or value.kind != "real" or any(isinstance(v, float) for v in value.values):
            continue
        if graph.length not in value.shape or len(set(value.values)) == 1:
            continue
        if value.shape[-1] != graph.length or not _only_into_scores(graph, index, reached):
            return False
        entries = [Fraction(v) for v in value.entries()]
        rows = [entries[i : i + graph.length] for i in range(0, len(entries), graph.length)]
        square = len(value.shape) >= 2 and value.shape[-2] == graph.length
        heads = len(rows) // graph.length if square else len(rows)
        for head in range(heads):
            own = rows[head * graph.length : (head + 1) * graph.length] if square else [rows[head]]
            if len({_slope(row, i if square else len(row) - 1) for i, row in enumerate(own)} - {None}) > 1:
                return False
            if any(_slope(row, i if square else len(row) - 1) == "bent" for i, row in enumerate(own)):
                return False
        found = True
    return found


def _slope(row: list[Fraction], last: int) -> Fraction | str | None:
    """The common difference of the entries up to `last`, None where there are fewer than two."""
    steps = {b - a for a, b in pairwise(row[: last + 1])}
    return None if not steps else steps.pop() if len(steps) == 1 else "bent"


def _only_into_scores(graph: Graph, index: int, reached: set[int]) -> bool:
    """Whether a node is only added to something that becomes the argument of a softmax."""
    for user in (i for i in reached if index in graph.nodes[i].arguments):
        operation = graph.nodes[user].operation
        if operation not in _BIAS or (operation != "softmax" and not _only_into_scores(graph, user, reached)):
            return False
    return True
