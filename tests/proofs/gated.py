"""A small network whose logits are read out behind a final norm, and samples for a step of an optimizer."""

from fractions import Fraction
from typing import Any

from proofs.network.graph import Graph
from proofs.recomputed.training_step import Sample
from tests.proofs.building import Net

D, N = 2, 3
TENTH = Fraction(1, 10)
SAMPLES = (Sample((0, 1), (Fraction(1), Fraction(0), Fraction(0))),
           Sample((1, 2), (Fraction(0), Fraction(1, 2), Fraction(1, 2))))  # fmt: skip


def network(*, layer_norm: bool = True, activation: str = "tanh", vocabulary: int = N, **attributes: Any) -> Graph:
    """Embedding, a residual step, final norm with a learned scale, unembedding at the last token."""
    net = Net()
    x = net.op("take", net.parameter("embedding", vocabulary, D), net.tokens(2, vocabulary), axis=0)
    x = net.op("add", x, net.parameter("positions", 2, D))
    hidden = net.op(activation, net.op("matmul", x, net.parameter("up", D, D)), **attributes)
    x = net.op("add", x, net.op("matmul", hidden, net.parameter("down", D, D)))
    x = net.op("slice", x, axis=1, start=1, stop=2, step=1)
    epsilon = Fraction(1, 16)
    scale = net.parameter("scale", D)
    if layer_norm:
        x = net.op("layer_norm", x, scale, net.parameter("shift", D), axes=1, epsilon=epsilon)
    else:
        square = net.op("mean", net.op("power", x, exponent=2), axes=(2,), keep=True)
        root = net.op("rsqrt", net.op("add", square, net.constant(epsilon)))
        x = net.op("multiply", net.op("multiply", x, root), scale)
    net.op("matmul", x, net.op("permute", net.parameter("head", vocabulary, D), order=(1, 0)))
    return net.graph()
