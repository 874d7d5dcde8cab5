"""The checker that was extracted from its proof, beside the kernel: what one accepts, so does the other.

It is compiled by `make formal`; where that has not been done, or for other theories, there is nothing to run.
"""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import proofs.formal.graph_text as graph_text
from proofs import Verdict, check, prove_analytic
from proofs.kernel.lemmas.instance import Instance, Line
from proofs.kernel.lemmas.table import establish
from proofs.network.graph import Graph
from proofs.regularity import UNPROVED
from tests.proofs.building import Net, attention_net
from tests.proofs.formal_networks import random_network
from tests.proofs.formal_programs import CHECKER, NO_CHECKER, WRONG_TYPE, judged, refusals

pytestmark = pytest.mark.skipif(bool(NO_CHECKER), reason=NO_CHECKER)


def certificate_of(graph: Graph) -> dict[str, Any]:
    return prove_analytic(graph).to_json()


def expect_agreement(seeds: Sequence[int]) -> None:
    """Whatever the kernel accepts follows from the proved rules too."""
    certificates = {str(seed): certificate_of(random_network(seed)) for seed in seeds}
    accepted = {name: c for name, c in certificates.items() if check(c).verdict is Verdict.ACCEPTED}
    assert len(accepted) > 0.9 * len(certificates)
    answers = judged([graph_text.network_text(name, c) for name, c in accepted.items()])
    assert len(answers) == len(accepted)
    for answer, (name, certificate) in zip(answers, accepted.items(), strict=True):
        assert answer == f"accepted {name} {len(certificate['lines'])}", answer


def test_a_block_with_attention_is_accepted_line_by_line():
    graph = attention_net()
    (answer,) = judged([graph_text.network_text("block", certificate_of(graph))])
    assert answer == f"accepted block {len(graph.nodes)}"


def test_random_networks_get_the_same_bounds_and_masks():
    expect_agreement(range(150))


def kernel_masks(graph: Graph) -> dict[int, list[int]]:
    """By node the places that the kernel finds to hold -inf, which it leaves to numpy."""
    lines: list[Line] = []
    for node in graph.nodes:
        before = tuple(lines[i] for i in node.arguments)
        step = Instance(graph, node, before, tuple(graph.nodes[i] for i in node.arguments), lines.__getitem__)
        lines.append(establish(step))
    held = {
        i: np.broadcast_to(line.mask, graph.nodes[i].type.shape)
        for i, line in enumerate(lines)
        if line.mask is not None
    }
    return {index: np.flatnonzero(mask).tolist() for index, mask in held.items() if lines[index].regularity < UNPROVED}


def test_masks_are_at_the_places_where_numpy_has_them():
    """Reshaped, permuted, expanded, cut, joined, added: what `Tensors.v` says of places is what numpy does."""
    graphs = {str(seed): random_network(seed) for seed in range(300)} | {"block": attention_net()}
    answers = judged([graph_text.network_text(n, certificate_of(g)) for n, g in graphs.items()], "--masks")
    found: dict[str, dict[int, list[int]]] = {name: {} for name in graphs}
    for answer in answers:
        word, name, *rest = answer.split()
        if word == "mask":
            found[name][int(rest[0])] = [int(place) for place in rest[1:]]
    masks = {name: kernel_masks(graph) for name, graph in graphs.items()}
    moved = {graphs[name].nodes[index].operation for name, held in masks.items() for index in held}
    assert {"reshape", "permute", "expand", "slice", "concatenate", "add", "maximum"} <= moved
    assert found == masks


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("start", range(1000, 11000, 1000))
def test_many_random_networks_get_the_same_bounds_and_masks(start):
    expect_agreement(range(start, start + 1000))


def tightened(fact: list[Any]) -> list[list[Any]]:
    """Claims that say more than an exact one: an end moved inwards, a closed end opened, a mask that is not there."""
    regularity, lower, open_below, upper, open_above, masked = fact
    more = [[regularity, lower, open_below, upper, open_above, not masked]]
    if lower is None:
        more.append([regularity, "-1000000", False, upper, open_above, masked])
    elif not open_below:
        more.append([regularity, lower, True, upper, open_above, masked])
    else:
        more.append([regularity, str(Fraction(lower) + Fraction(1, 10**9)), True, upper, open_above, masked])
    if upper is None:
        more.append([regularity, lower, open_below, "1000000", False, masked])
    elif not open_above:
        more.append([regularity, lower, open_below, upper, True, masked])
    else:
        more.append([regularity, lower, open_below, str(Fraction(upper) - Fraction(1, 10**9)), True, masked])
    return more


