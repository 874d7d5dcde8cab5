"""Second derivatives against sympy, every optimizer row, and that altered certificates are rejected."""

import random
from fractions import Fraction
from typing import Any

import flint
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from proofs import InvalidInput, Unsupported, Verdict, check
from proofs.arithmetic.ball import Balls
from proofs.arithmetic.surds import Surds
from proofs.arithmetic.tape import Tape, derivatives
from proofs.network.graph import Graph
from proofs.recomputed.loss import of_loss
from proofs.recomputed.optimizers import closed_form, every_mask_passes, jacobian, symbolically
from proofs.recomputed.settled import NO_GATE, NO_ROOTS
from proofs.recomputed.training_step import RULES, Sample, prove_step, without_state
from tests.proofs.building import Net
from tests.proofs.gated import SAMPLES, TENTH, D, N, network
from tests.proofs.mutating import placed


@pytest.mark.parametrize(
    "name", ["exp", "tanh", "erf", "softplus", "sigmoid", "rsqrt", "log", "sin", "cos", "reciprocal"]
)
def test_derivatives_of_elementary_functions_agree_with_sympy(name: str) -> None:
    x = sympy.Symbol("x")
    written = {
        "softplus": sympy.log(1 + sympy.exp(x)),
        "sigmoid": 1 / (1 + sympy.exp(-x)),
        "rsqrt": x ** sympy.Rational(-1, 2),
        "reciprocal": 1 / x,
    }
    function = written[name] if name in written else getattr(sympy, name)(x)
    with Balls(128) as balls:
        tape = Tape(balls)
        variable = tape.variable(balls.number(Fraction(3, 7)))
        gradient, second = derivatives(tape.elementary(name)(variable) * variable, [variable])
        for found, order in ((gradient[0], 1), (second[0][0], 2)):
            exact = sympy.diff(function * x, x, order).subs(x, sympy.Rational(3, 7))
            assert found.overlaps(flint.arb(str(sympy.N(exact, 60))) + flint.arb(0, "1e-35"))
            assert float(found.rad()) < 2**-90


def test_mixed_derivatives_of_a_polynomial_are_exact() -> None:
    tape = Tape(Surds())
    x, y = (tape.variable(tape.base.number(Fraction(v))) for v in (2, 3))
    gradient, second = derivatives(x * x * y + y * y * y, [x, y])
    assert [g.terms[(0, 1)] for g in gradient] == [12, 31]
    assert [[e.terms[(0, 1)] for e in row] for row in second] == [[6, 4], [4, 18]]


def test_gelu_by_erf_is_exact_at_zero_although_its_slope_is_transcendental() -> None:
    found = prove_step(network(activation="gelu"), SAMPLES, rule="gd", rate=TENTH, seed=3)
    assert found.verdict is Verdict.PROVED
    assert found.claim["at_zero"]["batch"]["agrees"]
    assert check(found.to_json()).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layer_norm", [True, False])
def test_every_row_is_proved_and_its_certificate_accepted(rule: Any, layer_norm: bool) -> None:
    found = prove_step(network(layer_norm=layer_norm), SAMPLES, rule=rule, rate=TENTH, seed=3)
    assert found.verdict is Verdict.PROVED
    for batch in ("one sample", "batch"):
        assert found.claim["at_zero"][batch]["final_norm"] == ("LayerNorm" if layer_norm else "RMSNorm")
        assert found.claim["at_zero"][batch]["agrees"]
        assert all(row["agrees"] and row["non_zero"] for row in found.claim["at_zero"][batch]["from_zero_state"])
    assert check(found.to_json()).verdict is Verdict.ACCEPTED
    assert found.claim["every_rate"] is (rule in ("gd", "weight-decay"))
    adaptive = rule in ("adam", "adamw")
    assert {line["verdict"] for line in found.claim["open"]} == ({"undecided"} if adaptive and layer_norm else set())
    narrow = adaptive and layer_norm  # a mean-free row of two entries has but one direction
    further = rule in ("clip-norm", "heavy-ball", "adam", "adamw") and not narrow
    assert {line["verdict"] for line in found.claim["follows"]} == ({"proved"} if further else set())


