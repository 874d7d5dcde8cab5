"""Random formulas of parameters: open ends that are met, kinks that cancel, jumps, ties, masks; of shape (1, 2, 2)."""

import random
from collections.abc import Callable, Mapping
from fractions import Fraction

from proofs.network.graph import Graph
from proofs.operations import REGISTRY
from proofs.operations.base import Application, prove
from proofs.regularity import Facts
from tests.proofs.building import Net

SHAPE = (1, 2, 2)
HIDDEN = float("-inf")
ENDS = tuple(Fraction(n, 2) for n in (-2, 0, 2, 4, 1, -1))
Builder = Callable[["Formula"], int]


class Formula:
    """A network in the making, with what is found of every node, so that a partial function finds its domain."""

    def __init__(self, chance: random.Random) -> None:
        self.net, self.chance = Net(), chance
        self.facts: list[Facts] = []
        tokens = self.net.tokens(2, 3)
        self.pool = [self.net.op("take", self.net.parameter("embedding", 3, 2), tokens, axis=0)]
        self.pool.append(self.net.parameter("p", *SHAPE))

    def any(self) -> int:
        """One of the nodes so far, a late one rather than an early one."""
        return self.pool[max(self.chance.randrange(len(self.pool)) for _ in range(2))]

    def where(self, holds: Callable[[Facts], bool]) -> int:
        """One of which something is known, mostly; else any."""
        self._know()
        fit = [index for index in self.pool if holds(self.facts[index])]
        return self.chance.choice(fit) if fit and self.chance.random() < 0.8 else self.any()

    def constant(self) -> int:
        """A constant, of one number or of several."""
        if self.chance.random() < 0.5:
            return self.net.constant(self.chance.choice(ENDS))
        return self.net.constant([self.chance.choice(ENDS) for _ in range(4)], SHAPE)

    def _know(self) -> None:
        graph = self.net.graph()
        for index in range(len(self.facts), len(self.net.nodes)):
            operation = REGISTRY[self.net.nodes[index].operation]
            self.facts.append(prove(operation, Application(graph, index, self.facts)).facts)


def formula(chance: random.Random, kinks: float = 0.3) -> Graph:
    """A few steps, a share of them with choices; the output is of the last one."""
    made = Formula(chance)
    for _ in range(chance.randint(2, 9)):
        table = CHOICES if chance.random() < kinks else SMOOTH
        made.pool.append(table[chance.choice(sorted(table))](made))
    return made.net.graph(made.pool[-1])


def _unary(name: str, **attributes: object) -> Builder:
    return lambda f: f.net.op(name, f.any(), **attributes)


def _above(name: str, limit: int = 0) -> Builder:
    return lambda f: f.net.op(name, f.where(lambda fact: fact.bounds.above(Fraction(limit))))


def _one_less(f: Formula) -> int:
    """1 - x, where 1 may be an end of x that is open."""
    x = f.where(lambda fact: fact.bounds.upper == 1)
    return f.net.op("subtract", f.net.constant(1), x)


def _met(f: Formula) -> int:
    """x limited to an end of its own bounds, which may be open."""
    x = f.where(lambda fact: fact.bounds.lower is not None or fact.bounds.upper is not None)
    ends = [end for end in (f.facts[x].bounds.lower, f.facts[x].bounds.upper) if end is not None]
    end = f.chance.choice(ends) if ends else Fraction(1)
    if f.chance.random() < 0.5:
        return f.net.op("clamp", x, **{f.chance.choice(("low", "high")): end})
    return f.net.op(f.chance.choice(("maximum", "minimum")), x, f.net.constant(end))


def _masked(f: Formula) -> int:
    """A mask is added, and met by something that may read it, or may not."""
    x = f.net.op("add", f.any(), f.net.constant([0, f.chance.choice((0, HIDDEN)), HIDDEN, 0], SHAPE))
    name = f.chance.choice(("softmax", "log_sum_exp", "exp", "softmax", "maximum", "relu", "tanh"))
    if name in ("softmax", "log_sum_exp"):
        return f.net.op(name, x, axis=f.chance.choice((1, 2)))
    return f.net.op(name, x, f.net.constant(HIDDEN)) if name == "maximum" else f.net.op(name, x)


def _reduced(name: str) -> Builder:
    def build(f: Formula) -> int:
        return f.net.op(name, f.any(), axes=(f.chance.choice((1, 2)),), keep=True)

    return build


def _pair(name: str) -> Builder:
    return lambda f: f.net.op(name, f.any(), f.any() if f.chance.random() < 0.7 else f.constant())


def _quotient(f: Formula) -> int:
    return f.net.op("divide", f.any(), f.where(lambda fact: fact.bounds.positive or fact.bounds.negative))


def _product(f: Formula) -> int:
    x = f.net.op("expand", f.any(), shape=SHAPE)
    return f.net.op("matmul", x, f.net.op("expand", f.any(), shape=SHAPE))


