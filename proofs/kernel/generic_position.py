"""The kernel for generic position: every pattern of prompt pairs, settled again by what the certificate names for it.

*Differ.* At one exact point of the parameter space balls show the last states of both prompts to differ. The state is
analytic in the parameters (by the kernel's lemmas), so it differs for almost every parameter; and relabelling tokens
permutes rows of tables that nothing else reads, so the pattern stands for every pair of prompts of its kind over every
vocabulary. A network with choices inside (ReLU, top-k) is one of countably many analytic branches at each point; a
point at which parameters behind the choices are zero serves all branches at once (docs/generic-position.md).
*Collide.* Value numbering gives both last states one number.
*Undecided.* Nothing is claimed.
Pairs of longer prompts may be listed beside the patterns; value numbering shows each of them to collide.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.base import Undecided
from proofs.errors import InvalidInput, Unsupported
from proofs.evidence import SCHEMA
from proofs.kernel.branches import fixed_branches_are_analytic
from proofs.kernel.claim import Claim, unlabelled
from proofs.kernel.collisions import Pair, by_family, family_of
from proofs.kernel.depth import last_block_lifts
from proofs.kernel.lengths import by_length
from proofs.kernel.patterns import Prompt, patterns, rows_are_free
from proofs.kernel.regularity import has_real_values, is_analytic, no_choice_is_left
from proofs.kernel.result import Rejected, digest
from proofs.kernel.value_numbering.number import Numbering
from proofs.kernel.zeros import silence
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from proofs.verdict import Verdict

KIND = "generic-position"
HINTS = ("silenced",)  # parameters that lift the last block where they are zero; others might do as well
BITS = 160
LARGEST_CONTEXT = 5
STATEMENT = (
    "Of the {classes} patterns of pairs of distinct prompts of at most {context} tokens{bos}, {certified} differ for "
    "almost every parameter, {collide} collide for every one, and {undecided} are undecided, for {sizes}."
)
UNDEFINED = " States that collide do so where they are defined; that they are for every parameter is not shown."
LONGER = " Pairs of longer prompts that are listed beside them, and collide for every parameter: {pairs}."


@dataclass(frozen=True, slots=True)
class Longer:
    """Pairs of prompts beyond the context that are to collide, and the network captured for their lengths."""

    pairs: tuple[Pair, ...]
    graphs: Mapping[int, Graph]


class Point:
    """States of prompts at one exact point of the parameter space, drawn from a seed."""

    def __init__(self, graphs: Mapping[int, Graph], seed: int, zeroed: Sequence[str]) -> None:
        self._graphs, self._seed, self._zeroed = graphs, seed, frozenset(zeroed)
        self._drawn: dict[str, Any] = {}
        self._states: dict[Prompt, Sequence[Any]] = {}

    def separates(self, first: Prompt, second: Prompt) -> bool:
        """Whether balls show two last states to differ."""
        with Balls(BITS) as balls:
            one, other = (self._state(prompt, balls) for prompt in (first, second))
            return len(one) == len(other) and any(not (a - b).contains(0) for a, b in zip(one, other, strict=True))

    def _state(self, prompt: Prompt, balls: Balls) -> Sequence[Any]:
        """The last state of a prompt; no coordinate where balls are too wide to go on."""
        if prompt in self._states:
            return self._states[prompt]
        graph = self._graphs[len(prompt)]
        inputs: dict[str, Any] = {"tokens": np.array([prompt], dtype=np.int64)}
        for name, kind in graph.parameters():
            if name not in self._drawn:
                self._drawn[name] = self._draw(name, kind.shape, balls)
            inputs[name] = self._drawn[name]
        try:
            self._states[prompt] = list(evaluate(graph, inputs, balls)[0, -1])
        except (Undecided, Unsupported):
            self._states[prompt] = []
        return self._states[prompt]

    def _draw(self, name: str, shape: tuple[int, ...], balls: Balls) -> Any:
        """Entries k / 128 with |k| <= 64."""
        source, size = random.Random(f"{self._seed}:{name}"), int(np.prod(shape))
        values = {k: balls.number(Fraction(k - 64, 128)) for k in range(129)}
        flat = np.empty(size, dtype=object)
        flat[:] = [values[64 if name in self._zeroed else source.getrandbits(7)] for _ in range(size)]
        return flat.reshape(shape)


def expect_networks(graphs: Mapping[int, Graph], context: int, bos: bool) -> None:
    """Raises InvalidInput unless there is one network, captured for every length, with room for all patterns."""
    if not 1 <= context <= LARGEST_CONTEXT:
        raise InvalidInput(f"Expected a context from 1 to {LARGEST_CONTEXT}, but got {context}; choose such a one.")
    needed = range(1 + bos, context + 1 + bos)
    if more := set(graphs) - set(needed):
        raise InvalidInput(
            f"Expected the network for {needed[0]} to {needed[-1]} tokens, but got it for {max(more)} too."
        )
    for length in needed:
        graph = graphs.get(length)
        if graph is None or graph.length != length:
            raise InvalidInput(
                f"Expected the network captured for {length} tokens, but there is none; capture it as well."
            )
        if dict(graph.parameters()) != dict(graphs[1 + bos].parameters()):
            raise InvalidInput(f"Expected one network at every length, but at {length} it has other parameters.")
        read = next((node for node in graph.nodes if node.operation == "tokens"), None)
        size = read.attributes.get("vocabulary") if read is not None else 0
        if not isinstance(size, int) or size <= 2 * context:
            raise InvalidInput(f"Expected a vocabulary above {2 * context}, but got {size}; all patterns must fit.")


def regularity_of(graphs: Mapping[int, Graph], zeroed: Sequence[str]) -> str:
    """`analytic`; `branches`: so with every choice fixed, and one function where `zeroed` are zero; or `unsuitable`."""
    if not rows_are_free(*graphs.values()):
        return "unsuitable"
    if all(is_analytic(graph) for graph in graphs.values()):
        return "analytic"
    alike = all(no_choice_is_left(graph, silence(graph, zeroed)) for graph in graphs.values())
    return "branches" if alike and all(map(fixed_branches_are_analytic, graphs.values())) else "unsuitable"


def as_evaluated(graphs: Mapping[int, Graph], regularity: str, zeroed: Sequence[str]) -> dict[int, Graph]:
    """The networks that are evaluated at points: with choices inside, what is left where `zeroed` are zero."""
    return dict(graphs) if regularity != "branches" else {n: silence(graph, zeroed) for n, graph in graphs.items()}


def claim_of(
    graphs: Mapping[int, Graph], outcomes: Sequence[tuple[Prompt, Prompt, str]], *, context: int, bos: bool,
    zeroed: Sequence[str], silenced: Sequence[str], named: str, points: dict[int, Point] | None = None,
    longer: Longer | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What follows where every pattern has the outcome that is written beside it.

    Args:
        graphs: as in the certificate.
        outcomes: as in the certificate.
        context: as in the certificate.
        bos: as in the certificate.
        zeroed: as in the certificate.
        silenced: as in the certificate.
        named: the digest of all graphs, as they stand there.
        points: where states were evaluated already, by seed, on the same graphs.
        longer: pairs of prompts beyond the context.

    Raises:
        InvalidInput: the graphs are not one network at every length.
        Rejected: an outcome is not shown, or the patterns are not all there are.
    """
    expect_networks(graphs, context, bos)
    if [(first, second) for first, second, _ in outcomes] != patterns(context, bos=bos):
        raise Rejected("the patterns are not those of all pairs of prompts")
    regularity = regularity_of(graphs, zeroed)
    evaluated = as_evaluated(graphs, regularity, zeroed)
    points = {} if points is None else points
    everything = [*graphs.values(), *(longer.graphs.values() if longer is not None else ())]
    numbering = Numbering(everything)
    counts: Counter[str] = Counter()
    for first, second, outcome in outcomes:
        kind, _, rest = outcome.partition(": ")
        if kind == "differ":
            seed = _seed(rest)
            point = points[seed] = points.get(seed) or Point(evaluated, seed, zeroed)
            shown = regularity != "unsuitable" and point.separates(first, second)
        elif kind == "collide":
            shown = rest == family_of(first, second) and numbering.equal(
                graphs[len(first)], first, graphs[len(second)], second
            )
        else:
            shown = outcome == "undecided"
        if not shown:
            raise Rejected(f"the prompts {list(first)} and {list(second)} are not shown to {outcome}")
        counts[kind] += 1
    numbers = {"classes": len(outcomes), "certified": counts["differ"], "collisions_proved": counts["collide"],
               "undecided": counts["undecided"]}  # fmt: skip
    free = rows_are_free(*graphs.values())
    statement = STATEMENT.format(
        classes=len(outcomes), context=context, bos=" after a reserved BOS" if bos else "",
        certified=counts["differ"], collide=counts["collide"], undecided=counts["undecided"],
        sizes="every vocabulary" if free else "the tokens that they are written in",
    )  # fmt: skip
    if (counts["collide"] or longer is not None) and not all(map(has_real_values, everything)):
        statement += UNDEFINED
    beyond: dict[str, Any] = {}
    if longer is not None:
        _expect_longer(longer, graphs, numbering)
        statement += LONGER.format(pairs=len(longer.pairs))
        beyond = {"longer_collisions": len(longer.pairs)}
    return {
        "statement": statement, **numbers, **beyond, "context": context, "bos": bos, "bits": BITS, "zeroed": [*zeroed],
        "silenced": [*silenced], "every_depth": all(last_block_lifts(graph, silenced) for graph in graphs.values()),
        "free_rows": free, "regularity": regularity, "graphs": named,
    }  # fmt: skip


