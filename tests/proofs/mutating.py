"""Changes of a proof, and the judgement that a changed proof is rejected for the right reason or says what is true."""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from proofs import Graph, Verdict, check, prove_analytic
from proofs.kernel.door import CheckResult
from proofs.kernel.result import digest
from proofs.network.folding import unfolded
from proofs.operations import REGISTRY

FACTS = st.sampled_from(
    [["analytic", None, False, None, False, False], ["polynomial", "0", True, None, False, False],
     ["analytic", "0", True, "1", False, False], ["constant", "1", False, "1", False, False]]
)  # fmt: skip
KINDS = ["operation", "argument", "attributes", "type", "line", "fact", "constant", "swap", "delete", "layer"]


def placed(data: Any, path: Sequence[Any], value: Any) -> Any:
    """A copy with the entry at a path replaced, or changed by a function of what stood there."""
    data = copy.deepcopy(data)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value(place[path[-1]]) if callable(value) else value
    return data


def with_lengths(proof: Mapping[str, Any], collisions: Any, graphs: Mapping[str, Any]) -> dict[str, Any]:
    """A proof of a class with structural collisions, and the networks for other lengths that its claim names."""
    claim = {**proof["claim"], "other_lengths": digest(graphs)}
    return {**proof, "structural_collisions": collisions, "other_lengths": graphs, "claim": claim}


def signed(certificate: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A certificate of distances with other fields, and a digest that fits, as that of a careful forger would."""
    body = {name: value for name, value in certificate.items() if name != "digest"} | fields
    return {**body, "digest": digest(body)}


def deleted(data: dict[str, Any], index: int) -> None:
    """Takes a node out as a careful forger would: its first argument takes its place, and its line goes too."""
    graph = data["graph"]
    _, arguments, *_ = graph["nodes"].pop(index)
    data["lines"].pop(index)
    stand_in = arguments[0] if arguments else 0
    for row in graph["nodes"]:
        row[1] = [stand_in if i == index else i - (i > index) for i in row[1]]
    output = graph["output"]
    graph["output"] = stand_in if output == index else output - (output > index)


def with_layers_swapped(data: dict[str, Any], first: str, second: str) -> None:
    """The parameters of two blocks change places; without such names the number of blocks changes."""
    swapped = False
    for row in data["graph"]["attributes"]:
        name = row.get("name")
        for old, new in ((first, second), (second, first)):
            if isinstance(name, str) and f".{old}." in name:
                row["name"] = name.replace(f".{old}.", f".{new}.")
                swapped = True
                break
    if not swapped:
        data["graph"]["layer"] += 1


@st.composite
def mutations(draw: st.DrawFn, proof: dict[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """One change, where it was made, and the changed proof; half of them are signed anew with the right digest."""
    data = copy.deepcopy(proof)
    graph = data["graph"] = unfolded(data["graph"])
    data["claim"]["graph"] = digest(graph)
    nodes = graph["nodes"]
    index = draw(st.integers(0, len(nodes) - 1))
    node = nodes[index]
    kind = draw(st.sampled_from(KINDS))
    match kind:
        case "operation":
            node[0] = draw(st.sampled_from([*REGISTRY, "aten.unknown"]))
        case "argument" if node[1] and index:
            node[1][draw(st.integers(0, len(node[1]) - 1))] = draw(st.integers(0, index - 1))
        case "attributes":
            node[2] = draw(st.integers(0, len(graph["attributes"]) - 1))
        case "type":
            node[3] = draw(st.integers(0, len(graph["types"]) - 1))
        case "line":
            data["lines"][index] = draw(st.integers(0, len(data["facts"]) - 1))
        case "fact":
            data["facts"][draw(st.integers(0, len(data["facts"]) - 1))] = draw(FACTS)
        case "constant":
            values = graph["constants"][draw(st.integers(0, len(graph["constants"]) - 1))]["values"]
            values[draw(st.integers(0, len(values) - 1))] = draw(st.sampled_from([0, -1, "1/3", "-inf", "inf"]))
        case "delete":
            deleted(data, index)
        case "layer":
            with_layers_swapped(data, "0", "1")
        case _:
            other = draw(st.integers(0, len(nodes) - 1))
            nodes[index], nodes[other] = nodes[other], nodes[index]
            index = min(index, other)
    if draw(st.booleans()):
        data["claim"]["graph"] = digest(data["graph"])
    return kind, index, data


def rejected(data: dict[str, Any]) -> CheckResult | None:
    """None where a changed proof is accepted, and then it says what is proved anew; else why it is rejected."""
    result = check(data)
    if result.verdict is not Verdict.ACCEPTED:
        return result
    again = json.loads(json.dumps(prove_analytic(Graph.from_json(data["graph"])).to_json()))
    # (the digest is of the file's own rows, and the kernel has compared it)
    assert [again["claim"][n] for n in ("regularity", "statement")] == [
        data["claim"][n] for n in ("regularity", "statement")
    ]
    assert [again["facts"][i] for i in again["lines"]] == [data["facts"][i] for i in data["lines"]]
    return None


def assert_sound(mutation: tuple[str, int, dict[str, Any]]) -> None:
    """Rejected for a reason that fits the change, or accepted and proved anew with the same lines and claim."""
    kind, index, data = mutation
    result = rejected(data)
    if result is None:
        return
    place = re.match(r"node (\d+)", result.reason)
    if kind in ("line", "fact"):
        assert "claimed" in result.reason
        assert place is not None
        assert kind == "fact" or int(place[1]) == index
    elif place is not None and kind not in ("constant", "layer", "attributes"):
        assert int(place[1]) >= index, result.reason  # nothing before the change has become wrong
    elif place is None:
        # The file is not a graph any more; or every line follows, and the claim is about another network.
        reasons = (
            "Expected",
            "digest",
            "the claim is",
            "the output holds masked",
            "an obstruction",
            "the certificate.",
        )
        assert result.reason.startswith(reasons) or "digest" in result.reason, result.reason


def changed(certificate: dict[str, Any], *path: Any, to: Any, sign: bool = True) -> dict[str, Any]:
    """The certificate with one entry changed and, as a careful forger would, its digest made to fit."""
    forged = placed(certificate, path, to)
    assert forged != certificate
    return signed(forged) if sign else forged


def assert_rejected(data: Any, reason: str, weights: Any = None) -> None:
    result = check(data, weights)
    assert result.verdict is Verdict.REJECTED
    assert reason in result.reason, result.reason
