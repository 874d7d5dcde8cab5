"""Small random networks for the extracted checker: every operation, masks, open ends, integers, odd shapes."""

import random
from fractions import Fraction
from typing import Any

from proofs.errors import InvalidInput
from proofs.network.graph import Graph
from proofs.operations import REGISTRY
from tests.proofs.building import Net

RATIONALS = [Fraction(n, d) for n in (-3, -1, 0, 1, 2) for d in (1, 2)]
# Odd ends and limits that meet are where strictness matters.
ATTRIBUTES: dict[str, Any] = {
    "softplus": lambda r: {"beta": r.choice([Fraction(1), Fraction(1, 2), Fraction(0), Fraction(-1)])},
    "leaky_relu": lambda r: {"slope": r.choice([Fraction(1, 8), Fraction(1), Fraction(-1), Fraction(0)])},
    "elu": lambda r: {"scale": r.choice([Fraction(1), Fraction(2), Fraction(-1)])},
    "clamp": lambda r: {"low": r.choice([None, *RATIONALS]), "high": r.choice([None, *RATIONALS])},
    "power": lambda r: {"exponent": r.randrange(5)},
    "whole_quotient": lambda r: {"by": r.randrange(1, 4)},
    "remainder": lambda r: {"by": r.randrange(1, 4)},
}
AXIS = ("cumulative_sum", "softmax", "log_sum_exp", "take", "gather", "scatter")
TWO = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "greater", "at_most", "equal", "both", "either",
       "matmul", "take", "gather")  # fmt: skip
ARGUMENTS = {**dict.fromkeys(TWO, 2), "select": 3, "scatter": 3}
LEAVES = ("tokens", "parameter", "constant")


def _attributes(r: random.Random, name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    rank = len(shape)
    axis = r.randrange(rank) if rank else 0
    if name in ATTRIBUTES:
        return ATTRIBUTES[name](r)
    if name in AXIS:
        return {"axis": axis}
    if name in ("sum", "mean"):
        return {"axes": tuple(a for a in range(rank) if r.random() < 0.5), "keep": r.random() < 0.5}
    if name == "largest":
        return {"axes": (axis,), "keep": r.random() < 0.5}
    if name in ("top_values", "top_indices"):
        return {"axis": axis, "count": r.randrange(1, 3)}
    if name == "layer_norm":
        return {"axes": 1, "epsilon": r.choice([Fraction(1, 1024), Fraction(0)])}
    if name == "reshape":
        size = 1
        for n in shape:
            size *= n
        return {"shape": r.choice([(size,), (1, size), (size, 1), tuple(reversed(shape)), (*shape, 1)])}
    if name == "permute":
        return {"order": tuple(r.sample(range(rank), rank))}
    if name == "expand":
        return {"shape": r.choice([(2, *shape), tuple(3 if n == 1 else n for n in shape)])}
    if name == "slice":
        size = shape[axis] if rank else 0
        start = r.randrange(max(size, 1))  # never nothing: of a tensor without entries there is nothing to bound
        return {
            "axis": axis,
            "start": start,
            "stop": r.randrange(start, size) + 1 if size else 0,
            "step": r.randrange(1, 3),
        }
    return {"axis": axis} if name == "concatenate" else {}


def _leaves(r: random.Random, net: Net) -> None:
    for index in range(3):
        net.parameter(f"p{index}", *r.choice([(3,), (2, 3), (3, 3), (1, 3), (2, 1, 3)]))
    net.tokens(3, 3)
    ends = [*RATIONALS, float("-inf")]
    for shape in ((3, 3), (1, 3), (2, 3), ()):
        size = 1
        for n in shape:
            size *= n
        net.constant([r.choice(ends if r.random() < 0.4 else RATIONALS) for _ in range(size)], shape)
    net.constant([r.random() < 0.5 for _ in range(3)], (3,), "boolean")
    net.constant([r.randrange(3) for _ in range(3)], (3,), "integer")
    net.constant(float("-inf"), (), "real")


def random_network(seed: int, nodes: int = 24) -> Graph:
    """A network of operations that fit; the last node that is a real tensor is the output."""
    r = random.Random(seed)
    net = Net()
    _leaves(r, net)
    names = [name for name in sorted(REGISTRY) if name not in LEAVES]
    leaves = len(net.nodes)
    for _ in range(40 * nodes):
        if len(net.nodes) >= leaves + nodes:
            break
        name = r.choice(names)
        count = r.choice([1, 2]) if name in ("concatenate", "layer_norm") else ARGUMENTS.get(name, 1)
        recent = range(max(0, len(net.nodes) - 12), len(net.nodes))
        arguments = [r.choice(recent if r.random() < 0.6 else range(len(net.nodes))) for _ in range(count)]
        if r.random() < 0.2:
            arguments = [arguments[0]] * count
        try:
            net.op(name, *arguments, **_attributes(r, name, net.nodes[arguments[0]].type.shape))
        except (InvalidInput, IndexError, KeyError, TypeError, ValueError):
            continue  # they do not fit
    output = max(i for i, node in enumerate(net.nodes) if node.type.kind == "real")
    return net.graph(output)