def _expect_longer(longer: Longer, graphs: Mapping[int, Graph], numbering: Numbering) -> None:
    """Raises Rejected unless every pair of longer prompts is shown to collide, on the same network."""
    parameters = dict(graphs[max(graphs)].parameters())
    for length, graph in longer.graphs.items():
        if length <= max(graphs) or graph.length != length or dict(graph.parameters()) != parameters:
            raise Rejected(f"for {length} tokens there is another network, or none")
    if len({*longer.pairs}) < len(longer.pairs):
        raise Rejected("a pair of longer prompts is listed twice")
    for first, second in longer.pairs:
        if first == second:
            raise Rejected("two longer prompts are one")
        there = len(first) in longer.graphs and len(second) in longer.graphs
        if not there or not numbering.equal(longer.graphs[len(first)], first, longer.graphs[len(second)], second):
            raise Rejected(f"two prompts of {len(first)} and {len(second)} tokens are not shown to collide")


def _seed(text: str) -> int:
    name, _, number = text.partition(" ")
    if name != "point" or not number.isdecimal() or len(number) > 20:
        raise Rejected("an outcome names no point")
    return int(number)


def derive_generic_position(certificate: Mapping[str, Any]) -> Claim:
    """What the outcomes of a certificate come to, each shown again.

    Raises:
        Rejected: an outcome is not shown, or the certificate says otherwise of which patterns it is.
        InvalidInput: the graphs are not one network at every length.
    """
    claim, graphs, classes = (certificate.get(name) for name in ("claim", "graphs", "classes"))
    if not isinstance(claim, Mapping) or not isinstance(graphs, Mapping) or not isinstance(classes, list):
        raise Rejected("the claim, the graphs or the classes are missing")
    context, bos = claim.get("context"), claim.get("bos")
    zeroed, silenced = _names(claim.get("zeroed")), _names(claim.get("silenced"))
    if type(context) is not int or not isinstance(bos, bool):
        raise Rejected("the claim does not say which patterns it is about")
    networks = by_length(graphs)
    rows = [_row(entry) for entry in classes]
    longer, beyond = _longer(certificate)
    found = claim_of(
        networks, rows, context=context, bos=bos, zeroed=zeroed, silenced=silenced, longer=longer,
        named=digest({**graphs, **certificate.get("other_lengths", {})}),
    )  # fmt: skip
    if set(claim) != set(found):
        raise Rejected("the claim has other fields than what follows")
    follows = {
        "schema": SCHEMA, "kind": KIND, "classes": [[list(s), list(t), outcome] for s, t, outcome in rows],
        "claim": {name: value for name, value in found.items() if name not in HINTS},
        "graphs": {length: unlabelled(graph) for length, graph in graphs.items()},
        **beyond,
    }  # fmt: skip
    verdict = verdict_of(found["collisions_proved"], found["undecided"])
    return Claim(KIND, verdict, found["statement"], follows, len(rows), "every pattern was settled again")


