"""What is written for the extracted programs means what the network computes; no program is needed to see that."""

import random
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from proofs import prove_analytic
from proofs.arithmetic.base import Undecided
from proofs.arithmetic.multiprecision import Multiprecision
from proofs.errors import InvalidInput, Unsupported
from proofs.formal import build
from proofs.formal.entries import Entries, last_states
from proofs.formal.graph_text import NUMBERED, PLAIN, network_text, node_lines
from proofs.network.graph import Graph, Node
from proofs.operations.interpreter import evaluate
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import gpt2, jumping, network, weights_of
from tests.proofs.formal_networks import random_network
from tests.proofs.formal_programs import missing

DIGITS = 1e-30  # of numbers with 256 bits


class Reading:
    """Rows as numbers, by what `rows.ml` says of them."""

    def __init__(self, rows: Entries, weights: Mapping[str, Any]) -> None:
        self.oracle = Multiprecision()
        self.meant = {number: name for name, number in rows.names.items()}
        self.weights = weights
        self.totals: dict[int, list[int]] = {}
        self.values: list[Any] = []
        for line in rows.lines:
            self.values.append(self.value(*line.split()))

    def value(self, head: str, *words: str) -> Any:
        if head == "quotient":
            bar = words.index("/")
            base = self.oracle.number(self.meant[int(words[0])][1])
            above, below = (self.side(base, side) for side in (words[1:bar], words[bar + 1 :]))
            return above / below
        numbers = [int(word) for word in words]
        if head == "total":
            self.totals[len(self.values)] = numbers
            return mpmath.fsum(self.values[i] for i in numbers)
        if head == "mixture":
            weights = [self.values[i] for i in self.totals.get(numbers[0], numbers[:1])]
            terms = [w * self.values[i] for w, i in zip(weights, numbers[1:], strict=True)]
            return mpmath.fsum(terms) / mpmath.fsum(weights)
        assert head == "apply"
        return self.applied(self.meant[numbers[0]], [self.values[i] for i in numbers[1:]])

    def side(self, base: Any, terms: Sequence[str]) -> Any:
        pairs = [map(int, term.split(":")) for term in terms]
        return mpmath.fsum(self.oracle.context.exp(base * power) * self.values[row] for row, power in pairs)

    def applied(self, name: Any, read: list[Any]) -> Any:
        if name == "multiply":
            return read[0] * read[1]
        if isinstance(name, tuple):
            assert not read
            return self.oracle.number(name[1]) if name[0] == "constant" else self.weights[name[1]][name[2]]
        return self.oracle.elementary(name)(*read)


def expect_the_states(graph: Graph, prompt: Sequence[int], *, mixtures: bool, seed: int = 0) -> None:
    """The rows of the last state are its entries, for random parameters."""
    rows = Entries(mixtures=mixtures)
    oracle = Multiprecision()
    exact = np.frompyfunc(lambda x: oracle.number(Fraction(float(x))), 1, 1)
    weights = {name: exact(value) for name, value in weights_of(graph, seed).items()}
    (places,) = last_states([(graph, prompt)], rows)
    read = Reading(rows, weights)
    state = evaluate(graph, {"tokens": np.array([prompt], dtype=np.int64), **weights}, oracle)[0, -1]
    assert len(places) == len(state)
    for place, entry in zip(places, state, strict=True):
        assert abs(read.values[place] - entry) <= DIGITS * (1 + abs(entry))


@pytest.mark.parametrize("mixtures", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"scheme": "alibi"}, {"scheme": "learned"}, {"window": 2}, {"sink": True}, {"residual": False},
        {"depth": 2, "activation": "exp"}, {"scheme": "alibi", "bend": True, "activation": "silu"}, {"frozen": True},
    ],
    ids=str,
)  # fmt: skip
def test_the_rows_of_a_state_are_its_entries(options: dict[str, Any], mixtures: bool) -> None:
    with mpmath.workprec(256):
        for prompt in [(1,), (2, 1), (1, 2, 2)]:
            expect_the_states(network(len(prompt), **options), prompt, mixtures=mixtures)


@pytest.mark.parametrize("mixtures", [True, False])
def test_so_are_those_of_another_norm(mixtures: bool) -> None:
    with mpmath.workprec(256):
        expect_the_states(gpt2(3), (0, 2, 1), mixtures=mixtures)
        expect_the_states(attention_net(), (4, 2, 4), mixtures=mixtures)


def test_a_network_that_chooses_has_no_rows() -> None:
    with pytest.raises(Undecided):
        last_states([(jumping(), (1, 2, 3))], Entries(mixtures=False))


def test_a_masked_entry_that_reaches_no_softmax_has_no_rows() -> None:
    net = Net()
    x = net.op("take", net.parameter("e", 5, 4), net.tokens(1), axis=0)
    masked = net.op("add", x, net.constant(float("-inf")))
    with pytest.raises(Unsupported, match="masked"):
        last_states([(net.graph(net.op("multiply", masked, x)), (1,))], Entries(mixtures=False))


def expect_the_node(line: str, graph: Graph, index: int, claim: Sequence[Any]) -> None:
    """A line, read as `main.ml` says, is the node and what is claimed of it."""
    operation, kind, read, claimed = ([*part.split()] for part in line.split(" ; "))
    node = graph.nodes[index]
    assert kind == [node.type.kind, *map(str, node.type.shape)]
    assert [index - 1 - int(back) for back in read] == list(node.arguments)
    assert_operation(operation, graph, index, node)
    if claim[0] == "unproved":
        assert claimed == ["nothing"]
        return
    ends = [
        "-" if end is None else f"{'open' if opened else 'closed'}:{end}" for end, opened in (claim[1:3], claim[3:5])
    ]
    assert claimed == ["bounds", *ends, str(int(claim[5])), claim[0]]


