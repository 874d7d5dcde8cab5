"""Generic position: for every pattern of prompt pairs a witness that they differ, a proof of collision, or neither.

A witness is one exact point of the parameter space at which balls show the last states of both prompts to differ;
by the zero-set theorem the states then differ for almost every parameter, and by relabelling for every vocabulary. A
collision is a lemma of `proofs.structure.families` whose hypotheses the graph meets. A network with choices inside
(ReLU, top-k) is one of countably many analytic branches at each point, and a witness must serve all of them at once:
parameters behind the choices are zero there, so that every branch is the same (selection principle,
docs/generic-position.md).
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
from proofs.errors import InvalidInput, SipitError, Unsupported
from proofs.kernel.branches import fixed_branches_are_analytic
from proofs.kernel.result import CheckResult, Rejected, digest, expect_claim, same
from proofs.kernel.wellformed import well_formed
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate, live
from proofs.provers.analyticity import AnalyticityProof, prove_analytic
from proofs.structure.depth import last_block_lifts
from proofs.structure.families import families
from proofs.structure.patterns import Prompt, patterns
from proofs.structure.width import widening
from proofs.structure.zeros import silence
from proofs.verdict import Verdict

BITS = 160
POINTS = 3  # points tried before a pattern stays undecided
LARGEST_CONTEXT = 5
STATEMENT = (
    "Of the {classes} patterns of pairs of distinct prompts of at most {context} tokens{bos}, {certified} differ for "
    "almost every parameter, {collide} collide for every one, and {undecided} are undecided, for every vocabulary."
)


@dataclass(frozen=True, slots=True)
class GenericPosition:
    """What was found for every pattern, and its certificate."""

    graphs: Mapping[int, Graph]
    context: int
    bos: bool
    seed: int
    zeroed: tuple[str, ...]
    silenced: tuple[str, ...]
    regularity: str
    classes: tuple[tuple[Prompt, Prompt, str], ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many patterns are certified, proved to collide, and undecided."""
        kinds = Counter(outcome.split(":")[0] for _, _, outcome in self.classes)
        return {"classes": len(self.classes), "certified": kinds["differ"], "collisions_proved": kinds["collide"],
                "undecided": kinds["undecided"]}  # fmt: skip

    @property
    def lifts(self) -> bool:
        """Whether what differs here differs at every greater depth too."""
        return last_block_lifts(self.graphs[max(self.graphs)], self.silenced)

    @property
    def grows(self) -> dict[str, bool | str]:
        """Whether it differs in the same network with its width repeated, more heads, more inner units; or why not."""
        return widening(self.graphs[max(self.graphs)]).to_json()

    @property
    def verdict(self) -> Verdict:
        """Refuted where some pattern collides, else undecided where one is, else proved."""
        counts = self.counts
        if counts["collisions_proved"]:
            return Verdict.REFUTED
        return Verdict.UNDECIDED if counts["undecided"] else Verdict.PROVED

    def to_json(self) -> dict[str, Any]:
        """The certificate."""
        graphs = {str(length): graph.to_json() for length, graph in self.graphs.items()}
        counts = self.counts
        statement = STATEMENT.format(
            classes=counts["classes"], context=self.context, bos=" after a reserved BOS" if self.bos else "",
            certified=counts["certified"], collide=counts["collisions_proved"], undecided=counts["undecided"],
        )  # fmt: skip
        return {
            "kind": "generic-position",
            "claim": {
                "statement": statement, **counts, "context": self.context, "bos": self.bos, "seed": self.seed,
                "bits": BITS, "zeroed": list(self.zeroed),
                "silenced": list(self.silenced), "every_depth": self.lifts, "grows": self.grows,
                "free_rows": all(map(rows_are_free, self.graphs.values())), "regularity": self.regularity,
                "families": sorted(families(self.graphs)), "graphs": digest(graphs),
            },
            "classes": [[list(first), list(second), outcome] for first, second, outcome in self.classes],
            "graphs": graphs,
        }  # fmt: skip


