"""What a record says of its certificate, command by command: the commands write it here, and `verify` compares it.

Each function reads a certificate in JSON and gives fields of `result`. Given the certificate of a `Claim`, in which
nothing stands but what the kernel derived or derived it from, it gives the fields that follow, and leaves out those
that only repeat a label of the file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, islice
from typing import Any

from proofs.formal.names import named
from proofs.kernel.claim import Claim
from proofs.kernel.equal_pairs import ROWS
from proofs.kernel.result import Rejected
from proofs.kernel.separation import KIND as SEPARATION
from proofs.kernel.vocabulary import KIND as VOCABULARY
from proofs.network.rational import rational
from proofs.recomputed.optimizers import kept
from proofs.recomputed.published_witness import doubtful
from proofs.regularity import DISCONTINUOUS, UNPROVED
from proofs.theorems import two_blocks
from proofs.verdict import Verdict
from sipit.claims.hypotheses import ALMOST_SURE

Fields = dict[str, Any]

MOST_LISTED = 10_000  # pairs without a bound that a record lists
LATER = {"theorems", "longer", "collisions_undecided"}  # records did not have them at first, and say less without them
LATER_OF = {"certify": {"idealisations"}}  # nor these, of one command alone
MEET, EQUAL = "enclosures meet", "equal over the reals"  # why a pair has no bound
EXAMPLES = 8  # pairs of the witness that a record shows


def checked(certificate: Mapping[str, Any]) -> Fields:
    """Of `sipit check`: the class, what is in its way, and the prompts that always collide."""
    graph, witness = certificate["graph"], certificate["witness"]
    names = ("operation", "module", "source", "regularity", "reason")
    return {
        "regularity": certificate["claim"]["regularity"],
        "obstructions": [_of(entry, *names) for entry in certificate["obstructions"]],
        "witness": None if witness is None else {k: v for k, v in witness.items() if k != "graph"},
        **_of(graph, "idealisations", "layer"),
        **({"graph": dict(graph["about"])} if "about" in graph else {}),
        **_collisions(certificate),
        "theorems": named([*_of_class(certificate["claim"]["regularity"]), *_families(certificate)]),
    }


def _of_class(regularity: str) -> tuple[str, ...]:
    """What a proof assistant has proved of lines that show a class; nothing where none is shown, or a jump is."""
    return () if regularity in (str(UNPROVED), str(DISCONTINUOUS)) else ("bounds", "classes")


def _collisions(certificate: Mapping[str, Any]) -> Fields:
    """The families of `sipit check`: of those that are undecided none is listed, and the reason is the record's own."""
    if "structural_collisions" not in certificate:
        return {}
    found = certificate["structural_collisions"]
    if found is None:
        return {"structural_collisions": [], **_of(certificate, "collisions_undecided")}
    return {"structural_collisions": found, "collisions_undecided": None}


def _reason(result: Mapping[str, Any]) -> bool:
    return isinstance(result.get("collisions_undecided"), str)


def separated(certificate: Mapping[str, Any]) -> Fields:
    """Of `sipit certify`: the bounds on the distances between the states of prompts."""
    seen = certificate["observation"]
    return {
        **_of(certificate["claim"], "pairs", "certified", "minimum_lower_bound", "closest", "unique", "statement"),
        **_of(certificate, "bits", "layer"),
        **_idealised(certificate["graphs"]),
        "matches": None if seen is None else seen["matches"],
        "prompts": [row["token_ids"] for row in certificate["prompts"]],
        "uncertified": [
            *({**pair, "reason": EQUAL} for pair in certificate["identical"]),
            *({"first": i, "second": j, "reason": MEET} for i, j in certificate["unresolved"][:MOST_LISTED]),
        ],
    }


def margin(certificate: Mapping[str, Any]) -> Fields:
    """Of `sipit certify --vocabulary`: the margin of a prefix."""
    return {
        **_of(certificate["claim"], "pairs", "certified", "minimum_lower_bound", "closest", "statement"),
        **_of(certificate, "bits", "layer", "prefix", "tokens", "duplicates"),
        **_idealised(certificate["graphs"]),
        **_of(certificate["enclosures"], "others_at_least", "largest_radius"),
        "unique": None,
        "matches": None,
        "prompts": [certificate["prefix"]],
        "uncertified": list(islice(_without_bound(certificate), MOST_LISTED)),
    }


def _idealised(graphs: Iterable[Mapping[str, Any]]) -> Fields:
    """How some graphs differ from the library's code, as their labels say; nothing of graphs without labels."""
    said = [graph["idealisations"] for graph in graphs if "idealisations" in graph]
    return {"idealisations": list(dict.fromkeys(chain.from_iterable(said)))} if said else {}