def assert_operation(words: list[str], graph: Graph, index: int, node: Node) -> None:
    name, numbers = words[0], words[1:]
    given = node.attributes
    if name in ("parameter", "given"):
        assert numbers == [str(index)]  # its own name
    elif name == "constant":
        values = graph.constants[given["value"]].values
        read = [float("-inf") if word == "-" else Fraction(word) for word in numbers]
        assert read[0] == (values[0] if values else 0)
        assert read[1:] == (list(values) if len(values) > 1 else [])
    elif name in ("sum", "mean"):
        rank = len(graph.nodes[node.arguments[0]].type.shape)
        marks = [str(int(axis in given["axes"])) for axis in range(rank)]
        assert numbers == [str(int(given["keep"])), *marks]
    elif name == "largest":
        assert numbers == [str(int(given["keep"])), str(given["axes"][0])]
    elif name == "permute":
        assert tuple(map(int, numbers)) == given["order"]
    else:
        assert numbers == ["-" if given[key] is None else str(given[key]) for key in NUMBERED.get(name, ())]
    assert name == node.operation


@pytest.mark.parametrize("part", range(4))
def test_every_line_of_a_random_network_is_its_node(part: int) -> None:
    written = set[str]()
    for seed in range(part, 160, 4):
        certificate = prove_analytic(random_network(seed)).to_json()
        graph = Graph.from_json(certificate["graph"])
        head, *lines = network_text(f"n{seed}", certificate).splitlines()
        assert head == f"network n{seed}"
        assert len(lines) == len(graph.nodes)
        for index, line in enumerate(lines):
            expect_the_node(line, graph, index, certificate["facts"][certificate["lines"][index]])
            written.add(graph.nodes[index].operation)
    assert len(written) > len(PLAIN | NUMBERED.keys()) - 3  # the shift of a softmax has a test of its own


def test_attributes_stand_in_the_order_in_which_the_program_reads_them() -> None:
    program = Path(build.__file__).with_name("main.ml").read_text()
    read = {name: words.split("; ")[1:] for name, words in re.findall(r'\[ "(\w+)"((?:; \w+)*) \]', program)}
    for name, keys in NUMBERED.items():
        assert len(read[name]) == len(keys), name
        assert all(word == "n" or key.startswith(word) for word, key in zip(read[name], keys, strict=True)), name
    assert {name for name in PLAIN if read.get(name)} == set()


NOTHING = ["unproved", None, False, None, False, False]


def line_of(net: Net, output: int) -> str:
    """What is written of a node of which nothing is claimed."""
    return [*node_lines(net.graph(output), [NOTHING] * len(net.nodes))][output].split(" ; ")[0]


def test_what_the_checker_has_no_words_for_is_unknown_to_it() -> None:
    net = Net()
    assert line_of(net, net.op("aten.sinh", net.parameter("x", 2))) == "unknown"
    assert line_of(net, net.constant(float("inf"))) == "unknown"


def test_an_attribute_that_is_no_exact_number_is_an_error() -> None:
    for wrong in (0.5, True, "1"):
        net = Net()
        x = net.op("relu", net.parameter("x", 2))
        net.nodes[x] = Node("power", net.nodes[x].arguments, {"exponent": wrong}, net.nodes[x].type, "", "")
        with pytest.raises(InvalidInput, match="exact number"):
            line_of(net, x)


@pytest.mark.parametrize(
    ("largest", "keep", "of", "passed"),
    [(1, True, "same", True), (0, True, "same", False), (1, True, "other", False), (1, False, "same", False)],
)
def test_only_the_shift_of_a_softmax_by_its_own_maximum_is_passed_over(
    largest: int, keep: bool, of: str, passed: bool
) -> None:
    net = Net()
    x, other = net.parameter("x", 3, 3), net.parameter("y", 3, 3)
    peak = net.op("largest", x if of == "same" else other, axes=(largest,), keep=keep)
    softmax = net.op("softmax", net.op("subtract", x, peak), axis=1)
    line = [*node_lines(net.graph(softmax), [NOTHING] * len(net.nodes))][softmax]
    assert line.split(" ; ")[2] == str(softmax - 1 - (x if passed else softmax - 1))


def test_random_prompts_have_the_rows_of_their_states() -> None:
    chance = random.Random(0)
    with mpmath.workprec(256):
        for seed in range(8):
            prompt = [chance.randrange(9) for _ in range(chance.randrange(1, 4))]
            options: dict[str, Any] = {"sink": chance.random() < 0.5, "activation": chance.choice(["tanh", "mish"])}
            expect_the_states(network(len(prompt), **options), prompt, mixtures=chance.random() < 0.5, seed=seed)


def test_a_program_whose_theories_did_not_compile_is_not_run(monkeypatch, tmp_path):
    """The copies of the sources are there before anything is compiled; a program of older ones stood beside them."""
    monkeypatch.setattr(build, "OUT", tmp_path)
    monkeypatch.setattr(build, "STAMP", tmp_path / "made-of.txt")
    monkeypatch.setattr(build, "PARTS", {})
    monkeypatch.setattr(build, "run", lambda _: "")
    program, theories = tmp_path / "program", [f"{theory}.v" for theory in build.theories()]
    assert "has not been compiled" in missing(program, theories)
    program.touch()
    assert missing(program, theories)
    build.compile_theories()
    assert missing(program, theories)
    build.compile_programs()
    assert not missing(program, [*theories, "main.ml"])

    def failing(_):
        raise build.Failure("no", 2)

    monkeypatch.setattr(build, "run", failing)
    with pytest.raises(build.Failure):
        build.compile_theories()
    assert "make formal" in missing(program, theories)