def examine(
    graphs: Mapping[int, Graph], *, context: int, bos: bool = False, seed: int = 0, zeroed: Sequence[str] = (),
    silenced: Sequence[str] = (),
) -> GenericPosition:  # fmt: skip
    """Settles every pattern of prompt pairs as far as a few exact points and the lemmas can.

    Args:
        graphs: the network captured for every length that occurs: 1 to `context`, one more with a BOS.
        context: largest number of tokens of a prompt, BOS not counted.
        bos: whether a reserved token stands in front of every prompt.
        seed: draws the points.
        zeroed: names of parameters that are zero at every point (for the selection principle).
        silenced: names of parameters of the last block that, when zero, make it the identity (depth lifting).

    Raises:
        InvalidInput: a graph is missing, or the context is too large.
    """
    _expect(graphs, context, bos)
    free = all(rows_are_free(graph) for graph in graphs.values())
    regularity = _regularity(graphs, zeroed) if free else "unsuitable"
    held = families(graphs) if free else {}
    outcomes: dict[tuple[Prompt, Prompt], str] = {}
    left: list[tuple[Prompt, Prompt]] = []
    for pair in patterns(context, bos=bos):
        family = next((name for name, holds in held.items() if holds(*pair)), None)
        outcomes[pair] = "undecided" if family is None else f"collide: {family}"
        if family is None:
            left.append(pair)
    if regularity != "unsuitable":
        evaluated = {n: graph if regularity == "analytic" else silence(graph, zeroed) for n, graph in graphs.items()}
        for point in range(POINTS):
            if left:
                left = _separate(evaluated, left, outcomes, seed + point, frozenset(zeroed))
    rows = tuple((*pair, outcome) for pair, outcome in outcomes.items())
    return GenericPosition(dict(graphs), context, bos, seed, tuple(zeroed), tuple(silenced), regularity, rows)


def rows_are_free(graph: Graph) -> bool:
    """Whether tokens only select rows of parameter tables: then relabelling them permutes parameters."""
    for index in live(graph):
        node = graph.nodes[index]
        for place, argument in enumerate(node.arguments):
            if graph.nodes[argument].operation == "tokens":
                table = graph.nodes[node.arguments[0]]
                selects = node.operation == "take" and place == 1 and node.attributes["axis"] == 0
                if not selects or table.operation != "parameter":
                    return False
    return True


def _separate(
    graphs: Mapping[int, Graph], pairs: list[tuple[Prompt, Prompt]], outcomes: dict[tuple[Prompt, Prompt], str],
    seed: int, zeroed: frozenset[str],
) -> list[tuple[Prompt, Prompt]]:  # fmt: skip
    """Marks the pairs that differ at one point, and returns the others."""
    states: dict[Prompt, Sequence[Any]] = {}
    left: list[tuple[Prompt, Prompt]] = []
    with Balls(BITS) as balls:
        drawn: dict[str, Any] = {}
        for pair in pairs:
            for prompt in pair:
                if prompt not in states:
                    states[prompt] = _state(graphs[len(prompt)], prompt, drawn, seed, zeroed, balls)
            first, second = (states[prompt] for prompt in pair)
            evaluated = len(first) == len(second)
            if evaluated and any(not (a - b).contains(0) for a, b in zip(first, second, strict=True)):
                outcomes[pair] = f"differ: point {seed}"
            else:
                left.append(pair)
    return left


