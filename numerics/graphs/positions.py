"""How positions enter, from value numbering at several lengths and a trial in float64 on a small copy of the class.

Repeated tokens collide where positions change nothing but attention weights (`relative`, `none`); `none` where one
block cannot tell permuted prefixes apart either. Where trial and graph disagree, the answer is `undecided`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from numerics.graphs.small_graphs import last_states_apart, small_graph, spread_on_repeated_tokens
from numerics.graphs.windows import with_windows
from proofs.errors import Fault
from proofs.kernel.collisions import colliding_pairs
from proofs.kernel.patterns import Prompt, rows_are_free
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from proofs.structure.equal_prompts import in_room, repeated_tokens_collide
from proofs.structure.positions import positions

NEAR_ZERO = 1e-9  # relative distance in float64; a structural collision shows 1e-13 or less
ONE_BLOCK = 3  # tokens on which one block of the small copy is tried
SWAPPED = ((1, 2, 3), (2, 1, 3))
WIDE_OPEN = 1024  # tokens

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class PositionScheme:
    """`absolute`, `relative`, `none`, `recurrent` or `undecided`, and what speaks for it."""

    scheme: str
    evidence: Mapping[str, Any]


def position_scheme(graphs: Mapping[int, Graph], config: Any, small: Graph | None, attention: str) -> PositionScheme:
    """How the order of tokens enters a network.

    Args:
        graphs: the network by length, two lengths at least.
        config: its config, for one block of a small copy.
        small: its small copy, or None where there is none.
        attention: the implementation that is captured.

    Raises:
        Fault: prompts that are proved to collide do not in float64.
    """
    repeats = in_room(repeated_tokens_collide, graphs)
    spread = None if small is None else spread_on_repeated_tokens(small)
    same = None if spread is None else spread <= NEAR_ZERO
    if small is not None:
        _expect_equal(small)
    read = positions(graphs[max(graphs)])
    scheme, block = "undecided", None
    free = rows_are_free(*graphs.values())  # else a token may have a place of its own, as padding has
    if repeats and same is not False:
        block = _one_block(config, attention)
        scheme = {"collide": "none", "apart": "relative"}.get(block or "", "undecided")
    elif repeats is False and same is not True and free and read.scheme in ("absolute", "recurrent"):
        scheme = read.scheme
    evidence = {
        "lengths": sorted(graphs),
        "repeated_tokens_collide": repeats,
        "spread_of_states_on_a_repeated_token": spread,
        "permuted_prefixes_of_one_block": block,
        "graph": read.evidence,
        "agrees_with_the_graph": None if same is None or repeats is None else same == repeats,
    }
    return PositionScheme(scheme, evidence)


def _one_block(config: Any, attention: str) -> str | None:
    """Whether (1, 2, 3) and (2, 1, 3) `collide` after one block of a small copy, are `apart` there, or neither.

    Windows and chunks are opened there: behind one, order may go unseen for another reason.
    """
    graph = small_graph(with_windows(config, WIDE_OPEN), attention, length=ONE_BLOCK, layer=1)
    distance = None if graph is None else last_states_apart(graph, *SWAPPED)
    if graph is None or distance is None:
        return None
    equal = in_room(Numbering([graph]).equal, graph, SWAPPED[0], graph, SWAPPED[1])
    if equal:
        return "collide"
    return "apart" if equal is False and distance > NEAR_ZERO else None


def _expect_equal(small: Graph) -> None:
    """Raises Fault where prompts of a small copy are proved to have one state, and float64 keeps them apart."""
    for first, second in in_room(colliding_pairs, {small.length: small}) or ():
        distance = last_states_apart(small, first, second)
        if distance is not None and distance > NEAR_ZERO:
            raise Fault(_said(first, second, distance))


def _said(first: Prompt, second: Prompt, distance: float) -> str:
    return f"{list(first)} and {list(second)} were proved to have one state, but are {distance:.2g} apart in float64"
