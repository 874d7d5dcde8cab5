"""Small files that ask for much: each is a certificate of under a megabyte that would be dear to check."""

import functools
import json
import math
import random
import sys
import time
from dataclasses import replace
from fractions import Fraction
from typing import Any

from proofs import check, prove_analytic
from proofs.evidence import SCHEMA
from proofs.kernel.patterns import patterns
from proofs.kernel.result import digest
from proofs.network.graph import Graph
from proofs.recomputed.training_step import Sample, prove_step
from proofs.recomputed.witness import count_witness
from sipit.memory import peak_memory
from tests.proofs.building import Net
from tests.proofs.decoders import gpt2

SHARED = {"places": [["", ""]], "output": 0, "layer": 0, "about": {}, "idealisations": []}
WITNESS = {
    "claim": "not analytic", "seeds": [0, 1], "segment": ["0", "1"], "tokens": [1], "choice": -1, "separation": "0.1",
    "bits": 128, "largest": 0, "subject": "this graph",
    "parameters": "entries k / 2^16 with |k| <= 2^16, drawn from the seed and the parameter's name, times 2^largest",
}  # fmt: skip


def table(net: Net, rows: int = 9, width: int = 1) -> int:
    """A row of a table."""
    return net.op("take", net.parameter("e", rows, width), net.tokens(1, rows), axis=0)


def regularity(graph: Graph, **more: Any) -> dict[str, Any]:
    """What the prover says of a graph."""
    return {**prove_analytic(graph).to_json(), **more}


def written(nodes: list[Any], shape: list[int], attributes: Any = ({},), constants: Any = (), **more: Any) -> Any:
    """A proof of regularity without lines, of a graph written by hand."""
    graph = {"nodes": nodes, "attributes": [*attributes], "types": [[shape, "real"]], "constants": [*constants]}
    lines = {"claim": {}, "facts": [], "lines": [0] * len(nodes), "obstructions": [], "witness": None}
    return {"schema": SCHEMA, "kind": "regularity", "graph": {**SHARED, **graph}, **lines, **more}


def generic(graph: Graph, outcome: str = "differ: point 0", context: int = 1) -> dict[str, Any]:
    """Of a graph for one token, that its patterns are settled in some way."""
    claim = {"context": context, "seed": 0, "bos": False, "zeroed": [], "silenced": []}
    classes = [[list(first), list(second), outcome] for first, second in patterns(context)]
    graphs = {str(length): graph.to_json() for length in range(1, context + 1)}
    return {"schema": SCHEMA, "kind": "generic-position", "claim": claim, "classes": classes, "graphs": graphs}


def chain(start: Any, operation: str, times: int, **attributes: Any) -> Graph:
    """tanh of a constant that an operation is applied to again and again, added to a row of a table."""
    net = Net()
    x, y = table(net), net.constant(start, (1,))
    for _ in range(times):
        y = net.op(operation, *[y] * (2 if operation in ("multiply", "add") else 1), **attributes)
    return net.graph(net.op("add", x, net.op("tanh", y)))


def wide(size: int, *operations: str) -> Graph:
    """Operations on a row of one entry that is repeated many times, and summed."""
    net = Net()
    y = net.op("expand", table(net), shape=(1, 1, size))
    for operation in operations:
        y = net.op(operation, y)
    return net.graph(net.op("sum", y, axes=(2,), keep=True))


def product(size: int) -> Graph:
    """A matrix product of one row repeated many times with itself."""
    net = Net()
    y = net.op("expand", table(net), shape=(1, size, size))
    return net.graph(net.op("sum", net.op("matmul", y, y), axes=(1, 2), keep=True))


def parameters(rows: int) -> Graph:
    """A kink after a table of many rows."""
    net = Net()
    return net.graph(net.op("relu", table(net, rows)))