@pytest.mark.parametrize("layer_norm", [True, False])
def test_the_determinant_at_the_base_point_is_that_of_its_second_derivatives(layer_norm: bool) -> None:
    """In balls, for every entry: a final RMS norm was taken for a layer norm whose shift is its own scale."""
    graph = network(layer_norm=layer_norm)
    found = prove_step(graph, SAMPLES[:1], rule="gd", rate=TENTH, seed=3).claim["at_base"]["one sample"]
    row = [Fraction(x) for x in found["row"]]
    value = lambda name, place: row[place[-1]] if name == "embedding" else Fraction(0)  # noqa: E731
    with Balls(192) as balls:
        gradient, second = of_loss(graph, SAMPLES[0], balls, value)
        rows = jacobian("gd", second, gradient, rate=TENTH, draws=lambda: TENTH, base=balls)
        exact = flint.arb_mat(len(rows), len(rows), [entry for row in rows for entry in row]).det()
        assert exact.overlaps(balls.number(Fraction(found["closed_form"])))
        assert exact.rad() < 1e-20
    assert found["final_norm"] == ("LayerNorm" if layer_norm else "RMSNorm")


def shown_of(graph: Graph, rule: Any, samples: Any = SAMPLES) -> dict[str, Any]:
    """The claim of a step on a network, which its certificate bears out."""
    found = prove_step(graph, samples, rule=rule, rate=TENTH, seed=3)
    assert check(found.to_json()).verdict is Verdict.ACCEPTED
    return found.claim


@pytest.mark.parametrize("rule", ["adam", "adamw"])
def test_logarithms_have_more_branches_than_the_signs_of_roots(rule: Any) -> None:
    smooth = network(layer_norm=False)
    with_logarithm = network(layer_norm=False, activation="softplus", beta=Fraction(1))
    for graph, settled in ((smooth, True), (with_logarithm, False)):
        claim = shown_of(graph, rule)
        assert claim["non_zero"] and bool(claim["follows"]) is settled
        assert [line["reason"] for line in claim["open"]] == ([] if settled else [NO_ROOTS])


@pytest.mark.parametrize("end", ["as it is", "negated", "with a shift written out"])
def test_what_follows_for_all_steps_needs_logits_that_are_seen_to_be_read_out(end: str) -> None:
    """-U (gamma x^) has the second derivatives of the gate lemma, and so has U (beta + gamma x^) written out."""
    claim = shown_of(reading_out(constant=False, end=end), "heavy-ball", [Sample((1, 0), SAMPLES[0].target)])
    assert claim["non_zero"] and all("closed_form" in claim[at]["one sample"] for at in ("at_zero", "at_base"))
    assert [line["reason"] for line in claim["open"]] == ([] if end == "as it is" else [NO_GATE])
    assert len(claim["follows"]) == (end == "as it is")


def test_a_target_that_no_step_moves_away_from_is_no_gate() -> None:
    """Where all tokens are equally likely, w is 0: there is no first coordinate to read the scale by."""
    thirds = (Fraction(1, 3),) * 3
    claim = shown_of(network(), "gd", [Sample((0, 1), thirds)])
    assert "not those of the gate lemma" in claim["at_zero"]["reason"]
    assert claim["every_rate"] is False


def test_two_tables_of_logits_are_no_gate() -> None:
    net = Net()
    x = net.op("take", net.parameter("embedding", N, D), net.tokens(2, N), axis=0)
    x = net.op("slice", x, axis=1, start=1, stop=2, step=1)
    x = net.op("layer_norm", x, net.parameter("scale", D), net.parameter("shift", D), axes=1, epsilon=Fraction(1, 16))
    heads = [net.op("permute", net.parameter(name, N, D), order=(1, 0)) for name in ("head", "other")]
    net.op("add", *(net.op("matmul", x, head) for head in heads))
    claim = shown_of(net.graph(), "gd", SAMPLES[:1])
    assert "not those of the gate lemma" in claim["at_zero"]["reason"]


def test_logits_that_no_token_chooses_are_refused() -> None:
    net = Net()
    net.tokens(2, N)
    net.op("matmul", net.op("tanh", net.parameter("row", 1, 1, D)), net.parameter("head", 1, D, N))
    with pytest.raises(InvalidInput, match="an embedding, but none is read by the tokens"):
        prove_step(net.graph(), SAMPLES, rule="gd", rate=TENTH, seed=3)


