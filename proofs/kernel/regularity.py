"""The kernel for the class of a map: a proof again, line by line, in exact arithmetic, by its own table of lemmas.

It trusts the meaning of the operations, its own table (`proofs.kernel.lemmas`), the exact bounds
(`proofs.arithmetic.bounds`) and nothing that the certificate says. It needs neither torch nor the code that found the
proof.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proofs.evidence import SCHEMA
from proofs.kernel.claim import Claim, expect, unlabelled
from proofs.kernel.lemmas.instance import Line
from proofs.kernel.lemmas.rows import scores
from proofs.kernel.lemmas.table import establish
from proofs.kernel.lines import instance, lines_of
from proofs.kernel.result import Rejected, digest, same
from proofs.network.graph import Graph
from proofs.regularity import ANALYTIC, DISCONTINUOUS, UNPROVED, Regularity
from proofs.verdict import Verdict

STATEMENT = (
    "For every prompt of {length} tokens the map from the parameters, embedding rows included, to the states after "
    "what the graph calls {layer} blocks {holds}."
)
WITNESS = ("claim", "seeds", "segment", "tokens", "choice", "separation", "bits", "largest", "parameters")
CLAIM = {"regularity", "statement", "graph", "witness", "other_lengths"}  # the last where collisions are shown
_HOLDS = {
    str(DISCONTINUOUS): "is not continuous at some point of the parameter space",
    str(UNPROVED): "is of no class that is proved",
}


def in_words(regularity: str) -> str:
    """What a map of a class is, as the end of a sentence about the map."""
    return _HOLDS.get(regularity, f"is {regularity} on the whole parameter space")


def statement(graph: Graph, regularity: Regularity, witness: Mapping[str, Any] | None) -> str:
    """What is proved of a graph, in words; a witness on another graph is said to be of that one."""
    holds = in_words(str(regularity))
    if witness is not None and "graph" in witness:
        fails = "not continuous" if witness.get("claim") == str(DISCONTINUOUS) else "not analytic"
        holds += f"; that of another graph, of the same architecture by its name alone, is {fails}"
    elif witness is not None and regularity != DISCONTINUOUS:
        holds += ", and is not analytic"
    return STATEMENT.format(length=graph.length, layer=graph.layer, holds=holds)


def derive_regularity(certificate: Mapping[str, Any]) -> Claim:
    """The class of a graph, line by line, and every place where it gets worse than analytic.

    Raises:
        Rejected: a line that does not follow (the first one is named), or a claim that does not.
        InvalidInput: what stands there is no graph.
    """
    graph = Graph.from_json(certificate.get("graph"))
    established = lines_of(graph)
    _expect_lines(graph, established, certificate)
    regularity, witness = _class(graph, established, certificate)
    obstructions = _obstructions(graph, established)
    expect(certificate.get("obstructions"), obstructions, "the certificate.obstructions")
    facts, lines = written(_row(line) for line in established)
    said, named = statement(graph, regularity, witness), digest(certificate["graph"])
    if certificate["claim"]["graph"] != named:
        raise Rejected("the graph is not the one that the claim names by its digest")
    follows = {
        "schema": SCHEMA, "kind": "regularity", "graph": unlabelled(certificate["graph"]),
        "facts": facts, "lines": lines,
        "obstructions": [{name: o[name] for name in ("node", "operation", "regularity")} for o in obstructions],
        "claim": {
            "regularity": str(regularity), "statement": said, "graph": named,
            "witness": None if witness is None else digest(witness),
        },
        "witness": None if witness is None else _read(witness),
    }  # fmt: skip
    verdict = verdict_of(regularity, obstructions, shown_here(witness))
    return Claim("regularity", verdict, said, follows, len(graph.nodes), "every line follows")


def shown_here(witness: Mapping[str, Any] | None) -> bool:
    """Whether there is a witness on the graph that the claim is about; one on a copy says nothing of that graph."""
    return witness is not None and "graph" not in witness


def verdict_of(regularity: Regularity, obstructions: Sequence[Any], refuting: Any) -> Verdict:
    """Refuted by a witness, or by prompts that collide; else proved where analytic without an obstruction."""
    if refuting:
        return Verdict.REFUTED
    return Verdict.PROVED if regularity <= ANALYTIC and not obstructions else Verdict.UNDECIDED


def has_real_values(graph: Graph) -> bool:
    """Whether the kernel's own lemmas establish that every value of a graph is a real number for all parameters."""
    return bool(_of_real_values(graph))


def is_analytic(graph: Graph) -> bool:
    """Whether the kernel's own lemmas establish that every value of a graph is analytic in the parameters."""
    lines = _of_real_values(graph)
    return bool(lines) and lines[graph.output].regularity <= ANALYTIC and not _obstructions(graph, lines)


