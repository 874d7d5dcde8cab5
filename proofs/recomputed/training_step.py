"""The training step keeps laws absolutely continuous: its Jacobian determinant is certified not to vanish identically.

(arXiv 2510.15511, Theorem 2.3.) The determinant of an optimizer step is an analytic function of the parameters, so
one point at which an enclosure excludes zero shows that it is non-zero almost everywhere. Three points are used: one
drawn from a seed, with second derivatives over balls; zero, with second derivatives in exact algebra, where the closed
form of the paper (and of docs/training-step.md for the other rules) is compared with the exact determinant; and a base
point (`proofs.recomputed.gate`), where the determinant is not zero at the very rates at which it is zero at zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint

from proofs.arithmetic.ball import Balls
from proofs.errors import InvalidInput
from proofs.evidence import SCHEMA
from proofs.kernel.claim import Claim, unlabelled
from proofs.kernel.regularity import is_analytic
from proofs.kernel.result import Rejected, digest, expect_claim, same
from proofs.kernel.wellformed import well_formed
from proofs.network.graph import Graph
from proofs.network.rational import rational
from proofs.recomputed.gate import At, embedding_of, gates
from proofs.recomputed.loss import Dyadics, Sample, Value, mean, of_loss
from proofs.recomputed.optimizers import (
    ADAPTIVE,
    DECAY,
    Rule,
    by_gate,
    clipped,
    closed_form,
    every_mask_passes,
    formula,
    jacobian,
    kept,
    states,
    symbolically,
)
from proofs.recomputed.settled import also_settled, holds_from_zero
from proofs.recomputed.zero_state import from_zero_state
from proofs.verdict import Verdict

RULES: tuple[Rule, ...] = (
    "gd", "weight-decay", "clip-value", "clip-norm", "sign", "heavy-ball", "adam", "adamw",
)  # fmt: skip
BITS = 192
LARGEST = 600  # parameters
MASKS = 8
DIGITS = 30
STATEMENT = (
    "One step of {rule} at rate {rate} on {what} has a Jacobian determinant that does not vanish identically, so it "
    "maps every absolutely continuous law{joint} to an absolutely continuous one."
)
EVERY_RATE = " The same holds for every positive rate{but}."
NOT_SHOWN = (
    "It is not shown that the Jacobian determinant of one step of {rule} at rate {rate} on {what} does not vanish "
    "identically, and nothing of what it does to laws{joint}."
)


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
        """Proved where what `prove_step` computes shows that the determinant does not vanish; undecided otherwise."""
        return Verdict.PROVED if self.claim["non_zero"] else Verdict.UNDECIDED

    def to_json(self, written: Any = None) -> dict[str, Any]:
        """The certificate; `written` stands in it for the graph, if it is given."""
        return {
            "schema": SCHEMA,
            "kind": "training-step",
            "claim": dict(self.claim),
            "rule": self.rule,
            "rate": str(self.rate),
            "seed": self.seed,
            "samples": [sample.to_json() for sample in self.samples],
            "graph": self.graph.to_json() if written is None else written,
        }


def prove_step(
    graph: Graph, samples: Sequence[Sample], *, rule: Rule, rate: Fraction, seed: int, named: str | None = None
) -> TrainingStep:
    """Certifies the determinant of one step, on the first sample alone and on the batch of all.

    Args:
        graph: from ids and parameters to the logits at the last token.
        samples: prompts of the captured length, with rational target distributions.
        rule: the optimizer.
        rate: its step size, positive.
        seed: draws the parameters, the clipping mask and the state before the step.
        named: the digest of the graph as it stands in a file; None to write it.

    Raises:
        InvalidInput: too many parameters, a sample that does not fit, or a rate that is not positive.
        Unsupported: an operation whose derivatives are not known.
    """
    p = sum(kind.size for _, kind in graph.parameters())
    tokens = graph.nodes[graph.output].type.shape[-1]
    _expect(graph, samples, p, tokens, rate, rule)
    batches = {"one sample": samples[:1], "batch": samples}
    claim: dict[str, Any] = {"rule": rule, "rate": str(rate), "parameters": p, "bits": BITS}
    found: list[bool] = []
    with Balls(BITS) as balls:
        each = [of_loss(graph, sample, balls, _drawn(seed)) for sample in samples]
        for name, batch in batches.items():
            gradient, second = mean(each[: len(batch)], balls)
            rows = jacobian(rule, second, gradient, rate=rate, draws=Dyadics(seed + 1).unit, base=balls)
            determinant = without_state(rows, p)
            everywhere = closed_form(rule, parameters=p, rate=rate)
            agrees = everywhere is None or bool(determinant.overlaps(balls.number(everywhere)))
            found.append(not determinant.contains(0) and agrees)
            claim[name] = _stated(determinant)
            if rule == "clip-norm":
                parts = [_clipped_determinant(second, gradient, rate, sign, balls) for sign in (1, -1)]
                found.append(all(not part.contains(0) for part in parts))
                claim[name]["clipped"] = [_stated(part) for part in parts]
    zero, base = (gates(graph, samples, tokens, row) for row in (None, _row(graph, seed)))
    claim["at_zero"], at_zero = _at_zero(zero, base, samples, rule, rate, p, holds_from_zero(rule, graph))
    claim["at_base"], at_base = _at_base(base, rule, rate, p)
    claim["symbolic"] = symbolically(rule, tokens)
    settled = at_zero is not False if rule != "clip-value" else at_zero is True or at_base is True
    claim["non_zero"] = all(found) and settled and claim["symbolic"]
    claim["every_rate"] = claim["non_zero"] and _every_rate(rule, zero, base)
    claim["follows"], claim["open"] = _related(rule, graph, zero, base) if claim["non_zero"] else ([], [])
    claim["graph"] = digest(graph.to_json()) if named is None else named
    joint = " of parameters and state" if states(rule) > 1 else ""
    joint += " with positive second moments" if rule in ADAPTIVE else ""
    what = f"a network of {p} parameters, on one sample and on a batch of {len(samples)},"
    claim["samples"] = digest([sample.to_json() for sample in samples])
    words = STATEMENT if claim["non_zero"] else NOT_SHOWN
    if claim["every_rate"]:
        words += EVERY_RATE.format(but=f" but {1 / DECAY}" if kept(rule, rate) != 1 else "")
    claim["statement"] = words.format(rule=rule, rate=rate, what=what, joint=joint)
    return TrainingStep(graph, tuple(samples), rule, rate, seed, claim)


def without_state(rows: list[list[Any]], p: int) -> Any:
    """The determinant of a Jacobian in balls: det [[A, B], [C, D]] = det D det (A - B D^-1 C), as D is diagonal.

    Args:
        rows: those of the p parameters first, then those of the state, whose own block is diagonal.
        p: number of parameters.
    """
    top, scale = [row[:p] for row in rows[:p]], flint.arb(1)
    for place, row in enumerate(rows[p:], p):
        scale = scale * row[place]
        for i, entries in enumerate(top):
            if rows[i][place] != 0:
                factor = rows[i][place] / row[place]
                top[i] = [x - factor * y for x, y in zip(entries, row, strict=False)]
    return scale * flint.arb_mat(top).det()


def _stated(ball: Any) -> dict[str, str]:
    """A decimal number, and a radius around it that holds the ball: what the decimal leaves off lies within it too."""
    midpoint = ball.mid().str(DIGITS, radius=False)
    radius = abs(ball - flint.arb(midpoint)).upper() * (1 + 2.0**-10)  # more than is lost with all but five digits
    return {"midpoint": midpoint, "radius": radius.upper().str(5, radius=False)}


def _drawn(seed: int) -> Value:
    """Parameters drawn from a seed, in their order."""
    draws = Dyadics(seed)
    return lambda name, place: draws.centred()


def _row(graph: Graph, seed: int) -> list[Fraction]:
    """The embedding row of a base point."""
    draws = Dyadics(seed)
    return [draws.centred() for _ in range(embedding_of(graph).type.shape[-1])]


def _related(rule: Rule, graph: Graph, zero: Mapping[str, At], base: Mapping[str, At]) -> tuple[list[Any], list[Any]]:
    follows, left = also_settled(rule, graph, [(at.gate, base[name].gate) for name, at in zero.items()])
    return [line.to_json() for line in follows], [line.to_json() for line in left]


def _clipped_determinant(second: Any, gradient: Any, rate: Fraction, sign: int, balls: Balls) -> Any:
    return flint.arb_mat(clipped(second, gradient, rate=rate, sign=sign, base=balls)).det()


def _at_zero(
    zero: Mapping[str, At],
    base: Mapping[str, At],
    samples: Sequence[Sample],
    rule: Rule,
    rate: Fraction,
    p: int,
    from_zero: bool,
) -> tuple[dict[str, Any], bool | None]:
    """The exact determinant at zero parameters against the closed form, and whether both agree.

    Agreement is enough: where both are zero, another point has to serve. For clipping by value, whose determinants
    have a bound in place of a closed form, it is also asked that none is zero, whatever the mask. Nothing is
    said of steps from zero state unless the theorem about them applies (`from_zero`).
    """
    results: dict[str, Any] = {}
    good = True
    for name, at in zero.items():
        if at.gate is None:
            return {"reason": "the second derivatives at zero are not those of the gate lemma"}, None
        layer_norm, square = at.gate.norm == "LayerNorm", at.square
        expected = by_gate(rule, parameters=p, strengths=at.gate.strengths, square=square, rate=rate)
        matrix = [[entry.rational or flint.fmpq(0) for entry in row] for row in at.second]
        exact = _exact_determinants(rule, matrix, rate)
        lowest = (1 - rate**2 * square) ** len(at.gate.squares) if layer_norm else Fraction(1)
        agrees = all(value == expected for value in exact) if rule != "clip-value" else min(exact) >= lowest
        if rule == "clip-value":  # the least over all masks, by the block formula, is this bound
            agrees = agrees and (not layer_norm or rate**2 * square < 1)
        good = good and agrees
        results[name] = {
            "w_squared": str(square), "closed_form": None if expected is None else str(expected), "agrees": agrees,
            "formula": formula(rule, layer_norm=layer_norm), "final_norm": at.gate.norm,
            "vanishes": any(value == 0 for value in exact), "determinants": len(exact),
            "from_zero_state": from_zero_state(
                rule, matrix, rate=rate, square=square, zero=at.gate, base=base[name].gate,
            ) if from_zero else [],
        }  # fmt: skip
    return results, good


def _at_base(base: Mapping[str, At], rule: Rule, rate: Fraction, p: int) -> tuple[dict[str, Any], bool | None]:
    """The determinant at the base point by the gate lemma, and whether it is non-zero, for clipping for every mask."""
    results: dict[str, Any] = {}
    good = True
    for name, at in base.items():
        if at.gate is None:
            return {"reason": "the second derivatives at the base point are not those of the gate lemma"}, None
        strengths, shift = at.gate.strengths, at.gate.norm == "LayerNorm"
        value = by_gate(rule, parameters=p, strengths=strengths, square=at.square, rate=rate)
        passes = value != 0 if rule != "clip-value" else every_mask_passes(at.w, strengths, rate, shift=shift)
        good = good and passes
        results[name] = {
            "row": [str(x) for x in at.row or ()], "final_norm": at.gate.norm,
            "normalised_squares": [str(x) for x in at.gate.squares],
            "closed_form": None if value is None or states(rule) > 1 or rule == "sign" else str(value),
            "non_zero": passes,
        }  # fmt: skip
    return results, good


def _every_rate(rule: Rule, zero: Mapping[str, At], base: Mapping[str, At]) -> bool:
    """Whether one of the two points serves, whatever the rate (but 1 / decay): their determinants have no common zero.

    Either vanishes where eta^2 |w|^2 s = c^2 for one of its own strengths s other than 0, and nowhere else.
    """
    if rule not in ("gd", "weight-decay"):
        return False
    gates = [(zero[name].gate, base[name].gate) for name in zero]
    return all(
        at_zero is not None
        and (not any(at_zero.strengths) or (at_base is not None and not _shared(at_zero.strengths, at_base.strengths)))
        for at_zero, at_base in gates
    )


def _shared(first: Sequence[Fraction], second: Sequence[Fraction]) -> set[Fraction]:
    """The numbers other than 0 that are in both."""
    return {*first} & {*second} - {Fraction(0)}


def _exact_determinants(rule: Rule, matrix: Any, rate: Fraction) -> list[Fraction]:
    """det of the Jacobian at zero, exactly; for clipping one for each of several masks; none for rules with state."""
    if states(rule) > 1:
        return []
    draws = Dyadics(0)
    base = _Rationals()
    zero = [flint.fmpq(0)] * len(matrix)
    found: list[Fraction] = []
    for _ in range(MASKS if rule == "clip-value" else 1):
        rows = jacobian(rule, matrix, zero, rate=rate, draws=draws.unit, base=base)
        value = flint.fmpq_mat(rows).det()
        found.append(Fraction(int(value.p), int(value.q)))
    return found


class _Rationals:
    """Exact rationals, as far as a Jacobian needs them."""

    def number(self, value: Any) -> Any:
        """A rational."""
        fraction = Fraction(value)
        return flint.fmpq(fraction.numerator, fraction.denominator)


def _expect(graph: Graph, samples: Sequence[Sample], p: int, tokens: int, rate: Fraction, rule: Rule) -> None:
    if rule not in RULES:
        raise InvalidInput(f"Expected an optimizer among {', '.join(RULES)}, but got {rule!r}; choose of them.")
    if not 1 <= p <= LARGEST:
        raise InvalidInput(f"Expected at most {LARGEST} parameters, but got {p}; choose a smaller width.")
    if rate <= 0:
        raise InvalidInput(f"Expected a positive rate, but got {rate}; raise it.")
    for sample in samples:
        fits = len(sample.tokens) == graph.length and len(sample.target) == tokens
        if not fits or sum(sample.target) != 1 or min(sample.target) < 0:
            raise InvalidInput(
                f"Expected prompts of {graph.length} tokens, as captured, and targets on the simplex, but one does not "
                "fit; correct it."
            )
        if not all(0 <= token < tokens for token in sample.tokens):
            raise InvalidInput(f"Expected token ids below {tokens}, but got {sample.tokens}; correct them.")
    if not samples:
        raise InvalidInput("Expected at least one sample, but got none; give one.")
    if not is_analytic(graph):
        raise InvalidInput(
            "Expected a network that is analytic in its parameters, but it is not proved to be; take a smooth "
            "activation."
        )


def derive_training_step(certificate: Mapping[str, Any]) -> Claim:
    """Computes the whole claim again from the graph, for one sample and for the batch.

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
    found = prove_step(graph, samples, rule=rule, rate=rational(rate), seed=seed, named=claim["graph"])
    follows = found.to_json(unlabelled(certificate["graph"]))
    expect_claim(claim, follows["claim"])
    reason = "both determinants were computed again"
    return Claim("training-step", found.verdict, found.claim["statement"], follows, 2, reason)
