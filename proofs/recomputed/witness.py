"""The explicit witness of the paper (arXiv 2510.15511, Theorem 2.2), as printed and as repaired, on a captured network.

For every ordered pair of prompts the printed parameters are put into a GPT-2 of width 4 with one head and one block,
and both prompts are evaluated: exactly, in a ring with square roots (`proofs.arithmetic.surds`), and where that
leaves the ring, in balls. Zero is claimed by the algebra alone, non-zero by either. The repair swaps the two prompts
where the other prompt's token at the first mismatch is the common last token (docs/witness.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

from proofs.errors import InvalidInput
from proofs.evidence import SCHEMA
from proofs.kernel.claim import Claim, unlabelled
from proofs.kernel.lengths import by_length
from proofs.kernel.patterns import relabelled
from proofs.kernel.regularity import is_analytic
from proofs.kernel.result import Rejected, digest, expect_claim, same
from proofs.network.graph import Graph
from proofs.recomputed.published_witness import (
    BY_TOKENS,
    DELTA,
    WIDTH,
    Network,
    Outcome,
    Prompt,
    collides_by_criterion,
    doubtful,
    epsilon,
    names_do_not_matter,
    printed,
    repaired,
    role_of,
)
from proofs.verdict import Verdict

MOST_PAIRS = 400_000
STATEMENT = (
    "Of the {pairs} ordered pairs of distinct prompts of at most {context} tokens over {vocabulary} tokens, the "
    "published witness, written into the network of this certificate, gives equal states on {printed} as printed and "
    "on {repaired} as repaired; {undecided} are undecided."
)


@dataclass(frozen=True, slots=True)
class WitnessCount:
    """On how many ordered pairs the published witness gives equal states, and its certificate."""

    vocabulary: int
    context: int
    pairs: int
    in_gap: int
    zero_as_printed: tuple[tuple[Prompt, Prompt], ...]
    zero_repaired: tuple[tuple[Prompt, Prompt], ...]
    undecided: int
    against_criterion: int
    graphs: Mapping[int, Graph]

    @property
    def verdict(self) -> Verdict:
        """Proved where the repaired witness separates every pair, refuted where it gives one of them equal states."""
        if self.zero_repaired:
            return Verdict.REFUTED
        return Verdict.UNDECIDED if self.undecided else Verdict.PROVED

    def to_json(self, written: Any = None, named: str | None = None) -> dict[str, Any]:
        """The certificate: the networks, the pairs on which the printed witness fails, and the claim.

        `written` stands in it for the graphs and `named` for their digest, if they are given.
        """
        if written is None:
            written = {str(length): graph.to_json() for length, graph in self.graphs.items()}
        statement = STATEMENT.format(
            pairs=self.pairs, context=self.context, vocabulary=self.vocabulary, printed=len(self.zero_as_printed),
            repaired=len(self.zero_repaired), undecided=self.undecided,
        )  # fmt: skip
        return {
            "schema": SCHEMA,
            "kind": "witness",
            "claim": {
                "statement": statement, "vocabulary": self.vocabulary, "context": self.context, "pairs": self.pairs,
                "in_gap": self.in_gap, "zero_as_printed": len(self.zero_as_printed),
                "zero_repaired": len(self.zero_repaired), "undecided": self.undecided,
                "against_criterion": self.against_criterion, "graphs": named or digest(written), "delta": str(DELTA),
            },
            "zero": [[list(first), list(second)] for first, second in self.zero_as_printed],
            "graphs": written,
        }  # fmt: skip


def count_witness(graphs: Mapping[int, Graph], *, vocabulary: int, context: int) -> WitnessCount:
    """Evaluates the published witness, as printed and as repaired, for every ordered pair of prompts.

    Args:
        graphs: a one-block GPT-2 of width 4 with one head, captured for every length from 1 to `context`.
        vocabulary: number of tokens.
        context: largest number of tokens of a prompt.

    Raises:
        InvalidInput: a graph is missing or is not such a network, or there are too many pairs.
    """
    _expect_networks(graphs, vocabulary, context)
    prompts = [prompt for n in range(1, context + 1) for prompt in product(range(vocabulary), repeat=n)]
    network = Network(graphs, vocabulary)
    found: dict[str, list[tuple[Prompt, Prompt]]] = {"printed": [], "repaired": []}
    undecided = gap = against = 0
    free = all(map(names_do_not_matter, graphs.values()))
    settled: dict[tuple[Prompt, Prompt], tuple[Outcome, Outcome]] = {}
    for first, second in permutations(prompts, 2):
        inside = doubtful(first, second)
        pair = relabelled(first, second, start=0) if free else (first, second)
        if pair not in settled:  # another pair of its pattern has the same point but for the names of tokens
            as_printed = network.outcome(printed(*pair), *pair)
            settled[pair] = as_printed, network.outcome(repaired(*pair), *pair) if inside else as_printed
        as_printed, mended = settled[pair]
        for name, result in (("printed", as_printed), ("repaired", mended)):
            if result == "zero":
                found[name].append((first, second))
        undecided += "undecided" in (as_printed, mended)
        gap += inside
        against += (as_printed == "zero") != collides_by_criterion(first, second)
    pairs = len(prompts) * (len(prompts) - 1)
    return WitnessCount(vocabulary, context, pairs, gap, tuple(found["printed"]), tuple(found["repaired"]),
                        undecided, against, dict(graphs))  # fmt: skip


def _expect_networks(graphs: Mapping[int, Graph], vocabulary: int, context: int) -> None:
    prompts = sum(vocabulary**n for n in range(1, context + 1))
    pairs = prompts * (prompts - 1)
    if vocabulary < 1 or context < 1 or pairs > MOST_PAIRS:
        raise InvalidInput(
            f"Expected at most {MOST_PAIRS} ordered pairs, but {vocabulary} tokens and {context} positions give "
            f"{pairs}; choose smaller numbers."
        )
    for length in range(1, context + 1):
        graph = graphs.get(length)
        shapes = {} if graph is None else {role_of(name): kind.shape for name, kind in graph.parameters()}
        good = graph is not None and graph.length == length and graph.layer == 1
        good = good and shapes.get("c_attn.weight") == (WIDTH, 3 * WIDTH)
        if graph is None or not good or not _has_tokens(graph, vocabulary):
            raise InvalidInput(f"Expected a GPT-2 of width {WIDTH}, one head and one block for length {length}.")
        epsilon(graph)
        if not is_analytic(graph):
            raise InvalidInput(f"Expected a network whose every value is a real number, but length {length} is not.")


def _has_tokens(graph: Graph, vocabulary: int) -> bool:
    """Whether a network takes so many tokens, and every table with rows for them has one for each."""
    known = [node.attributes.get("vocabulary") for node in graph.nodes if node.operation == "tokens"]
    tables = [kind.shape for name, kind in graph.parameters() if role_of(name) in BY_TOKENS]
    enough = all(isinstance(size, int) and size >= vocabulary for size in known)
    wide = all(len(shape) == 2 and shape[0] >= vocabulary and shape[1] == WIDTH for shape in tables)
    return bool(known and tables) and enough and wide


def derive_witness(certificate: Mapping[str, Any]) -> Claim:
    """Counts again, from the graphs in the certificate.

    Raises:
        Rejected, InvalidInput: the claim names no vocabulary and context, or the graphs are not such networks.
    """
    claim, graphs = certificate.get("claim"), certificate.get("graphs")
    if not isinstance(claim, Mapping) or not isinstance(graphs, Mapping):
        raise Rejected("the claim or the graphs are missing")
    if not same(claim.get("graphs"), digest(graphs)):
        raise Rejected("the graphs are not those that the claim names by their digest")
    size = [claim.get(name) for name in ("vocabulary", "context")]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 64 for n in size):
        raise Rejected("the claim names no vocabulary and context")
    if set(graphs) != {str(length) for length in range(1, int(size[1] or 0) + 1)}:
        raise Rejected("the graphs are not those of every length up to the context")
    found = count_witness(by_length(graphs), vocabulary=int(size[0] or 0), context=int(size[1] or 0))
    follows = found.to_json({length: unlabelled(graph) for length, graph in graphs.items()}, claim["graphs"])
    expect_claim(claim, follows["claim"])
    statement = follows["claim"]["statement"]
    return Claim("witness", found.verdict, statement, follows, found.pairs, "every pair was evaluated again")