def test_masks_with_too_many_sums_are_left_open() -> None:
    """Of sixteen parts of w that are powers of two no two sums are equal, and each has a determinant."""
    strengths = (Fraction(2), Fraction(3))
    few, many = ([Fraction(1, 2**k) for k in range(count)] for count in (6, 16))
    assert every_mask_passes(few, strengths, TENTH, shift=True)
    assert not every_mask_passes(many, strengths, TENTH, shift=True)
    assert not every_mask_passes([*few, Fraction(10)], (Fraction(1),), TENTH, shift=False)  # 10^2 / 10^2 = 1


def reading_out(constant: bool, by_number: bool = False, end: str = "as it is") -> Graph:
    """Logits U (gamma x^), x^ a row over its length; with a constant added to it, or the number of its token.

    `end`: as they are, negated, or with a learned shift of gamma x^ before them.
    """
    net = Net()
    tokens = net.tokens(2, N)
    x = net.op("take", net.parameter("embedding", N, D), tokens, axis=0)
    if constant:
        x = net.op("add", x, net.constant([1, 2], (1, 1, D)))
    if by_number:
        x = net.op("add", x, net.op("reshape", net.op("as_real", tokens), shape=(1, 2, 1)))
    x = net.op("slice", x, axis=1, start=1, stop=2, step=1)
    square = net.op("mean", net.op("power", x, exponent=2), axes=(2,), keep=True)
    x = net.op("multiply", x, net.op("rsqrt", net.op("add", square, net.constant(Fraction(3, 2)))))
    x = net.op("multiply", x, net.parameter("scale", D))
    if end == "with a shift written out":
        x = net.op("add", x, net.parameter("shift", D))
    logits = net.op("matmul", x, net.op("permute", net.parameter("head", N, D), order=(1, 0)))
    if end == "negated":
        net.op("negate", logits)
    return net.graph()


@pytest.mark.parametrize("rule", ["gd", "heavy-ball", "adam", "clip-norm"])
def test_what_holds_at_every_rate_rests_on_a_row_that_is_zero_at_zero(rule: Any) -> None:
    def claimed(graph: Graph) -> list[str]:
        found = prove_step(graph, samples, rule=rule, rate=TENTH, seed=3).claim
        return ["every rate"] if found["every_rate"] else [line["verdict"] for line in found["follows"]]

    samples = [Sample((1, 0), SAMPLES[0].target)]
    assert claimed(reading_out(constant=False)) == (["every rate"] if rule == "gd" else ["proved"])
    assert claimed(reading_out(constant=True)) == []
    if rule != "gd":  # of other prompts the row is not 0 at zero
        assert claimed(reading_out(constant=False, by_number=True)) == []


def test_the_published_argument_fails_exactly_at_eta_times_w_equal_to_one() -> None:
    quarter = (Fraction(0), Fraction(0), Fraction(1, 2), Fraction(1, 2))  # |w| = 1/2
    found = prove_step(network(vocabulary=4), [Sample((0, 1), quarter)], rule="gd", rate=Fraction(2), seed=3)
    row = found.claim["at_zero"]["one sample"]
    assert (row["w_squared"], row["closed_form"], row["vanishes"], row["agrees"]) == ("1/4", "0", True, True)
    assert found.verdict is Verdict.PROVED  # the determinant vanishes at 0, but not identically
    beyond = prove_step(network(vocabulary=4), [Sample((0, 1), quarter)], rule="gd", rate=Fraction(3), seed=3)
    assert not beyond.claim["at_zero"]["one sample"]["vanishes"]  # rates above 1 are covered too


def test_clipping_by_value_needs_a_rate_that_no_part_of_w_meets() -> None:
    """w = (-2/3, 1/3, 1/3): where the first token and beta alone are kept, both points are singular at rate 3/2."""
    beyond = prove_step(network(), SAMPLES, rule="clip-value", rate=Fraction(2), seed=3)
    assert not beyond.claim["at_zero"]["one sample"]["agrees"]
    assert beyond.verdict is Verdict.PROVED  # by the base point
    found = prove_step(network(), SAMPLES, rule="clip-value", rate=Fraction(3, 2), seed=3)
    assert found.verdict is Verdict.UNDECIDED
    result = check(found.to_json())
    assert (result.verdict, result.claim and result.claim.verdict) == (Verdict.ACCEPTED, Verdict.UNDECIDED)
    assert result.claim is not None and result.claim.sentence.startswith("It is not shown")


def test_weight_decay_that_forgets_everything_is_not_certified() -> None:
    found = prove_step(network(layer_norm=False), SAMPLES, rule="sign", rate=Fraction(100), seed=3)
    assert closed_form("sign", parameters=5, rate=Fraction(100)) == 0
    assert found.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("rule", RULES)
