"""Rules of `numerics.graphs.lowering` for arithmetic, elementary functions and decisions."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from numerics.graphs.builder import Builder, Rule, Term, Value
from numerics.graphs.operators.structure import attribute, real, reshape, tensor, transposed
from numerics.graphs.operators.whole_numbers import is_narrow

Arguments = Sequence[Any]
Keywords = dict[str, Any]
USUAL_THRESHOLD = 20  # beyond which softplus is x; there both are one number in float32


def _operand(b: Builder, value: Any, result: Any) -> Value:
    return real(b, value) if result.is_floating_point() else _integer(b, tensor(b, value, "integer"))


def _integer(b: Builder, value: Value) -> Value:
    if b.type(value).kind != "boolean":
        return value
    return value.long() if isinstance(value, torch.Tensor) else b.emit("as_integer", (value,))


def _binary(operation: str) -> Rule:
    def rule(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
        if value.dtype == torch.bool or k.get("rounding_mode") is not None or is_narrow(b, value.dtype):
            return NotImplemented
        first, second = _operand(b, a[0], value), _operand(b, a[1], value)
        if k.get("alpha", 1) != 1:
            second = b.emit("multiply", (second, _operand(b, k["alpha"], value)))
        return b.emit(operation, (first, second))

    return rule


def _subtract_from(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return _binary("subtract")(b, value, (a[1], a[0]), {}) if k.get("alpha", 1) == 1 else NotImplemented


def _divide(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    if value.is_floating_point():
        under = _under_mask(b, a[0])
        scale = a[1].item() if isinstance(a[1], torch.Tensor) and a[1].numel() == 1 else a[1]
        if under is not None and isinstance(scale, int | float) and scale > 0:  # (x + mask) / c = x / c + mask
            part = _binary("divide")(b, value, (under[0], a[1]), k)
            return part if part is NotImplemented else b.emit("add", (part, under[1]))
        return _binary("divide")(b, value, a, k)
    by = a[1].item() if isinstance(a[1], torch.Tensor) and a[1].numel() == 1 else a[1]
    if k.get("rounding_mode") == "floor" and isinstance(by, int) and by > 0:
        return b.emit("whole_quotient", (a[0],), by=by)
    return NotImplemented


def _under_mask(b: Builder, x: Value) -> tuple[Value, Value] | None:
    """y and a mask of 0 and -inf where x is their sum."""
    node = b.nodes[x.node] if isinstance(x, Term) else None
    if node is None or node.operation != "add":
        return None
    mask = b.nodes[node.arguments[1]]
    number = mask.attributes.get("value")
    if mask.operation != "constant" or not isinstance(number, int):
        return None
    fits = all(v in (0, float("-inf")) for v in b.constants[number].values)
    return (Term(node.arguments[0]), Term(node.arguments[1])) if fits else None


def _floor_divide(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return _divide(b, value, a, {"rounding_mode": "floor"})


def _remainder(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    by = a[1].item() if isinstance(a[1], torch.Tensor) and a[1].numel() == 1 else a[1]
    if value.is_floating_point() or not isinstance(by, int) or by <= 0:
        return NotImplemented
    return b.emit("remainder", (a[0],), by=by)


def _power(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    if not value.is_floating_point():
        return NotImplemented
    if isinstance(a[1], int | float):
        return power(b, real(b, a[0]), a[1])
    base, exponent = real(b, a[0]), real(b, a[1])
    if isinstance(base, torch.Tensor) and bool((base > 0).all()):
        return b.emit("exp", (b.emit("multiply", (exponent, b.emit("log", (base,)))),))
    return NotImplemented


def power(b: Builder, x: Value, exponent: float) -> Any:
    """x to a number: whole powers are polynomial, halves are roots, the rest goes through exp and log."""
    if exponent == int(exponent) and 0 <= exponent <= 64:
        return b.emit("power", (x,), exponent=int(exponent))
    if exponent in (0.5, -0.5):
        return b.emit("sqrt" if exponent > 0 else "rsqrt", (x,))
    if exponent == int(exponent) and -64 <= exponent < 0:
        return b.emit("divide", (tensor(b, 1.0), b.emit("power", (x,), exponent=-int(exponent))))
    return b.emit("exp", (b.emit("multiply", (tensor(b, float(exponent)), b.emit("log", (x,)))),))


def _unary(operation: str, **attributes: Any) -> Rule:
    def rule(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
        return b.emit(operation, (real(b, a[0]),), **attributes) if value.is_floating_point() else NotImplemented

    return rule


def _sigmoid(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """Of values scattered onto -inf it is their sigmoids scattered onto 0: sigmoid(-inf) = 0."""
    x = b.nodes[a[0].node] if isinstance(a[0], Term) else None
    base = b.nodes[x.arguments[0]].attributes.get("value") if x is not None and x.operation == "scatter" else None
    if x is None or not isinstance(base, int) or any(v != float("-inf") for v in b.constants[base].values):
        return _unary("sigmoid")(b, value, a, k)
    index, values = (Term(i) for i in x.arguments[1:])
    zeros = torch.zeros(x.type.shape, dtype=torch.float64)
    return b.emit("scatter", (zeros, index, b.emit("sigmoid", (values,))), **x.attributes)


def _reciprocal(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("divide", (tensor(b, 1.0), real(b, a[0])))


def _square(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("power", (real(b, a[0]),), exponent=2)


def _matmul(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    if not value.is_floating_point():
        return NotImplemented
    return matmul(b, real(b, a[0]), real(b, a[1]), value.shape)


def matmul(b: Builder, x: Value, y: Value, shape: Sequence[int]) -> Value:
    """x y, vectors being rows on the left and columns on the right."""
    first, second = b.type(x).shape, b.type(y).shape
    x = reshape(b, x, (1, *first)) if len(first) == 1 else x
    y = reshape(b, y, (*second, 1)) if len(second) == 1 else y
    return reshape(b, b.emit("matmul", (x, y)), shape)


def _linear(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    product = matmul(b, a[0], transposed(b, a[1]), value.shape)
    return b.emit("add", (product, a[2])) if len(a) > 2 and a[2] is not None else product


def _add_product(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """beta c + alpha x y."""
    product = matmul(b, a[1], a[2], value.shape)
    if k.get("alpha", 1) != 1:
        product = b.emit("multiply", (product, tensor(b, float(k["alpha"]))))
    if k.get("beta", 1) == 0:
        return product
    added = a[0] if k.get("beta", 1) == 1 else b.emit("multiply", (a[0], tensor(b, float(k["beta"]))))
    return b.emit("add", (added, product))


def _axes(b: Builder, x: Value, axes: Any) -> tuple[int, ...]:
    rank = len(b.type(x).shape)
    given = range(rank) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
    return tuple(sorted(axis + rank if axis < 0 else axis for axis in given))


def _reduction(operation: str) -> Rule:
    def rule(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
        x = real(b, a[0]) if value.is_floating_point() else _integer(b, a[0])
        keep = bool(a[2] if len(a) > 2 else k.get("keepdim", False))
        axes = _axes(b, x, a[1] if len(a) > 1 else k.get("dim"))
        return NotImplemented if is_narrow(b, value.dtype) else b.emit(operation, (x,), axes=axes, keep=keep)

    return rule


def _variance(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """The sum of squared deviations over n - correction, or over 0 where that is less."""
    keep = bool(k.get("keepdim", False))
    axes = _axes(b, a[0], a[1] if len(a) > 1 else k.get("dim"))
    count = math.prod(b.type(a[0]).shape[axis] for axis in axes)
    correction = k.get("correction", 1)
    correction = 1 if correction is None else correction
    centred = b.emit("subtract", (a[0], b.emit("mean", (a[0],), axes=axes, keep=True)))
    squares = b.emit("sum", (b.emit("power", (centred,), exponent=2),), axes=axes, keep=keep)
    return b.emit("divide", (squares, tensor(b, float(max(count - correction, 0)))))


def _variance_and_mean(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axes = _axes(b, a[0], a[1] if len(a) > 1 else k.get("dim"))
    return [_variance(b, value[0], a, k), b.emit("mean", (a[0],), axes=axes, keep=bool(k.get("keepdim", False)))]


def _vector_norm(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    order = a[1] if len(a) > 1 else k.get("ord", 2)
    if order != 2:
        return NotImplemented
    axes = _axes(b, a[0], a[2] if len(a) > 2 else k.get("dim"))
    keep = bool(a[3] if len(a) > 3 else k.get("keepdim", False))
    squares = b.emit("sum", (b.emit("power", (a[0],), exponent=2),), axes=axes, keep=keep)
    return b.emit("sqrt", (squares,))


def _log_sum_exp(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axes = _axes(b, a[0], a[1])
    return NotImplemented if len(axes) != 1 else reshape(b, b.emit("log_sum_exp", (a[0],), axis=axes[0]), value.shape)


def _gelu(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("tanh_gelu" if k.get("approximate", "none") == "tanh" else "gelu", (a[0],))


def _softplus(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """log(1 + e^(beta x)) / beta; a threshold below the usual one is seen in what is computed, as a jump."""
    if (a[2] if len(a) > 2 else k.get("threshold", USUAL_THRESHOLD)) < USUAL_THRESHOLD:
        return NotImplemented
    b.idealisations.add("softplus is log(1 + e^x) everywhere; the library switches to x above a threshold")
    return b.emit("softplus", (a[0],), beta=Fraction(a[1] if len(a) > 1 else k.get("beta", 1)))


def _log_sigmoid(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    term = b.emit("negate", (b.emit("softplus", (b.emit("negate", (a[0],)),), beta=Fraction(1)),))
    return [term, None] if isinstance(value, list | tuple) else term


def _clamp(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    low, high = [*a[1:3], None, None][:2]
    low, high = k.get("min", low), k.get("max", high)
    if not value.is_floating_point():
        return NotImplemented
    if any(isinstance(v, Term | torch.Tensor) for v in (low, high)):  # limits entry by entry
        x = a[0]
        for limit, operation in ((low, "maximum"), (high, "minimum")):
            x = x if limit is None else b.emit(operation, (x, real(b, limit)))
        return x
    low, high = (None if v == end else v for v, end in ((low, -math.inf), (high, math.inf)))
    return b.emit("clamp", (a[0],), low=attribute(low), high=attribute(high))


def _clamp_min(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return _clamp(b, value, (a[0], a[1], None), {})


def _hard_sigmoid(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    inner = b.emit("clamp", (b.emit("add", (a[0], tensor(b, 3.0))),), low=Fraction(0), high=Fraction(6))
    return b.emit("divide", (inner, tensor(b, 6.0)))


def _hard_swish(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("multiply", (a[0], _hard_sigmoid(b, value, a, k)))


def _leaky(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("leaky_relu", (a[0],), slope=Fraction(a[1] if len(a) > 1 else k.get("negative_slope", 0.01)))


def _elu(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    alpha, scale, slope = [*a[1:4], 1, 1, 1][:3] if len(a) > 3 else ([*a[1:], *[1] * (4 - len(a))])
    if scale != 1 or slope != 1:
        return NotImplemented
    return b.emit("elu", (a[0],), scale=Fraction(alpha))


def _largest(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axes = _axes(b, a[0], a[1] if len(a) > 1 else k.get("dim"))
    if not value.is_floating_point() or len(axes) != 1:
        return NotImplemented
    return b.emit("largest", (a[0],), axes=axes, keep=bool(a[2] if len(a) > 2 else k.get("keepdim", False)))


def _max(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    if not isinstance(value, list | tuple) or not value[0].is_floating_point():
        return NotImplemented
    axis = _axes(b, a[0], a[1])[0]
    keep = bool(a[2] if len(a) > 2 else k.get("keepdim", False))
    place = b.emit("top_indices", (a[0],), axis=axis, count=1)
    return [b.emit("largest", (a[0],), axes=(axis,), keep=keep), reshape(b, place, value[1].shape)]


def _argmax(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    if len(a) < 2 or a[1] is None:
        return NotImplemented
    return reshape(b, b.emit("top_indices", (a[0],), axis=_axes(b, a[0], a[1])[0], count=1), value.shape)


def _top_k(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axis = _axes(b, a[0], a[2] if len(a) > 2 else k.get("dim", -1))[0]
    largest = a[3] if len(a) > 3 else k.get("largest", True)
    if not largest or not value[0].is_floating_point():
        return NotImplemented
    if b.type(a[0]).shape[axis] == 1:  # one entry to choose from
        return [a[0], torch.zeros(value[1].shape, dtype=torch.int64)]
    b.idealisations.add("top-k returns its choice in descending order, ties to the smaller index")
    return [b.emit(name, (a[0],), axis=axis, count=a[1]) for name in ("top_values", "top_indices")]


def _sort(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    axis = _axes(b, a[0], a[1] if len(a) > 1 else k.get("dim", -1))[0]
    if not (a[2] if len(a) > 2 else k.get("descending", False)) or not value[0].is_floating_point():
        return NotImplemented
    return [b.emit(name, (a[0],), axis=axis, count=value[0].shape[axis]) for name in ("top_values", "top_indices")]


def _comparison(operation: str, *, swap: bool) -> Rule:
    def rule(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
        operands = [v for v in a[:2] if isinstance(v, Term | torch.Tensor)]
        if any(b.type(v).kind == "real" for v in operands) or any(isinstance(v, float) for v in a[:2]):
            pair = [real(b, v) for v in a[:2]]
        else:
            pair = [_integer(b, tensor(b, v, "integer")) for v in a[:2]]
        return b.emit(operation, pair[::-1] if swap else pair)

    return rule


def _different(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("opposite", (_comparison("equal", swap=False)(b, value, a, k),))


def _logical(operation: str) -> Rule:
    def rule(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
        operands = [torch.tensor(v) if isinstance(v, bool) else v for v in a]
        if any(b.type(v).kind != "boolean" for v in operands):
            return NotImplemented
        return b.emit(operation, operands)

    return rule


def _floor(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    return b.emit("as_real", (b.emit("floor", (a[0],)),))


def _round(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    if k.get("decimals", 0):
        return NotImplemented
    b.idealisations.add("rounding takes halves up; the library takes them to the even neighbour")
    return b.emit("as_real", (b.emit("floor", (b.emit("add", (a[0], tensor(b, 0.5))),)),))


def _partial_sums(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    x = real(b, a[0]) if value.is_floating_point() else _integer(b, a[0])
    return NotImplemented if is_narrow(b, value.dtype) else b.emit("cumulative_sum", (x,), axis=_axes(b, x, a[1])[0])


ALGEBRA: dict[str, Rule] = {
    "add": _binary("add"), "sub": _binary("subtract"), "mul": _binary("multiply"), "rsub": _subtract_from,
    "div": _divide, "floor_divide": _floor_divide, "remainder": _remainder, "pow": _power, "neg": _unary("negate"),
    "square": _square, "reciprocal": _reciprocal, "mm": _matmul, "bmm": _matmul, "matmul": _matmul, "mv": _matmul,
    "dot": _matmul, "linear": _linear, "addmm": _add_product, "baddbmm": _add_product, "sum": _reduction("sum"),
    "mean": _reduction("mean"), "var": _variance, "var_mean": _variance_and_mean, "cumsum": _partial_sums,
    "linalg_vector_norm": _vector_norm, "logsumexp": _log_sum_exp,

    "gelu": _gelu, "softplus": _softplus,
    "log_sigmoid_forward": _log_sigmoid, "log_sigmoid": _log_sigmoid, "clamp": _clamp, "clamp_min": _clamp_min,
    "hardtanh": lambda b, v, a, k: _clamp(b, v, (*a, *(-1.0, 1.0)[len(a) - 1 :]), {}),
    "relu6": lambda b, v, a, k: _clamp(b, v, (a[0], 0.0, 6.0), {}),
    "hardsigmoid": _hard_sigmoid, "hardswish": _hard_swish, "leaky_relu": _leaky, "elu": _elu,
    "maximum": _binary("maximum"), "minimum": _binary("minimum"), "amax": _largest, "max": _max, "argmax": _argmax,
    "topk": _top_k, "sort": _sort, "gt": _comparison("greater", swap=False), "lt": _comparison("greater", swap=True),
    "le": _comparison("at_most", swap=False), "ge": _comparison("at_most", swap=True),
    "eq": _comparison("equal", swap=False), "ne": _different, "logical_and": _logical("both"),
    "bitwise_and": _logical("both"), "logical_or": _logical("either"), "bitwise_or": _logical("either"),
    "logical_not": _logical("opposite"), "bitwise_not": _logical("opposite"), "floor": _floor, "round": _round,
    "abs": _unary("absolute"), "relu": _unary("relu"), "tanh": _unary("tanh"), "sigmoid": _sigmoid,
    "silu": _unary("silu"), "mish": _unary("mish"), "erf": _unary("erf"), "exp": _unary("exp"),
    "expm1": _unary("expm1"), "log": _unary("log"), "log1p": _unary("log1p"), "sqrt": _unary("sqrt"),
    "rsqrt": _unary("rsqrt"), "sin": _unary("sin"), "cos": _unary("cos"),
}  # fmt: skip
