"""What a mask reaches where none may stay unproved, whatever comes after; a mask may be one number."""

from proofs import Verdict, check, prove_analytic
from tests.proofs.building import Net


def test_a_power_of_a_maximum_that_a_mask_reaches_stays_unproved():
    net = Net()
    masked = net.op("add", net.parameter("p", 3), net.constant([0, 1, float("-inf")], (3,)))
    net.op("power", net.op("relu", masked), exponent=2)
    certificate = prove_analytic(net.graph()).to_json()
    assert [certificate["facts"][place][0] for place in certificate["lines"][-2:]] == ["unproved", "unproved"]
    assert check(certificate).verdict is Verdict.ACCEPTED


def test_a_mask_of_one_number_without_axes_is_read():
    net = Net()
    net.op("maximum", net.parameter("p", 3), net.constant(float("-inf")))
    result = check(prove_analytic(net.graph()).to_json())
    assert result.verdict is Verdict.ACCEPTED, result.reason