def _of_real_values(graph: Graph) -> list[Line]:
    """The lines of a graph whose every value is established to be a real number; none for any other."""
    try:
        lines = lines_of(graph)
    except Rejected:
        return []
    return lines if lines[graph.output].regularity < UNPROVED and lines[graph.output].mask is None else []


def no_choice_is_left(graph: Graph, left: Graph) -> bool:
    """Whether `left`, in which some nodes of a graph are constants, is analytic and makes none of the graph's choices.

    That a choice can be made one way alone where those nodes are constants is not enough: the other branches of the
    graph would take another one there, and be another function of what is left.
    """
    if not is_analytic(left):
        return False
    chosen = {obstruction["node"] for obstruction in _obstructions(graph, lines_of(graph))}
    return not any(left.nodes[i].operation == graph.nodes[i].operation for i in chosen & _reached(left))


def written(rows: Iterable[list[Any]]) -> tuple[list[list[Any]], list[int]]:
    """The rows of a proof, each different one once in the order of their coming, and which of them every node has."""
    facts: list[list[Any]] = []
    places: dict[str, int] = {}
    lines: list[int] = []
    for row in rows:
        key = repr(row)
        if key not in places:
            places[key] = len(facts)
            facts.append(row)
        lines.append(places[key])
    return facts, lines


def _read(witness: Mapping[str, Any]) -> dict[str, Any]:
    """A witness as it was read: without the labels of a graph of its own, and what it calls that one."""
    read = {name: value for name, value in witness.items() if name in WITNESS}
    if "graph" in witness:
        return {**read, "graph": unlabelled(witness["graph"])}
    return {**read, "subject": witness.get("subject")}


def _expect_lines(graph: Graph, established: Sequence[Line], certificate: Mapping[str, Any]) -> None:
    """Raises Rejected at the first node of which another line is claimed."""
    claimed, lines = certificate.get("facts"), certificate.get("lines")
    if not isinstance(claimed, list) or not isinstance(lines, list) or len(lines) != len(graph.nodes):
        raise Rejected("the proof does not have one line per node")
    for index, (place, line) in enumerate(zip(lines, established, strict=True)):
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(claimed):
            raise Rejected(f"{graph.where(index)}: there is no line {place!r}")
        if not same(claimed[place], _row(line)):
            raise Rejected(f"{graph.where(index)}: claimed {claimed[place]}, but {_row(line)} follows")


def _row(line: Line) -> list[Any]:
    return [str(line.regularity), *line.bounds.to_json(), line.mask is not None]


def _class(
    graph: Graph, established: list[Line], certificate: Mapping[str, Any]
) -> tuple[Regularity, Mapping[str, Any] | None]:
    """The class of the output, and the witness; a jump may be claimed where no class is proved and there is one."""
    result = established[graph.output]
    if result.mask is not None:
        raise Rejected("the output holds masked entries")
    claim, witness = certificate.get("claim"), certificate.get("witness")
    if not isinstance(claim, Mapping) or {*claim} | {"other_lengths"} != CLAIM:
        raise Rejected("the claim is not of a class, a statement and the digests of graphs and a witness alone")
    if witness is not None and not isinstance(witness, Mapping):
        raise Rejected("witness: it is not an object")
    found = UNPROVED if result.regularity >= DISCONTINUOUS else result.regularity
    if found == UNPROVED and shown_here(witness) and claim["regularity"] == str(DISCONTINUOUS):
        return DISCONTINUOUS, witness
    if not same(claim["regularity"], str(found)):
        raise Rejected(f"the claim is {claim['regularity']}, but {found} follows, and a jump needs a witness")
    return found, witness


def _obstructions(graph: Graph, established: list[Line]) -> list[dict[str, Any]]:
    """Exactly the nodes at which the class gets worse than analytic, in order, as they are in the graph."""
    smooth = [Line(min(line.regularity, ANALYTIC), line.bounds, line.mask) for line in established]
    own = {index: establish(instance(graph, index, smooth)).regularity for index in sorted(_reached(graph))}
    return [_obstruction(graph, index, regularity) for index, regularity in own.items() if regularity > ANALYTIC]


def _obstruction(graph: Graph, index: int, regularity: Regularity) -> dict[str, Any]:
    node = graph.nodes[index]
    return {
        "node": index, "operation": node.operation, "module": node.module, "source": node.source,
        "regularity": str(regularity),
    }  # fmt: skip


def _reached(graph: Graph) -> set[int]:
    used = {graph.output}
    for index in range(graph.output, -1, -1):
        node = graph.nodes[index]
        if index in used:
            used.update((scores(graph, node),) if node.operation == "softmax" else node.arguments)
    return used
