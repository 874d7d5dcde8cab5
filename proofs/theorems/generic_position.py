"""Generic position: for every pattern of prompt pairs a point at which they differ, a proof of collision, or neither.

What is found is checked by `proofs.kernel.generic_position`, which says what each outcome means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofs.evidence import SCHEMA
from proofs.kernel.collisions import by_family, family_of
from proofs.kernel.generic_position import (
    KIND,
    Longer,
    Point,
    as_evaluated,
    claim_of,
    expect_networks,
    regularity_of,
    verdict_of,
)
from proofs.kernel.patterns import Prompt, patterns
from proofs.kernel.result import digest
from proofs.kernel.value_numbering.number import Numbering
from proofs.network.graph import Graph
from proofs.structure.equal_prompts import in_room
from proofs.structure.trial import expect_equal
from proofs.structure.width import widening
from proofs.verdict import Verdict

POINTS = 3  # points tried before a pattern stays undecided


@dataclass(frozen=True, slots=True)
class GenericPosition:
    """What was found for every pattern, and its certificate.

    `untold`: whether there was no room to show of some pairs that they collide; they are undecided, or left away.
    """

    graphs: Mapping[int, Graph]
    context: int
    bos: bool
    zeroed: tuple[str, ...]
    silenced: tuple[str, ...]
    classes: tuple[tuple[Prompt, Prompt, str], ...]
    claim: Mapping[str, Any]
    longer: Longer | None = None
    untold: bool = False

    @property
    def grows(self) -> dict[str, bool | str]:
        """Whether it differs in the same network with its width repeated, more heads, more inner units; or why not."""
        found = [widening(graph).to_json() for graph in self.graphs.values()]
        return {way: next((one[way] for one in found if one[way] is not True), True) for way in found[0]}

    @property
    def verdict(self) -> Verdict:
        """Refuted where some pattern collides, else undecided where one is, else proved."""
        return verdict_of(self.claim["collisions_proved"], self.claim["undecided"])

    def to_json(self) -> dict[str, Any]:
        """The certificate."""
        beyond: dict[str, Any] = {}
        if self.longer is not None:
            beyond["structural_collisions"] = by_family(self.longer.pairs)
            beyond["other_lengths"] = {str(n): graph.to_json() for n, graph in self.longer.graphs.items()}
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "claim": dict(self.claim),
            "classes": [[list(first), list(second), outcome] for first, second, outcome in self.classes],
            "graphs": {str(length): graph.to_json() for length, graph in self.graphs.items()},
            **beyond,
        }


def examine(
    graphs: Mapping[int, Graph], *, context: int, bos: bool = False, seed: int = 0, zeroed: Sequence[str] = (),
    silenced: Sequence[str] = (), longer: Longer | None = None,
) -> GenericPosition:  # fmt: skip
    """Settles every pattern of prompt pairs as far as value numbering and a few exact points can.

    Args:
        graphs: the network captured for every length that occurs: 1 to `context`, one more with a BOS.
        context: largest number of tokens of a prompt, BOS not counted.
        bos: whether a reserved token stands in front of every prompt.
        seed: draws the points.
        zeroed: names of parameters that are zero at every point (for the selection principle).
        silenced: names of parameters of the last block that, when zero, make it the identity (depth lifting).
        longer: pairs of prompts beyond the context, each of which is known to collide.

    Raises:
        InvalidInput: a graph is missing, or the context is too large.
        Rejected: a pair beyond the context is not shown to collide.
    """
    graphs = {length: graph for length, graph in graphs.items() if bos < length <= context + bos}
    expect_networks(graphs, context, bos)
    numbering = Numbering(graphs.values())
    outcomes: dict[tuple[Prompt, Prompt], str] = {}
    untold = False
    for first, second in patterns(context, bos=bos):
        equal = in_room(numbering.equal, graphs[len(first)], first, graphs[len(second)], second)
        untold = untold or equal is None
        outcomes[first, second] = f"collide: {family_of(first, second)}" if equal else "undecided"
    regularity = regularity_of(graphs, zeroed)
    evaluated = as_evaluated(graphs, regularity, zeroed)
    points: dict[int, Point] = {}
    for number in range(seed, seed + POINTS if regularity != "unsuitable" else seed):
        point = points[number] = Point(evaluated, number, zeroed)
        for pair, outcome in outcomes.items():
            if outcome == "undecided" and point.separates(*pair):
                outcomes[pair] = f"differ: point {number}"
    expect_equal(graphs, [pair for pair, outcome in outcomes.items() if outcome.startswith("collide")], seed)
    rows = tuple((*pair, outcome) for pair, outcome in outcomes.items())

    def claimed(longer: Longer | None) -> dict[str, Any]:
        everything = {**graphs, **(longer.graphs if longer is not None else {})}
        return claim_of(
            graphs, rows, context=context, bos=bos, zeroed=zeroed, silenced=silenced, points=points, longer=longer,
            named=digest({str(length): graph.to_json() for length, graph in everything.items()}),
        )  # fmt: skip

    claim = in_room(claimed, longer)
    if claim is None:
        untold, longer = True, None
        claim = claimed(longer)
    return GenericPosition(dict(graphs), context, bos, tuple(zeroed), tuple(silenced), rows, claim, longer, untold)
