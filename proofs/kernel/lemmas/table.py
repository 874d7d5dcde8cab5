"""The table: one lemma for every operation. An unknown operation establishes nothing."""

from collections.abc import Mapping
from fractions import Fraction

from proofs.arithmetic.bounds import Interval
from proofs.kernel.lemmas.algebra import binary, divided, indexed, leaf, matmul, moved, reduced, scattered, selected
from proofs.kernel.lemmas.functions import (
    absolute,
    analytic,
    clamp,
    compared,
    converted,
    elu,
    exp,
    exponential,
    extreme,
    floor,
    gate,
    largest,
    leaky_relu,
    log,
    logical,
    negated,
    odd,
    partial_sums,
    power,
    relu,
    softplus,
    square_root,
    top,
    whole,
)
from proofs.kernel.lemmas.instance import LARGEST_MASK, ONE, OPEN, UNIT, ZERO, Instance, Line, Rule
from proofs.kernel.lemmas.rows import layer_norm, log_sum_exp, softmax

MASKED = {
    "exp", "reshape", "permute", "expand", "slice", "concatenate", "select", "add", "subtract", "softmax",
    "log_sum_exp", "maximum", "largest",
}  # fmt: skip


LEMMAS: Mapping[str, Rule] = {
    **dict.fromkeys(("tokens", "parameter", "constant"), leaf),
    **dict.fromkeys(("reshape", "permute", "expand", "slice", "concatenate"), moved),
    **dict.fromkeys(("take", "gather"), indexed),
    **dict.fromkeys(("add", "subtract", "multiply"), binary),
    **dict.fromkeys(("sum", "mean"), reduced),
    **dict.fromkeys(("greater", "at_most", "equal"), compared),
    **dict.fromkeys(("both", "either", "opposite"), logical),
    **dict.fromkeys(("as_real", "as_integer"), converted),
    **dict.fromkeys(("whole_quotient", "remainder"), whole),
    **dict.fromkeys(("maximum", "minimum"), extreme),
    **dict.fromkeys(("top_values", "top_indices"), top),
    **dict.fromkeys(("tanh", "erf"), analytic(odd)),
    **dict.fromkeys(("sin", "cos"), analytic(lambda x: UNIT)),
    **dict.fromkeys(("gelu", "tanh_gelu"), analytic(gate(Fraction(-1, 5)))),
    "silu": analytic(gate(Fraction(-3, 10))), "mish": analytic(gate(Fraction(-1, 3))),
    "exp": exponential, "expm1": analytic(lambda x: exp(x) - Interval.point(1)),
    "sigmoid": analytic(lambda x: Interval(ZERO, True, ONE, True)),
    "log": analytic(log, ZERO), "log1p": analytic(lambda x: log(x + Interval.point(1)), -ONE),
    "rsqrt": analytic(lambda x: Interval(ZERO, x.positive), ZERO), "sqrt": square_root, "softplus": softplus,
    "select": selected, "scatter": scattered, "softmax": softmax, "log_sum_exp": log_sum_exp,
    "layer_norm": layer_norm,
    "divide": divided, "matmul": matmul, "negate": negated, "power": power, "cumulative_sum": partial_sums,
    "relu": relu, "absolute": absolute, "leaky_relu": leaky_relu, "elu": elu, "clamp": clamp, "largest": largest,
    "floor": floor,
}  # fmt: skip


def establish(step: Instance) -> Line:
    """What the lemma of a node's operation gives; nothing for an unknown one, or where a mask reaches it."""
    if step.node.operation not in LEMMAS:
        return OPEN
    masked = any(line.mask is not None for line in step.lines)
    if masked and (step.node.operation not in MASKED or step.node.type.size > LARGEST_MASK):
        return OPEN
    return LEMMAS[step.node.operation](step)