def _without_bound(certificate: Mapping[str, Any]) -> Iterator[Fields]:
    """The pairs of tokens that no bound is stated for, as far as they are known one by one."""
    for group in certificate["duplicates"]:
        for first, second in combinations(group, 2):
            yield {"first": first, "second": second, "family": ROWS, "reason": EQUAL}
    rows = [row["token_ids"][-1] for row in certificate["closest"]["prompts"]]
    for first, second in certificate["closest"]["unresolved"]:
        yield {"first": rows[first], "second": rows[second], "reason": MEET}
    if certificate["claim"]["minimum_lower_bound"] is None and certificate["claim"]["closest"] is not None:
        first, second = certificate["claim"]["closest"]
        yield {"first": first, "second": second, "reason": "float64 enclosures of this pair or of others meet"}


def counted(certificate: Mapping[str, Any]) -> Fields:
    """Of `sipit prove witness`."""
    return {
        **{name: value for name, value in certificate["claim"].items() if name != "graphs"},
        "examples": certificate["zero"][:EXAMPLES],
        "theorems": named(_of_witness(certificate)),
        "hypotheses": [
            {
                "hypothesis": "layer norms with one epsilon > 0, width 4, parameters called as a GPT-2's",
                "checked": True,
            },
            {"hypothesis": "the network is a GPT-2 of one block, with one head", "checked": False},
            *ALMOST_SURE,
        ],
    }


def _of_witness(certificate: Mapping[str, Any]) -> Iterator[str]:
    """What a proof assistant has proved of pairs that are among those counted, by name."""
    if certificate["claim"]["in_gap"]:
        yield "published witness"
    if any(len(first) == len(second) == 2 and doubtful(first, second) for first, second in certificate["zero"]):
        yield "published witness on two tokens"
    if min(certificate["claim"]["vocabulary"], certificate["claim"]["context"]) > 1:  # prompts that only end alike
        yield "repaired witness"


def stepped(certificate: Mapping[str, Any]) -> Fields:
    """Of `sipit prove training-step`."""
    claim = certificate["claim"]
    return {
        **_of(claim, "parameters", "rate", "statement", "at_zero", "at_base", "symbolic", "every_rate"),
        **_of(claim, "follows", "open"),
        "rates_covered": _RATES if claim["every_rate"] else "this rate; at_zero says where it vanishes",
        "determinant": claim["one sample"],
        "batch": {"samples": len(certificate["samples"]), "determinant": claim["batch"]},
        "optimizer": claim["rule"],
        "theorems": named(_of_step(claim)),
        "hypotheses": [
            {"hypothesis": "the loss is analytic in the parameters", "checked": True},
            {
                "hypothesis": "the number of steps is fixed, and rates and batches take countably many values",
                "checked": False,
            },
            *ALMOST_SURE,
        ],
    }


_RATES = "every positive rate (with decay: but 1 / decay), as the determinants at zero and at a base point show"
_STEPS = {"gd": "training step", "clip-norm": "training step", "weight-decay": "weight decay"}


def _of_step(claim: Mapping[str, Any]) -> Iterator[str]:
    """What a proof assistant has proved of such a step, by name: but for clipping, under a final LayerNorm alone."""
    rule, zero, base = claim["rule"], claim["at_zero"].get("batch", {}), claim["at_base"].get("batch", {})
    if rule == "clip-norm" and claim["non_zero"]:
        yield "clipping by the global norm"
    if rule not in _STEPS or zero.get("final_norm") != "LayerNorm" or not kept(rule, rational(claim["rate"])):
        return
    yield _STEPS[rule]
    yield "training step on a batch"
    if rule == "gd" and rational(claim["rate"]) <= 1:
        yield "training step at rates up to 1"
    if base and rule != "weight-decay":
        yield "training step at a base point"
    if claim["every_rate"]:
        yield "weight decay at every rate" if rule == "weight-decay" else "training step at every rate"


def settled(certificate: Mapping[str, Any]) -> Fields:
    """Of `sipit prove generic-position`."""
    claim, classes = certificate["claim"], certificate["classes"]
    return {
        **_of(claim, "statement", "classes", "certified", "collisions_proved", "undecided", "context", "bos"),
        **_of(claim, "regularity", "zeroed"),
        "collisions": [
            {"first": first, "second": second, "family": outcome.removeprefix("collide: ")}
            for first, second, outcome in classes if outcome.startswith("collide")
        ],
        "longer": certificate.get("structural_collisions", []),
        "open": [[first, second] for first, second, outcome in classes if outcome == "undecided"],
        "hypotheses": [
            {
                "hypothesis": "the state is analytic in the parameters, or in countably many branches",
                "checked": claim["regularity"] != "unsuitable",
            },
            {"hypothesis": "token rows are free parameters, treated alike", "checked": claim["free_rows"]},
            *ALMOST_SURE,
        ],
        "theorems": named(
            [
                *chain.from_iterable(
                    of_pair(outcome.removeprefix("collide: "), first, second)
                    for first, second, outcome in classes if outcome.startswith("collide")
                ),
                *_families(certificate),
            ]
        ),
        "longest_prompt": {"tokens": claim["context"] + claim["bos"], "of_them_bos": int(claim["bos"])},
        "scope": _scope(claim),
    }  # fmt: skip


