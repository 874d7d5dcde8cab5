"""What the certificate of a training step states: every number of it, its sentence, and what may be asked of one."""

from fractions import Fraction
from typing import Any

import flint
import pytest

from proofs import InvalidInput, Verdict, check
from proofs.arithmetic.ball import Balls
from proofs.kernel.result import digest
from proofs.network.graph import Graph
from proofs.recomputed.gate import At, Gate
from proofs.recomputed.training_step import (
    LARGEST,
    RULES,
    Sample,
    _every_rate,
    _expect,
    _shared,
    _stated,
    prove_step,
)
from tests.proofs.building import Net
from tests.proofs.gated import SAMPLES, TENTH, D, N, network
from tests.proofs.mutating import placed

STEP = "proofs.recomputed.training_step"
HALF = Fraction(1, 2)
SIXTH = Sample((0, 1), (HALF, HALF, Fraction(0)))  # |w|^2 = 1/6
QUARTER = Sample((0, 1), (HALF, HALF, Fraction(0), Fraction(0)))  # |w|^2 = 1/4
BATCHES = ("one sample", "batch")


def claimed(rule: Any, rate: Any = TENTH, samples: Any = SAMPLES, **network_of: Any) -> dict[str, Any]:
    return prove_step(network(**network_of), samples, rule=rule, rate=Fraction(rate), seed=3).claim


def at_zero(rule: Any, rate: Any, sample: Sample = SIXTH, **network_of: Any) -> dict[str, Any]:
    vocabulary = len(sample.target)
    return claimed(rule, rate, [sample], vocabulary=vocabulary, **network_of)["at_zero"]["one sample"]