def test_closed_forms_follow_from_symbols(rule: Any) -> None:
    assert symbolically(rule, 2)


CERTIFICATE = prove_step(network(), SAMPLES, rule="gd", rate=TENTH, seed=3).to_json()


def _one_twice(samples: list[Any]) -> list[Any]:
    return [samples[0], samples[0], samples[1]]


CHANGES: list[tuple[tuple[Any, ...], Any]] = [
    (("claim", "one sample", "midpoint"), "1.5"), (("claim", "batch", "radius"), "0"), (("claim", "bits"), 53),
    (("claim", "non_zero"), False), (("claim", "statement"), "Training is safe."), (("claim", "parameters"), 150),
    (("claim", "more"), "anything"), (("rate",), "1/5"), (("rate",), "no"), (("seed",), 4), (("rule",), "adam"),
    (("rule",), "nadam"), (("samples",), []), (("samples", 0, "tokens"), [0, 7]), (("samples", 0, "target"), [1, 1, 1]),
    (("samples", 0, "target"), ["0", "1", "0"]), (("graph",), None), (("claim",), None), (("samples", 0), {}),
    (("claim", "at_zero", "batch", "closed_form"), "1"), (("claim", "open"), ["all is settled"]),
    (("samples", 0, "tokens"), [False, 1]), (("samples",), _one_twice),
    (("claim", "samples"), "0" * 64), (("graph", "layer"), 9),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), CHANGES, ids=[f"{path}-{n}" for n, (path, _) in enumerate(CHANGES)])
def test_a_tampered_certificate_is_rejected(path: tuple[Any, ...], value: Any) -> None:
    assert check(placed(CERTIFICATE, path, value)).verdict is Verdict.REJECTED


def test_samples_in_another_order_are_another_certificate() -> None:
    """The mean over a batch is the same, and so are the determinants: the samples are bound by their digest."""
    three = (*SAMPLES, Sample((2, 2), (Fraction(1, 3), Fraction(1, 3), Fraction(1, 3))))
    found = prove_step(network(), three, rule="gd", rate=TENTH, seed=3).to_json()
    assert check(found).verdict is Verdict.ACCEPTED
    swapped = placed(found, ("samples",), lambda samples: [samples[0], samples[2], samples[1]])
    assert check(swapped).verdict is Verdict.REJECTED


@pytest.mark.parametrize(
    ("graph", "samples", "rule", "reason"),
    [
        (network(), SAMPLES, "lion", "optimizer"), (network(vocabulary=160), SAMPLES, "gd", "at most"),
        (network(), [Sample((0, 7), SAMPLES[0].target)], "gd", "below"), (network(), [], "gd", "at least one"),
    ],
)  # fmt: skip
def test_what_no_step_can_be_taken_of_is_refused(graph: Any, samples: Any, rule: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        prove_step(graph, samples, rule=rule, rate=TENTH, seed=0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="rate"):
        prove_step(network(), SAMPLES, rule="gd", rate=Fraction(0), seed=0)
    with pytest.raises(InvalidInput, match="simplex"):
        prove_step(network(), [Sample((0, 1), (Fraction(2), Fraction(-1), Fraction(0)))], rule="gd", rate=TENTH, seed=0)
    with pytest.raises(InvalidInput, match="analytic"):
        prove_step(network(activation="relu"), SAMPLES, rule="gd", rate=TENTH, seed=0)
    with pytest.raises(Unsupported, match="derivatives"):
        prove_step(network(activation="expm1"), SAMPLES, rule="gd", rate=TENTH, seed=0)


@given(st.integers(1, 3), st.integers(0, 2), st.integers(0, 2**32))
def test_the_determinant_with_a_state_is_that_of_the_whole_matrix(p: int, states: int, seed: int) -> None:
    draws = random.Random(seed)
    size = p * (1 + states)
    rows = [[draws.choice([0, draws.randint(-9, 9)]) for _ in range(size)] for _ in range(size)]
    for i in range(p, size):
        rows[i][p:] = [draws.randint(1, 9) if j == i else 0 for j in range(p, size)]
    with Balls(128) as balls:
        found = without_state([[balls.number(entry) for entry in row] for row in rows], p)
        exact = flint.fmpz_mat(rows).det()
        assert (found - int(exact)).contains(0)
        assert found.rad() < 1e-20
