"""What is taken for a gate: a table and a scale that are parameters of their own, and second derivatives all known."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from proofs import Graph
from proofs.arithmetic.surds import Surd
from proofs.recomputed.gate import Gate, embedding_of, gate_of, norms_rows, reads_out
from proofs.recomputed.settled import NO_GATE, NO_ROWS
from proofs.recomputed.training_step import Sample, prove_step
from tests.proofs.building import Net

D, N = 2, 3


def read_out(change: str = "") -> Graph:
    """Logits U (gamma x^), with what is read of them changed."""
    net = Net()
    places = net.op("take", net.parameter("places", 2, D), net.constant([0, 1], (1, 2), "integer"), axis=0)
    table = net.parameter("embedding", N, D)
    x = net.op("add", net.op("take", table, net.tokens(2, N), axis=0), places)
    scale = net.constant([1, 2], (D,)) if change == "a scale that is known" else net.parameter("scale", D)
    if change == "a scale that is computed":
        scale = net.op("tanh", scale)
    if change == "a scale of two axes":
        scale = net.parameter("wide", 1, D)
    head = net.parameter("head", N, D)
    if change == "a table that is computed":
        head = net.op("tanh", head)
    if change == "the table of the tokens":
        head = table
    if change == "a table that is read before":
        x = net.op("add", x, net.op("matmul", x, net.op("matmul", net.op("permute", head, order=(1, 0)), head)))
    if change == "a scale that is read before":
        x = net.op("multiply", x, scale)
    if change == "a scale without axes":
        scale = net.parameter("one")
    if change == "a scale that is read twice":
        x = net.op("multiply", x, scale)
    if change in ("a scale that is read under another node", "a scale that is read twice"):
        x = net.op("multiply", x, net.op("parameter", name="scale", shape=(D,), kind="real"))
    x = net.op("slice", x, axis=1, start=1, stop=2, step=1)
    square = net.op("mean", net.op("power", x, exponent=2), axes=(2,), keep=True)
    x = net.op("multiply", x, net.op("rsqrt", net.op("add", square, net.constant(Fraction(1, 16)))))
    x = net.op("multiply", x, scale)
    net.op("matmul", x, net.op("permute", head, order=(1, 0)))
    return net.graph()


def test_logits_are_read_out_by_a_table_and_a_scale_that_nothing_else_reads() -> None:
    assert reads_out(read_out())
    assert embedding_of(read_out()).attributes["name"] == "embedding"  # not what constants select from


@pytest.mark.parametrize("change", [
    "a scale that is known", "a scale that is computed", "a scale of two axes", "a table that is computed",
    "the table of the tokens", "a table that is read before", "a scale that is read before",
    "a scale that is read under another node", "a scale that is read twice", "a scale without axes",
])  # fmt: skip
def test_what_is_read_elsewhere_or_is_no_parameter_reads_nothing_out(change: str) -> None:
    assert not reads_out(read_out(change))


def test_second_derivatives_that_are_not_known_are_no_gate() -> None:
    graph, zero = read_out(), Surd({})
    size = sum(kind.size for _, kind in graph.parameters())
    gradient: list[Any] = [SimpleNamespace(zero=True)] * size
    w = [Fraction(1), Fraction(0), Fraction(-1)]
    assert gate_of(graph, gradient, [[zero] * size] * size, w) == Gate("RMSNorm", (Fraction(0),) * D)
    for entry in (Surd(None), Surd({}, masked=True)):
        unknown = [[zero] * size for _ in range(size)]
        unknown[3][4] = entry
        assert gate_of(graph, gradient, unknown, w) is None
    for told in (None, False):
        assert gate_of(graph, [SimpleNamespace(zero=told), *gradient[1:]], [[zero] * size] * size, w) is None


def normed(change: str = "") -> Graph:
    """Logits U LN(x), x the rows of the tokens with places and a step added; or a function of them."""
    net = Net()
    x = net.op("take", net.parameter("embedding", N, D), net.tokens(2, N), axis=0)
    if change == "bounded":
        x = net.op("sin", x)
    if change == "a constant added":
        x = net.op("add", x, net.constant([1, 2], (1, 1, D)))
    if change == "doubled":
        x = net.op("add", x, x)
    x = net.op("add", net.parameter("positions", 2, D), x)
    x = net.op("add", x, net.op("matmul", net.op("tanh", x), net.parameter("down", D, D)))
    x = net.op("slice", x, axis=1, start=1, stop=2, step=1)
    x = net.op("layer_norm", x, net.parameter("scale", D), net.parameter("shift", D), axes=1, epsilon=Fraction(1, 16))
    net.op("matmul", x, net.op("permute", net.parameter("head", N, D), order=(1, 0)))
    return net.graph()


@pytest.mark.parametrize("change", ["", "bounded", "a constant added", "doubled"])
def test_clipping_at_every_rate_follows_where_the_norm_is_of_rows_that_may_be_large(change: str) -> None:
    """Its proof lets a row go to infinity: of a bounded function of it nothing follows."""
    graph = normed(change)
    assert reads_out(graph)
    assert norms_rows(graph) is (change == "")
    sample = Sample((0, 1), (Fraction(1), Fraction(0), Fraction(0)))
    claim = prove_step(graph, [sample], rule="clip-norm", rate=Fraction(1, 10), seed=3).claim
    assert len(claim["follows"]) == (change == "")
    assert (change == "") is not any(line["reason"] in (NO_ROWS, NO_GATE) for line in claim["open"])


def test_a_token_that_no_step_moves_is_no_hindrance() -> None:
    """Where the target is as likely as all tokens together make it, an entry of w is 0, and so are its derivatives."""
    third = Fraction(1, 3)
    claim = prove_step(normed(), [Sample((0, 1), (third, 2 * third, Fraction(0)))], rule="gd", rate=third, seed=3).claim
    assert claim["non_zero"] and claim["at_zero"]["one sample"]["agrees"]