def _state(
    graph: Graph, prompt: Prompt, drawn: dict[str, Any], seed: int, zeroed: frozenset[str], balls: Balls
) -> Sequence[Any]:
    """The last state of a prompt; no coordinate where balls are too wide to go on."""
    inputs: dict[str, Any] = {"tokens": np.array([prompt], dtype=np.int64)}
    for name, kind in graph.parameters():
        if name not in drawn:
            source = random.Random(f"{seed}:{name}")
            size = 0 if name in zeroed else kind.size
            values = {k: balls.number(Fraction(k - 64, 128)) for k in range(129)}
            flat = np.empty(kind.size, dtype=object)
            flat[:] = [values[source.getrandbits(7)] for _ in range(size)] or [values[64]] * kind.size
            drawn[name] = flat.reshape(kind.shape)
        inputs[name] = drawn[name]
    try:
        return list(evaluate(graph, inputs, balls)[0, -1])
    except (Undecided, Unsupported):
        return []


def _regularity(graphs: Mapping[int, Graph], zeroed: Sequence[str]) -> str:
    """`analytic`; `branches`: so with every choice fixed, and one function where `zeroed` are zero; or `unsuitable`."""
    if all(isinstance(prove_analytic(graph), AnalyticityProof) for graph in graphs.values()):
        return "analytic"
    for graph in graphs.values():
        alike = isinstance(prove_analytic(silence(graph, zeroed)), AnalyticityProof)
        if not alike or not fixed_branches_are_analytic(graph):
            return "unsuitable"
    return "branches"


def _expect(graphs: Mapping[int, Graph], context: int, bos: bool) -> None:
    if not 1 <= context <= LARGEST_CONTEXT:
        raise InvalidInput(f"Expected a context from 1 to {LARGEST_CONTEXT}, but got {context}.")
    for length in range(1 + bos, context + 1 + bos):
        graph = graphs.get(length)
        if graph is None or graph.length != length:
            raise InvalidInput(f"Expected the network captured for {length} tokens, but there is none.")
        if dict(graph.parameters()) != dict(graphs[1 + bos].parameters()):
            raise InvalidInput(f"Expected one network at every length, but at {length} it has other parameters.")
        read = next((node for node in graph.nodes if node.operation == "tokens"), None)
        size = read.attributes.get("vocabulary") if read is not None else 0
        if not isinstance(size, int) or size <= 2 * context:
            raise InvalidInput(f"Expected a vocabulary above {2 * context}, but got {size}; all patterns must fit.")


def check_generic_position(certificate: Mapping[str, Any], weights: Any = None) -> CheckResult:
    """Settles every pattern again from the graphs, and compares every class and every field of the claim."""
    kind = "generic-position"
    try:
        claim, graphs = certificate.get("claim"), certificate.get("graphs")
        if not isinstance(claim, Mapping) or not isinstance(graphs, Mapping):
            raise Rejected("the claim or the graphs are missing")
        context, seed, bos = (claim.get(name) for name in ("context", "seed", "bos"))
        zeroed, silenced = (claim.get(name) for name in ("zeroed", "silenced"))
        numbers = all(isinstance(n, int) and not isinstance(n, bool) for n in (context, seed))
        if not numbers or not isinstance(bos, bool) or not isinstance(zeroed, list) or not isinstance(silenced, list):
            raise Rejected("the claim does not say which patterns and which point it is about")
        networks = {int(length): well_formed(Graph.from_json(graph)) for length, graph in graphs.items()}
        again = examine(
            networks,
            context=int(context or 0),
            bos=bos,
            seed=int(seed or 0),
            zeroed=[str(name) for name in zeroed],
            silenced=[str(name) for name in silenced],
        ).to_json()
        expect_claim(claim, again["claim"])
        if not same(certificate.get("classes"), again["classes"]):
            raise Rejected("the classes are not those that follow")
    except (SipitError, Rejected) as fault:
        return CheckResult(Verdict.REJECTED, str(fault), kind, 0)
    except (KeyError, TypeError, ValueError) as fault:
        return CheckResult(Verdict.REJECTED, f"the certificate is damaged ({type(fault).__name__})", kind, 0)
    return CheckResult(Verdict.ACCEPTED, "every pattern was settled again", kind, len(again["classes"]))
