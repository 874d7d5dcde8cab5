"""A product is of the entries that its operands show: views of one array are other matrices, wherever they begin."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import flint
import numpy as np
import pytest

from proofs import Verdict, check
from proofs.arithmetic.ball import LARGE, Balls
from proofs.arithmetic.choices import Choices
from proofs.arithmetic.fixed_point import Fixed, FixedPoint
from proofs.arithmetic.midpoint import Middle, Midpoint
from proofs.arithmetic.multiprecision import Multiprecision
from proofs.network.graph import Graph
from proofs.theorems.generic_position import examine
from tests.proofs.building import Net

WIDE = 66  # whose square is beyond what is made once for all places of a product
assert WIDE**2 > LARGE
WHOLE = np.random.default_rng(0).integers(-9, 10, (2, 2 * WIDE, 2 * WIDE))
VIEWS: dict[str, Callable[[Any], Any]] = {
    "its beginning": lambda a: a[0, :WIDE, :WIDE],
    "transposed": lambda a: a[0, :WIDE, :WIDE].T,
    "every other column": lambda a: a[0, :WIDE, ::2],
    "every other row": lambda a: a[0, ::2, :WIDE],
    "its end": lambda a: a[0, WIDE:, WIDE:],
    "in another shape": lambda a: a[0, : WIDE // 2].reshape(WIDE, WIDE),
    "of all rows": lambda a: a[:, :WIDE, :WIDE],
    "one for all": lambda a: np.broadcast_to(a[:1, :WIDE, :WIDE], (2, WIDE, WIDE)),
    "backwards": lambda a: a[0, :WIDE, :WIDE][::-1, ::-1],
}


def objects(values: Any, one: Callable[[int], Any]) -> Any:
    result = np.empty(values.size, dtype=object)
    result[:] = [one(int(value)) for value in values.ravel()]
    return result.reshape(values.shape)


@pytest.mark.parametrize("kind", [lambda: Balls(64), lambda: Choices(64)], ids=["balls", "choices"])
def test_balls_multiply_what_is_seen(kind: Callable[[], Any]) -> None:
    with kind() as arithmetic:
        whole = objects(WHOLE, flint.arb)
        for (one, first), (other, second) in product(VIEWS.items(), VIEWS.items()):
            found = arithmetic.matmul(first(whole), second(whole))
            expected = np.matmul(first(WHOLE), second(WHOLE))
            wrong = [x for x, y in zip(found.ravel(), expected.ravel().tolist(), strict=True) if x != y]
            assert found.shape == expected.shape and not wrong, (one, other)


@pytest.mark.parametrize("arithmetic", [FixedPoint(64), Midpoint(), Multiprecision(64)], ids=lambda a: type(a).__name__)
def test_so_do_enclosures_and_the_oracle(arithmetic: Any) -> None:
    weights = WHOLE.astype(np.float64)
    oracle = isinstance(arithmetic, Multiprecision)
    whole = objects(WHOLE, lambda x: arithmetic.number(Fraction(x))) if oracle else weights
    flat = [name for name in VIEWS if name not in ("of all rows", "one for all")]
    for one, other in [pair for pair in product(flat, repeat=2) if not oracle or pair == ("its end", "transposed")]:
        left, right = VIEWS[one](whole), VIEWS[other](whole)
        exact = VIEWS[one](WHOLE) @ VIEWS[other](WHOLE)
        found = arithmetic.matmul(left if oracle else arithmetic.add(left, np.zeros(left.shape)), right)
        if isinstance(found, Middle):
            assert np.all(np.abs(found.mid - exact) <= found.radius) and found.radius.max() < 1e-6, (one, other)
        elif isinstance(found, Fixed):
            middle = np.array([int(x) for x in found.mantissa.ravel()], dtype=object).reshape(exact.shape)
            assert np.all(np.abs(middle - exact.astype(object) * 2**64) <= found.radius + 1), (one, other)
        else:
            assert np.all(found == exact), (one, other)


@pytest.mark.parametrize("width", [3, WIDE - 1])
def test_what_is_symmetric_for_every_parameter_shows_no_difference(width: int) -> None:
    """Rows times an entry of A A^T - (A A^T)^T, which is 0: all prompts collide."""

    def network(length: int) -> Graph:
        net = Net()
        x = net.op("take", net.parameter("embedding", 9, 2), net.tokens(length, 9), axis=0)
        a = net.parameter("a", width, width)
        gram = net.op("matmul", a, net.op("permute", a, order=(1, 0)))
        skew = net.op("subtract", gram, net.op("permute", gram, order=(1, 0)))
        row = net.op("slice", skew, axis=0, start=0, stop=1, step=1)
        corner = net.op("reshape", net.op("slice", row, axis=1, start=1, stop=2, step=1), shape=(1, 1, 1))
        return net.graph(net.op("multiply", x, corner))

    found = examine({1: network(1)}, context=1)
    assert found.claim["certified"] == 0
    assert check(found.to_json()).verdict is Verdict.ACCEPTED