def test_a_claim_that_says_more_is_refused_where_it_stands():
    certificate = certificate_of(attention_net())
    texts, expected = [], []
    for line, place in enumerate(certificate["lines"]):
        fact = certificate["facts"][place]
        if fact[0] == "unproved":
            continue
        for number, more in enumerate(tightened(fact)):
            facts, lines = [*certificate["facts"], more], list(certificate["lines"])
            lines[line] = len(facts) - 1
            name = f"{line}.{number}"
            texts.append(graph_text.network_text(name, {**certificate, "facts": facts, "lines": lines}))
            expected.append(f"refused {name} {line}:")
    answers = judged(texts)
    assert len(answers) == len(expected) > 50
    for answer, start in zip(answers, expected, strict=True):
        assert answer.startswith(start), answer


def test_an_open_end_that_meets_the_limit_of_a_clamp_is_reached():
    """clamp(e^-1, max = 0) is 0: nothing may call it positive, whoever else does."""
    net = Net()
    zero = net.op("clamp", net.op("exp", net.constant(-1)), high=Fraction(0), low=None)
    graph = net.graph(zero)
    claims = [["constant", "-1", False, "-1", False, False], ["constant", "0", True, "1", True, False]]
    for opened, verdict in ((True, "refused"), (False, "accepted")):
        last = ["constant", "0", opened, "0", False, False]
        lines = "\n".join(("network clamp", *graph_text.node_lines(graph, [*claims, last]))) + "\n"
        (answer,) = judged([lines])
        assert answer.startswith(f"{verdict} clamp")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("exp ; real 2 ; 0", "expected a node of four parts"),
        ("nonsense ; real ; ; nothing", "there is no operation"),
        ("exp ; complex 2 ; 0 ; nothing", "expected a kind"),
        ("constant 1/0 ; real ; ; nothing", "expected a positive number"),
        ("power 4096 ; real ; 0 ; nothing", "expected a number from 0 to 1024"),
        ("constant 1 ; real ; ; bounds 1 1 0 constant", "expected an end"),
        ("constant 1 ; real ; ; bounds - - 0", "expected a claim"),
        ("constant 1 ; real ; ; bounds - - 0 smooth", "expected a class"),
        ("constant 1 ; real ; ; bounds - - 0 C-1", "expected a number from 0 to 1024"),
        # 2^45 (n - 1) is 0 in OCaml's integers for n = 2^18 + 1, so that the slice ended at its start.
        (f"slice 0 0 {2**45} ; real {2**18 + 1} ; 0 ; nothing", "a slice ends at 9223372036854775808, beyond every"),
        (f"slice 1 {2**45} 1 ; real 2 2 ; 0 ; nothing", "a slice ends at 35184372088833"),
        (f"concatenate 0 ; real 0 ; {'0 ' * (2**16 + 1)}; nothing", "a node has too many arguments"),
    ],
)
def test_what_is_damaged_ends_with_one_sentence(line, reason):
    done = subprocess.run([str(CHECKER)], input=f"network n\n{line}\n", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stdout == ""


def test_steps_are_held_against_their_own_axis_alone():
    lines = [f"parameter 0 ; real 3 {2**43} ; ; nothing", f"slice 0 0 1024 ; real 1 {2**43} ; 0 ; nothing"]
    assert judged(["\n".join(("network n", *lines, ""))]) == ["accepted n 2"]


@pytest.mark.parametrize("claim", ["bounds open:0 - 0 analytic", "bounds - - 0 discontinuous", "nothing"])
def test_a_node_of_another_type_is_refused_where_anything_is_claimed_of_it(claim):
    """A claim of a wrong type was let through wherever a test had the kernel make it."""
    lines = ["parameter 0 ; real 2 3 ; ; bounds - - 0 polynomial", f"exp ; real 3 2 ; 0 ; {claim}"]
    assert judged(["\n".join(("network n", *lines, ""))]) == [f"refused n 1: {WRONG_TYPE}"]
    refused, unjudged = refusals(["\n".join((*lines, f"exp ; real 3 2 ; 0 ; {claim}", "")), f"{lines[0]}\n"])
    assert (refused, unjudged) == (([], 2) if claim == "nothing" else ([f"refused 0 1: {WRONG_TYPE}"], 0))