def scattered(size: int) -> Graph:
    """As many selections as there are places."""
    net = Net()
    y = net.op("expand", table(net), shape=(1, 1, size))
    places = net.op("expand", net.constant([0], (1, 1, 1), "integer"), shape=(1, 1, size))
    return net.graph(net.op("sum", net.op("scatter", y, places, y, axis=2), axes=(2,), keep=True))


def longs(count: int) -> Graph:
    """A sum of rationals of two thousand characters with different denominators."""
    net = Net()
    y = table(net)
    for place in range(count):
        y = net.op("add", y, net.constant(Fraction(10**900, 10**990 + place)))
    return net.graph(y)


def attention(length: int, layers: int = 1, shifts: int = 0) -> Graph:
    """Layers of attention without positions, or with whole numbers added to the scores."""
    net, draws = Net(), random.Random(0)
    x = net.op("take", net.parameter("e", 9, 1), net.tokens(length, 9), axis=0)
    for _ in range(layers):
        scores = net.op("matmul", x, net.op("permute", x, order=(0, 2, 1)))
        if shifts:
            drawn = [draws.randrange(shifts) for _ in range(length**2)]
            scores = net.op("add", scores, net.constant(drawn, (1, length, length)))
        x = net.op("add", x, net.op("matmul", net.op("softmax", scores, axis=2), x))
    return net.graph(x)


def triples(length: int) -> Graph:
    """A product for every three tokens."""
    net = Net()
    x = net.op("take", net.parameter("e", 9, 1), net.tokens(length, 9), axis=0)
    first, second, third = (
        net.op("reshape", x, shape=tuple(length if i == axis else 1 for i in range(4))) for axis in (1, 2, 3)
    )
    y = net.op("tanh", net.op("multiply", net.op("multiply", first, second), third))
    return net.graph(net.op("reshape", net.op("sum", y, axes=(2, 3), keep=True), shape=(1, length, 1)))


def structural(make: Any, length: int) -> dict[str, Any]:
    """A proof that names no structural collision, of a network for many tokens and for two."""
    return regularity(make(length), structural_collisions=[], other_lengths={"2": make(2).to_json()})


def published(vocabulary: int, context: int) -> dict[str, Any]:
    """A count of the published witness over many prompts."""
    graphs = {str(n): parameters(9).to_json() for n in range(1, context + 1)}
    claim = {"vocabulary": vocabulary, "context": context}
    return {"schema": SCHEMA, "kind": "witness", "claim": claim, "zero": [], "graphs": graphs}


def parts() -> dict[str, Any]:
    """A step clipped by value, of targets any parts of which have another sum."""
    net = Net()
    x = net.op("take", net.parameter("e", 20, 3), net.tokens(2, 20), axis=0)
    last = net.op("slice", x, axis=1, start=1, stop=2, step=1)
    normal = net.op("layer_norm", last, net.parameter("g", 3), net.parameter("b", 3), axes=1, epsilon=Fraction(1, 9))
    graph = net.graph(net.op("reshape", net.op("matmul", normal, net.parameter("u", 3, 20)), shape=(1, 20)))
    shares = [3 * i * i + 1 for i in range(20)]
    target = [str(Fraction(share, sum(shares))) for share in shares]
    written, samples = graph.to_json(), [{"tokens": [0, 1], "target": target}]
    return {
        "schema": SCHEMA, "kind": "training-step", "claim": {"graph": digest(written)}, "rule": "clip-value",
        "rate": "1/10", "seed": 0, "samples": samples, "graph": written,
    }  # fmt: skip


def step(**changed: Any) -> dict[str, Any]:
    """A training step of a tiny network, with other numbers."""
    net = Net()
    x = net.op("take", net.parameter("e", 3, 2), net.tokens(2, 3), axis=0)
    last = net.op("slice", x, axis=1, start=1, stop=2, step=1)
    graph = net.graph(net.op("reshape", net.op("matmul", last, net.parameter("u", 2, 3)), shape=(1, 3)))
    one = Sample((0, 1), (Fraction(1), Fraction(0), Fraction(0)))
    return {**prove_step(graph, [one], rule="gd", rate=Fraction(1, 10), seed=0).to_json(), **changed}


