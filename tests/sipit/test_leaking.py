"""What leaks behind defences: the attacker is as good as brute force, and costs are those of an independent sum."""

import math
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import sipit
from proofs.errors import InvalidInput
from proofs.verdict import Verdict
from sipit.cli import run
from sipit.models.network import Network
from sipit.privacy.after import measure_released
from sipit.privacy.defences import DEFENCES, Defence, Known, Seen, released
from sipit.privacy.leak import measure_leak
from sipit.privacy.record import leak_record
from sipit.quantization.output import divergences, summary
from tests.sipit.cases import random_prompts, tiny

PROMPTS = random_prompts(4, longest=8, shortest=6, seed=5)
KNOWN = Known(torch.randn(40, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64), 1e-6)


def test_the_attacker_is_as_good_as_brute_force():
    """Maximum likelihood by plain runs of all 512 tokens, with noise drawn anew."""
    model, layer, strength = tiny("llama"), 1, 1.0
    (curve,) = measure_leak(model, PROMPTS, layers=[layer], defences=["gaussian"], strengths=[strength]).curves
    assert curve["attacker"]["exhausted"] and curve["attacker"]["candidates"] == 512
    network, generator = Network(model, layer), torch.Generator().manual_seed(99)
    rows = torch.cat(list(sipit.capture(model, PROMPTS, layer=layer))).double()
    # The size of the noise is told by what is released: the mean norm of held-out rows is near that of these.
    size, found, drawn = strength * float(rows.norm(dim=1).mean()) / model.width**0.5, 0, 0
    for prompt in PROMPTS:
        for position, token in enumerate(prompt):
            every = torch.tensor([[*prompt[:position], one] for one in range(512)])
            states = network.run(every)[:, -1].double()
            for _ in range(5):
                noisy = states[token] + size * torch.randn(model.width, generator=generator, dtype=torch.float64)
                found, drawn = found + int((states - noisy).norm(dim=1).argmin() == token), drawn + 1
    rate, ours = found / drawn, curve["recovered_tokens"] / curve["tokens"]
    assert 0.1 < rate < 0.98, "a strength at which the attack is neither sure nor hopeless"
    spread = math.sqrt(rate * (1 - rate) * (1 / curve["tokens"] + 1 / drawn))
    assert abs(ours - rate) <= 3 * spread


def test_strong_noise_hides_and_weak_noise_does_not():
    curves = measure_leak(
        tiny("llama"), PROMPTS, layers=[1], defences=["gaussian", "covariant"], strengths=[1e-4, 30.0]
    ).curves
    for weak, strong in (curves[:2], curves[2:]):
        assert weak["recovered_tokens"] == weak["tokens"] and weak["recovered_prompts"] == len(PROMPTS)
        assert strong["recovered_tokens"] < strong["tokens"] / 4
        assert weak["kl"]["mean"] < strong["kl"]["mean"]
        assert all(c["recovered_tokens"] + c["ambiguous"] + c["wrong"] == c["tokens"] for c in (weak, strong))
        assert weak["interval"][0] < 1 and weak["interval"][1] == 1


def test_errors_stay_below_the_bound_that_margins_give():
    strengths = [0.05, 0.5, 1.0, 3.0]
    curves = measure_leak(tiny("llama"), PROMPTS, layers=[1], defences=["gaussian", "bits"], strengths=[2.0]).curves
    assert curves[0]["error_bound"] > 0 and curves[1]["error_bound"] is None  # no noise, no such bound
    for name in ("gaussian", "covariant"):
        found = measure_leak(tiny("llama"), PROMPTS, layers=[1], defences=[name], strengths=strengths).curves
        bounds = [curve["error_bound"] for curve in found]
        assert bounds == sorted(bounds) and bounds[0] < 1e-3
        for curve, bound in zip(found, bounds, strict=True):
            spread = math.sqrt(bound * (1 - bound) / curve["tokens"])
            assert curve["wrong"] / curve["tokens"] <= bound + 3 * spread, (name, curve["strength"])


@given(st.integers(0, 2**31))
def test_the_bound_of_two_states_is_the_error_itself(seed):
    """Of a pair nothing is lost: drawn noise takes one for the other as often as is said."""
    defence, generator = DEFENCES["covariant"], torch.Generator().manual_seed(seed)
    rows = torch.randn(2, 16, generator=generator, dtype=torch.float64)
    bound = defence.error_bound(rows[0], rows[1:], 1.0, KNOWN)
    noisy = released(defence, rows[:1].expand(4000, -1), 1.0, KNOWN, generator)
    apart = torch.stack([defence.apart(row, noisy, 1.0, KNOWN) for row in rows])
    seen = float((apart[1] < apart[0]).double().mean())
    assert abs(seen - bound) <= 5 * math.sqrt(bound * (1 - bound) / 4000) + 1e-3


