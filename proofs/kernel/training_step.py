"""The training step keeps laws absolutely continuous: its Jacobian determinant is certified not to vanish identically.

(arXiv 2510.15511, Theorem 2.3.) The determinant of an optimizer step is an analytic function of the parameters, so
one point at which an enclosure excludes zero shows that it is non-zero almost everywhere. Two points are used: one
drawn from a seed, with second derivatives over balls, and zero, with second derivatives in exact algebra, where the
closed form of the paper (and of docs/training-step.md for the other rules) is compared with the exact determinant.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from proofs.arithmetic.ball import Balls
from proofs.arithmetic.objects import ObjectArithmetic
from proofs.arithmetic.surds import Surds
from proofs.arithmetic.tape import Scalar, Tape, derivatives
from proofs.errors import InvalidInput
from proofs.evidence import SCHEMA
from proofs.kernel.claim import Claim, unlabelled
from proofs.kernel.optimizers import (
    OPEN,
    Rule,
    closed_form,
    closed_form_at_zero,
    formula,
    jacobian,
    states,
    symbolically,
)
from proofs.kernel.regularity import is_analytic
from proofs.kernel.result import Rejected, digest, expect_claim, same
from proofs.kernel.wellformed import well_formed
from proofs.kernel.zero_state import from_zero_state
from proofs.network.graph import Graph
from proofs.network.rational import rational
from proofs.operations.interpreter import evaluate
from proofs.verdict import Verdict

RULES: tuple[Rule, ...] = ("gd", "weight-decay", "clip-value", "sign", "heavy-ball", "adam", "adamw")
BITS = 192
LARGEST = 600  # parameters
MASKS = 8
DIGITS = 30
STATEMENT = (
    "One step of {rule} at rate {rate} on {what} has a Jacobian determinant that does not vanish identically, so it "
    "maps every absolutely continuous law{joint} to an absolutely continuous one."
)
NOT_SHOWN = (
    "It is not shown that the Jacobian determinant of one step of {rule} at rate {rate} on {what} does not vanish "
    "identically, and nothing of what it does to laws{joint}."
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and the target distribution of the next token."""

    tokens: tuple[int, ...]
    target: tuple[Fraction, ...]

    def to_json(self) -> dict[str, Any]:
        """The sample as a JSON object."""
        return {"tokens": list(self.tokens), "target": [str(share) for share in self.target]}


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """The certificate that one optimizer step is non-singular almost everywhere."""

    graph: Graph
    samples: tuple[Sample, ...]
    rule: Rule
    rate: Fraction
    seed: int
    claim: Mapping[str, Any]

    @property
    def verdict(self) -> Verdict:
        """Proved where every determinant excludes zero; undecided otherwise."""
        return Verdict.PROVED if self.claim["non_zero"] else Verdict.UNDECIDED

    def to_json(self) -> dict[str, Any]:
        """The certificate."""
        return {
            "schema": SCHEMA,
            "kind": "training-step",
            "claim": dict(self.claim),
            "rule": self.rule,
            "rate": str(self.rate),
            "seed": self.seed,
            "samples": [sample.to_json() for sample in self.samples],
            "graph": self.graph.to_json(),
        }