def _longer(certificate: Mapping[str, Any]) -> tuple[Longer | None, dict[str, Any]]:
    """The pairs of longer prompts that a certificate lists, and what must stand there if they are shown to collide."""
    listed, others = (certificate.get(name) for name in ("structural_collisions", "other_lengths"))
    if listed is None and others is None:
        return None, {}
    if not isinstance(listed, list) or not listed or not isinstance(others, Mapping):
        raise Rejected("the longer prompts, or the network for their lengths, are missing")
    pairs = tuple((first, second) for family in listed for first, second, _ in map(_row, _with_outcomes(family)))
    graphs = by_length(others)
    unnamed = {length: unlabelled(graph) for length, graph in others.items()}
    return Longer(pairs, graphs), {"structural_collisions": by_family(pairs), "other_lengths": unnamed}


def _with_outcomes(family: Any) -> list[Any]:
    pairs = family.get("pairs") if isinstance(family, Mapping) else None
    if not isinstance(pairs, list) or not all(isinstance(pair, list) for pair in pairs):
        raise Rejected("a family of longer prompts has no pairs")
    return [[*pair, ""] for pair in pairs]


def verdict_of(collisions: int, undecided: int) -> Verdict:
    """Refuted where some pattern collides, else undecided where one is, else proved."""
    if collisions:
        return Verdict.REFUTED
    return Verdict.UNDECIDED if undecided else Verdict.PROVED


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Rejected("the claim does not say which parameters are zero")
    return value


def _row(entry: Any) -> tuple[Prompt, Prompt, str]:
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[2], str):
        raise Rejected("a class is not of two prompts and an outcome")
    for prompt in entry[:2]:
        if not isinstance(prompt, list) or any(type(token) is not int for token in prompt):
            raise Rejected("a class is not of two prompts and an outcome")
    return tuple(entry[0]), tuple(entry[1]), entry[2]