@given(
    st.sampled_from(["gaussian", "covariant"]), st.integers(0, 2**31), st.integers(2, 9),
    st.lists(st.floats(5e-324, 1e150), min_size=2, max_size=5),
)  # fmt: skip
def test_fainter_noise_never_hides_more(name, seed, count, strengths):
    """Likelihoods order candidates as distances do at every strength, and without noise the true one is the nearest."""
    defence, generator = DEFENCES[name], torch.Generator().manual_seed(seed)
    rows = torch.randn(count, 16, generator=generator, dtype=torch.float64)
    bounds = [defence.error_bound(rows[0], rows[1:], one, KNOWN) for one in sorted(strengths)]
    assert bounds == sorted(bounds)
    for strength in strengths:
        quiet = defence.likelihoods(Seen(rows[0], rows[:0], rows[:0]), rows, strength, KNOWN)
        assert int(quiet.argmax()) == 0 and quiet[0] > quiet[1:].max(), strength
        noisy = released(defence, rows[:1], strength, KNOWN, generator)[0]
        told, near = (
            defence.likelihoods(Seen(noisy, rows[:0], rows[:0]), rows, strength, KNOWN),
            defence.apart(noisy, rows, max(strength, 1e-100), KNOWN),
        )
        assert not bool(told.isnan().any()) and near[told.argmax()] == near.min(), strength


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_least_noise_of_all_reads_as_none(dtype):
    curves = measure_leak(
        tiny("llama", dtype=dtype), PROMPTS, layers=[1], defences=["gaussian", "covariant"], strengths=[5e-324, 1e-160]
    ).curves
    for curve in curves:
        assert curve["recovered_tokens"] == curve["tokens"] and not curve["error_bound"]
        assert curve["same_top1"] == 1


