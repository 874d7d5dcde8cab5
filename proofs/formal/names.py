"""Which theorem, proved under a proof assistant, a claim of the program is an instance of.

`formal(claim)` gives the theorems by the names they have in the theories of this folder, with the hypotheses that the
kernel checks on the captured graph, and those that are idealised: believed of the network, and checked by nothing. A
claim without an entry rests on prose alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Formal:
    """One theorem, `Theory.name`, and how its hypotheses are met by a claim."""

    theorem: str
    checked: tuple[str, ...] = ()
    idealised: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The theorem as a JSON object."""
        return {"theorem": self.theorem, "checked": list(self.checked), "idealised": list(self.idealised)}


LENGTHS = "prompts of other lengths than those that were captured are computed by the same layers"
LAYERS = "the network is a stack of layers as in Network.v: values, weights, and maps of one position"
SUMS = "every row of attention weights sums to one"
WEIGHTS_ONLY = "positions enter through attention weights only"
WINDOW = "every layer sees at most a window"
MOVED = "weights inside a full window move with it"
GAP = "the pair is inside the gap: where it first differs, the second prompt has the token that both end with"
EMBEDDING = "a first state depends on its token alone"
REACH = "the prompts agree in every token that the window lets through, and reach so far"
ONE_SOFTMAX = "one layer of softmax over contents"
TWO_SOFTMAX = "two layers of softmax over contents"
ROWS = "the rows are equal to the last bit"
DISTANCE = "residuals are a distance, and not rounded"
CLASSES = "tokens that are called alike lead to one state"
WIDTH = "the width is 4, and epsilon above 0"
ONE_BLOCK = "the network is a GPT-2 of one block, with one head"
TARGETS = "targets are distributions"
CUBE = "states lie in a half-open cube whose side is a whole number of margins"
MEANING = "the operations of the graph mean what Meaning.v says"
EXTRACTED = "the checker extracted from the proof accepts it too: it is not run here, but compared in the tests"

# What is shown of given prompts at captured lengths is one theorem for all families; the family is why it is so. Of
# prompts that are only believed to be of a family (`shown=False`) this is no theorem.
SHOWN = Formal(
    "ValueNumbering.equated",
    checked=("the same operation with equal parameters on equal rows", "weights of mixtures sum to one"),
    idealised=(
        "the kernel's rules name the rows that an operation reads",
        "its rules for zeros, ones, known constants and common factors of quotients hold",
    ),
)

