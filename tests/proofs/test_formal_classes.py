"""Classes of smoothness by the checker that was extracted from its proof, beside the kernel's: they are the same."""

import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from proofs import Verdict, check, prove_analytic
from proofs.formal.graph_text import network_text
from tests.adversary.formulas import formula
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import gpt2, jumping, network
from tests.proofs.formal_networks import random_network
from tests.proofs.formal_programs import NO_CHECKER, judged

pytestmark = pytest.mark.skipif(bool(NO_CHECKER), reason=NO_CHECKER)
BETTER = {"polynomial": "constant", "analytic": "polynomial", "discontinuous": "C0"}


def accepted(seeds: range) -> dict[str, dict[str, Any]]:
    """Certificates of the adversary's formulas, and of random networks, that the kernel accepts."""
    graphs = {f"random.{seed}": random_network(seed) for seed in seeds}
    for name, kinks in (("formula", 0.3), ("choices", 0.7)):
        graphs |= {f"{name}.{seed}": formula(random.Random(f"{name} {seed}"), kinks=kinks) for seed in seeds}
    certificates = {name: prove_analytic(graph).to_json() for name, graph in graphs.items()}
    return {name: c for name, c in certificates.items() if check(c).verdict is Verdict.ACCEPTED}


def better(regularity: str) -> str | None:
    """The next class that says more; C7 after C6."""
    return f"C{int(regularity[1:]) + 1}" if regularity[0] == "C" else BETTER.get(regularity)


def with_class(certificate: Mapping[str, Any], line: int, regularity: str) -> dict[str, Any]:
    """The certificate with another class at one line."""
    lines = list(certificate["lines"])
    facts = [*certificate["facts"], [regularity, *certificate["facts"][lines[line]][1:]]]
    lines[line] = len(facts) - 1
    return {**certificate, "facts": facts, "lines": lines}


def expect_the_same_classes(certificates: Mapping[str, Mapping[str, Any]]) -> None:
    """What the kernel says is accepted, and the next better class, line by line, is not: the kernel's follows."""
    texts = [network_text(name, certificate) for name, certificate in certificates.items()]
    expected = [f"accepted {name} {len(certificate['lines'])}" for name, certificate in certificates.items()]
    for name, certificate in certificates.items():
        for line, place in enumerate(certificate["lines"]):
            regularity = certificate["facts"][place][0]
            more = None if regularity == "unproved" else better(regularity)
            if more is not None:
                texts.append(network_text(f"{name}.{line}", with_class(certificate, line, more)))
                expected.append(f"refused {name}.{line} {line}: the class that follows is {regularity}")
    assert judged(texts) == expected


def test_formulas_and_random_networks_have_the_kernels_classes() -> None:
    certificates = accepted(range(40))
    assert len(certificates) > 100
    found = {certificate["facts"][place][0] for certificate in certificates.values() for place in certificate["lines"]}
    assert {"constant", "polynomial", "analytic", "C0", "C1", "discontinuous", "unproved"} <= found
    expect_the_same_classes(certificates)


def test_networks_have_the_kernels_classes() -> None:
    graphs = {"block": attention_net(), "gpt2": gpt2(2), "jumping": jumping()}
    for activation in ("tanh", "relu", "gelu", "silu", "mish", "exp"):
        graphs[activation] = network(2, activation=activation)
    graphs |= {"alibi": network(3, scheme="alibi"), "clipped": network(2, clipped=True), "sink": network(2, sink=True)}
    expect_the_same_classes({name: prove_analytic(graph).to_json() for name, graph in graphs.items()})


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("start", range(1000, 5000, 1000))
def test_many_formulas_and_random_networks_have_the_kernels_classes(start: int) -> None:
    expect_the_same_classes(accepted(range(start, start + 1000)))


def claimed(net: Net, node: int) -> str:
    """The class that the kernel gives a node; both checkers give it, and no better one."""
    certificate = prove_analytic(net.graph(node)).to_json()
    assert check(certificate).verdict is Verdict.ACCEPTED
    expect_the_same_classes({"net": certificate})
    return certificate["facts"][certificate["lines"][node]][0]


@pytest.mark.parametrize(
    ("exponent", "regularity"), [(0, "C0"), (1, "C0"), (2, "C1"), (3, "C2"), (7, "C6")], ids=str
)  # fmt: skip
def test_a_power_of_a_maximum_is_as_smooth_as_its_exponent_says(exponent: int, regularity: str) -> None:
    net = Net()
    assert claimed(net, net.op("power", net.op("relu", net.parameter("x", 2)), exponent=exponent)) == regularity


