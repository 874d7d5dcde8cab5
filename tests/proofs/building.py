"""Small graphs by hand, without torch."""

from fractions import Fraction
from typing import Any

from proofs.network.graph import Constant, Graph, Node
from proofs.operations import REGISTRY


class Net:
    """Nodes in order; every method returns an index."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: list[Constant] = []

    def op(self, operation: str, *arguments: int, **attributes: Any) -> int:
        types = [self.nodes[i].type for i in arguments]
        known = REGISTRY.get(operation)
        type_ = known.type(types, attributes) if known else types[0]
        self.nodes.append(
            Node(operation, arguments, attributes, type_, f"block.{operation}", f"model.py:{len(self.nodes)}")
        )
        return len(self.nodes) - 1

    def parameter(self, name: str, *shape: int) -> int:
        for index, node in enumerate(self.nodes):
            if node.attributes.get("name") == name:
                return index
        return self.op("parameter", name=name, shape=shape, kind="real")

    def tokens(self, length: int = 3, vocabulary: int = 5) -> int:
        return self.op("tokens", shape=(1, length), kind="integer", vocabulary=vocabulary)

    def constant(self, values: Any, shape: tuple[int, ...] = (), kind: Any = "real") -> int:
        values = values if isinstance(values, list) else [values]
        exact = tuple(
            v if isinstance(v, bool | int) or v in (float("-inf"), float("inf")) else Fraction(v) for v in values
        )
        self.constants.append(Constant(shape, kind, exact))
        return self.op("constant", shape=shape, kind=kind, value=len(self.constants) - 1)

    def graph(self, output: int | None = None, layer: int = 1) -> Graph:
        last = len(self.nodes) - 1 if output is None else output
        return Graph(tuple(self.nodes), tuple(self.constants), last, layer)


def attention_net(
    *, epsilon: Fraction = Fraction(1, 2**17), activation: str = "silu", length: int = 3, vocabulary: int = 5
) -> Graph:
    """One block: RMS norm, causal attention with one head, residual, gated step."""
    net = Net()
    width = 4
    x = net.op("take", net.parameter("embedding", vocabulary, width), net.tokens(length, vocabulary), axis=0)
    square = net.op("mean", net.op("power", x, exponent=2), axes=(2,), keep=True)
    normal = net.op("multiply", x, net.op("rsqrt", net.op("add", square, net.constant(epsilon))))
    q, k, v = (net.op("matmul", normal, net.parameter(name, width, width)) for name in "qkv")
    scores = net.op("matmul", q, net.op("permute", k, order=(0, 2, 1)))
    mask = [0 if j <= i else float("-inf") for i in range(length) for j in range(length)]
    scores = net.op("add", scores, net.constant(mask, (1, length, length)))
    mixed = net.op("matmul", net.op("softmax", scores, axis=2), v)
    after = net.op("add", x, mixed)
    up = net.op(activation, net.op("matmul", after, net.parameter("up", width, width)))
    net.op("add", after, net.op("matmul", up, net.parameter("down", width, width)))
    return net.graph()
