"""The numbering that was extracted from its proof, beside the kernel's, on networks as they are, entry by entry.

It knows less (equal operations on equal rows, weights that add to one, sums in any order, quotients up to a common
factor), so what it equates the kernel must equate; and it must show the families that these rules are for.
"""

import random
import subprocess
from typing import Any

import pytest

from proofs.formal.entries import Entries, last_states
from proofs.kernel.value_numbering.number import Numbering
from proofs.theorems.two_blocks import pair
from tests.proofs.decoders import network
from tests.proofs.formal_programs import NO_NUMBERING, NUMBERING, equated, numbered

pytestmark = pytest.mark.skipif(bool(NO_NUMBERING), reason=NO_NUMBERING)


RUNS, PERMUTED, FAR, OTHER = ((1,), (1, 1)), ((1, 2, 3), (2, 1, 3)), ((1, 2, 3), (4, 2, 3)), ((1, 2), (2, 1))
PROPORTIONAL, NEARLY = ((2, 1), (1, 2, 2, 1)), ((2, 1), (1, 2, 1))
POWERS, NO_POWERS = ((2, 1), (2, 1, 2, 1)), ((2, 1), (2, 2, 1))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, {RUNS, PERMUTED, PROPORTIONAL, POWERS}), ({"scheme": "alibi"}, {RUNS, POWERS}), ({"depth": 2}, {RUNS}),
        ({"scheme": "alibi", "bend": True}, {RUNS}), ({"scheme": "alibi", "depth": 2}, {RUNS}),
        ({"sink": True}, {PERMUTED}), ({"scheme": "learned"}, set()),
        ({"window": 2}, {RUNS, FAR, PROPORTIONAL, NEARLY, POWERS, NO_POWERS}),  # both end in the same two tokens
        ({"residual": False}, {RUNS, PERMUTED, PROPORTIONAL, POWERS}),
    ],
    ids=str,
)  # fmt: skip
def test_families_are_shown_as_by_the_kernel(options: dict[str, Any], shown: set[Any]) -> None:
    graphs = {length: network(length, **options) for length in (1, 2, 3, 4)}
    kernel = Numbering(graphs.values())
    for both in (RUNS, PERMUTED, FAR, OTHER, PROPORTIONAL, NEARLY, POWERS, NO_POWERS):
        one, other = ((graphs[len(prompt)], prompt) for prompt in both)
        assert any(equated(one, other)) is (both in shown) is kernel.equal(*one, *other), both


def expect_no_more_than_the_kernel(seeds: range) -> None:
    """On random networks of blocks, and prompts that have something in common."""
    found = 0
    for seed in seeds:
        chance = random.Random(seed)
        options: dict[str, Any] = {
            "scheme": chance.choice(["none", "none", "alibi", "learned"]),
            "sink": chance.random() < 0.2,
            "window": chance.choice([None, None, 1, 2]),
            "depth": chance.choice([1, 1, 2]),
            "bend": chance.random() < 0.3,
            "residual": chance.random() < 0.8,
            "activation": chance.choice(["tanh", "exp"]),
        }
        prompts = [tuple(chance.choice((1, 1, 2)) for _ in range(chance.randrange(1, 4))) for _ in range(2)]
        if options["scheme"] != "learned" and chance.random() < 0.3:
            twice = (*prompts[0], *prompts[0][:-1])
            prompts[1] = (*(chance.sample(twice, len(twice)) if chance.random() < 0.5 else twice), prompts[0][-1])
        one, other = ((network(len(prompt), **options), prompt) for prompt in prompts)
        if any(equated(one, other)):
            found += prompts[0] != prompts[1]
            assert Numbering([one[0], other[0]]).equal(*one, *other), seed
    assert found


def test_what_it_equates_the_kernel_equates() -> None:
    expect_no_more_than_the_kernel(range(12))


@pytest.mark.slow
def test_what_it_equates_on_many_networks_the_kernel_equates() -> None:
    expect_no_more_than_the_kernel(range(1000, 1200))


