"""Which pairs collide for every parameter, by the position scheme alone: the complete classification, to compare with.

Setting: residual blocks, pre-norm or post-norm, with full attention, epsilon > 0, and free token rows; proofs in
docs/classification.md. The enumeration of `proofs.theorems.generic_position` does not use this table; the two are
compared.
"""

from typing import Any, Literal

from proofs.kernel.collisions import powers_of_one_word, proportional, repeated, seen_by_two_blocks
from proofs.kernel.patterns import Prompt
from proofs.theorems.two_blocks import WORDS, none_shorter

Scheme = Literal["learned", "rope", "alibi", "t5", "none"]
T5_OFFSETS = 64  # that have a bias in the small decoder of `numerics.graphs.variants`


def collides(scheme: Scheme, depth: int, first: Prompt, second: Prompt) -> bool:
    """Whether the classification says that two different prompts collide for every parameter.

    `t5` has one bias for every offset; where several offsets share one, as in T5 itself, one block tells less apart.
    A reserved BOS is part of both prompts: it occurs once in each, so that constant words and proper powers are
    impossible and proportional counts are equal counts.
    """
    if scheme == "learned":
        return False
    if scheme == "alibi" and depth == 1:
        return powers_of_one_word(first, second)
    if scheme == "none" and depth == 1:
        return proportional(first, second)
    if scheme == "none" and depth == 2:
        return seen_by_two_blocks(first) == seen_by_two_blocks(second)
    return repeated(first, second)


def least_width(scheme: Scheme, *, post_norm: bool) -> int:
    """The least width of states for which the classification is proved with either norm (docs/classification.md)."""
    return 4 if scheme == "learned" or post_norm else 3


def for_every_length(scheme: Scheme, depth: int, *, bos: bool) -> dict[str, Any]:
    """The same in words, for prompts of every length.

    For two blocks without positions it says from which length on prompts collide that are no runs of one token: that
    two words of this length do is shown on the captured graph, and that none shorter do by a linear system, here.
    """
    first = len(WORDS[0])
    matched = scheme == "none" and depth == 2 and not bos
    return {
        "collide": _collide(scheme, depth, bos=bos),
        "others_than_runs_from": first if matched else None,
        "none_shorter": none_shorter(first - 1) if matched else None,
    }


def _collide(scheme: Scheme, depth: int, *, bos: bool) -> str:
    if scheme == "none" and depth == 1:
        return f"exactly prompts that end alike, with {'equal' if bos else 'proportional'} counts of every token"
    among = f", of at most {T5_OFFSETS} tokens: its bias is one for every offset" if scheme == "t5" else ""
    if scheme == "learned" or bos:
        return f"no two prompts{among}"
    if scheme == "alibi" and depth == 1:
        return "exactly powers of one word"
    if scheme == "none" and depth == 2:
        return (
            "exactly prompts that end alike, with proportional multisets of (token, frequencies of all tokens so far): "
            "runs of one token, and others of one length"
        )
    return f"exactly runs of one token{among}"