def prove_step(graph: Graph, samples: Sequence[Sample], *, rule: Rule, rate: Fraction, seed: int) -> TrainingStep:
    """Certifies the determinant of one step, on the first sample alone and on the batch of all.

    Args:
        graph: from ids and parameters to the logits at the last token.
        samples: prompts of the captured length, with rational target distributions.
        rule: the optimizer.
        rate: its step size, positive.
        seed: draws the parameters, the clipping mask and the state before the step.

    Raises:
        InvalidInput: too many parameters, a sample that does not fit, or a rate that is not positive.
        Unsupported: an operation whose derivatives are not known.
    """
    p = sum(kind.size for _, kind in graph.parameters())
    tokens = graph.nodes[graph.output].type.shape[-1]
    _expect(graph, samples, p, tokens, rate, rule)
    batches = {"one sample": samples[:1], "batch": samples}
    claim: dict[str, Any] = {"rule": rule, "rate": str(rate), "parameters": p, "bits": BITS, "batch": len(samples)}
    found: list[bool] = []
    with Balls(BITS) as balls:
        each = [_derivatives(graph, sample, balls, _Dyadics(seed)) for sample in samples]
        for name, batch in batches.items():
            gradient, second = _mean(each[: len(batch)], balls)
            rows = jacobian(rule, second, gradient, rate=rate, draws=_Dyadics(seed + 1).unit, base=balls)
            size = states(rule) * p
            determinant = flint.arb_mat(size, size, [x for row in rows for x in row]).det()
            everywhere = closed_form(rule, parameters=p, rate=rate)
            agrees = everywhere is None or bool(determinant.overlaps(balls.number(everywhere)))
            found.append(not determinant.contains(0) and agrees)
            claim[name] = _stated(determinant)
    claim["at_zero"], zero = _at_zero(graph, samples, rule, rate, p, tokens)
    claim["symbolic"] = symbolically(rule, tokens)
    settled = zero is not False if rule != "clip-value" else zero is True
    claim["non_zero"] = all(found) and settled and claim["symbolic"]
    claim["open"] = [line.to_json() for line in OPEN.get(rule, ())]
    claim["graph"] = digest(graph.to_json())
    joint = " of parameters and state" if states(rule) > 1 else ""
    what = f"a network of {p} parameters, on one sample and on a batch of {len(samples)},"
    claim["samples"] = digest([sample.to_json() for sample in samples])
    words = STATEMENT if claim["non_zero"] else NOT_SHOWN
    claim["statement"] = words.format(rule=rule, rate=rate, what=what, joint=joint)
    return TrainingStep(graph, tuple(samples), rule, rate, seed, claim)


def _stated(ball: Any) -> dict[str, str]:
    """A decimal number, and a radius around it that holds the ball: what the decimal leaves off lies within it too."""
    midpoint = ball.mid().str(DIGITS, radius=False)
    radius = abs(ball - flint.arb(midpoint)).upper() * (1 + 2.0**-10)  # more than is lost with all but five digits
    return {"midpoint": midpoint, "radius": radius.upper().str(5, radius=False)}


