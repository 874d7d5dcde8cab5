"""Random graphs of all operations on tensors of one shape, so that any can be combined."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from tests.proofs.building import Net

SHAPE = (2, 2)
ENDS = [Fraction(n, 2) for n in (-4, -2, -1, 0, 1, 2, 4)]
SQUASHED = ("sigmoid", "tanh", "exp", "expm1", "softplus", "erf", "sin", "silu", "gelu", "mish", "absolute", "relu")
PLAIN = ("exp", "expm1", "sin", "cos", "tanh", "erf", "sigmoid", "log", "log1p", "rsqrt", "sqrt", "silu", "gelu",
         "tanh_gelu", "mish", "relu", "absolute")  # fmt: skip

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Writer:
    """A graph that grows by drawn operations; every tensor is of one shape, so that all can be combined."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.net = Net()
        self.places: dict[str, list[int]] = {"real": [], "integer": [], "boolean": []}

    def pick(self, kind: str) -> int:
        """A node of a kind, more often a late one; a new leaf where there is none."""
        known = self.places[kind]
        if not known or self.draw(st.integers(0, 4)) == 0:
            return self.leaf(kind)
        return known[-1 - self.draw(st.integers(0, min(2, len(known) - 1)))]

    def leaf(self, kind: str) -> int:
        """A constant, or a function of parameters that takes all values between its bounds and nears both."""
        if kind == "boolean":
            return self.kept(self.net.constant(self.draw(st.lists(st.booleans(), min_size=4, max_size=4)), SHAPE, kind))
        if kind == "integer":
            values = st.lists(st.integers(-3, 3), min_size=4, max_size=4)
            return self.kept(self.net.constant(self.draw(values), SHAPE, kind))
        if self.draw(st.booleans()):
            values = self.draw(st.lists(st.sampled_from(ENDS), min_size=1, max_size=1) | st.lists(
                st.sampled_from(ENDS), min_size=4, max_size=4))  # fmt: skip
            return self.kept(self.net.constant(values, SHAPE))
        free = self.net.parameter(f"p{self.draw(st.integers(0, 2))}", *SHAPE)
        name = self.draw(st.sampled_from(SQUASHED))
        return self.kept(self.net.op(name, free, **({"beta": Fraction(1)} if name == "softplus" else {})))

    def kept(self, index: int) -> int:
        """The node, once it stands among those of its kind."""
        type_ = self.net.nodes[index].type
        assert type_.shape == SHAPE
        self.places[type_.kind].append(index)
        return index

    def write(self, name: str) -> None:
        """One more application of an operation."""
        self.kept(self.applied(name))

    def applied(self, name: str) -> int:
        """The node of an operation, moved back to the common shape where it has another."""
        net, draw, axis = self.net, self.draw, self.draw(st.integers(0, 1))
        real = lambda: self.pick("real")  # noqa: E731
        if name in PLAIN:
            return net.op(name, real())
        if name in ("divide", "maximum", "minimum", "matmul"):
            return net.op(name, real(), real())
        if name in ("add", "subtract", "multiply", "greater", "at_most", "equal"):
            kind = draw(st.sampled_from(["real", "real", "integer"]))
            return net.op(name, self.pick(kind), self.pick(kind))
        if name in ("both", "either"):
            return net.op(name, self.pick("boolean"), self.pick("boolean"))
        if name in ("opposite", "as_integer"):
            return net.op(name, self.pick("boolean"))
        if name == "as_real":
            return net.op(name, self.pick(draw(st.sampled_from(["integer", "boolean"]))))
        if name in ("whole_quotient", "remainder"):
            return net.op(name, self.pick("integer"), by=draw(st.integers(1, 3)))
        if name == "negate":
            return net.op(name, self.pick(draw(st.sampled_from(["real", "integer"]))))
        if name == "power":
            return net.op(name, self.pick(draw(st.sampled_from(["real", "integer"]))), exponent=draw(st.integers(0, 4)))
        if name == "floor":
            return net.op(name, real())
        if name == "softplus":
            return net.op(name, real(), beta=draw(st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(3)])))
        if name == "leaky_relu":
            return net.op(name, real(), slope=draw(st.sampled_from(ENDS)))
        if name == "elu":
            return net.op(name, real(), scale=draw(st.sampled_from(ENDS)))
        if name == "clamp":
            limits = st.none() | st.sampled_from(ENDS)
            return net.op(name, real(), low=draw(limits), high=draw(limits))
        if name in ("sum", "mean", "largest"):
            kind = draw(st.sampled_from(["real", "integer"])) if name == "sum" else "real"
            axes = (axis,) if name == "largest" else draw(st.sampled_from([(), (0,), (1,), (0, 1)]))
            return net.op("expand", net.op(name, self.pick(kind), axes=axes, keep=True), shape=SHAPE)
        if name == "cumulative_sum":
            return net.op(name, self.pick(draw(st.sampled_from(["real", "integer"]))), axis=axis)
        if name in ("softmax", "log_sum_exp"):
            x = self.masked(real()) if draw(st.booleans()) else real()
            return net.op("expand", net.op(name, x, axis=axis), shape=SHAPE)
        if name == "layer_norm":
            return net.op(name, real(), axes=1, epsilon=Fraction(1, 4))
        if name in ("top_values", "top_indices"):
            return net.op(name, real(), axis=axis, count=2)
        kind = draw(st.sampled_from(["real", "integer", "boolean"]))
        x = self.pick(kind)
        if name == "select":
            return net.op(name, self.pick("boolean"), x, self.pick(kind))
        if name == "reshape":
            return net.op(name, net.op(name, x, shape=(4,)), shape=SHAPE)
        if name == "permute":
            return net.op(name, x, order=(1, 0))
        if name == "expand":
            return net.op(name, net.op("slice", x, axis=axis, start=0, stop=1, step=1), shape=SHAPE)
        if name in ("concatenate", "slice"):
            joined = net.op("concatenate", x, self.pick(kind), axis=axis)
            return net.op("slice", joined, axis=axis, start=draw(st.integers(0, 1)), stop=4, step=2)
        places = net.constant(draw(st.lists(st.integers(0, 1), min_size=4, max_size=4)), SHAPE, "integer")
        if name == "take":
            row = net.op("slice", places, axis=0, start=0, stop=1, step=1)
            return net.op(name, x, net.op("reshape", row, shape=(2,)), axis=axis)
        if name == "gather":
            return net.op(name, x, places, axis=axis)
        assert name == "scatter"
        return net.op(name, x, places, self.pick(kind), axis=axis)

    def masked(self, x: int) -> int:
        """The same with an entry of minus infinity in some row or column."""
        return self.net.op("add", x, self.net.constant([0, float("-inf"), 0, 0], SHAPE))