BY_CLAIM: Mapping[str, tuple[Formal, ...]] = {
    "repeated tokens": (
        SHOWN,
        Formal("Collisions.repeated_tokens_last", idealised=(LAYERS, SUMS, WEIGHTS_ONLY, EMBEDDING, LENGTHS)),
    ),
    "permuted prefixes": (
        SHOWN,
        Formal("Softmax.permuted_prefixes", idealised=(LAYERS, ONE_SOFTMAX, WEIGHTS_ONLY, EMBEDDING, LENGTHS)),
    ),
    "proportional multisets": (
        SHOWN,
        Formal("Softmax.proportional_multisets", idealised=(LAYERS, ONE_SOFTMAX, WEIGHTS_ONLY, EMBEDDING, LENGTHS)),
    ),
    "powers of one word": (
        SHOWN,
        Formal(
            "Softmax.powers_of_one_word",
            idealised=(LAYERS, f"{ONE_SOFTMAX}, a bias linear in the distance", WEIGHTS_ONLY, EMBEDDING, LENGTHS),
        ),
    ),
    "window reach": (
        SHOWN,
        Formal("Collisions.window_reach", idealised=(LAYERS, WINDOW, REACH, LENGTHS)),
    ),
    "window reach, two lengths": (
        SHOWN,
        Formal(
            "Collisions.window_reach_any_length",
            idealised=(LAYERS, WINDOW, REACH, MOVED, WEIGHTS_ONLY, EMBEDDING, LENGTHS),
        ),
    ),
    "equal states": (SHOWN,),
    "long runs": (
        Formal(
            "Collisions.long_runs",
            checked=("both runs are at least as long as a layer sees back",),
            idealised=(LAYERS, WINDOW, MOVED, SUMS, WEIGHTS_ONLY, EMBEDDING, LENGTHS),
        ),
    ),
    "equal embedding rows": (Formal("Collisions.equal_rows", checked=(ROWS,), idealised=(LAYERS,)),),
    "matched prefixes": (
        SHOWN,
        Formal("TwoBlocks.matched_positions", idealised=(LAYERS, TWO_SOFTMAX, WEIGHTS_ONLY, EMBEDDING, LENGTHS)),
    ),
    "two words of 82 letters": (
        Formal("TwoBlocks.words_of_82_letters", idealised=(LAYERS, TWO_SOFTMAX, WEIGHTS_ONLY, EMBEDDING, LENGTHS)),
    ),
    "positions told apart": (
        Formal(
            "Separation.separated",
            idealised=(
                "one head gives keys of one token scores that differ from position to position, others none",
                "for each length the scores, exponentiated, are distinct and positive",
            ),
        ),
    ),
    "bounds": (
        Formal(
            "Soundness.claims_hold",
            checked=("every bound and mask that is claimed follows by the rules of the kernel",),
            idealised=(
                EXTRACTED,
                "the prompt lies in the vocabulary",
                MEANING,
                "erf lies between -1 and 1 and has the sign of its argument; gelu exceeds -1/5",
            ),
        ),
    ),
    "classes": (
        Formal(
            "Smoothness.classes_hold",
            checked=("every class that is claimed follows by the rules of the kernel",),
            idealised=(
                EXTRACTED,
                "the prompt lies in the vocabulary",
                MEANING,
                "sums, products and compositions of functions of a class are of it, as Smoothness.textbook lists",
            ),
        ),
    ),
    "causality": (Formal("Collisions.state_is_last_of_prefix", idealised=(LAYERS, "attention is causal")),),
    "published witness": (Formal("RealWitness.published_witness_gap", checked=(GAP, WIDTH), idealised=(ONE_BLOCK,)),),
    "published witness on two tokens": (
        Formal(
            "RealWitness.published_witness_fails_on_two_tokens",
            checked=("the prompts have two tokens", GAP, WIDTH),
            idealised=(ONE_BLOCK,),
        ),
    ),
    "repaired witness": (
        Formal(
            "RealWitness.repaired_witness",
            checked=("the prompts have one length, end alike and differ before", WIDTH),
            idealised=(
                ONE_BLOCK,
                "delta is at most 1/2 and below its bound, and the weight is the one that belongs to it",
            ),
        ),
    ),
    "training step": (
        Formal(
            "TrainingStep.training_step_det",
            checked=("the Hessian at zero is the block matrix of the gate lemma, entry by entry",),
        ),
        Formal("TrainingStep.training_step_singular"),
        Formal(
            "TrainingStep.gate_lemma",
            checked=("logits and second derivatives are those of the gate lemma, on the given samples",),
            idealised=("second derivatives are what is left of the loss where products of three parameters vanish",),
        ),
    ),
    "training step at rates up to 1": (
        Formal("TrainingStep.training_step_regular", checked=("the rate lies between 0 and 1", TARGETS)),
    ),
    "training step at a base point": (
        Formal(
            "TrainingStep.base_point_det",
            checked=("the Hessian at the base point is that of the gate lemma, entry by entry",),
        ),
    ),
    "training step at every rate": (
        Formal("TrainingStep.no_rate_is_exceptional", checked=("no entry of the normalised row is zero",)),
    ),
    "training step on a batch": (Formal("TrainingStep.mean_in_simplex", checked=(TARGETS,)),),
    "weight decay": (Formal("TrainingStep.weight_decay_det", checked=("rate times decay is not 1",)),),
    "weight decay at every rate": (
        Formal(
            "TrainingStep.no_rate_is_exceptional_with_decay",
            checked=("no entry of the normalised row is zero", "rate times decay is not 1"),
        ),
    ),
    "clipping by the global norm": (
        Formal(
            "TrainingStep.clipped_by_norm_det",
            checked=("the determinant is not zero for the length of the gradient, nor for its negative",),
            idealised=("rate, threshold and gradient are taken at one drawn point",),
        ),
    ),
    "decision": (
        Formal(
            "Inversion.accepted_exactly",
            checked=(
                "the nearest lies within the tolerance",
                "tested rivals lie outside it and more than twice as far",
            ),
            idealised=("the true token was tested", DISTANCE),
        ),
    ),
    "inversion": (
        Formal(
            "Inversion.program_recovers",
            checked=("every position was accepted by the rule",),
            idealised=(
                "at every position the true token was tested, its error within the tolerance",
                DISTANCE,
                CLASSES,
            ),
        ),
    ),
    "inversion under noise": (
        Formal(
            "Inversion.sipit_inverts_network",
            idealised=(LAYERS, "attention is causal", "noise below half the margin at every position", DISTANCE),
        ),
    ),
    "counting": (
        Formal("Counting.some_prompts_share_a_state"),
        Formal("Counting.some_long_prompts_share_a_state"),
        Formal("Packing.packed_euclidean", idealised=("the margin is taken in Euclidean distance", CUBE)),
        Formal("Packing.packed_prompts", idealised=("the margin is taken in the largest coordinate", CUBE)),
    ),
}


def named(claims: Iterable[str], believed: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The theorems of several claims as records hold them, each beside its claim.

    Args:
        claims: what was shown.
        believed: claims about prompts at lengths at which the kernel showed nothing.
    """
    shown = dict.fromkeys(claims)
    return [
        {"claim": claim, **one.to_json()}
        for claim in dict.fromkeys((*shown, *believed))
        for one in formal(claim, shown=claim in shown)
    ]


def formal(claim: str, *, shown: bool = True) -> tuple[Formal, ...]:
    """The theorems that a claim, or the family of a collision, is an instance of; none where it rests on prose.

    Args:
        shown: whether the kernel's value numbering showed the claim of the prompts themselves.
    """
    return tuple(one for one in BY_CLAIM.get(claim, ()) if shown or one is not SHOWN)