def rooted(graph: Graph, numbers: list[int], products: int, apart: int = 1) -> Graph:
    """A network with a sum of reciprocal roots beside it that is multiplied with itself many times."""
    net = Net()
    net.nodes, net.constants = list(graph.nodes), list(graph.constants)
    roots = net.op("rsqrt", net.constant(numbers, (len(numbers),)))
    parts = [net.op("slice", roots, axis=0, start=i, stop=i + 1, step=1) for i in range(0, len(numbers), apart)]
    y = functools.reduce(lambda a, b: net.op("add", a, b), parts)
    y = net.op("concatenate", *[net.op("multiply", y, y) for _ in range(products)], axis=0)
    y = net.op("sum", y, axes=(0,), keep=True)
    return net.graph(net.op("add", graph.output, net.op("multiply", y, net.constant(0))))


def published_with(**how: Any) -> dict[str, Any]:
    """A count of the published witness, on networks beside which roots are computed."""
    plain = {length: gpt2(length) for length in (1, 2)}
    found = count_witness(plain, vocabulary=3, context=2).to_json()
    graphs = {str(length): rooted(graph, **how).to_json() for length, graph in plain.items()}
    return {**found, "graphs": graphs, "claim": {**found["claim"], "graphs": digest(graphs)}}


def step_with(**how: Any) -> dict[str, Any]:
    """A training step of a network beside which roots are computed."""
    plain = step()
    graph = rooted(Graph.from_json(plain["graph"]), **how).to_json()
    return {**plain, "graph": graph, "claim": {**plain["claim"], "graph": digest(graph)}}


PRIMES = [2, 3, 5, 30, 6, 10, 15, 1]
HARD = [3 * (2**79 + 2 * i + 1) * (2**80 - 2 * i - 1) for i in range(400)]


def factored() -> Graph:
    """The root of a number that nobody factors in a moment."""
    net = Net()
    hard = (10**60 + 7) * (10**62 + 447) * (10**70 + 33)
    return net.graph(net.op("multiply", table(net), net.op("rsqrt", net.constant(hard))))


def still(length: int) -> Graph:
    """A network that says the same of every prompt."""
    net = Net()
    net.tokens(length, 9)
    return net.graph(net.constant(1, (1, length, 1)))


def summed(length: int) -> Graph:
    """Partial sums of rationals of two thousand characters with different denominators."""
    net = Net()
    x = net.op("take", net.parameter("e", 9, 1), net.tokens(length, 9), axis=0)
    long = net.constant([Fraction(10**900, 10**990 + place) for place in range(length)], (1, length, 1))
    return net.graph(net.op("add", net.op("add", x, long), net.op("cumulative_sum", long, axis=1)))


def beside(width: int) -> dict[str, Any]:
    """A training step of a network beside which a wide table is read that nothing depends on."""
    plain, net = step(), Net()
    net.op("take", net.op("expand", net.parameter("wide", 3, 1), shape=(3, width)), net.tokens(2, 3), axis=0)
    graph, by = Graph.from_json(plain["graph"]), len(net.nodes)
    net.constants = list(graph.constants)
    net.nodes += [replace(node, arguments=tuple(i + by for i in node.arguments)) for node in graph.nodes]
    written = net.graph(graph.output + by).to_json()
    return {**plain, "graph": written, "claim": {**plain["claim"], "graph": digest(written)}}


def touched(count: int) -> dict[str, Any]:
    """A training step whose second derivatives at zero couple every two of many parameters of one entry."""
    net = Net()
    numbers = [net.parameter(f"p{i}", 1) for i in range(count)]
    x = net.op("concatenate", net.op("reshape", table(net, 2), shape=(1,)), *numbers, axis=0)
    square = net.op("reshape", net.op("power", net.op("sum", x, axes=(0,), keep=True), exponent=2), shape=(1, 1, 1))
    graph = net.graph(net.op("multiply", square, net.constant([1, -1], (1, 1, 2)))).to_json()
    return {
        "schema": SCHEMA, "kind": "training-step", "claim": {"graph": digest(graph)}, "rule": "gd", "rate": "1/10",
        "seed": 0, "samples": [{"tokens": [0], "target": ["1", "0"]}], "graph": graph,
    }  # fmt: skip