def test_words_of_82_letters_collide_in_two_blocks_and_others_do_not() -> None:
    """The pair of `TwoBlocks.words_of_82_letters` on the network as it is: 270,000 rows for two prompts."""
    graph = network(82, depth=2)
    first, second = pair()
    assert first != second
    k = max(k for k in range(80) if first[k] != first[k + 1])
    exchanged = (*first[:k], first[k + 1], first[k], *first[k + 2 :])
    prompts = [first, second, exchanged]
    rows = Entries(mixtures=False)
    states = last_states([(graph, prompt) for prompt in prompts], rows)
    numbers = numbered(rows.lines)
    found = [[numbers[place] for place in places] for places in states]
    assert found[0] == found[1] != found[2]


def test_rows_that_read_what_is_not_before_them_are_refused() -> None:
    for text in ("apply 0 0\n", "total 1\n", "mixture 0 2\n", "apply x\n", "row\n", "quotient 0\n",
                 "quotient 0 / 0\n", "quotient 0 0:1:2 / 0\n"):  # fmt: skip
        done = subprocess.run([str(NUMBERING)], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr


def test_the_rules_row_by_row() -> None:
    lines = [
        "apply 0",
        "apply 1",
        "total 0 1",
        "total 1 0",
        "mixture 7 0 0",
        "mixture 7 0 1",
        "mixture 7 0 1",
        "apply 2 2",
        "apply 2 3",
    ]
    numbers = numbered(lines)
    assert numbers[2] == numbers[3]
    assert numbers[4] == numbers[0]
    assert numbers[5] != numbers[6]  # weights over different rows are not compared
    assert numbers[7] == numbers[8]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("0 1 / 2", "1 0 1 0 / 2 2", True), ("0 0 1 / 1 2", "0 0 0 0 1 1 / 2 1 2 1", True),
        ("0 / 1", "0 0 0 / 1 1 1", True), ("0 1 / 2", "0 1 0 1 / 2", False), ("0 1 / 2", "0 1 / 2 2", False),
        ("0 0 1 / 2", "0 0 1 1 / 2", False), ("0 1 / 2", "2 / 0 1", False), ("0 0 1 1 / 2 2 2", "0 1 / 2", False),
        ("0 0 / 2 2 2", "0 0 0 / 2 2", False), ("0 1 / 1", "0 / 1 1", False), ("0 0 / 1 2 1", "0 0 / 1 2 1 2", False),
        ("0 1:1 / 2", "0 1:1 0:2 1:3 / 2 2:2", True), ("0 / 2", "0 0:1 0:2 / 2 2:1 2:2", True),
        ("0 0 1:1 / 2:1", "0:4 0:4 0:2 0:2 0 0 1:5 1:3 1:1 / 2:5 2:3 2:1", True),
        ("0 1:1 / 2", "0 1:1 0:2 1:3 / 2 2:1", False), ("0 1:1 / 2", "0 1:1 0:2 1:2 / 2 2:2", False),
        ("0 1:1 / 2", "0 1:1 0:2 1:3 / 2 2:2 2:2", False), ("0 1:1 / 2", "0:1 1 / 2", False),
        ("0 1:1 / 2", "0 1:2 / 2", False), ("0 1 / 2", "0 1:1 / 2", False), ("0 0:1 / 2", "0 / 2", False),
    ],
)  # fmt: skip
def test_a_quotient_of_sums_is_known_up_to_a_factor_common_to_all_terms(first: str, second: str, same: bool) -> None:
    """A number, or 1 + x^l + x^2l + …; of both sides at once: a factor on one side alone makes another number."""
    numbers = numbered(["apply 0", "apply 1", "apply 2", f"quotient 5 {first}", f"quotient 5 {second}"])
    assert (numbers[3] == numbers[4]) is same


def test_powers_of_two_numbers_are_not_the_same_unless_none_is_left() -> None:
    def same(first: str, second: str) -> bool:
        numbers = numbered(["apply 0", "apply 1", f"quotient {first}", f"quotient {second}"])
        return numbers[2] == numbers[3]

    assert not same("5 0 1:1 / 1", "6 0 1:1 / 1")
    assert same("5 0 0:1 / 1 1:1", "6 0 0:1 0:2 / 1 1:1 1:2")
