"""What the program names stands in the theories, and what the theories rest on is what is written down."""

import re
from pathlib import Path

import pytest

from proofs.formal import build, table
from proofs.formal.names import BY_CLAIM, formal, named
from proofs.kernel.collisions import STATEMENTS, family_of
from proofs.theorems.two_blocks import pair

ROOT = Path(build.__file__).parents[2]
WRITTEN = dict(line.split(": ", 1) for line in build.LIST.read_text().splitlines() if ", all of it" not in line)
STATED = {name: word for word, name in build.statements()}
REALS = {
    "ClassicalDedekindReals.sig_forall_dec", "ClassicalDedekindReals.sig_not_dec", "Classical_Prop.classic",
    "Epsilon.epsilon_statement", "FunctionalExtensionality.functional_extensionality_dep",
}  # fmt: skip


@pytest.mark.parametrize("claim", sorted(BY_CLAIM))
def test_every_named_theorem_stands_in_the_theories(claim):
    assert formal(claim)
    for one in formal(claim):
        assert STATED.get(one.theorem) in ("Theorem", "Corollary"), one.theorem
        assert one.theorem in WRITTEN
        assert set(one.to_json()) == {"theorem", "checked", "idealised"}


def test_a_claim_of_another_kind_names_none():
    assert formal("anything else") == ()


def test_records_hold_each_theorem_beside_its_claim():
    listed = named(["repeated tokens", "anything else", "repeated tokens", "causality"])
    assert [one["claim"] for one in listed] == ["repeated tokens"] * 2 + ["causality"]
    assert all(set(one) == {"claim", "theorem", "checked", "idealised"} for one in listed)


def test_every_family_of_collisions_has_its_theorem():
    pairs = [((0,), (0, 0)), ((0, 1, 2), (1, 0, 2)), ((0, 1), (1, 0, 0, 1)), ((0, 1), (0, 1, 0, 1)), ((0, 1), (2, 1))]
    families = {family_of(*one) for one in [*pairs, pair()]} | {family_of((0,), (1,))}
    assert families == set(STATEMENTS)
    for family in families:
        assert formal(family), family


def test_theories_and_list_name_the_same_theorems():
    assert set(WRITTEN) == {name for name, word in STATED.items() if word in ("Theorem", "Corollary")}
    assert len(STATED) == len(build.statements())


def test_nothing_is_assumed_but_the_axioms_of_the_reals():
    whole = [line for line in build.LIST.read_text().splitlines() if ", all of it" in line]
    assert len(whole) == len({name.partition(".")[0] for name in STATED})
    for line in build.LIST.read_text().splitlines():
        axioms = (
            line.partition(": ")[2].split(", ") if ", all of it" not in line else line.partition("it: ")[2].split(", ")
        )
        assert axioms == ["nothing"] or set(axioms) <= REALS, line


def test_the_list_of_theorems_is_that_of_the_theories():
    """After a change of a theory: python3 proofs/formal/table.py."""
    assert table.PAGE.read_text() == table.page()
    assert table.page().count("\n| `") == len(WRITTEN)


def test_the_page_of_theorems_names_theorems_that_exist():
    text = (ROOT / "docs" / "theorems.md").read_text()
    theories = {name.partition(".")[0] for name in STATED}
    named = {name for name in re.findall(r"`([A-Z]\w+\.\w+)`", text) if name.partition(".")[0] in theories}
    assert len(named) > 20
    assert named <= set(STATED)
    assert {one.theorem for theorems in BY_CLAIM.values() for one in theorems} <= named


PAGE = (ROOT / "docs" / "theorems.md").read_text().partition("## Under a proof assistant")[2].partition("\n### ")[0]
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]
COMMON = next(text for text in PAGE.split("\n\n") if text.startswith("In rows about collisions")).replace("\n", " ")


@pytest.mark.parametrize("claim", sorted(BY_CLAIM))
def test_the_page_says_of_every_theorem_what_it_rests_on(claim):
    """Rows said that two words "have the same states" which a bias, a sink or a shorter run tells apart."""
    for one in formal(claim):
        rows = [row for row in ROWS if f"`{one.theorem}`" in row.split(" | ")[1]]
        assert rows, one.theorem
        for text in (*one.checked, *one.idealised):
            assert all(text in row or text in COMMON for row in rows), (one.theorem, text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Lemma x : True. Admitted.", "Admitted"),
        ("Axiom x : False.", "Axiom"),
        ("Lemma x : True. Proof. admit. Qed.", "admit"),
        ("Parameter x : nat.", "Parameter"),
        ("Conjecture x : False.", "Conjecture"),
        ("#[bypass_check(guard)] Fixpoint f (n : nat) : False := f n.", "bypass_check"),
        ("Unset Guard Checking.", "Unset Guard Checking"),
    ],
)
def test_words_that_let_a_statement_through_are_found(text, word):
    found = build.UNPROVED.search(build.without_comments(f"(* a (* nested *) comment *) {text}"))
    assert found is not None
    assert found[0].startswith(word)


def test_comments_are_no_part_of_a_theory():
    assert build.without_comments("a (* Admitted (* deep *) Axiom *) b") == "a  b"
    assert build.UNPROVED.search(build.without_comments("(* Admitted. *) Qed.")) is None