def apart(graph: Graph, *prompts: list[int], identical: Any = ()) -> dict[str, Any]:
    """Of a graph without parameters, that the states of prompts are apart, or equal."""
    said = [{"token_ids": prompt, "bits": 64, "enclosures": []} for prompt in prompts]
    return {
        "schema": SCHEMA, "kind": "separation", "claim": {}, "graphs": [graph.to_json()], "prompts": said,
        "identical": [*identical], "every": 1, "bits": 64, "layer": 0,
    }  # fmt: skip


def repeated(size: int) -> Graph:
    """States of one number that is repeated."""
    net = Net()
    y = net.op("take", net.constant([1, 2], (2, 1)), net.tokens(1, 2), axis=0)
    return net.graph(net.op("expand", y, shape=(1, 1, size)), layer=0)


def written_over(size: int) -> Graph:
    """A row of zeros in which every entry is written anew, four times."""
    net = Net()
    y, places = net.constant(0, (size,)), net.constant(0, (size,), "integer")
    for _ in range(4):
        y = net.op("scatter", y, places, net.constant(0, (size,)), axis=0)
    y = net.op("reshape", net.op("sum", y, axes=(0,), keep=True), shape=(1, 1, 1))
    return net.graph(net.op("add", net.op("take", net.constant([1, 2], (2, 1)), net.tokens(1, 2), axis=0), y), layer=0)


def known(size: int, *operations: str) -> Graph:
    """As `wide`, of a table of constants."""
    net = Net()
    y = net.op("take", net.constant([1, 2], (2, 1)), net.tokens(1, 2), axis=0)
    y = net.op("expand", net.op("reshape", y, shape=(1, 1, 1)), shape=(1, 1, size))
    for operation in operations:
        y = net.op(operation, y)
    return net.graph(net.op("sum", y, axes=(2,), keep=True), layer=0)


def rows(attributes: list[Any], operation: str, count: int, choose: Any = None, **claim: Any) -> dict[str, Any]:
    """Of a graph for one token with many nodes, that its patterns are settled in some way."""
    start = [["tokens", [], 0, 0, 0], ["parameter", [], 1, 1, 0], ["take", [1, 0], 2, 2, 0]]
    chosen = random.Random(0)
    more: list[Any] = [[operation, [2 + i, *(chosen.randrange(2, 3 + i) for _ in range(choose or 0))], 3, 2, 0]
                       for i in range(count)]  # fmt: skip
    known: list[Any] = [{"shape": [1, 1], "kind": "integer", "vocabulary": 9},
                        {"name": "e", "shape": [9, 1], "kind": "real"}, {"axis": 0}]  # fmt: skip
    graph = {
        **SHARED, "nodes": [*start, *more], "attributes": [*known, *attributes], "constants": [],
        "types": [[[1, 1], "integer"], [[9, 1], "real"], [[1, 1, 1], "real"]], "output": count + 2,
    }  # fmt: skip
    if not choose:
        graph["nodes"] = [*start, {"times": count, "rows": [[operation, [[2, 1]], 3, 2, 0]]}]
    said = {"context": 1, "seed": 0, "bos": False, "zeroed": [], "silenced": [], **claim}
    return {
        "schema": SCHEMA, "kind": "generic-position", "claim": said, "classes": [[[1], [2], "differ: point 0"]],
        "graphs": {"1": graph},
    }  # fmt: skip