@pytest.mark.parametrize(("sample", "rate", "below"), [
    (SIXTH, "12/5", True), (SIXTH, "5/2", False), (QUARTER, "19/10", True), (QUARTER, "2", False),
])  # fmt: skip
def test_clipping_agrees_at_rates_at_which_no_mask_can_vanish(
    sample: Sample, rate: str, below: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the masks that are looked at: the least determinant of all masks is (1 - eta^2 |w|^2)^d."""
    monkeypatch.setattr(f"{STEP}._exact_determinants", lambda *_: [Fraction(10**6)])
    assert at_zero("clip-value", rate, sample)["agrees"] is below
    assert at_zero("clip-value", rate, sample, layer_norm=False)["agrees"]


@pytest.mark.parametrize("layer_norm", [True, False])
def test_no_mask_may_have_a_determinant_below_the_least(layer_norm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    least = (1 - Fraction(12, 5) ** 2 / 6) ** D if layer_norm else Fraction(1)
    for below, agrees in ((Fraction(0), True), (Fraction(1, 10**9), False)):
        found = [least + 1, least - below]
        monkeypatch.setattr(f"{STEP}._exact_determinants", lambda *_, found=found: found)
        assert at_zero("clip-value", "12/5", layer_norm=layer_norm)["agrees"] is agrees


@pytest.mark.parametrize("value", [-1, 0, 1, 2])
def test_determinants_are_compared_exactly_and_said_to_vanish_where_they_are_zero(
    value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{STEP}._exact_determinants", lambda *_: [Fraction(value)])
    found = at_zero("gd", 1, layer_norm=False)
    assert (found["closed_form"], found["vanishes"], found["agrees"]) == ("1", value == 0, value == 1)
    monkeypatch.setattr(f"{STEP}.by_gate", lambda *_, **__: Fraction(value))
    base = claimed("gd")["at_base"]
    assert [base[batch]["non_zero"] for batch in BATCHES] == [value != 0] * 2
    assert [base[batch]["closed_form"] for batch in BATCHES] == [str(value)] * 2


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_says_what_its_law_is_of_and_which_rates_are_left_out(rule: Any) -> None:
    claim = claimed(rule)
    with_state = rule in ("heavy-ball", "adam", "adamw")
    adaptive = rule in ("adam", "adamw")  # whose roots are of the second moments
    law = f"law of parameters and state{' with positive second moments' * adaptive} to an absolutely"
    assert (law in claim["statement"]) is with_state
    ends = {"gd": "for every positive rate.", "weight-decay": "for every positive rate but 100."}
    assert claim["statement"].endswith(ends.get(rule, "to an absolutely continuous one."))
    by_number = rule in ("gd", "weight-decay", "clip-norm")  # elsewhere it is that of a mask, or the same everywhere
    assert all((claim["at_base"][batch]["closed_form"] is not None) is by_number for batch in BATCHES)
    assert all(len(claim["at_base"][batch]["row"]) == D for batch in BATCHES)


def test_nothing_is_said_of_every_rate_where_nothing_is_shown_at_this_one() -> None:
    claim = claimed("weight-decay", 100)
    assert claim["at_zero"]["batch"]["agrees"]
    assert not claim["non_zero"] and claim["every_rate"] is False
    assert "every positive rate" not in claim["statement"]


def test_one_sample_is_the_first_alone() -> None:
    both, alone = claimed("gd"), claimed("gd", samples=SAMPLES[:1])
    assert both["one sample"] == alone["one sample"] == alone["batch"] != both["batch"]


def test_a_part_of_a_clipped_step_is_not_shown_by_a_ball_that_holds_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    for part, shown in ((flint.arb(0, 0.5), False), (flint.arb(1, 0.5), True), (flint.arb(-1, 0.5), True)):
        monkeypatch.setattr(f"{STEP}._clipped_determinant", lambda *_, part=part: part)
        assert claimed("clip-norm")["non_zero"] is shown


def at(norm: str, *squares: int) -> At:
    return At((HALF, -HALF), None, Gate(norm, tuple(map(Fraction, squares))), None)


NO_GATE = At((HALF, -HALF), None, None, None)


@pytest.mark.parametrize(("zero", "base", "every"), [
    (at("LayerNorm", 0, 0), at("LayerNorm", 1, 2), True), (at("LayerNorm", 0, 0), at("LayerNorm", 1, 0), False),
    (at("LayerNorm", 0, 0), NO_GATE, False), (NO_GATE, at("LayerNorm", 1, 2), False),
    (at("RMSNorm", 0, 0), NO_GATE, True), (at("RMSNorm", 0, 0), at("RMSNorm", 0, 0), True),
])  # fmt: skip
def test_two_points_serve_at_every_rate_where_their_determinants_have_no_common_zero(
    zero: At, base: At, every: bool
) -> None:
    assert _every_rate("gd", {"batch": zero}, {"batch": base}) is every
    good = at("LayerNorm", 0), at("LayerNorm", 1)
    assert _every_rate("gd", {"one": good[0], "batch": zero}, {"one": good[1], "batch": base}) is every
    assert _every_rate("heavy-ball", {"batch": zero}, {"batch": base}) is False


def test_zero_is_no_strength_that_two_points_share() -> None:
    numbers = [[Fraction(n) for n in some] for some in ((-1, 0, 1, 2), (-1, 0, 1, 3))]
    assert _shared(*numbers) == {-1, 1}


def exactly(number: Any) -> Fraction:
    mantissa, exponent = number.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


@pytest.mark.parametrize("middle", ["0", "0.5", "-3.1415926535897932384626433832795028841971", "1e-40", "-7e12"])
def test_a_decimal_and_its_radius_hold_the_ball(middle: str) -> None:
    """Also where the radius is one that is written down as less, if it is not raised before."""
    with Balls(192):
        for text in ("1.00002", "1.00004e-9", "1.000049e-20", "9.99996e-3", "3.33333e-30", "1.00003e6", "0"):
            ball = flint.arb(flint.arb(middle).mid(), flint.arb(text).mid())
            stated = {name: Fraction(decimal) for name, decimal in _stated(ball).items()}
            centre, radius = exactly(ball.mid()), exactly(ball.rad())
            assert abs(stated["midpoint"] - centre) + radius <= stated["radius"]


CERTIFICATE = prove_step(network(), SAMPLES, rule="gd", rate=TENTH, seed=1).to_json()


@pytest.mark.parametrize(("path", "value"), [
    (("seed",), True), (("seed",), 1.0), (("seed",), "1"), (("seed",), None),
    (("samples", 0, "tokens"), [0, 1.5]), (("samples", 0, "tokens"), [False, 1]), (("samples", 0, "tokens"), [0.0, 1]),
])  # fmt: skip
def test_seeds_and_tokens_are_integers(path: tuple[Any, ...], value: Any) -> None:
    assert check(CERTIFICATE).lines == 2
    changed = placed(CERTIFICATE, path, value)
    changed = placed(changed, ("claim", "samples"), digest(changed["samples"]))
    assert check(changed).verdict is Verdict.REJECTED


def anywhere() -> Graph:
    """Logits of the row of the first token: a prompt of another length would do."""
    net = Net()
    x = net.op("take", net.parameter("embedding", N, D), net.tokens(2, N), axis=0)
    x = net.op("slice", x, axis=1, start=0, stop=1, step=1)
    net.op("matmul", net.op("tanh", x), net.op("permute", net.parameter("head", N, D), order=(1, 0)))
    return net.graph()


@pytest.mark.parametrize("sample", [
    Sample((0,), SIXTH.target), Sample((0, 1, 2), SIXTH.target), Sample((0, 1), (HALF, Fraction(0), Fraction(0))),
    Sample((0, 1), (Fraction(1), HALF, Fraction(0))), Sample((0, 1), (Fraction(3, 2), -HALF, Fraction(0))),
])  # fmt: skip
def test_prompts_are_of_the_captured_length_and_targets_on_the_simplex(sample: Sample) -> None:
    assert prove_step(anywhere(), [SIXTH], rule="gd", rate=TENTH, seed=3).claim["parameters"] == 2 * N * D
    with pytest.raises(InvalidInput, match="prompts of 2 tokens, as captured, and targets on the simplex"):
        prove_step(anywhere(), [SIXTH, sample], rule="gd", rate=TENTH, seed=3)


def test_so_many_parameters_are_looked_at_and_no_more() -> None:
    for parameters in (1, LARGEST):
        _expect(network(), SAMPLES, parameters, N, TENTH, "gd")
    for parameters in (0, LARGEST + 1):
        with pytest.raises(InvalidInput, match="at most 600 parameters"):
            _expect(network(), SAMPLES, parameters, N, TENTH, "gd")
