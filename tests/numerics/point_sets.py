"""Point sets made to be hard, and the plain exact answer to compare with."""

import math
from contextlib import contextmanager
from fractions import Fraction
from itertools import combinations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from numerics.pairs import product as pair_product
from numerics.pairs import tree as pair_tree

KINDS = (
    "plain",
    "clusters",
    "duplicates",
    "huge",
    "tiny",
    "planted",
    "wide",
    "spread",
    "grid",
    "offset",
    "line",
)


def squares(points):
    """{(first, second): squared distance} over all pairs, as rational numbers of the stored values."""
    exact = [[Fraction(value) for value in row] for row in np.asarray(points).astype(np.float64).tolist()]
    denominator = math.lcm(*(value.denominator for row in exact for value in row))
    whole = [[value.numerator * (denominator // value.denominator) for value in row] for row in exact]
    return {
        (i, j): Fraction(sum((a - b) ** 2 for a, b in zip(whole[i], whole[j], strict=True)), denominator**2)
        for i, j in combinations(range(len(whole)), 2)
    }


def ranked(points):
    """All pairs by (exact squared distance, first, second)."""
    return sorted((square, *pair) for pair, square in squares(points).items())


def assert_distance(distance, square):
    """A reported distance is the root of an exact square: within 1e-12 relative, or half a denormal; or overflows."""
    if square == 0:
        assert distance == 0
        return
    if math.isinf(distance):
        assert square > Fraction(np.finfo(np.float64).max) ** 2
        return
    room = max(Fraction(distance) * Fraction(1, 10**12), Fraction(math.ulp(0.0)) / 2)
    assert (max(Fraction(distance) - room, Fraction(0))) ** 2 <= square <= (Fraction(distance) + room) ** 2


def made(kind, rows, dimensions, seed, dtype):
    """A point set of one kind; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    limits = np.finfo(dtype)
    points = rng.standard_normal((rows, dimensions))
    if kind == "clusters":
        centres = 100 * rng.standard_normal((3, dimensions))
        points = centres[rng.integers(0, 3, rows)] + 10.0 ** rng.integers(-9, 0) * points
    elif kind == "duplicates":
        points = points[rng.integers(0, max(1, rows // 2), rows)]
        points[:, 0] = 0.0
        points[rng.random(rows) < 0.5, 0] = -0.0
    elif kind == "huge":
        points *= float(limits.max) / 8
    elif kind == "tiny":
        points = rng.integers(-3, 4, (rows, dimensions)) * float(limits.smallest_subnormal)
    elif kind == "planted":
        first, second = rng.choice(rows, 2, replace=False)
        points[second] = points[first] + 10.0 ** rng.integers(-12, 0) * np.abs(points[first])
    elif kind == "wide":
        points = np.ldexp(points, rng.integers(limits.minexp, limits.maxexp - 4, (rows, 1)))
    elif kind == "spread":
        points = np.ldexp(points, rng.integers(-40, 4, (rows, 1)))
    elif kind == "grid":
        points = rng.integers(-1, 2, (rows, dimensions)).astype(float)
    elif kind == "offset":
        points = 1e4 + points * 10.0 ** rng.integers(-6, 0)
    elif kind == "line":
        points = np.outer(rng.standard_normal(rows), points[0])
    largest = float(limits.max)
    return np.clip(points, -largest, largest).astype(dtype)


@st.composite
def point_sets(draw, most_rows=24, most_dimensions=40):
    """Point sets of every kind and dtype, in shapes on both sides of the sketch's 16 axes; or arbitrary floats."""
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    if draw(st.integers(0, 4)) == 0:
        shape = draw(st.tuples(st.integers(2, 6), st.integers(1, 4)))
        values = st.floats(width=np.finfo(dtype).bits, allow_nan=False, allow_infinity=False)
        return draw(arrays.arrays(dtype, shape, elements=values))
    return made(
        draw(st.sampled_from(KINDS)),
        draw(st.integers(2, most_rows)),
        draw(st.integers(1, most_dimensions)),
        draw(st.integers(0, 2**16)),
        dtype,
    )


@contextmanager
def small_parts():
    """Leaves of 2 and blocks of 4 entries, so that small sets pass through every part of the searches."""
    leaf, block = pair_tree.LEAF, pair_product.BLOCK
    pair_tree.LEAF, pair_product.BLOCK = 2, 4
    try:
        yield
    finally:
        pair_tree.LEAF, pair_product.BLOCK = leaf, block
