"""Every premise of a named theorem is read in the theories, and stands in words among what a claim rests on."""

import re
from collections.abc import Iterator

import pytest

from proofs.formal import build
from proofs.formal import names as words
from proofs.formal.names import BY_CLAIM, SHOWN, Formal

NAMED = {(claim, one.theorem): one for claim, theorems in BY_CLAIM.items() for one in theorems}

# What a premise has to be told as, by a pattern that it holds.
SAID = {
    r"\brows_sum_to_one\b": words.SUMS,
    r"\bposition_free\b": words.WEIGHTS_ONLY,
    r"\bposition_free_embedding\b": words.EMBEDDING,
    r"\bwindowed\b": words.WINDOW,
    r"\btranslation_invariant\b": words.MOVED,
    r"\breach W\b": words.REACH,
    r"\bcausal\b": "attention is causal",
    r"\bcontent_weights L\b": words.ONE_SOFTMAX,
    r"\bcontent_weights x0 a[12]\b": words.TWO_SOFTMAX,
    r"0 < rho h\b": "a bias linear in the distance",
    r"\(w <= [mk]\)": "both runs are at least as long as a layer sees back",
    r"embed i \(nth a0 s i\) = embed i": words.ROWS,
    r"\bsums_to_one\b": "weights of mixtures sum to one",
    r"\bquotient\b": "its rules for zeros, ones, known constants and common factors of quotients hold",
    r"\by T [ij]\b": "the scores, exponentiated, are distinct and positive",
    r"\bcheck(_classes)? g\b": words.EXTRACTED,
    r"\bprompt n k\b": "the prompt lies in the vocabulary",
    r"\btextbook\b": "as Smoothness.textbook lists",
    r"\bepsilon\b": words.WIDTH,
    r"\bt i = s ord_max\b": words.GAP,
    r"\bT = 1%N": "the prompts have two tokens",
    r"\bdelta <|\bdelta <=|\bexp Lambda\b": "delta is at most 1/2 and below its bound",
    r"a \* b \* c = 0|^(closed|small_\w+) :": "where products of three parameters vanish",
    r"^first_order :": "logits and second derivatives are those of the gate lemma",
    r"\bsimplex\b": words.TARGETS,
    r"0 <= eta <= 1": "the rate lies between 0 and 1",
    r"\bc != 0": "rate times decay is not 1",
    r"\bx i != 0": "no entry of the normalised row is zero",
    r"\bdistance dist\b": words.DISTANCE,
    r"\bmap class p = map class q\b": words.CLASSES,
    r"\btested p\b": "at every position the true token was tested, its error within the tolerance",
    r"\banswer \(fun": "every position was accepted by the rule",
    r"dist \(nth x0 hs t\)|dist \(state \(take t s\) v\)": "noise below half the margin at every position",
    r"c%:R \* m\b": words.CUBE,
    r"\bfine :|\\sum_i \(state s i": "the margin is taken in Euclidean distance",
    r"`\|state s i - state t i\|": "the margin is taken in the largest coordinate",
}
# What needs no words: the shape of what is claimed, whole, or what is true of the numbers that are meant.
SHAPE = {
    "(0 < m)%N", "(0 < k)%N", "(0 < W)%N", "(0 < d)%N", "(0 < T)%N", "(0 < size s)%N", "(0 < size t)%N",
    "(i < size s)%N", "size s = size t", "size s = size hs", "size hs = size s",
    "(i < size rows)%N", "(j < size rows)%N", "perm_eq s t",
    "nth 0%N (numbered rows) i = nth 0%N (numbered rows) j",  # rows that the program calls equal
    "(forall u, m * count_mem u (rcons s z) = k * count_mem u (rcons t z))%N",  # equal proportions
    "perm_eq p (iota 0 (size s))", "alike s t (size s).-1 (size s).-1",  # matched positions
    "(forall k, (k < size s)%N -> alike s t k (nth 0%N p k))",
    "(forall u k, share u s k = share u t k)", "nth_error (rev g) i = Some (n, Claimed b m, r)",
    "i_inner : i != ord_max", "mismatch : s i != t i", "same_last : s ord_max = t ord_max", "0 < delta",
    "u^T *m u = 1%:M",  # the gradient over its length
    "0 <= err", "0 <= tol", "2 ^ (b * d) < \\sum_(k < K) n ^ k.+1", "2 ^ (b * d) < n ^ K",
    "r_gt0 : 0 < r", "m_gt0 : 0 < m", "rho_gt0 : forall b, 0 < rho b", "expo_gt0 : forall x, 0 < expo x",
}  # fmt: skip


