"""The kernel: re-checks a proof line by line, in exact arithmetic, with its own table of lemmas.

It trusts the meaning of the operations, its own table (`proofs.kernel.lemmas`), the exact bounds
(`proofs.arithmetic.bounds`) and nothing that the certificate says. It needs neither torch nor the code that found the
proof.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from proofs.errors import InvalidInput
from proofs.kernel.lemmas.instance import Instance, Line
from proofs.kernel.lemmas.rows import softmax_source
from proofs.kernel.lemmas.table import establish
from proofs.kernel.result import CheckResult, Rejected, digest, same
from proofs.network.graph import Graph
from proofs.regularity import ANALYTIC, DISCONTINUOUS, UNPROVED, Regularity
from proofs.verdict import Verdict

STATEMENT = (
    "For every prompt of {length} tokens the map from the parameters, embedding rows included, to the states after "
    "{layer} blocks is {regularity} on the whole parameter space."
)


def check_regularity(certificate: Mapping[str, Any]) -> CheckResult:
    """Re-derives every line of a proof of regularity, and the claim.

    Returns:
        Accepted where every line follows and the claim is the class of the output; else rejected, with the first
        line that does not follow.
    """
    try:
        graph = Graph.from_json(certificate.get("graph"))
        established = _lines(graph, certificate)
        _claim(graph, established, certificate)
        _obstructions(graph, established, certificate)
    except (InvalidInput, Rejected) as fault:
        return CheckResult(Verdict.REJECTED, str(fault), "regularity", 0)
    covers = ("regularity", "obstructions, but for the words of their reasons")
    return CheckResult(Verdict.ACCEPTED, "every line follows", "regularity", len(graph.nodes), covers)


def _lines(graph: Graph, certificate: Mapping[str, Any]) -> list[Line]:
    claimed, lines = certificate.get("facts"), certificate.get("lines")
    if not isinstance(claimed, list) or not isinstance(lines, list) or len(lines) != len(graph.nodes):
        raise Rejected("the proof does not have one line per node")
    established: list[Line] = []
    for index in range(len(graph.nodes)):
        try:
            line = establish(_step(graph, index, established))
        except Rejected as fault:
            raise Rejected(f"{graph.where(index)}: {fault}") from None
        place = lines[index]
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(claimed):
            raise Rejected(f"{graph.where(index)}: there is no line {place!r}")
        found = [str(line.regularity), *line.bounds.to_json(), line.mask is not None]
        if not same(claimed[place], found):
            raise Rejected(f"{graph.where(index)}: claimed {claimed[place]}, but {found} follows")
        established.append(line)
    return established


def _step(graph: Graph, index: int, lines: Sequence[Line]) -> Instance:
    node = graph.nodes[index]
    before, nodes = tuple(lines[i] for i in node.arguments), tuple(graph.nodes[i] for i in node.arguments)
    return Instance(graph, node, before, nodes, lines.__getitem__)


def _claim(graph: Graph, established: list[Line], certificate: Mapping[str, Any]) -> None:
    result = established[graph.output]
    claim = certificate.get("claim")
    if not isinstance(claim, Mapping) or set(claim) != {"regularity", "statement", "graph"}:
        raise Rejected("the claim is not of a class, a statement and the digest of a graph alone")
    claimed = Regularity.parse(claim["regularity"])
    if claimed is None or str(claimed) != claim["regularity"]:
        raise Rejected("the claim names no class")
    if result.mask is not None:
        raise Rejected("the output holds masked entries")
    found = UNPROVED if result.regularity >= DISCONTINUOUS else result.regularity
    shown = found == UNPROVED and certificate.get("witness") is not None
    if claimed != found and not (claimed == DISCONTINUOUS and shown):
        raise Rejected(f"the claim is {claimed}, but {found} follows, and a jump needs a witness")
    if claim["statement"] != STATEMENT.format(length=graph.length, layer=graph.layer, regularity=claimed):
        raise Rejected("the statement is not the one that the proof is of")
    if claim["graph"] != digest(certificate["graph"]):
        raise Rejected("the graph is not the one that the claim names by its digest")


def _obstructions(graph: Graph, established: list[Line], certificate: Mapping[str, Any]) -> None:
    """Exactly the nodes at which the class gets worse than analytic, in order, as they are in the graph."""
    listed = certificate.get("obstructions")
    if not isinstance(listed, list):
        raise Rejected("the proof does not list its obstructions")
    smooth = [Line(min(line.regularity, ANALYTIC), line.bounds, line.mask) for line in established]
    own = {index: establish(_step(graph, index, smooth)).regularity for index in sorted(_reached(graph))}
    found = [_obstruction(graph, index, regularity) for index, regularity in own.items() if regularity > ANALYTIC]
    for entry, expected in zip_longest(listed, found):
        if expected is None:
            raise Rejected("an obstruction is listed where there is none")
        if entry is None:
            raise Rejected(f"an obstruction is not listed: {graph.where(expected['node'])}")
        if not isinstance(entry, Mapping) or not isinstance(entry.get("reason"), str):
            raise Rejected("an obstruction gives no reason")
        if not same({name: value for name, value in entry.items() if name != "reason"}, expected):
            raise Rejected(f"an obstruction is not what the graph has there: {graph.where(expected['node'])}")


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
            shifted = softmax_source(graph, node) if node.operation == "softmax" else None
            used.update(node.arguments if shifted is None else (shifted,))
    return used