def test_a_power_of_a_maximum_of_a_kink_is_no_smoother_than_the_kink() -> None:
    net = Net()
    kink = net.op("absolute", net.parameter("x", 2))
    less = net.op("subtract", kink, net.constant(1))
    assert claimed(net, net.op("power", net.op("relu", less), exponent=5)) == "C0"


def test_kinks_drop_out_where_bounds_exclude_them() -> None:
    net = Net()
    x = net.parameter("x", 2)
    positive = net.op("add", net.op("power", x, exponent=2), net.constant("1/2"))
    assert claimed(net, net.op("relu", positive)) == "polynomial"
    assert claimed(net, net.op("sqrt", positive)) == "analytic"
    assert claimed(net, net.op("sqrt", net.op("power", x, exponent=2))) == "C0"
    assert claimed(net, net.op("relu", net.op("negate", positive))) == "constant"
    assert claimed(net, net.op("clamp", net.op("tanh", x), low=Fraction(-1), high=Fraction(1))) == "analytic"
    assert claimed(net, net.op("clamp", net.op("tanh", x), low=Fraction(-1), high=Fraction(1, 2))) == "C0"
    one, within = net.constant(1), net.op("tanh", x)
    assert claimed(net, net.op("maximum", within, one)) == claimed(net, net.op("maximum", one, within)) == "constant"
    assert claimed(net, net.op("minimum", within, one)) == claimed(net, net.op("minimum", one, within)) == "analytic"
    assert claimed(net, net.op("divide", x, positive)) == "analytic"
    assert claimed(net, net.op("divide", x, net.constant(3))) == "polynomial"


def test_what_is_chosen_by_parameters_jumps_and_by_constants_does_not() -> None:
    net = Net()
    x, y = net.parameter("x", 3), net.parameter("y", 3)
    fixed, moving = net.constant([0, 2], (2,), "integer"), net.op("top_indices", y, axis=0, count=2)
    assert claimed(net, net.op("take", x, fixed, axis=0)) == "polynomial"
    assert claimed(net, net.op("take", x, moving, axis=0)) == "discontinuous"
    assert claimed(net, net.op("select", net.op("greater", x, y), x, y)) == "discontinuous"
    assert claimed(net, net.op("select", net.constant([True, False, True], (3,), "boolean"), x, y)) == "polynomial"


def test_nothing_follows_from_what_nothing_is_claimed_of() -> None:
    lines = ["parameter 0 ; real 2 ; ; nothing", "exp ; real 2 ; 0 ; bounds open:0 - 0 discontinuous"]
    assert judged(["\n".join(("network n", *lines, ""))]) == ["refused n 1: nothing follows"]


def test_a_constant_that_is_not_written_down_is_no_parameter() -> None:
    lines = ["given 0 ; real 2 ; ; bounds - - 0 constant", "given 1 ; real 2 ; ; bounds closed:0 - 0 constant"]
    answers = judged([f"network {n}\n{line}\n" for n, line in enumerate(lines)])
    assert answers[0] == "accepted 0 1"
    assert answers[1].startswith("refused 1 0: what follows is bounds - - 0")


def shifted(axis: int, largest: int, keep: bool = True, *, masked: bool = False) -> dict[str, Any]:
    """A softmax along an axis of scores less their largest along another."""
    net = Net()
    x = net.parameter("x", 3, 3)
    if masked:
        x = net.op("add", x, net.constant([0, 0, float("-inf")], (3,)))
    less = net.op("subtract", x, net.op("largest", x, axes=(largest,), keep=keep))
    return prove_analytic(net.graph(net.op("softmax", less, axis=axis))).to_json()


def test_the_shift_of_a_softmax_by_its_own_maximum_and_no_other_is_passed_over() -> None:
    certificates = {
        "own": shifted(1, 1),
        "other": shifted(1, 0),
        "flat": shifted(1, 1, keep=False),
        "masked": shifted(1, 1, masked=True),
    }
    classes = {name: c["facts"][c["lines"][-1]][0] for name, c in certificates.items()}
    assert classes == {"own": "analytic", "other": "C0", "flat": "C0", "masked": "analytic"}
    assert all(check(certificate).verdict is Verdict.ACCEPTED for certificate in certificates.values())
    expect_the_same_classes(certificates)