def at_top(text: str, mark: str) -> Iterator[str]:
    """The parts of a text between marks that stand outside brackets."""
    depth, begin = 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and text.startswith(mark, at):
            yield text[begin:at].strip()
            begin = at + len(mark)
    yield text[begin:].strip()


def hypotheses(before: str) -> Iterator[str]:
    """Those of the sections that are open behind a text, one at a time."""
    sections: list[list[str]] = []
    for word, text in re.findall(r"^(Section|End|Hypothesis|Hypotheses)\s+(.*?)\.\s*$", before, re.M | re.S):
        if word == "Section":
            sections.append([])
        elif word == "End":
            sections.pop()
        else:
            flat = " ".join(text.split())
            parts = at_top(flat, " ") if flat.startswith("(") else [flat]
            sections[-1] += [part.removeprefix("(").removesuffix(")") if part != flat else part for part in parts]
    return (one for section in sections for one in section)


def premises(theorem: str) -> list[str]:
    """What a theorem asks for, the hypotheses of its sections included whether its proof uses them or not."""
    theory, _, name = theorem.partition(".")
    text = build.without_comments((build.HERE / f"{theory}.v").read_text())
    stated = re.search(rf"^(?:Theorem|Corollary)\s+{name}\b(.*?)\.\s*\nProof", text, re.M | re.S)
    assert stated, theorem
    *_, statement = at_top(" ".join(stated[1].split()), ": ")
    *_, statement = at_top(statement, " in ")  # behind its abbreviations
    *asked, _ = at_top(statement, " -> ")
    return [*hypotheses(text[: stated.start()]), *(re.sub(r"^forall [^,]*, ", "", premise) for premise in asked)]


@pytest.mark.parametrize(("claim", "theorem"), NAMED)
def test_every_premise_is_said_or_is_the_shape_of_the_claim(claim, theorem):
    """Positions that enter through weights only, and an inverse that has to exist, were premises that nobody named."""
    one = NAMED[claim, theorem]
    for premise in premises(theorem):
        told = [text for pattern, text in SAID.items() if re.search(pattern, premise)]
        assert told or premise in SHAPE, premise
        for text in told:
            assert any(text in said for said in (*one.checked, *one.idealised)), (premise, text)


def test_premises_are_read_one_by_one():
    assert premises("Softmax.permuted_prefixes") == [
        "expo_gt0 : forall x, 0 < expo x", "embedP : position_free_embedding embed",
        "content_weights L a (fun=> 1)", "position_free L", "perm_eq s t",
    ]  # fmt: skip
    assert len(premises("TwoBlocks.words_of_82_letters")) == 5
    assert premises("TrainingStep.clipped_by_norm_det") == ["u^T *m u = 1%:M"]
    assert premises("Inversion.sipit_inverts_network")[0] == "distance dist"


def test_nothing_is_excused_that_no_theorem_asks():
    asked = [premise for _, theorem in NAMED for premise in premises(theorem)]
    assert set(asked) >= SHAPE
    assert not [pattern for pattern in SAID if not any(re.search(pattern, premise) for premise in asked)]


def test_what_is_shown_of_prompts_is_named_where_it_was_shown():
    assert SHOWN in words.formal("repeated tokens") and SHOWN not in words.formal("repeated tokens", shown=False)
    believed = words.named(["equal states"], ["equal states", "window reach"])
    assert [(one["claim"], one["theorem"]) for one in believed] == [
        ("equal states", SHOWN.theorem), ("window reach", "Collisions.window_reach"),
    ]  # fmt: skip
    assert words.formal("equal states", shown=False) == ()
    assert Formal("x").to_json() == {"theorem": "x", "checked": [], "idealised": []}
