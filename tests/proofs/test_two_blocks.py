"""Two blocks without positions: the pair of 82 letters, that none shorter collide, and the captured network's say."""

import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs import Verdict, check
from proofs.formal import build
from proofs.kernel.collisions import by_family, family_of, repeated, seen_by_two_blocks
from proofs.kernel.generic_position import LONGER, Longer
from proofs.kernel.result import Rejected, digest
from proofs.network.graph import Graph, Node, TensorType
from proofs.theorems.classification import for_every_length
from proofs.theorems.generic_position import examine
from proofs.theorems.two_blocks import WORDS, classes, none_shorter, pair
from tests.proofs.decoders import graphs, network
from tests.proofs.mutating import placed

THEORY = Path(build.__file__).with_name("TwoBlocks.v").read_text()
LETTERS = st.lists(st.sampled_from("01"), min_size=1, max_size=30).map("".join)


def multiset(word: str) -> Counter[tuple[str, Fraction]]:
    return Counter((letter, Fraction(word[: k + 1].count("1"), k + 1)) for k, letter in enumerate(word))


def test_the_words_are_those_of_the_theory_and_have_equal_multisets() -> None:
    first, second = WORDS
    assert tuple(re.findall(r'"([01]{10,})"%string', THEORY)) == WORDS
    assert first != second
    assert len(first) == len(second) == 82
    assert multiset(first) == multiset(second)
    assert first[-1] == second[-1]
    assert first[:81][-1] != second[:81][-1]  # so that words of 81 letters are told apart by their last token
    assert multiset(first[:80]) != multiset(second[:80])


@given(LETTERS)
def test_a_common_continuation_keeps_them_equal(rest: str) -> None:
    first, second = (tuple(map(int, word + rest)) for word in WORDS)
    assert seen_by_two_blocks(first) == seen_by_two_blocks(second)


def test_none_shorter_is_shown_up_to_81_and_not_beyond() -> None:
    assert all(none_shorter(tokens) for tokens in (2, 10, 40, 64, 65, 81))
    assert not none_shorter(82)  # where there is a pair


def test_none_shorter_agrees_with_enumeration() -> None:
    seen: dict[object, tuple[int, ...]] = {}
    for length in range(1, 12):
        for word in product((0, 1), repeat=length):
            other = seen.setdefault(seen_by_two_blocks(word), word)
            assert other == word or repeated(other, word)
    assert none_shorter(11)


@given(st.integers(0, 8), st.integers(0, 8), st.data())
def test_exchanging_the_ways_around_a_cell_changes_the_multiset_by_its_classes(ones: int, zeros: int, data) -> None:
    head = "".join(data.draw(st.permutations("1" * ones + "0" * zeros)))
    right, up = Counter(multiset(head + "10")), Counter(multiset(head + "01"))
    right.subtract(up)
    named = {
        ("01"[letter], Fraction(a, a + b)): sign for (letter, a, b), sign in classes((ones + 1, zeros + 1)).items()
    }
    assert {key: value for key, value in right.items() if value} == named


def test_the_classification_speaks_of_every_length() -> None:
    said = for_every_length("none", 2, bos=False)
    assert (said["others_than_runs_from"], said["none_shorter"]) == (82, True)
    assert "runs of one token" in said["collide"]
    assert for_every_length("none", 2, bos=True)["collide"] == "no two prompts"
    assert for_every_length("rope", 2, bos=False) == {
        "collide": "exactly runs of one token", "others_than_runs_from": None, "none_shorter": None,
    }  # fmt: skip
    assert "equal counts" in for_every_length("none", 1, bos=True)["collide"]
    assert for_every_length("alibi", 1, bos=False)["collide"] == "exactly powers of one word"


LONG = Longer((pair(),), {82: network(82, depth=2)})
FOUND = examine(graphs(2, depth=2), context=2, longer=LONG)
CERTIFICATE = FOUND.to_json()


def test_the_pair_is_shown_on_the_captured_network() -> None:
    assert family_of(*pair()) == "matched prefixes"
    assert FOUND.claim["longer_collisions"] == 1
    result = check(CERTIFICATE)
    assert (result.verdict, result.claim and result.claim.verdict) == (Verdict.ACCEPTED, Verdict.REFUTED)


@pytest.mark.parametrize(
    "options", [pytest.param({"depth": 3}, marks=pytest.mark.slow), {"depth": 2, "scheme": "alibi"}]
)
def test_three_blocks_and_positions_tell_the_pair_apart(options: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="82 and 82"):
        examine(graphs(1, **options), context=1, longer=Longer((pair(),), {82: network(82, **options)}))


FIRST = CERTIFICATE["structural_collisions"][0]["pairs"][0][0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("claim", "longer_collisions"), 2), (("structural_collisions",), []), (("structural_collisions",), None),
        (("other_lengths",), None), (("other_lengths",), {}), (("structural_collisions", 0, "family"), "equal states"),
        (("structural_collisions", 0, "pairs", 0), [FIRST, FIRST]), (("structural_collisions", 0, "pairs"), 1),
        (("structural_collisions", 0, "pairs", 0, 1, 40), 9), (("structural_collisions", 0, "pairs", 0, 0), [True]),
        (("other_lengths", "82"), CERTIFICATE["graphs"]["2"]),
        (("structural_collisions", 0, "pairs"), CERTIFICATE["structural_collisions"][0]["pairs"] * 2),
    ],
    ids=str,
)  # fmt: skip
def test_a_tampered_pair_is_rejected(path: tuple[object, ...], value: object) -> None:
    assert check(placed(CERTIFICATE, path, value)).verdict is Verdict.REJECTED


def refitted(pairs: list[Any], networks: dict[int, Graph]) -> dict[str, Any]:
    """Other pairs or networks with all that a careful forger would make to fit."""
    others = {str(length): graph.to_json() for length, graph in networks.items()}
    said = CERTIFICATE["claim"]["statement"]
    claim = {
        **CERTIFICATE["claim"], "longer_collisions": len(pairs),
        "statement": said[: said.index(" Pairs of longer")] + LONGER.format(pairs=len(pairs)),
        "graphs": digest({**CERTIFICATE["graphs"], **others}),
    }  # fmt: skip
    return {**CERTIFICATE, "structural_collisions": by_family(pairs), "other_lengths": others, "claim": claim}


def test_a_forgery_in_which_everything_else_fits_is_noticed() -> None:
    one, networks = pair(), dict(LONG.graphs)
    assert check(refitted([one], networks)).verdict is Verdict.ACCEPTED
    node = Node("parameter", (), {"name": "more", "shape": (1,), "kind": "real"}, TensorType((1,)))
    more = replace(networks[82], nodes=(*networks[82].nodes, node))
    for forged, reason in (
        (refitted([one, one], networks), "listed twice"),
        (refitted([one, (one[0], one[0])], networks), "two longer prompts are one"),
        (refitted([one, (one[0], one[0][::-1])], networks), "are not shown to collide"),
        (refitted([one], {82: more}), "there is another network, or none"),
        (refitted([one], {**networks, **graphs(1, depth=2)}), "there is another network, or none"),
    ):
        result = check(forged)
        assert (result.verdict, reason in result.reason) == (Verdict.REJECTED, True), result.reason