def test_strengths_that_a_type_does_not_hold_are_refused_and_no_cost_is_told_that_overflows(capsys):
    """Also what goes wrong behind the layer, where what left is finite: the record has to be JSON."""
    for dtype, strength in (("float16", 1e6), ("float32", 1e300), ("float64", 1e308)):
        with pytest.raises(InvalidInput, match="strength"):
            measure_leak(tiny("llama", dtype=dtype), PROMPTS, layers=[1], defences=["gaussian"], strengths=[strength])
    command = ["leak", "tiny-llama", "--quick", "--layers", "1", "--defences", "gaussian", "--strengths"]
    assert run([*command, "1e6", "--dtype", "float16"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("sipit: Expected strengths of gaussian")
    record = leak_record(tiny("llama", dtype="float64"), PROMPTS, layers=[1], defences=["gaussian"], strengths=[1e200])
    assert record.result["curves"][0]["kl"] is None and record.result["curves"][0]["same_top1"] == 0
    record.dumps()


@given(st.integers(0, 2**31), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_summary_of_costs_has_numbers_or_none(seed, odd):
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    broken = logits.clone()
    broken[1, seed % 5] = odd
    kl, same = divergences(logits, broken)
    assert same.tolist() == [True, odd == -math.inf and int(logits[1].argmax()) != seed % 5, True]
    assert summary([kl], [same])["kl"] is None


@given(st.floats(5e-324, 1.0), st.integers(1, 64))
def test_a_share_is_taken_as_it_is_called_up_to_half_a_coordinate(share, width):
    known = Known(torch.ones(1, width, dtype=torch.float64), 1e-6)
    for name in ("drop", "permute", "rotate", "top-k"):
        if DEFENCES[name].fits(share, width):
            DEFENCES[name].check(share, width)
            assert abs(known.count(share) - share * width) <= 0.5
        else:
            assert share * width <= 0.5
            with pytest.raises(InvalidInput, match=f"strengths of {name}"):
                DEFENCES[name].check(share, width)


def test_no_more_is_taken_than_there_is():
    for name, strength in (("low-rank", 65), ("projection", 1e300), ("permute", 1e-320)):
        with pytest.raises(InvalidInput, match=f"64 coordinates .* {name}"):
            measure_leak(tiny("llama"), PROMPTS, defences=[name], strengths=[strength])
    own = [
        one["strength"] for one in measure_leak(tiny("llama"), PROMPTS[:2], layers=[1], defences=["low-rank"]).curves
    ]
    assert own == [1, 2, 4, 16, 64] and not DEFENCES["low-rank"].fits(64, 16)


@pytest.mark.parametrize("name", DEFENCES)
def test_defences_keep_shapes_and_are_no_magic(name):
    rows = torch.randn(6, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for strength in DEFENCES[name].strengths:
        first, second = (
            released(DEFENCES[name], rows, strength, KNOWN, torch.Generator().manual_seed(4)) for _ in "ab"
        )
        assert first.shape == rows.shape and torch.equal(first, second)


@given(st.integers(0, 2**31), st.sampled_from([0.01, 0.1, 0.5]))
def test_sizes_are_relative_to_the_mean_norm(seed, strength):
    rows = KNOWN.held_out
    for name in ("gaussian", "covariant", "clip"):
        changed = released(DEFENCES[name], rows, strength, KNOWN, torch.Generator().manual_seed(seed))
        moved = float((changed - rows).norm(dim=1).mean()) / KNOWN.mean_norm
        assert 0.7 * strength < moved < 1.6 * strength, name


def test_a_defence_of_ones_own_is_measured_and_one_that_changes_shapes_refused():
    halved = Defence("halved", (0.5,), lambda rows, strength, known, generator: rows * (1 - strength))
    (curve,) = measure_leak(tiny("gpt2"), PROMPTS, layers=[1], defences=[halved]).curves
    assert curve["defence"] == "halved" and curve["recovered_tokens"] == curve["tokens"]
    cut = Defence("cut", (0.5,), lambda rows, strength, known, generator: rows[:, :3])
    holed = Defence("holed", (0.5,), lambda rows, strength, known, generator: rows / 0)
    with pytest.raises(InvalidInput, match=r"Expected finite states from the defence 'holed', .* at strength 0.5"):
        measure_leak(tiny("gpt2"), PROMPTS, layers=[1], defences=[holed])
    with pytest.raises(InvalidInput, match=r"of shape .* from the defence 'cut'"):
        measure_leak(tiny("gpt2"), PROMPTS, layers=[1], defences=[cut])


@given(st.integers(0, 2**31))
def test_divergences_are_those_of_an_independent_sum(seed):
    drawn = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    kl, same = divergences(drawn[0], drawn[1])
    for row in range(3):
        p, q = ([math.exp(x) for x in drawn[n, row].tolist()] for n in (0, 1))
        expected = sum(a / sum(p) * (math.log(a / sum(p)) - math.log(b / sum(q))) for a, b in zip(p, q, strict=True))
        assert abs(float(kl[row]) - expected) < 1e-6
        assert bool(same[row]) == (p.index(max(p)) == q.index(max(q)))
    nothing, alike = divergences(drawn[0], drawn[0])
    assert summary([nothing], [alike]) == {"kl": dict.fromkeys(("mean", "p50", "p99", "max"), 0.0), "same_top1": 1.0}


def test_stopped_work_is_resumed_with_the_same_record(tmp_path, monkeypatch):
    def measured(folder, **options):
        monkeypatch.setenv("SIPIT_CACHE", str(tmp_path / folder))
        return measure_leak(tiny("llama"), PROMPTS, layers=[1], defences=["gaussian"], strengths=[1.0], **options)

    @contextmanager
    def stopped(_title):
        def stop(done, _of):
            if done == 2:
                raise KeyboardInterrupt

        yield stop

    def files():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped").rglob("leak/**/*.json")}

    told = []
    whole = measured("whole", announce=lambda seconds, memory: told.append(seconds))
    with pytest.raises(KeyboardInterrupt):
        measured("stopped", stages=stopped)
    first = files()
    assert len(first) == 2
    assert measured("stopped") == whole
    assert first.items() < files().items() and len(files()) == len(PROMPTS)
    assert measured("stopped", announce=lambda seconds, memory: told.append(seconds)) == whole
    assert told[0] > 0 and told[1] == 0  # nothing is left


def test_several_seeds_are_the_sum_of_each_and_no_more_prompts():
    def measured(**options):
        return measure_leak(tiny("llama"), PROMPTS, layers=[1], defences=["gaussian"], strengths=[1.0], **options)

    (both,), parts = measured(seed=3, seeds=2).curves, [measured(seed=seed).curves[0] for seed in (3, 4)]
    counted = ("prompts", "tokens", "recovered_tokens", "recovered_prompts", "ambiguous", "wrong")
    assert [both[name] for name in counted] == [sum(part[name] for part in parts) for name in counted]
    assert [one["recovered_tokens"] for one in both["by_seed"]] == [part["recovered_tokens"] for part in parts]
    assert parts[0]["recovered_tokens"] != parts[1]["recovered_tokens"], "draws that differ"
    pooled = stats.binomtest(both["recovered_prompts"], both["prompts"]).proportion_ci(0.95, method="wilson")
    low, high = both["interval"]
    assert low < pooled.low and pooled.high < high, "as if the draws of a prompt were prompts"


def test_states_that_a_defence_let_out_are_read_as_far_as_it_changed_little(tmp_path):
    model, chance = tiny("llama"), torch.Generator().manual_seed(6)
    states = sipit.capture(model, PROMPTS, layer=1)
    size = torch.cat(list(states)).norm(dim=1).mean() / model.width**0.5

    def left(strength, shift=0.0):
        changed = [rows + shift + strength * size * torch.randn(rows.shape, generator=chance) for rows in states]
        (curve,) = measure_released(model, PROMPTS, sipit.States(changed, layer=1)).curves
        return curve

    assert left(0.0)["recovered_prompts"] == len(PROMPTS) and left(0.0)["kl"]["max"] < 1e-6
    assert left(1e-3, shift=5.0)["recovered_prompts"] == len(PROMPTS), "a shift is told by the other prompts"
    middle, known = left(1.0), measure_leak(model, PROMPTS, layers=[1], defences=["gaussian"], strengths=[1.0]).curves
    assert middle["strength"] == pytest.approx(1.0, rel=0.1)
    assert abs(middle["recovered_tokens"] - known[0]["recovered_tokens"]) <= middle["tokens"] / 4
    assert left(30.0)["recovered_tokens"] < middle["tokens"] / 4
    narrow = [rows[:, :9] for rows in states]
    for prompts, rows in ((PROMPTS[:1], states[:1]), (PROMPTS[:2], states[1:3]), (PROMPTS, narrow)):
        with pytest.raises(InvalidInput):
            measure_released(model, prompts, sipit.States(rows, layer=1))
    for far in (1e39, 1e200):
        with pytest.raises(InvalidInput, match="released states that float32 holds"):
            measure_released(model, PROMPTS, sipit.States([rows.double() * far for rows in states], layer=1))
    with pytest.raises(InvalidInput, match="after a block"):
        measure_released(model, PROMPTS, sipit.States(list(states), layer=0))
    assert run(["leak", "tiny-llama", "--released", str(tmp_path / "x.safetensors")]) == 2


def test_copies_of_prompts_are_no_further_prompts():
    model, options = tiny("llama"), {"layers": [1], "defences": ["gaussian", "bits"], "strengths": [3]}
    once, often = (measure_leak(model, prompts, **options) for prompts in (PROMPTS[:2], PROMPTS[:2] * 3 + PROMPTS[:1]))
    assert often.curves == once.curves and (often.prompts, often.copies) == (2, 5)
    assert measure_leak(model, PROMPTS[:1] * 10, **options).verdict is Verdict.UNDECIDED


def test_what_a_defence_did_to_a_prompt_is_not_told_by_its_copies():
    """Where it does to every prompt something else, and to a prompt always the same."""
    model, chance = tiny("llama"), torch.Generator().manual_seed(6)
    states = sipit.capture(model, PROMPTS, layer=1)
    changed = [rows + 5 * torch.randn(rows.shape, generator=chance) for rows in states]
    once = measure_released(model, PROMPTS, sipit.States(changed, layer=1))
    often = measure_released(model, PROMPTS * 3, sipit.States(changed * 3, layer=1))
    assert often.curves == once.curves and (often.prompts, often.copies) == (len(PROMPTS), 2 * len(PROMPTS))
    with pytest.raises(InvalidInput, match="2 different prompts"):
        measure_released(model, PROMPTS[:1] * 2, sipit.States(changed[:1] * 2, layer=1))


def test_one_prompt_is_undecided_and_bad_input_a_sentence():
    record = leak_record(tiny("llama"), PROMPTS[:1], layers=[1], defences=["bits"], strengths=[8])
    assert record.verdict is Verdict.UNDECIDED and "needs 2 different prompts" in record.result["reason"]
    for options in ({"defences": ["wall"]}, {"layers": [0]}, {"strengths": [-1.0]}, {"candidates": 1}, {"seeds": 0}):
        with pytest.raises(InvalidInput):
            measure_leak(tiny("llama"), PROMPTS, **options)
    assert run(["leak", "tiny-llama", "--strengths", "much"]) == 2


@pytest.mark.parametrize(("name", "strength"), [
    ("bits", 0.1), ("bits", 2.5), ("bits", 1), ("low-rank", 0.5), ("top-k", 1.5), ("gaussian", 0),
    ("drop", float("nan")), ("gaussian", float("inf")), ("clip", 2),
])  # fmt: skip
def test_a_strength_that_means_nothing_is_refused(name, strength):
    with pytest.raises(InvalidInput, match=f"strengths of {name}"):
        sipit.measure_leak(tiny("llama"), [[1, 2]], defences=[name], strengths=[strength])
    for one in DEFENCES.values():
        for own in one.strengths:
            one.check(own)
