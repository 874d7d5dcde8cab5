"""What else holds of an optimizer once its step is certified: at every rate, for many steps, from zero state.

Each line is an instance of a theorem of docs/training-step.md; what the theorem asks of the network is checked on the
graph, and a line whose hypothesis is not shown stays open, with the reason.
"""

from dataclasses import dataclass

from proofs.kernel.lemmas.instance import OPEN, Instance, Line
from proofs.kernel.lemmas.table import establish
from proofs.kernel.lines import class_of
from proofs.kernel.patterns import rows_are_free
from proofs.network.graph import Graph
from proofs.recomputed.gate import Gate, norms_rows, reads_out
from proofs.recomputed.optimizers import ADAPTIVE, Rule
from proofs.regularity import ANALYTIC, CONSTANT
from proofs.verdict import Verdict

ROOTS = ("sqrt", "rsqrt", "layer_norm")
LOGARITHMS = ("softplus", "log", "log1p", "log_sum_exp")
NO_ROOTS = "the network is not shown to be made of entire functions, quotients and roots that stay real"
NO_ROWS = "the final norm is not shown to be of the tokens' rows themselves where all other parameters are 0"
NO_GATE = "logits or second derivatives at zero and at a base point are not shown to be those of the gate lemma"


@dataclass(frozen=True, slots=True)
class Related:
    """A statement beside the one that is certified."""

    statement: str
    verdict: Verdict
    reason: str

    def to_json(self) -> dict[str, str]:
        """As an entry of a record."""
        return {"statement": self.statement, "verdict": self.verdict.value, "reason": self.reason}


def also_settled(
    rule: Rule, graph: Graph, gates: list[tuple[Gate | None, Gate | None]]
) -> tuple[list[Related], list[Related]]:
    """What follows for the rule, and what stays open.

    Args:
        rule: an optimizer whose step is certified.
        graph: the network up to its logits.
        gates: the forms of the second derivatives at zero, where x^ is 0, and at the base point, where no entry of it
            may be, so that it is generic; of one sample and of the batch.
    """
    if rule not in _FOLLOWS:
        return [], []
    known = [zero for zero, base in gates if zero is not None and base is not None and all(base.squares)]
    norms = {gate.norm for gate in known}
    adaptive = rule in ADAPTIVE
    if len(norms) != 1 or len(known) < len(gates) or not (reads_out(graph) and rows_are_free(graph)):
        return [], [_open(rule, NO_GATE)]
    if (adaptive or (rule == "clip-norm" and norms == {"LayerNorm"})) and not norms_rows(graph):
        return [], [_open(rule, NO_ROWS)]
    if adaptive and not real_for_every_sign(graph):
        return [], [_open(rule, NO_ROOTS)]
    (norm,) = norms
    if not adaptive or norm == "RMSNorm":
        return [_follows(rule, norm)], []
    return ([_follows(rule, norm)] if len(known[0].squares) > 2 else []), [_batches(rule)]


def holds_from_zero(rule: Rule, graph: Graph) -> bool:
    """Whether a recursion at zero says something of steps from zero state: of Adam only where its theorem is met."""
    if rule not in ADAPTIVE:
        return True
    return reads_out(graph) and rows_are_free(graph) and norms_rows(graph) and real_for_every_sign(graph)


def real_for_every_sign(graph: Graph) -> bool:
    """Whether all values stay real, and all denominators non-zero, whichever sign every root is given.

    Then, over real parameters, each branch of the map is real-analytic. Made of entire functions, quotients and roots;
    no logarithm, which has more branches than two.
    """

    def rule(at: Instance) -> Line | None:
        if at.worst == CONSTANT:
            return None
        if at.node.operation in LOGARITHMS:
            return OPEN
        return Line(establish(at).regularity) if at.node.operation in ROOTS else None

    found = class_of(graph, rule)
    return found is not None and found <= ANALYTIC


_STEPS = "any number of steps from zero state at any positive rates"
_FOLLOWS: dict[Rule, str] = {
    "clip-norm": "Gradient steps clipped by the global norm, any number of them at any positive rates and thresholds",
    "heavy-ball": "Heavy ball, any number of steps from zero momentum at every positive rate",
    "adam": f"Adam with sqrt(v) + epsilon, {_STEPS}",
    "adamw": f"AdamW with sqrt(v) + epsilon, {_STEPS} below 1 / decay",
}
_KEEP = "keep laws absolutely continuous"
_ON = {"LayerNorm": "on one logit vector a step", "RMSNorm": "on any batches"}
_READ = "logits and second derivatives are those of the gate lemma, read off the graph"
_SHOWN = {
    "clip-norm": f"{_READ}; docs/training-step.md, Clipping by the global norm (w is not 0 for the batch of any step)",
    "heavy-ball": f"{_READ}; docs/training-step.md, No rate is exceptional",
    "adam": f"{_READ}, and all values stay real for every sign of every root; docs/training-step.md, Adam",
}


def _follows(rule: Rule, norm: str) -> Related:
    adaptive = rule in ADAPTIVE
    statement = f"{_FOLLOWS[rule]}, {_ON[norm]}, {_KEEP}." if adaptive else f"{_FOLLOWS[rule]}, {_KEEP}."
    return Related(statement, Verdict.PROVED, _SHOWN["adam" if adaptive else rule])


def _batches(rule: Rule) -> Related:
    """Where the roots of the final norm may have other signs from sample to sample."""
    reason = "settled at rates where the recursion at zero is not singular; for 1 to 3 equal steps at_zero says so"
    return Related(f"{_FOLLOWS[rule]}, on batches of several logit vectors, {_KEEP}.", Verdict.UNDECIDED, reason)


def _open(rule: Rule, reason: str) -> Related:
    return Related(f"{_FOLLOWS[rule]}, {_KEEP}.", Verdict.UNDECIDED, reason)