class _Dyadics:
    """Exact numbers drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)

    def unit(self) -> Fraction:
        """Between 0 and 1."""
        return Fraction(self._source.getrandbits(7), 128)

    def centred(self) -> Fraction:
        """Between -1/2 and 1/2."""
        return self.unit() - Fraction(1, 2)


def _derivatives(graph: Graph, sample: Sample, base: ObjectArithmetic, draws: _Dyadics | None) -> Any:
    """Gradient and second derivatives of the cross-entropy at a drawn point, or at zero."""
    tape = Tape(base)
    variables: list[Scalar] = []
    inputs: dict[str, Any] = {"tokens": np.array([sample.tokens], dtype=np.int64)}
    for name, kind in graph.parameters():
        table = np.empty(kind.shape, dtype=object)
        for place in np.ndindex(*kind.shape):
            value = Fraction(0) if draws is None else draws.centred()
            variables.append(tape.variable(base.number(value)))
            table[place] = variables[-1]
        inputs[name] = table
    logits = list(np.ravel(evaluate(graph, inputs, tape)))
    exponentials = [tape.elementary("exp")(z) for z in logits]
    loss = tape.elementary("log")(sum(exponentials[1:], exponentials[0]))
    for z, share in zip(logits, sample.target, strict=True):
        loss = loss - tape.number(share) * z
    return derivatives(loss, variables)


def _mean(each: Sequence[Any], base: ObjectArithmetic) -> Any:
    share = base.number(Fraction(1, len(each)))
    gradient = [sum(entries[1:], entries[0]) * share for entries in zip(*(g for g, _ in each), strict=True)]
    second = [
        [sum(entries[1:], entries[0]) * share for entries in zip(*rows, strict=True)]
        for rows in zip(*(h for _, h in each), strict=True)
    ]
    return gradient, second


def _at_zero(
    graph: Graph, samples: Sequence[Sample], rule: Rule, rate: Fraction, p: int, tokens: int
) -> tuple[dict[str, Any], bool | None]:
    """The exact determinant at zero parameters against the closed form, and whether both agree and are non-zero."""
    each = [_derivatives(graph, sample, Surds(), None) for sample in samples]
    results: dict[str, Any] = {}
    good = True
    for name, batch in (("one sample", samples[:1]), ("batch", samples)):
        gradient, second = _mean(each[: len(batch)], Surds())
        share = Fraction(1, len(batch))
        w = [Fraction(1, tokens) - share * sum((s.target[v] for s in batch), Fraction(0)) for v in range(tokens)]
        form = _gate_form(graph, second, w)
        if form is None or any(entry.zero is not True for entry in gradient):
            return {"reason": "the second derivatives at zero are not those of the gate lemma"}, None
        layer_norm, square, width = form == "LayerNorm", sum(x * x for x in w), _width(graph)
        expected = closed_form_at_zero(
            rule, parameters=p, width=width, square=Fraction(square), rate=rate, layer_norm=layer_norm
        )
        exact = _exact_determinants(rule, second, rate)
        lowest = (1 - rate**2 * square) ** width if layer_norm else Fraction(1)
        agrees = all(value == expected for value in exact) if rule != "clip-value" else min(exact) >= lowest
        if rule == "clip-value":  # the least over all masks, by the block formula, is this bound
            agrees = agrees and (not layer_norm or rate**2 * square < 1)
        good = good and agrees
        results[name] = {
            "w_squared": str(square), "closed_form": None if expected is None else str(expected), "agrees": agrees,
            "formula": formula(rule, layer_norm=layer_norm), "final_norm": form,
            "vanishes": any(value == 0 for value in exact), "determinants": len(exact),
            "from_zero_state": from_zero_state(
                rule, [[_value(entry) for entry in row] for row in second], rate=rate,
                square=Fraction(square) if layer_norm else Fraction(0), width=width,
            ),
        }  # fmt: skip
    return results, good


def _exact_determinants(rule: Rule, second: Any, rate: Fraction) -> list[Fraction]:
    """det of the Jacobian at zero, exactly; for clipping one for each of several masks; none for rules with state."""
    if states(rule) > 1:
        return []
    draws = _Dyadics(0)
    base = _Rationals()
    matrix = [[_value(entry) for entry in row] for row in second]
    zero = [flint.fmpq(0)] * len(matrix)
    found: list[Fraction] = []
    for _ in range(MASKS if rule == "clip-value" else 1):
        rows = jacobian(rule, matrix, zero, rate=rate, draws=draws.unit, base=base)
        value = flint.fmpq_mat(len(rows), len(rows), [x for row in rows for x in row]).det()
        found.append(Fraction(int(value.p), int(value.q)))
    return found


class _Rationals:
    """Exact rationals, as far as a Jacobian needs them."""

    def number(self, value: Any) -> Any:
        """A rational."""
        fraction = Fraction(value)
        return flint.fmpq(fraction.numerator, fraction.denominator)


def _value(entry: Any) -> Any:
    return _Rationals().number(entry.terms.get((0, 1), 0) if entry.terms else 0)


def _gate_form(graph: Graph, second: Any, w: Sequence[Fraction]) -> str | None:
    """Which case of the gate lemma H(0) is, entry by entry: the (U, beta) block of a LayerNorm, or zero."""
    if any(entry.terms is None or any(key != (0, 1) for key in entry.terms) for row in second for entry in row):
        return None
    found = {(i, j): entry.terms[(0, 1)] for i, row in enumerate(second) for j, entry in enumerate(row) if entry.terms}
    if not found:
        return "RMSNorm" if any(w) else None
    return "LayerNorm" if any(found == _block(u, b, w, _width(graph)) for u in _starts(graph, 2) for b in
                              _starts(graph, 1)) else None  # fmt: skip


def _starts(graph: Graph, axes: int) -> list[int]:
    """Where the entries of each parameter with so many axes begin."""
    starts, place = [], 0
    for _, kind in graph.parameters():
        if len(kind.shape) == axes:
            starts.append(place)
        place += kind.size
    return starts


def _block(u: int, b: int, w: Sequence[Fraction], width: int) -> dict[tuple[int, int], Fraction]:
    """d^2 loss / dU[v, i] d beta[i] = w[v], and nothing else."""
    pairs = {(u + v * width + i, b + i): x for v, x in enumerate(w) for i in range(width) if x}
    return pairs | {(j, i): x for (i, j), x in pairs.items()}


def _width(graph: Graph) -> int:
    """The width of the rows of the embedding, read off the one table that the tokens select from."""
    for node in graph.nodes:
        if node.operation == "take" and graph.nodes[node.arguments[1]].operation == "tokens":
            return graph.nodes[node.arguments[0]].type.shape[-1]
    raise InvalidInput(
        "Expected a network with an embedding, but none is read by the tokens; capture a language model."
    )


def _expect(graph: Graph, samples: Sequence[Sample], p: int, tokens: int, rate: Fraction, rule: Rule) -> None:
    if rule not in RULES:
        raise InvalidInput(f"Expected an optimizer among {', '.join(RULES)}, but got {rule!r}.")
    if not 1 <= p <= LARGEST:
        raise InvalidInput(f"Expected at most {LARGEST} parameters, but got {p}; choose a smaller width.")
    if rate <= 0:
        raise InvalidInput(f"Expected a positive rate, but got {rate}.")
    for sample in samples:
        fits = len(sample.tokens) == graph.length and len(sample.target) == tokens
        if not fits or sum(sample.target) != 1 or min(sample.target) < 0:
            raise InvalidInput(
                "Expected prompts of the captured length and targets on the simplex, but one does not fit."
            )
        if not all(0 <= token < tokens for token in sample.tokens):
            raise InvalidInput(f"Expected token ids below {tokens}, but got {sample.tokens}.")
    if not samples:
        raise InvalidInput("Expected at least one sample, but got none.")
    if not is_analytic(graph):
        raise InvalidInput("Expected a network that is analytic in its parameters, but it is not proved to be.")


def derive_training_step(certificate: Mapping[str, Any]) -> Claim:
    """Computes both determinants again from the graph.

    Raises:
        Rejected, InvalidInput: the rule, the rate, the seed or a sample is missing, or does not fit the graph.
    """
    claim = certificate.get("claim")
    if not isinstance(claim, Mapping) or not same(claim.get("graph"), digest(certificate.get("graph"))):
        raise Rejected("the claim is missing, or names another graph by its digest")
    seed, rule, rate = (certificate.get(name) for name in ("seed", "rule", "rate"))
    if isinstance(seed, bool) or not isinstance(seed, int) or rule not in RULES or not isinstance(rate, str):
        raise Rejected("the rule, the rate or the seed is missing")
    samples = [
        Sample(tuple(entry["tokens"]), tuple(rational(x) for x in entry["target"])) for entry in certificate["samples"]
    ]
    if any(type(token) is not int for sample in samples for token in sample.tokens):
        raise Rejected("a token is no integer")
    graph = well_formed(Graph.from_json(certificate.get("graph")))
    found = prove_step(graph, samples, rule=rule, rate=rational(rate), seed=seed)
    again = found.to_json()
    follows = {
        **again,
        "claim": {**again["claim"], "graph": claim["graph"]},
        "graph": unlabelled(certificate["graph"]),
    }
    expect_claim(claim, follows["claim"])
    reason = "both determinants were computed again"
    return Claim("training-step", found.verdict, again["claim"]["statement"], follows, 2, reason)
