"""States audited: honest ones pass at the stated rate, and what is not what it is said to be is noticed."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import sipit
from proofs.errors import InvalidInput
from proofs.verdict import Verdict
from sipit.cli import run
from sipit.privacy.audit import Answer, Audit, _answer, audit_states
from sipit.privacy.extremes import Extremes, _fits, _quantile
from sipit.privacy.fingerprint import fingerprint, fingerprinted
from sipit.privacy.power import power_of
from sipit.privacy.scores import Threshold
from sipit.states.files import States
from tests.sipit.cases import random_prompts, rest_slow, tiny

PROMPTS = random_prompts(40, longest=30, shortest=2, seed=8)


def audited(model, states, prompts, **options):
    return [one.answer for one in audit_states(model, states, prompts, **options).answers]


@pytest.mark.parametrize("how", [{"cached": True}, {"batch": 8}])
def test_honest_states_are_consistent(how):
    model = tiny("llama")
    answers = audited(model, sipit.capture(model, PROMPTS, layer=1, **how), PROMPTS)
    assert answers.count("inconsistent") <= 2  # of 40 at a rate of 0.01; more has a probability below 0.01


@pytest.mark.slow
def test_every_other_origin_is_noticed():
    model = tiny("llama")
    found = audit_states(model, sipit.capture(model, PROMPTS[:1], layer=1), PROMPTS[:1])
    measured = power_of(found.claim, found.threshold, 0.01, lambda *_: None)
    power = {one["alternative"]: one for one in measured.alternatives}
    assert len(power) == 10
    for name, one in power.items():
        assert one["detected"] == one["prompts"] > 0, name
    for one in measured.false_alarms:
        assert one["rows"] >= 2000
        assert stats.binomtest(one["detected"], one["prompts"], 0.01, alternative="greater").pvalue > 1e-3, one["way"]


def test_the_first_bad_row_is_named():
    model = tiny("gpt2")
    states = sipit.capture(model, [list(range(20))], layer=2)
    states[0][7] *= 1.001
    (answer,) = audit_states(model, states, [list(range(20))]).answers
    assert (answer.answer, answer.first_bad_row) == ("inconsistent", 7)


def test_fingerprints_do_for_states(tmp_path, capsys):
    model = tiny("llama")
    kept = fingerprinted(sipit.capture(model, PROMPTS, layer=1), 8, 3)
    assert all(rows.shape[1] == 8 for rows in kept)
    assert audited(model, kept, PROMPTS).count("consistent") >= 38
    other = [[*ids[:-1], (ids[-1] + 1) % 512] for ids in PROMPTS]
    assert audited(model, kept, other) == ["inconsistent"] * len(PROMPTS)
    with pytest.raises(InvalidInput, match="fingerprints"):
        sipit.invert(model, kept)
    text, file = tmp_path / "p.txt", tmp_path / "f.safetensors"
    text.write_text("Hello world\nGoodbye\n")
    line = ["--prompts", str(text), "-o", str(file), "--fingerprint", "16", "--layer", "1", "--seed", "3"]
    assert run(["capture", "tiny-llama", *line]) == 0
    capsys.readouterr()
    assert run(["audit", "tiny-llama", "--states", str(file), "--prompts", str(text), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"] == "held" and record["result"]["fingerprint"] == [16, 3]
    assert run(["audit", "tiny-llama", "--states", str(file), "--prompts", str(text), "--seed", "4"]) == 2
    assert "Expected --seed 3" in capsys.readouterr().err
    assert run(["audit", "tiny-llama", "--states", str(file), "--prompts", str(text)]) == 0
    assert "score 0" in capsys.readouterr().out  # 0, or what the projections rounded
    assert {len(one["sha256"]) for one in record["result"]["files"]} == {64}


def test_the_files_of_a_record_are_those_that_were_read(tmp_path, capsys):
    folder = tmp_path / "states"
    folder.mkdir()
    (folder / "README.txt").write_text("nothing of this was read")
    text = tmp_path / "p.txt"
    text.write_text("Hello world\n")
    line = ["--prompts", str(text), "-o", str(folder / "s.safetensors"), "--layer", "1"]
    assert run(["capture", "tiny-llama", *line]) == 0
    capsys.readouterr()
    assert run(["audit", "tiny-llama", "--states", str(folder), "--prompts", str(text), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["result"]["files"]
    assert [one["file"] for one in files] == [str(folder / "s.safetensors"), str(text)]


def test_fingerprints_are_the_same_for_a_seed_and_no_other():
    rows = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(fingerprint(rows, 8, 1), fingerprint(rows, 8, 1))
    assert not torch.equal(fingerprint(rows, 8, 1), fingerprint(rows, 8, 2))
    with pytest.raises(InvalidInput, match="fingerprint of 4 to 32"):
        fingerprint(rows, 33, 1)


def test_a_rate_that_nothing_was_seen_of_is_undecided():
    model = tiny("llama")
    found = audit_states(model, sipit.capture(model, PROMPTS[:1], layer=1), PROMPTS[:1], rate=1e-6)
    assert found.verdict is Verdict.UNDECIDED
    assert "calibration runs" in found.answers[0].reason


@given(st.sampled_from([8, 24]), st.lists(st.floats(5e-324, 1.0, exclude_max=True), min_size=2, max_size=6))
def test_every_rate_has_a_threshold_and_a_rarer_one_is_not_lower(runs, rates):
    """By the fits themselves: on average over them a further maximum exceeds what is said at that rate."""
    odd = [5e-324, 1e-300, 1e-16, 0.5, 0.9999999, 1 - 2**-53]
    rates = sorted({*rates, *odd})
    found = [_quantile(runs, rate) for rate in rates]
    assert all(one >= other - 1e-6 * abs(one) for one, other in pairwise(found))
    fits = _fits(runs)
    for rate, quantile in zip(rates, found, strict=True):
        places = fits[:, 0] + fits[:, 1] * quantile
        assert stats.gumbel_r.sf(places).mean() == pytest.approx(rate, rel=1e-6, abs=1e-300)
        assert stats.gumbel_r.cdf(places).mean() == pytest.approx(1 - rate, rel=1e-4)


@pytest.mark.parametrize(
    "rate", rest_slow(5e-324, 0.5, 1 - 2**-53, of=[5e-324, 1e-300, 1e-9, 0.5, 0.9999999, 1 - 2**-53])
)
def test_an_audit_at_any_rate_ends_with_a_short_record(rate, monkeypatch):
    model = tiny("llama")
    found = audit_states(model, sipit.capture(model, PROMPTS[:2], layer=1), PROMPTS[:2], rate=rate)
    found.to_record().dumps()
    assert (found.verdict is Verdict.UNDECIDED) == (rate < 1e-3)
    assert all(len(one.reason or "") < 120 for one in found.answers)
    monkeypatch.setattr("sipit.privacy.power._PROMPTS", 2)
    monkeypatch.setattr("sipit.privacy.power._TRIED", 1)
    power_of(found.claim, found.threshold, rate, lambda *_: None)


def test_other_prompts_and_models_are_refused():
    model = tiny("llama")
    states = sipit.capture(model, PROMPTS[:2], layer=1)
    with pytest.raises(InvalidInput, match="row for each token"):
        audit_states(model, states, [PROMPTS[0], PROMPTS[1][:-1]])
    with pytest.raises(InvalidInput, match="name that model"):
        audit_states(model, replace(states, manifest=replace(states.manifest, digest="0" * 64)), PROMPTS[:2])
    with pytest.raises(InvalidInput, match="shape"):
        audit_states(model, States([torch.ones(3, 5)], layer=1), [[1, 2, 3]])


@pytest.mark.parametrize("stored", rest_slow(torch.float16, of=[torch.float32, torch.float16]))
def test_fingerprints_of_exact_states_are_held_against_what_they_are_stored_in(stored):
    model = tiny("llama", "float64")
    kept = fingerprinted(sipit.capture(model, PROMPTS[:4], layer=1), 8, 3)
    foreign = replace(kept, arrays=tuple(rows.to(stored) for rows in kept), manifest=None)
    assert audited(model, foreign, PROMPTS[:4], fingerprint=(8, 3)) == ["consistent"] * 4
    moved = replace(kept, arrays=tuple(rows * 1.01 for rows in kept))
    assert audited(model, moved, PROMPTS[:4]) == ["inconsistent"] * 4


def known_exactly(**also):
    """A threshold that honest prompts exceed at the stated rate itself, not only on average over fits."""
    return SimpleNamespace(
        chance=lambda bad, rows, rate: float(stats.binom.sf(bad - 1, len(rows), rate)),
        speaks_of=lambda _rate: True,
        **also,
    )


@given(st.integers(1, 400), st.integers(0, 12), st.booleans())
def test_as_many_inconsistent_prompts_as_the_rate_has_refute_nothing(prompts, bad, far):
    bad = min(bad, prompts)
    good, near = (Answer(kind, 1.0, 1.0, 3, 3, None) for kind in ("consistent", "inconsistent"))
    answers = [near] * bad + [good] * (prompts - bad)
    if bad and far:
        answers[0] = replace(near, beyond_all=True)
    audit = Audit(tuple(answers), 0.01, known_exactly(), ANY)
    chance = sum(math.comb(prompts, n) * 0.01**n * 0.99 ** (prompts - n) for n in range(bad, prompts + 1))
    if not bad:
        assert audit.verdict is Verdict.HELD
    elif far or chance < (0.00999 if prompts == 1 else 0.00499) or prompts == 1:
        assert audit.verdict is Verdict.REFUTED
    elif chance > 0.00501:
        assert audit.verdict is Verdict.UNDECIDED
    assert (audit.reason is None) == (audit.verdict is not Verdict.UNDECIDED)


def answer_to(threshold, score, rate, prompts):
    """What is answered of one of so many prompts, of one row with this score."""
    right = SimpleNamespace(scores=lambda seen: seen, spread=torch.zeros(1))
    claim = SimpleNamespace(fingerprint=None, seen=lambda rows: rows, recomputed=lambda _tokens: right)
    return _answer(claim, threshold, torch.tensor([score], dtype=torch.float64), [0], rate, prompts)


def scored(rate, prompts, score, asked):
    """The answer to a prompt whose score is uniform between 0 and 1 where all is rounding."""

    def at(rate, _rows):
        asked.append(rate)
        return 1 - rate

    return answer_to(SimpleNamespace(at=at, speaks_of=lambda _rate: True), score, rate, prompts)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_honest_prompts_together_are_refuted_at_the_stated_rate_at_most(rate):
    """Exactly, however many there are, where the threshold is: that one lies far out, or too many are inconsistent."""
    for prompts in range(1, 101):
        asked = []
        answers = [scored(rate, prompts, score, asked) for score in (0.0, 1.0)]
        assert [one.answer for one in answers] == ["consistent", "inconsistent"]
        good, near = answers
        far = min(asked)
        near = replace(near, beyond_all=False)
        many = next(
            (
                bad for bad in range(1, prompts + 1)
                if Audit((*[near] * bad, *[good] * (prompts - bad)), rate, known_exactly(), ANY).refuted_by
            ),
            prompts + 1,
        )  # fmt: skip
        passed = sum(
            math.comb(prompts, bad) * (rate - far) ** bad * (1 - rate) ** (prompts - bad) for bad in range(many)
        )
        assert 1 - passed <= rate * (1 + 1e-9)
        assert prompts > 1 or 1 - passed == pytest.approx(rate)


def heavy(generator, shape):
    """The largest of 24 scores whose tail is heavier than that of a Gumbel distribution, which is fitted to them."""
    return abs(generator.standard_t(5, (*shape, 24))).max(-1)


@given(prompts=st.integers(1, 120), rate=st.sampled_from([0.01, 0.05, 0.2]), score=st.floats(0, 1e9))
def test_of_no_rate_that_nothing_was_seen_of_a_fit_is_believed(prompts, rate, score):
    """Of the farthest of many a power is assumed instead: times the threshold, by what its share of the rate is."""
    generator = np.random.default_rng(prompts)
    asked, plain = [], Threshold((Extremes.of("a way", heavy(generator, (24,)).tolist()),), 24)

    class Asked(Threshold):
        def at(self, at, rows):
            asked.append(at)
            return super().at(at, rows)

    answer = answer_to(Asked(plain.fits, plain.rows), score, rate, prompts)
    assert answer.answer in ("consistent", "inconsistent")
    assert all(plain.speaks_of(one) for one in asked) and plain.needed(min(asked)) <= 24
    share = rate if prompts == 1 else rate / 2 / prompts
    limit = plain.at(share, 1) if plain.needed(share) <= 24 else plain.at(rate, 1) * (rate / share) ** (1 / 3)
    assert answer.beyond_all is (score > limit)


@given(prompts=st.integers(2, 200), bad=st.integers(0, 6), known=st.booleans(), far=st.booleans())
def test_a_record_says_which_test_refuted(prompts, bad, known, far):
    bad = min(bad, prompts)
    good, odd = (Answer(kind, 1.0, 1.0, 3, 3, None, None, far and kind != "consistent", (0.5,))
                 for kind in ("consistent", "inconsistent"))  # fmt: skip
    threshold = Threshold((Extremes.of("a way", [1.0, 2.0, 3.0] * (2000 if known else 8)),), 24)
    found = Audit(
        (*[odd] * bad, *[good] * (prompts - bad)),
        0.01,
        threshold,
        SimpleNamespace(fingerprint=None, layer=1, unit=1e-7),
    )
    chance = threshold.chance(bad, [3] * prompts, 0.01)
    together = found.to_json()["together"]
    said = {"count": bad > 0 and chance <= 0.005, "farthest": far and bad > 0}
    assert together["refuted_by"] == [name for name, refutes in said.items() if refutes]
    assert (found.verdict is Verdict.REFUTED) == any(said.values())
    assert together["farthest"]["known"] is known and together["count"]["inconsistent"] == bad
    assert (together["farthest"]["assumed"] is None) is known
    if not known and found.verdict is Verdict.UNDECIDED:
        assert f"{20 * prompts} calibration runs" in found.reason and "there are 24" in found.reason


@pytest.mark.parametrize(
    ("prompts", "rate", "rows"), [(300, 0.01, 24), (100, 0.05, 24), (100, 0.05, 400), (60, 0.2, 3)]
)
def test_honest_prompts_together_are_as_rarely_refuted_by_their_count(prompts, rate, rows):
    """With a threshold fitted to 24 runs: counted as if it were known, ten times as many audits of 300 were."""
    generator, refuted, audits = np.random.default_rng(3), 0, 300
    good, near = (Answer(kind, 1.0, 1.0, rows, rows, None) for kind in ("consistent", "inconsistent"))
    honest = generator.gumbel(math.log(rows / 24), 1, (audits, prompts))
    for maxima, scores in zip(generator.gumbel(size=(audits, 24)), honest, strict=True):
        threshold = Threshold((Extremes.of("a way", maxima.tolist()),), 24)
        bad = int((scores > threshold.at(rate, rows)).sum())
        refuted += bool(Audit((*[near] * bad, *[good] * (prompts - bad)), rate, threshold, ANY).refuted_by)
    assert stats.binomtest(refuted, audits, rate / 2, alternative="greater").pvalue > 0.01


@given(st.sampled_from([2, 8, 24, 100]), st.sampled_from([0.01, 0.2]), st.lists(st.integers(1, 999), min_size=1))
def test_the_more_prompts_the_likelier_a_count_and_the_more_inconsistent_the_less(runs, rate, rows):
    threshold = Threshold((Extremes("a way", 1.0, 2.0, 9.0, runs),), 24)
    found = [threshold.chance(bad, rows, rate) for bad in range(len(rows) + 2)]
    assert found[0] == 1 and found[-1] == (rate if len(rows) == 1 else 0)
    assert all(one >= other for one, other in pairwise(found))
    for bad, chance in enumerate(found):
        assert len(rows) == 1 or threshold.chance(bad, [*rows, *rows[:1]], rate) >= chance * (1 - 1e-9)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30), st.floats(1e-9, 1e9))
def test_a_fit_is_that_of_greatest_likelihood(maxima, scale):
    if len({round(one, 3) for one in maxima}) < 2:
        return
    found, times = Extremes.of("a way", maxima), Extremes.of("a way", [scale * one for one in maxima])
    best = stats.gumbel_r.logpdf(maxima, found.location, found.scale).sum()
    for factor, by in ((1.01, 0), (0.99, 0), (1, 0.01), (1, -0.01)):
        other = stats.gumbel_r.logpdf(maxima, found.location + by * found.scale, found.scale * factor).sum()
        assert best >= other
    assert times.location == pytest.approx(scale * found.location, rel=1e-6, abs=1e-6 * times.scale)
    assert times.scale == pytest.approx(scale * found.scale, rel=1e-6)


@given(st.integers(2, 40), st.integers(0, 3), st.integers(1, 60))
def test_copies_of_a_prompt_are_no_further_prompts(prompts, bad, copies):
    good, near = (Answer(kind, 1.0, 1.0, 3, 3, None) for kind in ("consistent", "inconsistent"))
    threshold, bad = Threshold((Extremes("a way", 1.0, 2.0, 9.0, 24),), 24), min(bad, prompts)
    once = [near] * bad + [good] * (prompts - bad)
    again = [replace(once[0], copy_of=0)] * copies
    one, other = (Audit(tuple(answers), 0.01, threshold, ANY) for answers in (once, once + again))
    assert (one.refuted_by, one.verdict, one.reason is None) == (other.refuted_by, other.verdict, other.reason is None)
    far = replace(near, beyond_all=True)
    for answer in (far, near):  # a single prompt, however often it is given, has one test
        for more in ([], [replace(answer, copy_of=0)] * copies):
            assert Audit((answer, *more), 0.01, threshold, ANY).verdict is Verdict.REFUTED
    unlike = Audit((*once, *again, replace(good, copy_of=0)), 0.01, threshold, ANY)
    assert unlike.verdict is not Verdict.REFUTED or one.verdict is Verdict.REFUTED


def test_an_audit_counts_copies_once():
    model, prompts = tiny("llama"), [[5, 9, 3], [7, 7, 1], [5, 9, 3], [5, 9, 3]]
    states = sipit.capture(model, prompts, layer=1)
    found = audit_states(model, states, prompts)
    assert [one.copy_of for one in found.answers] == [None, None, 0, 0]
    assert found.to_json()["together"]["count"]["prompts"] == 2


def test_one_far_prompt_of_several_refutes_and_with_runs_enough_nothing_is_assumed_for_it():
    model, prompts = tiny("llama"), [[5, 9, 3], [7, 7, 1]]
    states = sipit.capture(model, prompts, layer=1)
    states[1][2] *= 1.01
    for runs, known in ((24, False), (48, True)):
        found = audit_states(model, states, prompts, runs=runs)
        assert found.answers[1].answer == "inconsistent" and found.refuted_by == ("farthest",)
        assert found.to_json()["together"]["farthest"]["known"] is known
    with pytest.raises(InvalidInput, match="calibration runs"):
        audit_states(model, states, prompts, runs=8)


def test_heavy_tails_do_not_refute_honest_prompts_by_the_farthest_of_many():
    """A Gumbel distribution that is believed beyond the runs refutes a seventh of such audits of 100 prompts."""
    generator, believed, refuted = np.random.default_rng(1), 0, 0
    for _ in range(40):
        threshold = Threshold((Extremes.of("a way", heavy(generator, (24,)).tolist()),), 24)
        farthest = heavy(generator, (50, 100)).max(1)
        believed += (farthest > threshold.at(0.01 / 200, 1)).sum()
        refuted += sum(answer_to(threshold, score, 0.01, 100).beyond_all for score in farthest.tolist())
    assert believed > 0.05 * 2000 and refuted <= 0.005 * 2000


def test_runs_that_are_all_alike_are_one_run():
    for maxima in ([], [2.0], [2.0] * 24):
        found = Extremes.of("a way", maxima)
        assert found.runs == len(set(maxima))
        assert found.exceeded_at(0.01) == max(maxima, default=0.0)