MASK = {"kind": "real", "values": ["-inf"]}
BOMBS = {
    "a mask of many entries": lambda: written([["constant", [], 0, 0, 0], ["exp", [0], 1, 0, 0]], [2**27],
        [{"shape": [2**27], "kind": "real", "value": 0}, {}], [{"shape": [2**27], **MASK}]),
    "masks that are moved": lambda: written(
        [["constant", [], 0, 0, 0], *([["permute", [i], 1, 0, 0] for i in range(3000)])], [1024, 1024],
        [{"shape": [1024, 1024], "kind": "real", "value": 0}, {"order": [1, 0]}], [{"shape": [1024, 1024], **MASK}]),
    "rows with many arguments": lambda: written([{"times": 2**18, "rows": [["add", [0] * 1000, 0, 0, 0]]}], [1]),
    "long names": lambda: written([{"times": 2**18, "rows": [["add", [], {"name": ["x" * 9000, "y"]}, 0, 0]]}], [1]),
    "rows of twenty arguments": lambda: written(
        [["constant", [], 0, 0, 0], {"times": 90_000, "rows": [["concatenate", [[0, 1]] * 20, 1, 0, 0]]}], [0],
        [{"shape": [0], "kind": "real", "value": 0}, {"axis": 0}], [{"shape": [0], "kind": "real", "values": []}]),
    "names that are only read": lambda: regularity(still(3), structural_collisions=[], other_lengths={"2": {
        **SHARED, "nodes": [{"times": 250_000, "rows": [["parameter", [], {"name": ["p", [0, 1]]}, 0, ["m", "s"]]]}],
        "attributes": [{}], "types": [[[2], "real"]], "constants": []}}),
    "many rows": lambda: written([{"times": 2**21, "rows": [["add", [], 0, 0, 0]]}], [1]),
    "blocks of blocks": lambda: written([{"times": 2**12, "rows": [["add", [], 0, 0, 0]] * 500}] * 20, [1]),
    "a block for ever": lambda: written([{"times": 10**4000, "rows": [["add", [], 0, 0, 0]]}], [1]),
    "powers of powers": lambda: generic(chain(3, "power", 20, exponent=1024)),
    "powers of powers, proved": lambda: regularity(chain(3, "power", 1500, exponent=1024)),
    "squares of squares": lambda: generic(chain(3, "multiply", 400)),
    "squares of squares, equal": lambda: generic(chain(3, "multiply", 400), "collide: equal states"),
    "doubled a thousand times": lambda: generic(chain(Fraction(1, 3), "add", 1000), "collide: equal states"),
    "an exponent for ever": lambda: written([["constant", [], 0, 0, 0], ["power", [0], 1, 0, 0]], [1],
        [{"shape": [1], "kind": "real", "value": 0}, {"exponent": 10**4000}], [{"shape": [1], "kind": "real",
                                                                               "values": [3]}]),
    "long rationals": lambda: regularity(longs(150)),
    "a table of many rows": lambda: regularity(parameters(2**26), witness=WITNESS),
    "many bits": lambda: regularity(wide(2**10, "exp", "relu"), witness={**WITNESS, "bits": 4096}),
    "a table of many rows, patterns": lambda: generic(parameters(2**26)),
    "an expanded row": lambda: generic(wide(2**26, "tanh")),
    "a wide product": lambda: generic(product(2**12)),
    "a wide product, four tokens": lambda: generic(product(2**9), context=4),
    "many scattered entries": lambda: generic(scattered(2**14)),
    "a constant of many entries": lambda: written(
        [["constant", [], 0, 0, 0], ["cumulative_sum", [0], 1, 0, 0]], [2**30],
        [{"shape": [2**30], "kind": "real", "value": 0}, {"axis": 0}],
        [{"shape": [2**30], "kind": "real", "values": [1]}], structural_collisions=[]),
    "many pairs": lambda: published(64, 3),
    "pairs without end": lambda: published(64, 64),
    "a long prompt": lambda: structural(attention, 600),
    "many layers": lambda: structural(lambda n: attention(n, 20), 150),
    "every three tokens": lambda: structural(triples, 100),
    "weights of many degrees": lambda: structural(lambda n: attention(n, 1, 4000), 60),
    "an error function": lambda: generic(wide(10**5, *["erf"] * 5)),
    "parts of a target": parts,
    "a root that is not found": lambda: generic(factored(), "collide: equal states"),
    "sums of roots": lambda: published_with(numbers=PRIMES, products=1500),
    "sums of roots, a step": lambda: step_with(numbers=PRIMES, products=1500),
    "roots that are hard to find": lambda: published_with(numbers=HARD, products=1, apart=400),
    "roots that are hard to find, a step": lambda: step_with(numbers=HARD, products=1, apart=400),
    "derivatives by many parameters": lambda: touched(90),
    "many samples": lambda: step(samples=[{"tokens": [0, 1], "target": ["1", "0", "0"]}] * 9000),
    "a long rate": lambda: step(rate=f"1/{'3' * 1900}"),
    "long targets": lambda: step(samples=[{"tokens": [0, 1], "target": [f"1/{'3' * 1900}"] * 3}] * 90),
    "many lengths": lambda: regularity(still(2), structural_collisions=[],
                                       other_lengths={str(n): still(n).to_json() for n in range(3, 1700)}),
    "what long prompts have in common": lambda: structural(still, 20_000),
    "sums of long rationals": lambda: structural(summed, 300),
    "a wide table beside": lambda: beside(2**31),
    "rows that are not alike": lambda: rows([{}], "add", 16_000, choose=1),
    "long lists of attributes": lambda: rows([{"more": [1] * 150_000}], "tanh", 20_000),
    "many attributes": lambda: rows([{f"a{i}": i for i in range(30_000)}], "tanh", 20_000),
    "choices that are silenced": lambda: rows([{}], "relu", 70_000, zeroed=["e"]),
    "many zeroed": lambda: rows([{}], "relu", 9_000, zeroed=[f"p{i}" for i in range(60_000)]),
    "an expanded row, in fixed point": lambda: apart(known(2**30, "exp"), [0], [1]),
    "many prompts in fixed point": lambda: apart(known(2**16, *["exp"] * 9), *[[0], [1]] * 5_000),
    "many scattered constants, in fixed point": lambda: apart(written_over(2**17), [0], [1]),
    "many wide states": lambda: apart(repeated(2**20), *[[0]] * 1500),
    "enclosures that unfold": lambda: {**apart(repeated(2**20)), "prompts": [
        {"token_ids": [0], "bits": 64, "enclosures": [{"bytes": 256}] * 100}] * 2},
    "an expanded row over a vocabulary": lambda: {**apart(known(2**30, "exp")), "kind": "vocabulary-margin",
                                                  "tokens": 2},
    "a vocabulary of many tokens": lambda: {**apart(known(2**17, *["exp"] * 9)), "kind": "vocabulary-margin",
                                            "tokens": 999_999},
    "long prompts that are equal": lambda: apart(triples(500), [1] * 500, [1] * 499 + [2],
                                                 identical=[{"first": 0, "second": 1}]),
    "nested lists": lambda: json.loads(json.dumps(written([], [1])).replace('"about": {}',
                                                                     f'"about": {{"x": {"[" * 900}{"]" * 900}}}')),
    "much that is said about it": lambda: written([], [1], claim={"statement": "x" * 900_000}),
}  # fmt: skip


def main() -> None:
    """Prints what each answer was, what it took, and how many mebibytes were held at most until then."""
    for name, make in BOMBS.items():
        text = json.dumps(make())
        began = time.process_time()
        result = check(json.loads(text), weights={})
        seconds = time.process_time() - began
        held = 1024 * (peak_memory() or math.inf)
        row = {"name": name, "bytes": len(text), "seconds": seconds, "held": held, "verdict": str(result.verdict)}
        sys.stdout.write(json.dumps({**row, "reason": result.reason[:200]}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
