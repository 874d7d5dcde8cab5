"""Collisions that counting forces: finitely many states, more prompts (the pigeonhole principle)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counted:
    """From which prompt length on two prompts must share a stored state.

    Attributes:
        bits: of one coordinate.
        row_bits: of the row beside them, such as a scale.
        length: the least K such that the prompts of 1..K tokens outnumber the states.
        in_context: whether the model takes prompts of that length.
    """

    bits: int
    row_bits: int
    length: int
    in_context: bool


def forced_collision(*, bits: int, row_bits: int, width: int, vocabulary: int, context: int | None) -> Counted:
    """The least K with sum_{k <= K} n^k > 2^(bits width + row_bits) for a vocabulary of n, in exact integers.

    Existence only: it says nothing of which prompts, or whether anyone would write them.
    """
    states = 1 << (bits * width + row_bits)
    length = prompts = states + 1 if vocabulary == 1 else 0  # one token: a prompt for every length
    power = 1
    while prompts <= states:
        length += 1
        power *= vocabulary
        prompts += power
    return Counted(bits, row_bits, length, context is None or length <= context)
