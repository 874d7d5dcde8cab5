"""Is the network real-analytic in its parameters? A proof, or every place where it is not known to be.

The statement: for every prompt of the captured length, the map from all parameters (embedding rows included) to the
states of the graph is of the class found. It is proved node by node, each by the lemma of its operation, from exact
bounds; a composition is as regular as its least regular part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proofs.arguments import of_kind
from proofs.evidence import SCHEMA
from proofs.kernel.regularity import shown_here, statement, written
from proofs.kernel.result import digest
from proofs.network.graph import Graph
from proofs.operations import REGISTRY
from proofs.operations.base import Application, prove
from proofs.operations.derivation import derive, relevant
from proofs.regularity import ANALYTIC, DISCONTINUOUS, UNPROVED, Condition, Facts, Regularity
from proofs.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Obstruction:
    """A node at which the class gets worse than analytic."""

    node: int
    operation: str
    module: str
    source: str
    regularity: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The obstruction as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class AnalyticityProof:
    """Facts for every node, from which the claim follows lemma by lemma.

    Attributes:
        graph: what the claim is about.
        facts: class, bounds and mask of every node, in order.
        conditions: the side conditions at nodes that the output depends on, all discharged.
    """

    graph: Graph
    facts: tuple[Facts, ...]
    conditions: tuple[Condition, ...]

    @property
    def regularity(self) -> Regularity:
        """The class of the output."""
        return self.facts[self.graph.output].regularity

    @property
    def verdict(self) -> Verdict:
        """Proved."""
        return Verdict.PROVED

    def to_json(self) -> dict[str, Any]:
        """The proof as a certificate that `proofs.check` reads."""
        return certificate(self.graph, self.facts, self.regularity, (), None)


@dataclass(frozen=True, slots=True)
class Obstructions:
    """Every place where a proof of analyticity fails, and the class that is proved nevertheless.

    Attributes:
        regularity: the class that is proved of the output: C^k, or `unproved`; `discontinuous` only with a witness.
        witness: a certificate that the map is not analytic (or jumps), or None.
    """

    graph: Graph
    facts: tuple[Facts, ...]
    conditions: tuple[Condition, ...]
    obstructions: tuple[Obstruction, ...]
    regularity: Regularity
    witness: Mapping[str, Any] | None = None

    @property
    def verdict(self) -> Verdict:
        """Refuted where a witness on this graph is certified, else undecided."""
        return Verdict.REFUTED if shown_here(self.witness) else Verdict.UNDECIDED

    def to_json(self) -> dict[str, Any]:
        """What is proved, and where it stops, as a certificate that `proofs.check` reads."""
        return certificate(self.graph, self.facts, self.regularity, self.obstructions, self.witness)


def prove_analytic(graph: Graph) -> AnalyticityProof | Obstructions:
    """A proof that the graph is real-analytic in its parameters, or all obstructions at once.

    A witness that a kink or a jump is real is searched for by `proofs.provers.branches.with_witness`.

    Args:
        graph: from `numerics.capture_graph`; an operation without a lemma is an obstruction, never an error.

    Returns:
        `AnalyticityProof` (verdict proved) or `Obstructions` (undecided; refuted once it has a witness). Both give a
        certificate by `to_json()`, which `proofs.check` derives anew. Theorem 2.1 of arXiv 2510.15511; docs/theory.md.
    """
    of_kind("a captured graph", graph, Graph, "capture one with numerics.capture_graph")
    facts, conditions = derive(graph)
    used = relevant(graph)
    needed = tuple(condition for condition in conditions if condition.node in used)
    result = facts[graph.output].regularity
    obstructions = tuple(_obstructions(graph, facts, conditions, used))
    if result <= ANALYTIC and not obstructions:
        return AnalyticityProof(graph, facts, needed)
    proved = UNPROVED if result >= DISCONTINUOUS else result
    return Obstructions(graph, facts, needed, obstructions, proved)


def _obstructions(
    graph: Graph, facts: tuple[Facts, ...], conditions: tuple[Condition, ...], used: set[int]
) -> list[Obstruction]:
    """Every operation that makes the class worse than analytic by itself, were its arguments analytic."""
    unmet = {condition.node: condition for condition in conditions if not condition.discharged}
    smooth = [Facts(min(fact.regularity, ANALYTIC), fact.bounds, fact.excluded) for fact in facts]
    found: list[Obstruction] = []
    for index in sorted(used):
        operation = REGISTRY.get(graph.nodes[index].operation)
        if operation is None:
            found.append(_obstruction(graph, index, UNPROVED, "the operation is unknown, so nothing is known of it"))
        elif index in unmet:
            found.append(_obstruction(graph, index, UNPROVED, f"condition not met: {unmet[index].statement}"))
        else:
            own = prove(operation, Application(graph, index, smooth)).facts.regularity
            if own > ANALYTIC:
                found.append(_obstruction(graph, index, own, operation.lemma))
    return found


def _obstruction(graph: Graph, index: int, regularity: Regularity, reason: str) -> Obstruction:
    node = graph.nodes[index]
    return Obstruction(index, node.operation, node.module, node.source, str(regularity), reason)


def certificate(
    graph: Graph,
    facts: tuple[Facts, ...],
    regularity: Regularity,
    obstructions: tuple[Obstruction, ...],
    witness: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The graph with one line of proof per node: lemma (its operation), class and exact bounds."""
    rows, lines = written([str(fact.regularity), *fact.bounds.to_json(), fact.excluded is not None] for fact in facts)
    data = graph.to_json()
    return {
        "schema": SCHEMA,
        "kind": "regularity",
        "claim": {
            "regularity": str(regularity),
            "statement": statement(graph, regularity, witness),
            "graph": digest(data),
            "witness": None if witness is None else digest(witness),
        },
        "graph": data,
        "facts": rows,
        "lines": lines,
        "obstructions": [obstruction.to_json() for obstruction in obstructions],
        "witness": None if witness is None else dict(witness),
    }
