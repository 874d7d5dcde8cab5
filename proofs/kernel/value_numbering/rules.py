"""One rule for every operation: which entries of its arguments an entry of the result reads, and when two are equal."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import prod

import numpy as np

from proofs.kernel.lemmas.rows import scores
from proofs.kernel.value_numbering import moves
from proofs.kernel.value_numbering.arithmetic import EXACT, folded, product, shifted, total
from proofs.kernel.value_numbering.mixtures import mixture
from proofs.kernel.value_numbering.values import At, Value, congruent, mixing
from proofs.operations import VANISHING

Rule = Callable[[At], Value]


def entrywise(at: At) -> Value:
    """Every entry of the result reads the entries at its own place; known constants are worked out, and f(0) = 0."""
    key = (at.node.operation, *sorted(at.node.attributes.items()))
    vanishes, exact = (at.node.operation in names for names in (VANISHING, EXACT))

    def one(*numbers: int) -> int:
        if vanishes and at.table.is_zero(numbers[0]):
            return numbers[0]
        known = folded(at, numbers) if exact and all(n in at.table.known for n in numbers) else None
        return at.table.of(key, *numbers) if known is None else known

    return at.each(one, *at.numbers)


def added(at: At) -> Value:
    """x + 0 = x, x - inf = -inf, (x + c) + d = x + (c + d), x + y = y + x."""
    fits = (moves.whole(at, 0) == at.whole, moves.whole(at, 1) == at.whole)
    return at.each(lambda x, y: shifted(at, x, y, 1, fits), *at.numbers)


def subtracted(at: At) -> Value:
    """x - c = x + (-c), x - x = 0."""
    fits = (moves.whole(at, 0) == at.whole, moves.whole(at, 1) == at.whole)
    return at.each(lambda x, y: shifted(at, x, y, -1, fits), *at.numbers)


def multiplied(at: At) -> Value:
    """0 x = 0, (x + c) k = x k + c k, x y = y x."""
    return at.each(lambda x, y: product(at, x, y), *at.numbers)


def selected(at: At) -> Value:
    """By a condition that is known it is known which."""
    sub = [moves.whole(at, position) for position in (1, 2)]

    def one(test: int, x: int, y: int) -> int:
        known = at.table.known.get(test)
        if known is None or known.only is None:
            return at.table.of("select", test, x, y)
        return moves.repeated(at, x, sub[0]) if known.only else moves.repeated(at, y, sub[1])

    return at.each(one, *at.numbers)


def softmax(at: At) -> Value:
    """A weight is its score among the scores of its row; of a single score it is 1, of -inf it is 0."""
    axis, numbers = at.get("axis"), at.before(scores(at.graph, at.node)).numbers
    if numbers.shape[axis] == 1 != at.shape()[axis]:
        return at.each(lambda n: at.table.of("softmax", axis, n), numbers)
    result = np.empty_like(numbers)
    for place in np.ndindex(*numbers.shape[:axis], *numbers.shape[axis + 1 :]):
        row = (*place[:axis], slice(None), *place[axis:])
        result[row] = _weights(at, numbers[row].tolist())
    return Value(result, frozenset({axis}))


def _weights(at: At, scores: list[int]) -> list[int]:
    left = [score for score in scores if not at.table.is_masked(score)]
    zero, one = (at.table.constant("real", at.whole, (Fraction(value),)) for value in (0, 1))
    if not left:
        return [at.table.fresh()] * len(scores)
    if len(left) < 2:
        return [zero if at.table.is_masked(score) else one for score in scores]
    row = at.table.of("row", frozenset(Counter(left).items()))
    return [zero if at.table.is_masked(score) else at.table.weigh(score, row) for score in scores]


def log_sum_exp(at: At) -> Value:
    """Of the scores that are not -inf, in any order."""
    axis, numbers = at.get("axis"), at.numbers[0]
    if numbers.shape[axis] == 1 != at.shape()[axis]:
        return congruent(at)

    def one(scores: list[int]) -> int:
        left = Counter(score for score in scores if not at.table.is_masked(score))
        return at.table.of("log_sum_exp", frozenset(left.items())) if left else at.table.fresh()

    return _along(at, (axis,), one)


def matmul(at: At) -> Value:
    """Sums of products over the inner axis, in any order; with weights that sum to one, mixtures."""
    (x, y), inner = at.arguments, at.shape()[-1]
    if x.numbers.shape[-1] == 1 != inner:
        return at.each(lambda a, b: _times(at, a, b), x.numbers, y.numbers)
    left, right = x.numbers[..., :, None, :], np.swapaxes(y.numbers, -1, -2)[..., None, :, :]
    shape = np.broadcast_shapes(left.shape, right.shape)
    mixes = x.numbers.ndim - 1 in x.sums_to_one
    rows = (np.broadcast_to(part, shape).reshape(-1, inner).tolist() for part in (left, right))
    found = [_sum_of_products(at, a, b, mixes) for a, b in zip(*rows, strict=True)]
    return Value(np.array(found, dtype=np.int64).reshape(shape[:-1]))


def _times(at: At, x: int, y: int) -> int:
    if at.table.is_zero(x) or at.table.is_zero(y):
        return at.table.constant("real", at.whole, (Fraction(0),))
    return at.table.of("matmul", x, y)


def _sum_of_products(at: At, first: list[int], second: list[int], mixes: bool) -> int:
    terms = [(x, y) for x, y in zip(first, second, strict=True) if not (at.table.is_zero(x) or at.table.is_zero(y))]
    if not terms:
        return at.table.constant("real", at.whole, (Fraction(0),))
    known = at.table.known.get(terms[0][0])
    single = len(terms) == 1 and known is not None and known.only == 1
    dropped = [y for x, y in zip(first, second, strict=True) if at.table.is_zero(y) and not at.table.is_zero(x)]
    if single and not dropped:
        return moves.repeated(at, terms[0][1], moves.whole(at, 1, -2))
    if mixes and not dropped:
        found = mixture(at.table, [x for x, _ in terms], [y for _, y in terms])
        if found is not None:
            equal = found == terms[0][1]
            return moves.repeated(at, found, moves.whole(at, 1, -2)) if equal else found
    return at.table.of("sum of products", frozenset(Counter(terms).items()))


def reduced(at: At) -> Value:
    """Sums, means and maxima over axes: of equal terms in any order; of means the frequencies alone."""
    axes, operation = at.get("axes"), at.node.operation
    rest = tuple(axis for axis in axes if at.numbers[0].shape[axis] == 1 != at.shape()[axis])
    target = at.whole

    def one(terms: list[int]) -> int:
        key, shape = (operation, rest), tuple(1 if i in axes else n for i, n in enumerate(moves.whole(at, 0)))
        own = [at.table.of(*key, term) for term in terms] if rest else terms
        found = total(at.table, operation, own, shape)
        if shape == target:
            return found
        return moves.moved(at.table, found, ("reshape", target), target, lambda e: e.reshape(target))

    return _along(at, axes, one)


def partial_sums(at: At) -> Value:
    """Sums of the first terms along an axis."""
    axis, numbers = at.get("axis"), at.numbers[0]
    if numbers.shape[axis] == 1 != at.shape()[axis]:
        return congruent(at)
    result = np.empty_like(numbers)
    for place in np.ndindex(*numbers.shape[:axis], *numbers.shape[axis + 1 :]):
        row = (*place[:axis], slice(None), *place[axis:])
        terms = numbers[row].tolist()
        result[row] = [total(at.table, "sum", terms[: i + 1], at.whole) for i in range(len(terms))]
    return Value(result)


def _along(at: At, axes: Sequence[int], one: Callable[[list[int]], int]) -> Value:
    """One number from all along some axes, for every place along the others."""
    numbers = at.numbers[0]
    moved = np.moveaxis(numbers, tuple(axes), tuple(range(numbers.ndim - len(axes), numbers.ndim)))
    kept = moved.shape[: numbers.ndim - len(axes)]
    found = np.array([one(row) for row in moved.reshape(int(np.prod(kept)), -1).tolist()], dtype=np.int64)
    return Value(found.reshape(at.places))


def normalised(at: At) -> Value:
    """Layer norm: of the trailing axes together; of a single entry it is the shift, whatever the entry."""
    rank = len(at.node.type.shape)
    single = prod(at.shape()[rank - at.get("axes") :]) == 1 and at.get("epsilon") > 0
    if single and not any(map(at.table.is_masked, at.numbers[0].ravel().tolist())):
        zero = at.table.constant("real", at.whole, (Fraction(0),))
        return at.each(lambda _, *n: moves.repeated(at, n[0], moves.whole(at, 2)) if n else zero, *at.numbers[::2])
    return mixing(at, tuple(range(rank - at.get("axes"), rank)))


def along_an_axis(at: At) -> Value:
    """The largest entries along an axis, or their places."""
    return mixing(at, (at.get("axis"),))


def scattered(at: At) -> Value:
    """Entries replaced along an axis; along others where there are fewer places, all are read together."""
    other = [i for i, (a, b) in enumerate(zip(at.shape(0), at.shape(1), strict=True)) if a != b]
    return mixing(at, tuple(sorted({at.get("axis"), *other})))


_ENTRYWISE = (
    "negate", "divide", "power", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "sigmoid", "softplus",
    "rsqrt", "sqrt", "silu", "gelu", "tanh_gelu", "mish", "relu", "absolute", "clamp", "maximum", "minimum",
    "leaky_relu", "elu", "greater", "at_most", "equal", "both", "either", "opposite", "floor", "as_real", "as_integer",
    "whole_quotient", "remainder",
)  # fmt: skip

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_ENTRYWISE, entrywise),
    **dict.fromkeys(("sum", "mean", "largest"), reduced),
    **dict.fromkeys(("top_values", "top_indices"), along_an_axis),
    "add": added, "subtract": subtracted, "multiply": multiplied, "select": selected, "softmax": softmax,
    "log_sum_exp": log_sum_exp, "matmul": matmul, "cumulative_sum": partial_sums, "layer_norm": normalised,
    "scatter": scattered, "reshape": moves.reshaped, "permute": moves.permuted, "expand": moves.expanded,
    "slice": moves.sliced, "concatenate": moves.concatenated, "take": moves.taken, "gather": moves.gathered,
}  # fmt: skip
