"""Sums whose terms are known by number: mixtures with the weights of a softmax, and sums of products.

Two lemmas. Weights that sum to one over equal rows give that row. And a sum does not depend on the order of its terms;
for a mixture with softmax weights that means: sum_j e^(b_j + o_j) v_j / sum_j e^(b_j + o_j) depends, for every pair
(b, v), on the sum of e^o over its occurrences alone, and on these up to a common factor. Where every o is a whole
multiple of one constant m, those sums are polynomials in e^m with whole coefficients that are not negative; a common
divisor g of them is not zero there (it divides a positive number), so that they may be divided by it.
"""

from collections import Counter
from fractions import Fraction
from math import gcd

import flint

from proofs.kernel.value_numbering.table import Table

LARGEST_DEGREE = 4096
COEFFICIENT = 8  # entries that a coefficient counts for, whose common divisor takes so much longer than a lookup


def mixture(table: Table, weights: list[int], rows: list[int]) -> int | None:
    """The mixture of rows with weights that sum to one; None where no lemma applies.

    `weights` and `rows` hold what is left once weights that are exactly zero are left out.
    """
    if len(set(rows)) == 1:
        return rows[0]
    scores = [table.weight.get(weight) for weight in weights]
    if any(score is None for score in scores) or len({score[2] for score in scores if score}) != 1:
        return None  # other weights, or of several softmaxes
    terms = Counter((score[0], row, score[1]) for score, row in zip(scores, rows, strict=True) if score)
    return table.of("mixture", *_up_to_a_factor(table, terms))


def _up_to_a_factor(table: Table, terms: Counter[tuple[int, int, int]]) -> tuple[object, frozenset[object]]:
    """(base, row, shift) with their counts, in a form that a common factor does not change."""
    if len({shift for _, _, shift in terms}) == 1:
        common = gcd(*terms.values())
        return 0, frozenset((base, row, count // common) for (base, row, _), count in terms.items())
    step, power = _multiples(table, {shift for _, _, shift in terms})
    if step is None:
        common = gcd(*terms.values())
        return None, frozenset((*key, count // common) for key, count in terms.items())
    sums: dict[tuple[int, int], list[int]] = {}
    degree = max(power.values())
    for (base, row, shift), count in terms.items():
        if (base, row) not in sums:
            table.spend(COEFFICIENT * (degree + 1))
        coefficients = sums.setdefault((base, row), [0] * (degree + 1))
        coefficients[power[shift]] += count
    polynomials = {key: flint.fmpz_poly(coefficients) for key, coefficients in sums.items()}
    common_divisor = flint.fmpz_poly()
    for polynomial in polynomials.values():
        common_divisor = common_divisor.gcd(polynomial)
    left = {key: [int(c) for c in (p // common_divisor).coeffs()] for key, p in polynomials.items()}
    powers = gcd(*(i for c in left.values() for i, x in enumerate(c) if x))
    shown = tuple(step_entry * powers for step_entry in step) if powers else 0
    return shown, frozenset((*key, tuple(c[:: powers or 1])) for key, c in left.items())


def _multiples(table: Table, shifts: set[int]) -> tuple[tuple[Fraction, ...] | None, dict[int, int]]:
    """A constant of which all differences of shifts are whole multiples, none negative; None where there is none."""
    size = max((len(table.known[s].values) for s in shifts if s), default=1)
    written = {s: _written(table, s, size) for s in shifts}
    lowest = min(written.values())
    differences = {s: tuple(a - b for a, b in zip(entries, lowest, strict=True)) for s, entries in written.items()}
    place = next(i for i in range(size) if any(d[i] for d in differences.values()))
    ends = [d[place] for d in differences.values()]
    unit = Fraction(gcd(*(e.numerator * _rest(ends, e) for e in ends)), _rest(ends))
    power = {s: int(d[place] / unit) for s, d in differences.items()}
    first = next(s for s in power if power[s])
    step = tuple(entry / power[first] for entry in differences[first])
    fits = all(differences[s] == tuple(power[s] * entry for entry in step) for s in power)
    if not fits or min(power.values()) < 0 or max(power.values()) > LARGEST_DEGREE:
        return None, {}
    return step, power


def _rest(ends: list[Fraction], end: Fraction | None = None) -> int:
    """The common denominator, over that of one number if one is given."""
    common = 1
    for other in ends:
        common = common * other.denominator // gcd(common, other.denominator)
    return common if end is None else common // end.denominator


def _written(table: Table, shift: int, size: int) -> tuple[Fraction, ...]:
    values = (Fraction(0),) if shift == 0 else table.known[shift].values
    return tuple(values) * size if len(values) == 1 else tuple(values)
