"""Operations that act entry by entry: an entry of the result is made of the entries at its place, and of no others.

The kernel has a list of its own (`proofs.kernel.value_numbering.rules`), since what checks imports nothing from here; a
test compares the two.
"""

# What makes whole numbers of reals, and computes with them.
WHOLE = frozenset({"floor", "as_real", "as_integer", "whole_quotient", "remainder"})
ENTRYWISE = WHOLE | {
    "add", "subtract", "multiply", "divide", "negate", "power", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh",
    "erf", "sigmoid", "softplus", "rsqrt", "sqrt", "silu", "gelu", "tanh_gelu", "mish", "relu", "absolute", "clamp",
    "maximum", "minimum", "leaky_relu", "elu", "greater", "at_most", "equal", "both", "either", "opposite", "select",
}  # fmt: skip
