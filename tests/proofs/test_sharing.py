"""Repeated layers written once: the same graph comes back, and a forged block proves nothing but what it says."""

import copy
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs import Graph, InvalidInput, Verdict, check, prove_analytic
from proofs.kernel.result import digest
from proofs.network.folding import LARGEST, folded, unfolded
from tests.proofs.building import Net
from tests.proofs.mutating import placed, rejected

WIDTH = 4


def stack(activations: list[str]) -> Graph:
    """A residual block per activation, each with two matrices of its own and the same epsilon."""
    net = Net()
    x = net.op("take", net.parameter("embedding", 5, WIDTH), net.tokens(), axis=0)
    weights = [
        [net.parameter(f"layers.{i}.{n}", WIDTH, WIDTH) for n in ("up", "down")] for i in range(len(activations))
    ]
    epsilon = net.constant(1, ())
    places = dict.fromkeys(range(len(net.nodes)), ("embedding", "model.py:1"))
    for layer, (activation, (up, down)) in enumerate(zip(activations, weights, strict=True)):
        places |= {up: (f"layers.{layer}.up", "model.py:2"), down: (f"layers.{layer}.down", "model.py:3")}
        first = len(net.nodes)
        square = net.op("mean", net.op("power", x, exponent=2), axes=(2,), keep=True)
        normal = net.op("multiply", x, net.op("rsqrt", net.op("add", square, epsilon)))
        x = net.op("add", x, net.op("matmul", net.op(activation, net.op("matmul", normal, up)), down))
        places |= {i: (f"layers.{layer}.mlp", f"model.py:{10 + i - first}") for i in range(first, len(net.nodes))}
    graph = net.graph(layer=len(activations))
    nodes = [dataclasses.replace(n, module=places[i][0], source=places[i][1]) for i, n in enumerate(graph.nodes)]
    return dataclasses.replace(graph, nodes=tuple(nodes))


def proof(activations: list[str]) -> dict[str, Any]:
    return json.loads(json.dumps(prove_analytic(stack(activations)).to_json()))


PROOF = proof(["silu"] * 12)
BLOCKS = [i for i, entry in enumerate(PROOF["graph"]["nodes"]) if isinstance(entry, dict)]
TIMES = PROOF["graph"]["nodes"][BLOCKS[-1]]["times"]


@given(st.lists(st.sampled_from(["silu", "tanh"]), min_size=1, max_size=14))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_stack_comes_back_equal(activations: list[str]) -> None:
    graph = stack(activations)
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph


@pytest.mark.parametrize("pattern", [["silu"], ["silu", "tanh"], ["silu", "tanh", "tanh"]], ids=len)
def test_what_repeats_is_written_once(pattern: list[str]) -> None:
    long, longer = (len(json.dumps(stack(pattern * times).to_json()["nodes"])) for times in (8, 80))
    assert longer < long + 200  # a few digits more
    assert check(proof(pattern * 8)).verdict is Verdict.ACCEPTED


def test_unfolding_is_the_inverse_of_folding() -> None:
    written = PROOF["graph"]
    plain = unfolded(written)
    assert all(isinstance(row, list) for row in plain["nodes"])
    assert Graph.from_json(plain) == Graph.from_json(written) == Graph.from_json(folded(plain))


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (("times",), TIMES - 1), (("times",), TIMES + 1), (("rows", 0, 0), "relu"), (("rows", 1, 1), [0]),
    ],
    ids=str,
)  # fmt: skip
def test_a_forged_block_is_rejected(change: tuple[Any, ...], value: Any) -> None:
    """Whoever changes a block has to change what is claimed; signing it anew does not help."""
    for signed in (False, True):
        data = placed(PROOF, ("graph", "nodes", BLOCKS[-1], *change), value)
        if signed:
            data["claim"]["graph"] = digest(data["graph"])
        assert check(data).verdict is Verdict.REJECTED


def test_all_layers_with_the_weights_of_one_are_refused() -> None:
    """Shared weights are one node with several readers; a name that stands twice is no graph."""
    data = copy.deepcopy(PROOF)
    row = next(r for i in BLOCKS for r in data["graph"]["nodes"][i]["rows"] if isinstance(r[2], dict))
    row[2]["name"] = [part if isinstance(part, str) else [part[0], 0] for part in row[2]["name"]]
    result = check(data)
    assert result.verdict is Verdict.REJECTED
    assert "stands twice" in result.reason


@st.composite
def forgeries(draw: st.DrawFn) -> dict[str, Any]:
    """One number or name in a block changed, or a row swapped, dropped or doubled; half of them are signed anew."""
    data = copy.deepcopy(PROOF)
    block = data["graph"]["nodes"][draw(st.sampled_from(BLOCKS))]
    rows = block["rows"]
    row = rows[draw(st.integers(0, len(rows) - 1))]
    match draw(st.sampled_from(["times", "argument", "step", "row", "drop", "operation", "type", "name"])):
        case "times":
            block["times"] += draw(st.integers(-3, 3))
        case "argument" if row[1]:
            row[1][draw(st.integers(0, len(row[1]) - 1))] = draw(st.integers(0, 40))
        case "step" if row[1]:
            row[1][draw(st.integers(0, len(row[1]) - 1))] = [draw(st.integers(0, 40)), draw(st.integers(-2, 12))]
        case "row":
            other = draw(st.integers(0, len(rows) - 1))
            rows[other] = copy.deepcopy(row)
        case "drop":
            rows.remove(row)
        case "operation":
            row[0] = draw(st.sampled_from(["relu", "tanh", "rsqrt", "negate", "aten.unknown"]))
        case "type":
            row[3] = draw(st.integers(0, len(data["graph"]["types"]) - 1))
        case _:
            row[4] = [["layers.", [draw(st.integers(0, 3)), draw(st.integers(0, 2))], ".x"], "model.py:9"]
    if draw(st.booleans()):
        data["claim"]["graph"] = digest(data["graph"])
    return data


@given(forgeries())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_forgery_is_rejected_or_proves_what_it_says(forgery: dict[str, Any]) -> None:
    rejected(forgery)


@pytest.mark.slow
@given(forgeries())
@settings(max_examples=1000, deadline=None)
def test_many_forgeries_are_rejected_or_prove_what_they_say(forgery: dict[str, Any]) -> None:
    rejected(forgery)


@pytest.mark.parametrize(
    "block",
    [
        {}, {"times": 3}, {"times": 0, "rows": []}, {"times": True, "rows": []}, {"times": 2, "rows": [5]},
        {"times": 2, "rows": [["add", [[1]], 0, 0, 0]]}, {"times": 2, "rows": [["add", [[1, "2"]], 0, 0, 0]]},
        {"times": 2, "rows": [["add", [], {"name": 3}, 0, 0]]}, {"times": 2, "rows": [["add", [], 0, 0, [3, ""]]]},
        {"times": LARGEST, "rows": [["add", [], 0, 0, 0]] * 2}, {"times": 2, "rows": [["add", [[1, 10**9]], 0, 0, 0]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_block_is_refused_in_one_sentence(block: dict[str, Any]) -> None:
    data = copy.deepcopy(PROOF["graph"])
    data["nodes"].append(block)
    with pytest.raises(InvalidInput, match="Expected"):
        Graph.from_json(data)
