"""Entries that are chosen by known places: what has one number has one value, and a row that is chosen is that row."""

from itertools import combinations, product

import numpy as np
import pytest

from proofs.arithmetic.ball import Balls
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from tests.proofs.building import Net

ROWS, WIDTH, LENGTH = 3, 2, 2
TABLE = [[0.5, 1.25], [2.0, 3.75], [0.25, 0.5]]
PROMPTS = list(product(range(ROWS), repeat=LENGTH))
SHAPES = [(1, 1), (1, 2), (2, 1), (2, 2)]


def chosen(operation: str, axis: int, shape: tuple[int, int], places: tuple[int, ...]) -> Graph:
    net = Net()
    rows = net.op("take", net.parameter("embedding", ROWS, WIDTH), net.tokens(LENGTH, ROWS), axis=0)
    if operation == "gather":
        net.op("gather", rows, net.constant(list(places), (1, *shape), "integer"), axis=axis)
    else:
        found = net.op("take", rows, net.constant(list(places), shape, "integer"), axis=axis)
        before, behind = (1, LENGTH, WIDTH)[:axis], (1, LENGTH, WIDTH)[axis + 1 :]
        net.op("reshape", found, shape=(1, before[-1] * shape[0] * shape[1], *(behind or (1,))))
    return net.graph()


def last(graph: Graph, prompt: tuple[int, ...]) -> list[float]:
    with Balls(64) as balls:
        table = np.vectorize(balls.number, otypes=[object])(np.array(TABLE))
        state = evaluate(graph, {"tokens": np.array([prompt]), "embedding": table}, balls)[0, -1]
        return [float(entry.mid()) for entry in np.ravel(state)]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("operation", ["gather", "take"])
def test_an_entry_of_a_row_is_not_the_row(operation: str, place: int) -> None:
    """Of one token, an entry twice; of two, the row."""

    def network(length: int) -> Graph:
        net = Net()
        x = net.op("take", net.parameter("embedding", ROWS, WIDTH), net.tokens(length, ROWS), axis=0)
        if length == 1:
            shape = (1, 1, WIDTH) if operation == "gather" else (WIDTH,)
            net.op(operation, x, net.constant(place, shape, "integer"), axis=2)
        return net.graph()

    graphs = {length: network(length) for length in (1, 2)}
    assert not Numbering(graphs.values()).equal(graphs[1], (1,), graphs[2], (2, 1))
    assert Numbering(graphs.values()).equal(graphs[1], (1,), graphs[1], (1,))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("operation", ["gather", "take"])
def test_what_is_chosen_has_one_number_where_it_is_the_same(operation: str, axis: int, shape: tuple[int, int]) -> None:
    for places in product(range(2), repeat=shape[0] * shape[1]):
        graph = chosen(operation, axis, shape, places)
        numbering = Numbering([graph])
        states = {prompt: last(graph, prompt) for prompt in PROMPTS}
        for first, second in combinations(PROMPTS, 2):
            found = numbering.equal(graph, first, graph, second)
            alike = states[first] == states[second]
            assert alike or not found, (places, first, second)
            if (operation, axis, shape) == ("take", 1, (1, 1)):
                assert found is alike, (places, first, second)
