"""A training step is certified where two computations agree: with either of them wrong, nothing is."""

from fractions import Fraction
from typing import Any

import flint
import pytest

from proofs import InvalidInput
from proofs.recomputed.training_step import Sample, prove_step
from tests.proofs.gated import SAMPLES, TENTH, network

STEP = "proofs.recomputed.training_step"


def shown(rule: Any, **network_of: Any) -> bool:
    return prove_step(network(**network_of), SAMPLES, rule=rule, rate=TENTH, seed=3).claim["non_zero"]


def wrong(*_: Any, **__: Any) -> Any:
    """No determinant that any of the networks here has, and one that is above all of them."""
    return Fraction(10**6)


@pytest.mark.parametrize(("rule", "closed"), [("gd", "by_gate"), ("weight-decay", "by_gate"), ("clip-norm", "by_gate"),
                                              ("sign", "closed_form")])  # fmt: skip
@pytest.mark.parametrize("layer_norm", [True, False])
def test_a_closed_form_that_disagrees_shows_nothing(
    rule: Any, closed: str, layer_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(rule, layer_norm=layer_norm)
    monkeypatch.setattr(f"{STEP}.{closed}", wrong)
    assert not shown(rule, layer_norm=layer_norm)


def test_a_clipped_gradient_has_determinants_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    signs: list[int] = []

    def clipped(*arguments: Any) -> Any:
        signs.append(arguments[3])
        return flint.arb(0, 1) if len(signs) == 4 else flint.arb(1)

    monkeypatch.setattr(f"{STEP}._clipped_determinant", clipped)
    assert not shown("clip-norm")
    assert signs == [1, -1, 1, -1]


@pytest.mark.parametrize("rule", ["gd", "adam", "clip-value", "sign"])
def test_symbols_that_do_not_bear_out_a_closed_form_show_nothing(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{STEP}.symbolically", lambda *_: False)
    assert not shown(rule)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_a_mask_that_meets_a_determinant_leaves_clipping_to_the_point_zero(
    layer_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{STEP}.every_mask_passes", lambda *_, **__: False)
    found = prove_step(network(layer_norm=layer_norm), SAMPLES, rule="clip-value", rate=TENTH, seed=3).claim
    assert not any(found["at_base"][batch]["non_zero"] for batch in ("one sample", "batch"))
    assert found["non_zero"]


@pytest.mark.parametrize("sample", [
    Sample((0,), SAMPLES[0].target), Sample((0, 1), SAMPLES[0].target[:2]), Sample((0, -1), SAMPLES[0].target),
    Sample((0, 3), SAMPLES[0].target), Sample((0, 1), (*SAMPLES[0].target, Fraction(0))),
])  # fmt: skip
def test_samples_of_another_network_are_refused(sample: Sample) -> None:
    with pytest.raises(InvalidInput):
        prove_step(network(), [SAMPLES[0], sample], rule="gd", rate=TENTH, seed=3)
