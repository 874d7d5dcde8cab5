"""A graph comes back equal from JSON, and a damaged one is refused in one sentence."""

import json

import pytest

from proofs import Graph, InvalidInput
from tests.proofs.building import attention_net
from tests.proofs.mutating import placed


def test_a_graph_comes_back_equal_from_json() -> None:
    graph = attention_net()
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert again == graph


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("nodes", 3, 1), [99]),
        (("nodes", 3, 1), [True]),
        (("nodes", 0, 2), -1),
        (("nodes", 0), "node"),
        (("output",), 10**6),
        (("output",), None),
        (("types", 0), [[2**40, 2**40], "real"]),
        (("types", 0), [[1], "complex"]),
        (("constants", 0, "values"), [0.5]),
        (("constants", 0, "values"), ["1/0"]),
        (("constants", 0, "values"), [True]),
        (("constants", 0, "kind"), "integer"),
        (("constants", 0, "shape"), [1]),
        (("attributes", 0), {"shape": 1.5}),
        (("places", 0), ["module"]),
    ],
    ids=str,
)
def test_a_damaged_graph_is_refused_in_one_sentence(path: tuple[object, ...], value: object) -> None:
    data = placed(attention_net().to_json(), path, value)
    with pytest.raises(InvalidInput, match="Expected"):
        Graph.from_json(data)


def test_a_graph_is_no_list() -> None:
    with pytest.raises(InvalidInput):
        Graph.from_json([])