SMOOTH: Mapping[str, Builder] = {
    **{name: _unary(name) for name in (
        "exp", "expm1", "sin", "cos", "tanh", "erf", "sigmoid", "silu", "gelu", "tanh_gelu", "mish", "negate",
    )},
    **{name: _pair(name) for name in ("add", "subtract", "multiply")},
    **{name: _reduced(name) for name in ("sum", "mean")},
    **{name: _above(name) for name in ("log", "rsqrt", "sqrt")},
    "log1p": _above("log1p", -1), "one less": _one_less, "divide": _quotient, "matmul": _product, "masked": _masked,
    "square": lambda f: (lambda x: f.net.op("multiply", x, x))(f.any()),
    "power": lambda f: f.net.op("power", f.any(), exponent=f.chance.choice((0, 1, 2, 3, 4))),
    "root": lambda f: f.net.op("sqrt", f.where(lambda fact: fact.bounds.non_negative)),
    "softplus": lambda f: f.net.op("softplus", f.any(), beta=f.chance.choice((Fraction(1), Fraction(2)))),
    "softmax": lambda f: f.net.op("softmax", f.any(), axis=f.chance.choice((1, 2))),
    "log_sum_exp": lambda f: f.net.op("log_sum_exp", f.any(), axis=f.chance.choice((1, 2))),
    "running": lambda f: f.net.op("cumulative_sum", f.any(), axis=f.chance.choice((1, 2))),
    "norm": lambda f: f.net.op("layer_norm", f.any(), axes=1, epsilon=f.chance.choice((Fraction(0), Fraction(1, 8)))),
}  # fmt: skip


def _even_power_of_relu(f: Formula) -> int:
    return f.net.op("power", f.net.op("relu", f.any()), exponent=f.chance.choice((2, 3)))


def _opposite_kinks(f: Formula) -> int:
    """relu(x) - relu(-x) = x, or |x| + x twice: kinks that cancel, and such that do not."""
    x = f.any()
    one, other = f.net.op("relu", x), f.net.op("relu", f.net.op("negate", x))
    return f.net.op(f.chance.choice(("add", "subtract", "subtract")), one, other)


def _both_ends(f: Formula) -> int:
    """max(x, y) + min(x, y) = x + y, or a difference that is |x - y|."""
    x, y = f.any(), f.any()
    return f.net.op(f.chance.choice(("add", "multiply", "subtract")), f.net.op("maximum", x, y),
                    f.net.op("minimum", x, y))  # fmt: skip


def _ranked_twice(f: Formula) -> int:
    """The largest entry, and the largest in another order: the same, also where a tie chooses others."""
    x = f.net.op("expand", f.any(), shape=SHAPE)
    axis = f.chance.choice((1, 2))
    turned = f.net.op("take", x, f.net.constant([1, 0], (2,), "integer"), axis=axis)
    one, other = (f.net.op("largest", part, axes=(axis,), keep=True) for part in (x, turned))
    return f.net.op(f.chance.choice(("subtract", "add")), one, other)


def _sorted(f: Formula) -> int:
    x = f.net.op("expand", f.any(), shape=SHAPE)
    count = f.chance.choice((1, 2))
    top = f.net.op("top_values", x, axis=2, count=count)
    return f.net.op("sum", top, axes=(2,), keep=True) if f.chance.random() < 0.5 else top


def _rounded(f: Formula) -> int:
    """floor(x), or floor(x) + floor(-x) + 1 times x, which is 0 but at whole numbers; some are met at drawn points."""
    x = f.any() if f.chance.random() < 0.5 else f.net.op("multiply", f.any(), f.net.constant(2**16))
    below = f.net.op("as_real", f.net.op("floor", x))
    if f.chance.random() < 0.5:
        return below
    above = f.net.op("as_real", f.net.op("floor", f.net.op("negate", x)))
    both = f.net.op("add", f.net.op("add", below, above), f.net.constant(1))
    return f.net.op("multiply", both, f.net.op("tanh", x))


def _switched(f: Formula) -> int:
    x, y = f.any(), f.any()
    name = f.chance.choice(("greater", "at_most", "equal"))
    test = f.net.op(name, x, f.chance.choice((y, f.constant())))
    return f.net.op("select", test, f.any(), f.chance.choice((x, y)))


def _picked(f: Formula) -> int:
    """An entry by the place of the largest."""
    x = f.net.op("expand", f.any(), shape=SHAPE)
    return f.net.op(
        "gather", f.net.op("expand", f.any(), shape=SHAPE), f.net.op("top_indices", x, axis=2, count=1), axis=2
    )


CHOICES: Mapping[str, Builder] = {
    **{name: _unary(name) for name in ("relu", "absolute")},
    **{name: _pair(name) for name in ("maximum", "minimum")},
    "clamp": lambda f: f.net.op("clamp", f.any(), low=min(pair := f.chance.sample(ENDS, 2)), high=max(pair)),
    "crossed": lambda f: f.net.op("clamp", f.any(), low=f.chance.choice(ENDS), high=f.chance.choice(ENDS)),
    "leaky_relu": lambda f: f.net.op("leaky_relu", f.any(), slope=f.chance.choice(ENDS)),
    "elu": lambda f: f.net.op("elu", f.any(), scale=f.chance.choice((Fraction(1), Fraction(2), Fraction(-1)))),
    "largest": _reduced("largest"), "met": _met, "power": _even_power_of_relu, "opposite": _opposite_kinks,
    "ends": _both_ends, "ranked": _ranked_twice, "sorted": _sorted, "rounded": _rounded, "switched": _switched,
    "picked": _picked,
}  # fmt: skip
