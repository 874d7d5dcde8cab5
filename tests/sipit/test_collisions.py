"""What a search at one layer finds, and what finding nothing allows one to say."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from numerics.pairs.points import norm
from numerics.pairs.search import Pair, closest_pairs
from proofs.verdict import Verdict
from sipit.collisions import examination
from sipit.collisions.causes import Cause
from sipit.collisions.examination import examine
from sipit.collisions.findings import (
    _larger_norm,
    median_norm,
    search_layer,
    zero_hits_bound,
)
from sipit.collisions.known import Families, KnownCollisions
from sipit.collisions.result import _bound
from sipit.prompts.corpora import read_corpus, whole_prompts
from sipit.prompts.windows import Prefixes, prefixes
from tests.sipit.cases import tiny


def known_as(leaders):
    """Known collisions where prompt n collides with all others of the same leader."""
    groups = [tuple(np.flatnonzero(np.array(leaders) == leader).tolist()) for leader in sorted(set(leaders))]
    groups = tuple(group for group in groups if len(group) > 1)
    families = Families(repeats=True, permutations=False, reach=None, back=0, anywhere=True)
    return KnownCollisions(np.array(leaders), groups, {Cause.STRUCTURAL: sum(map(len, groups))}, families)


def nothing_known(count):
    return known_as(list(range(count)))


def test_findings_tell_equal_states_from_close_ones():
    prompts = prefixes([(1, 2, 3), (1, 4), (5,)])
    states = np.array([[0.0, 3.0], [4.0, 3.0], [4.0, 3.5], [4.0, 3.0], [9.0, 9.0]], dtype=np.float32)
    found = search_layer(states, prompts, nothing_known(5), layer=3, threshold=0.5, seed=0, count=2)
    assert found.bit_identical == ((1, 3),) and found.minimum_distance == 0 == found.minimum_outside
    assert found.hits(1) == [Pair(0.0, 1, 3)] and found.below_threshold == 3 == found.below_outside
    assert [(pair.first, pair.second) for pair in found.below] == [(1, 2)]
    assert [(pair.distance, pair.first, pair.second) for pair in found.closest] == [(0.5, 1, 2), (4.0, 0, 1)]
    record = found.to_json(np.arange(10, 15))
    assert record["bit_identical"] == 1 and record["below_threshold"] == 3
    assert record["closest"] == [[11, 12], [10, 11]] and record["co_lipschitz"]["edit"] == 0
    assert record["outside"]["below_threshold"] == 3 and record["outside"]["minimum_distance"] == 0


def test_known_collisions_are_set_apart():
    prompts = prefixes([(1, 2, 3), (1, 4), (5,)])
    states = np.array([[0.0, 3.0], [4.0, 3.0], [4.0, 3.5], [4.0, 3.0], [9.0, 9.0]], dtype=np.float32)
    found = search_layer(states, prompts, known_as([0, 1, 1, 1, 4]), layer=3, threshold=0.5, seed=0, count=2)
    assert found.minimum_distance == 0 and found.minimum_outside == 4.0 and found.below_threshold == 3
    assert found.equal.identical == 0 == found.below_outside and found.below == ()
    assert [(pair.distance, pair.first, pair.second) for pair in found.outside] == [(4.0, 0, 1), (np.sqrt(16.25), 0, 2)]
    assert found.relative_minimum == pytest.approx(4.0 / 5.0) and found.median_norm == pytest.approx(5.0)
    assert found.co_lipschitz_outside.edit > 0 == found.co_lipschitz.edit


@given(st.data())
def test_the_search_agrees_with_a_comparison_of_all_pairs(data):
    count = data.draw(st.integers(2, 14))
    rows = st.lists(st.integers(0, 3), min_size=2, max_size=2)
    states = np.array(data.draw(st.lists(rows, min_size=count, max_size=count)), dtype=np.float32)
    leaders = [data.draw(st.sampled_from(range(n + 1))) for n in range(count)]
    leaders = [leader if leaders[leader] == leader else leaders[leaders[leader]] for leader in leaders]
    leaders = [n if leaders[leader] != leader else leader for n, leader in enumerate(leaders)]
    threshold = data.draw(st.sampled_from([0.0, 1.0, 1.5, 9.0]))
    prompts = Prefixes(tuple((n,) for n in range(count)), np.arange(count), np.ones(count, dtype=np.int64))
    found = search_layer(states, prompts, known_as(leaders), layer=1, threshold=threshold, seed=0)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    distance = {pair: float(np.linalg.norm(np.subtract(*states[list(pair)].astype(float)))) for pair in pairs}
    apart = [pair for pair in pairs if leaders[pair[0]] != leaders[pair[1]]]
    assert found.minimum_distance == min(distance.values())
    assert found.below_threshold == sum(value <= threshold for value in distance.values())
    assert found.minimum_outside == min((distance[pair] for pair in apart), default=None)
    assert found.equal.identical == sum(distance[pair] == 0 for pair in apart)
    hits = {pair for pair in apart if distance[pair] <= threshold}
    assert found.below_outside == len(hits)
    listed = found.hits(count**2)
    assert len(listed) == len(hits) and {(p.first, p.second) for p in listed} == hits
    assert found.hits(3) == listed[:3] if len(listed) < 3 else len(set(found.hits(3)) & set(listed)) == 3
    for pair in (*listed, *found.below, *found.outside):
        assert pair.distance == pytest.approx(distance[pair.first, pair.second], rel=1e-12)
        assert (pair.first, pair.second) in apart
    assert {p.distance for p in found.below} == {p.distance for p in listed} - {0.0}
    if not found.bit_identical:
        assert {(p.first, p.second) for p in found.below} == hits
        assert [p.distance for p in found.outside] == sorted(distance[p] for p in apart)[: len(found.outside)]


@given(st.integers(2, 12), st.integers(1, 3), st.integers(1, 12), st.integers(0, 99))
def test_the_closest_pairs_are_those_of_all_however_few_classes_there_are(count, classes, wanted, seed):
    """Members of a class differ by rounding, or by more than classes do."""
    rng = np.random.default_rng(seed)
    families = rng.integers(0, classes, count)
    states = rng.integers(0, 4, (count, 2)) + 10.0 ** rng.integers(-9, 2) * families[:, None]
    states[:, 1] += rng.integers(0, 2, count) * 1e-7
    first = {family: row for row, family in reversed(list(enumerate(families.tolist())))}
    known = known_as([first[family] for family in families.tolist()])
    prompts = Prefixes(tuple((n,) for n in range(count)), np.arange(count), np.ones(count, dtype=np.int64))
    found = search_layer(states, prompts, known, layer=1, threshold=0.0, seed=0, count=wanted)
    every = [(p.distance, p.first, p.second) for p in closest_pairs(states, count=count**2, distinct=True)]
    apart = [(p.distance, p.first, p.second) for p in found.equal.apart(Pair(*pair) for pair in every)]
    assert [(p.distance, p.first, p.second) for p in found.closest] == every[:wanted]
    assert [(p.distance, p.first, p.second) for p in found.outside] == apart[:wanted]


def test_of_equal_states_none_speaks_for_another_that_is_not_known_to_collide():
    """Prompt 0 is known to collide with 1, which is 1e-7 away; 2 has the state of 0 and is known of nothing."""
    states = np.array([[1.0, 0.0], [1.0 + 1e-7, 0.0], [1.0, 0.0]])
    found = search_layer(states, prefixes([(1, 2, 3)]), known_as([0, 0, 2]), layer=1, threshold=1e-3, seed=0)
    (near,) = found.outside
    assert (near.first, near.second) == (1, 2) and found.below == (near,) and found.below_outside == 2
    assert found.hits(9) == [Pair(0.0, 0, 2), near]


@pytest.mark.parametrize(("listed", "confirmed", "left"), [(3, 1, 0), (2, 0, 1)])
def test_each_two_of_equal_states_are_run_again_and_the_others_counted(listed, confirmed, left, monkeypatch):
    """Three stored states are equal; of runs alone those of the last two are, and that of the first is another."""
    monkeypatch.setattr(examination, "families_at", lambda _model, _layer: Families(False, False, None, 0, False))
    step = 2.0**-23
    runs = {1: (1 + step, 1 + 3 * step), 2: (1.0, 1 - 2 * step), 3: (1.0, 1 + 2 * step)}

    class Alone:
        model = SimpleNamespace(token_classes=torch.arange(5), dtype=torch.float32)
        is_its_own_reference = False

        def states(self, ids, _layer):
            plain, exact = runs[ids[0]]
            return np.full(2, plain), np.full(2, exact)

        def noise(self, ids, layer):
            return float(np.linalg.norm(np.subtract(*self.states(ids, layer))))

        def rounding(self, _ids, _layer):
            return 1e-12

    corpus = whole_prompts("three", [[1], [2], [3]])
    found = examine(Alone(), corpus, np.ones((3, 2), np.float32), layer=1, threshold=0.0, seed=0, listed=listed)
    assert len(found.collisions) == confirmed and found.unexamined == left
    assert found.verdict is (Verdict.COLLISION if confirmed else Verdict.UNDECIDED)


@pytest.mark.parametrize("classes", [[0, 1, 2, 3, 4], [0, 0, 0, 0, 4], [0, 1, 0, 1, 0]])
def test_pairs_of_equal_states_are_counted_as_pairs_of_prompts(classes):
    found = search_layer(
        np.ones((5, 2)), prefixes([(1, 2, 3, 4, 5)]), known_as(classes), layer=1, threshold=0.5, seed=0
    )
    outside = sum(a != b for a, b in itertools.combinations(classes, 2))
    record = found.to_json(np.arange(5))
    assert record["bit_identical"] == record["below_threshold"] == 10
    assert record["outside"]["bit_identical"] == record["outside"]["below_threshold"] == outside


def test_all_states_equal_leave_no_closest_pair():
    found = search_layer(np.ones((3, 2)), prefixes([(1, 2, 3)]), nothing_known(3), layer=0, threshold=0.0, seed=0)
    assert found.closest == () == found.outside and found.minimum_distance == 0 and found.below_threshold == 3
    assert found.to_json(np.arange(3))["co_lipschitz"]["hamming"] is None


def test_prompts_that_are_all_known_to_collide_leave_nothing_to_find():
    states = np.array([[1.0, 0.0], [1.5, 0.0], [1.25, 0.0]])
    found = search_layer(states, prefixes([(1, 1, 1)]), known_as([0, 0, 0]), layer=1, threshold=1.0, seed=0)
    assert found.minimum_outside is None and found.minimum_distance == 0.25 and found.below == ()
    record = found.to_json(np.arange(3))
    assert record["outside"]["minimum_distance"] is None and record["relative_minimum"] is None


def test_no_hits_bound_the_rate_of_independent_prompts():
    bound = zero_hits_bound(100_000)
    assert bound == pytest.approx(3 / 50_000, rel=2e-3) and (1 - bound) ** 50_000 == pytest.approx(0.05)


@pytest.mark.parametrize("size", [1e-170, 1e-300, 1.0, 1e150])
def test_states_of_any_size_are_compared_relative_to_their_norm(size):
    states = size * np.array([[3.0, 4.0], [3.0, 0.0], [0.0, 8.0]])
    pair = closest_pairs(states, count=1)[0]
    assert pair.distance / _larger_norm(states, pair) == pytest.approx(4 / 5, rel=1e-12)
    assert median_norm(states) / size == pytest.approx(5, rel=1e-12)


@given(st.integers(0, 999), st.integers(1, 40), st.sampled_from([-900, -3, 0, 5, 900]))
def test_a_norm_has_the_bits_of_the_plain_one_wherever_that_is_right(seed, length, shift):
    values = np.random.default_rng(seed).standard_normal((3, length))
    for axis in (None, 1):
        plain = np.linalg.norm(values, axis=axis)
        assert np.array_equal(norm(values, axis), plain)
        assert np.array_equal(norm(np.ldexp(values, shift), axis), np.ldexp(plain, shift))
    assert (
        norm(np.zeros(length)) == 0 and norm(np.array([np.inf, 1.0])) == np.inf and np.isnan(norm(np.array([np.nan])))
    )


def test_undecided_pairs_are_not_called_collisions():
    model = tiny("gpt2")
    corpus = read_corpus(model, "builtin", limit=3)
    for verdicts, said in (({Verdict.SEPARATED, Verdict.UNDECIDED}, "Pairs are undecided;"),
                           ({Verdict.COLLISION, Verdict.UNDECIDED}, "There are collisions;")):  # fmt: skip
        bound, reason = _bound(corpus, verdicts)
        assert bound is None and reason.startswith(said)
