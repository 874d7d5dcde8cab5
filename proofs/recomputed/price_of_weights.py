"""What claims about weights cost beside their graphs, in the unit of `proofs.kernel.price`."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proofs.arithmetic.fixed_point import LARGEST
from proofs.enclosures.distances import MOST_EXACT
from proofs.enclosures.enclosure import LARGEST_ENTRY
from proofs.enclosures.in_arb import MOST_BALLS
from proofs.enclosures.segments import cuts, reached_by_tokens
from proofs.errors import SipitError
from proofs.kernel.price import (
    BALL,
    MALFORMED,
    MOVES,
    NODE,
    OBJECT,
    POINTER,
    Part,
    list_in,
    numbering,
    object_in,
    of_node,
    whole_of,
)
from proofs.kernel.separation import ALL_EXACT, ASKED, GUARD, places
from proofs.network.graph import LEAVES, Graph, Node
from proofs.operations.interpreter import live
from proofs.recomputed.evaluating import (
    WHOLE_BALL,
    computed,
    cut_again,
    factors,
    held,
    in_balls,
    read_whole,
    terms,
    weight_views,
)
from proofs.recomputed.price_of_vocabulary import of_tokens

USUAL_BITS, FEW_BITS = 360, 120  # of the figures here; below so many nothing gets cheaper
FIXED_TERM, PRODUCT_TERM = 0.012, 0.04  # of a product with weights; of one of two computed tensors
CONSTANT, WHOLE, CONVERTED = 7.0, 0.3, 0.3  # of an entry of a constant that is a real number, or none; of a weight
SLICED = 0.05  # of an entry of weights that is cut
SCANNED = 0.15  # of a row of a graph, for every segment that is cut out of it
PAIR, COORDINATE, SIEVED, DECODED = 20.0, 0.3, 0.005, 0.3  # of exact distances; of those in floats; of an entry read
LIMBS, TEMPORARY, SLICES = 2.6, 3.0, 12.0  # bytes for each bit of what a product reads and makes; copies beside a
# result; bytes of a weight that is cut


def enclosures(certificate: Mapping[str, Any], graphs: list[Graph]) -> Iterator[Part]:
    """What claims about weights pay beside: prompts in fixed point, those named as equal; a vocabulary in floats."""
    different: list[Graph] = []
    for graph in graphs:  # the closest tokens are enclosed on the graph of the vocabulary, which stands there twice
        if graph not in different:
            different.append(graph)
    for body in (certificate, object_in(certificate.get("closest"))):
        yield from _of_prompts(body, different)
    tokens = certificate.get("tokens")
    if isinstance(tokens, int) and tokens > 0:
        yield from (part for graph in different for part in of_tokens(graph, tokens))


def _of_prompts(body: Mapping[str, Any], graphs: list[Graph]) -> Iterator[Part]:
    rows = [object_in(row) for row in list_in(body.get("prompts"))]
    prompts = [list_in(row.get("token_ids")) for row in rows]
    width = max((size for graph in graphs for size in graph.nodes[graph.output].type.shape[-1:]), default=1)
    decoded, kept = _decoded(rows, width)
    yield "enclosures", DECODED * decoded, kept
    every = whole_of(body, "every") or 1
    for graph in graphs:
        bits = [
            min(whole_of(row, "bits"), LARGEST) for row in rows if len(list_in(row.get("token_ids"))) == graph.length
        ]
        if bits:
            yield from _evaluated(graph, bits, every, kept)
    yield _distances(len(prompts), width, max((_scale(whole_of(row, "bits")) for row in rows), default=1.0))
    named = map(object_in, list_in(body.get("identical")))
    pairs = [(entry.get("first"), entry.get("second")) for entry in named]
    there = [(a, b) for a, b in pairs if type(a) is int and type(b) is int and 0 <= a < b < len(prompts)]
    numbered = {place for a, b in there if prompts[a] != prompts[b] for place in (a, b)}
    yield from numbering(graphs if numbered else [], Counter(len(prompts[place]) for place in numbered))


def _decoded(rows: list[Mapping[str, Any]], width: int) -> tuple[float, float]:
    """Entries of the enclosures that stand in a file, all but the last of a prompt for each token; and their bytes."""
    entries = size = 0.0
    for row in rows:
        tokens, written = len(list_in(row.get("token_ids"))), list_in(row.get("enclosures"))
        for place, one in enumerate(written):
            count = float(width * (tokens if place < len(written) - 1 else 1))
            entries += count
            size += count * (4 * POINTER + 1.2 * min(whole_of(object_in(one), "bytes"), LARGEST_ENTRY))
    return entries, size


def _distances(prompts: int, width: int, scale: float) -> Part:
    """Of every pair; of very many prompts floats exclude most, and no more are done exactly than of a smaller set."""
    pairs = math.comb(prompts, 2)
    exact = min(pairs, MOST_EXACT) * (PAIR + COORDINATE * scale * width)
    sieved = pairs * SIEVED * width if prompts > ALL_EXACT else 0.0
    return "distances", exact + sieved, 4.0 * POINTER * prompts * width


def _evaluated(graph: Graph, bits: list[int], every: int, kept: float) -> Iterator[Part]:
    """The steps of so many prompts, beside what is kept of all of them; and the dearest steps in Arb too."""
    work, depends, stops = _Work(), reached_by_tokens(graph), _stops(graph)
    weights = weight_views(graph)
    balls, always, read = [0.0] * len(stops), 0.0, read_whole(graph)
    names, largest = [dict[str, int]() for _ in stops], min(max(bits), LARGEST)
    for index in live(graph):
        node = graph.nodes[index]
        if node.operation == "constant":
            work.fixed += len(stops) * node.type.size * (CONSTANT if node.type.kind == "real" else WHOLE)
    for index, node, arguments in computed(graph):
        each = _of_node(node, arguments, [i in weights for i in node.arguments])
        work.add(each, 1 if index in depends else len(stops))
        place = min(bisect_left(stops, index), len(stops) - 1)
        if index in depends:
            balls[place] += in_balls(node, arguments, largest + GUARD)
        else:
            always += in_balls(node, arguments, largest + GUARD)
        for one in names[place:] if index not in depends else names[place : place + 1]:
            one.update(read.get(index, {}))
    again = cut_again(graph)
    steps = sum(work.of(each) for each in bits) + len(bits) * len(stops) * SCANNED * len(graph.nodes)
    size = held(graph, lambda i: _kept(graph, i, largest, weights), lambda i: _beside(graph, i, largest, weights))
    yield "steps in fixed point", steps + SLICED * again, kept + size + SLICES * again
    yield _in_arb(balls, always, names, places(len(stops), every), kept + size)


def _in_arb(balls: list[float], always: float, names: list[dict[str, int]], ends: list[int], size: float) -> Part:
    """The dearest steps in Arb, each of the segments up to an end; parameters are made balls, and kept for a while."""
    dearest = largest = 0.0
    for begin, end in zip([-1, *ends], ends, strict=False):
        span = slice(begin + 1, end + 1)
        dearest = max(dearest, sum(balls[span]) + len(balls[span]) * always)
        largest = max(largest, float(sum({name: n for one in names[span] for name, n in one.items()}.values())))
    kept = min(float(sum({name: n for one in names for name, n in one.items()}.values())), largest + MOST_BALLS)
    return "steps in Arb", ASKED * (dearest + WHOLE_BALL * largest), size + OBJECT * kept


@dataclass(slots=True)
class _Work:
    """What one prompt takes: whatever its bits, in proportion to them, and where both factors are as long."""

    fixed: float = 0.0
    by_bits: float = 0.0
    by_squares: float = 0.0

    def add(self, other: "_Work", times: int) -> None:
        """So many times as much as that, besides."""
        self.fixed += times * other.fixed
        self.by_bits += times * other.by_bits
        self.by_squares += times * other.by_squares

    def of(self, bits: int) -> float:
        """In all, for a prompt that begins with so many bits."""
        scale = _scale(bits)
        return self.fixed + max(scale, 1) * self.by_bits + max(scale, scale**2) * self.by_squares


def _scale(bits: int) -> float:
    return max(min(bits, LARGEST), FEW_BITS) / USUAL_BITS


def _stops(graph: Graph) -> list[int]:
    """Where the network is cut, the output last."""
    try:
        return list(cuts(graph))
    except (SipitError, *MALFORMED):  # which the kernel says better
        return [graph.output]


def _of_node(node: Node, arguments: list[Node], weights: list[bool]) -> _Work:
    operation, size = node.operation, float(node.type.size)
    if operation == "matmul" and len(arguments) == 2:
        read, plain = _factors(node, arguments, weights)
        if plain:  # a factor stays the floats it is
            return _Work(NODE, FIXED_TERM * terms(node, arguments) + BALL * (size + read))
        return _Work(NODE, BALL * (size + read), PRODUCT_TERM * terms(node, arguments))
    if operation == "power":  # by repeated products
        return _Work(NODE, BALL * size * whole_of(node.attributes, "exponent"))
    converted = CONVERTED * sum(one.type.size for one, plain in zip(arguments, weights, strict=True) if plain)
    if operation in MOVES:  # of leaves rows alone are read; but beside computed parts they are made numbers like them
        arguments = [one for one in arguments if one.operation not in LEAVES]
        converted = converted if operation in ("concatenate", "select") else 0.0
    return _Work(NODE + converted, of_node(node, arguments))


def _factors(node: Node, arguments: list[Node], weights: list[bool]) -> tuple[float, bool]:
    """Entries of the factors of a matrix product that are cut into limbs; and whether the other one is weights."""
    left, right = factors(node, arguments)
    if weights[1] and len(arguments[1].type.shape) == 2:
        return left, True
    if weights[0] and len(arguments[0].type.shape) == len(arguments[1].type.shape) == 2:
        return right, True
    return left + right, False


def _kept(graph: Graph, index: int, bits: int, weights: set[int]) -> float:
    """Bytes of a node's own: an integer and a radius, or places of integers that others keep; of weights none."""
    node = graph.nodes[index]
    if index in weights or node.operation == "tokens":
        return 0.0
    return node.type.size * (2.0 * POINTER if node.operation in MOVES else _number(bits))


def _beside(graph: Graph, index: int, bits: int, weights: set[int]) -> float:
    """Bytes that are needed while a node is made: limbs of a product, copies of what another step goes through."""
    node, arguments = graph.nodes[index], [graph.nodes[i] for i in graph.nodes[index].arguments]
    if node.operation in MOVES or node.operation in LEAVES:
        return 0.0
    plain = [i in weights for i in node.arguments]
    if node.operation == "matmul" and len(arguments) == 2:
        read, _ = _factors(node, arguments, plain)
        return LIMBS * bits * (node.type.size + read)
    read = sum(one.type.size for one in arguments)
    return TEMPORARY * _number(bits) * max(node.type.size, read)


def _number(bits: int) -> float:
    """Bytes of an integer of about so many bits, its place and its radius."""
    return 44 + bits / 7