_DEPTH = "every greater depth: with zero output weights the last block is the identity (checked on the graph)"
_EVERY_SIZE = "every size: only rows of tokens that occur enter, and relabelling permutes them"
_THIS_SIZE = "this one: tokens enter otherwise than by rows of their own, and others may behave otherwise"
_SCOPE = {
    "context": "every smaller context",
    "not": "one given checkpoint, which is a point of a null set; floating point",
}


def _families(certificate: Mapping[str, Any]) -> list[str]:
    listed = certificate.get("structural_collisions") or ()
    return [claim for entry in listed for pair in entry["pairs"] for claim in of_pair(entry["family"], *pair)]


def of_pair(family: str, first: Sequence[int], second: Sequence[int]) -> tuple[str, ...]:
    """What a pair of a family is an instance of, by the names of `proofs.formal.names`."""
    if family == "window reach" and len(first) != len(second):
        return ("window reach, two lengths",)
    return (family, "two words of 82 letters") if (tuple(first), tuple(second)) == two_blocks.pair() else (family,)


def _scope(claim: Mapping[str, Any]) -> dict[str, str]:
    """For which networks the pairs that differ do so, as far as it is derived."""
    scope = {"vocabulary": _EVERY_SIZE if claim["free_rows"] else _THIS_SIZE, **_SCOPE}
    scope["depth"] = _DEPTH if claim["every_depth"] else "this depth: the last block was not shown to lift"
    return scope


COMMANDS: Mapping[str, Mapping[str, Callable[[Mapping[str, Any]], Fields]]] = {
    "check": {"regularity": checked},
    "certify": {SEPARATION: separated, VOCABULARY: margin},
    "prove witness": {"witness": counted},
    "prove training-step": {"training-step": stepped},
    "prove generic-position": {"generic-position": settled},
}


def stated(record: Mapping[str, Any], claim: Claim) -> tuple[Fields, Fields]:
    """What a record must state beside its certificate: what follows from the claim, and all that it must agree with.

    Raises:
        Rejected: no command of that name writes such a certificate.
    """
    command, result = record["command"], record["result"]
    fields = COMMANDS.get(command, {}).get(claim.kind)
    if fields is None:
        raise Rejected(f"no command {command!r} writes a certificate of kind {claim.kind}")
    certificate = result["certificate"]
    follows: Fields = {
        "schema": record["schema"],  # without it this record would not have been read
        "command": command,
        "result": {**fields(claim.certificate), "certificate": claim.certificate},
    }
    agrees: Fields = {"result": fields(certificate)}
    for told in (follows["result"], agrees["result"]):
        for name in (LATER | LATER_OF.get(command, set())) - set(result):
            told.pop(name, None)
    if command == "certify":
        follows["provenance"] = {"weights": certificate["weights"]["sha256"]}
        _open_pairs(result, follows)
    if command == "check" and "structural_collisions" not in claim.certificate:
        raise Rejected("a record of check has no structural collisions in its certificate")
    if command == "check" and claim.certificate["structural_collisions"] is None and not _reason(result):
        raise Rejected("collisions are undecided, but the record lists none and does not say why")
    rows = result.get("duplicate_embeddings") if command == "check" else None
    verdict = Verdict.REFUTED if duplicated(rows) else claim.verdict
    (follows if rows is None or claim.verdict is Verdict.REFUTED else agrees)["verdict"] = verdict.value
    return follows, agrees


def duplicated(rows: Any) -> bool:
    """Whether a record says that tokens share a row, which no kernel looks at."""
    return isinstance(rows, Mapping) and bool(rows.get("groups"))


def _open_pairs(result: Mapping[str, Any], follows: Fields) -> None:
    """A pair is open because its enclosures meet; where a record knows more of it, that is its own word."""
    listed = result.get("uncertified")
    for entry, pair in zip(listed if isinstance(listed, list) else [], follows["result"]["uncertified"], strict=False):
        if "reason" not in pair and isinstance(entry, Mapping) and "family" not in entry:
            pair["reason"] = MEET


def _of(data: Mapping[str, Any], *names: str) -> Fields:
    return {name: data[name] for name in names if name in data}
