"""Rules of `numerics.graphs.lowering` for what a layer is made of: softmax, norms, attention, convolution."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from numerics.graphs.builder import Builder, Rule, Value
from numerics.graphs.operators.structure import attribute, concatenate, cut, real, reshape, tensor, transposed

Arguments = Sequence[Any]
Keywords = dict[str, Any]


def _softmax(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    x = real(b, a[0])
    return b.emit("softmax", (x,), axis=a[1] % len(b.type(x).shape))


def _layer_norm(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    weight, bias = ([*a[2:4], None, None])[:2]
    epsilon = a[4] if len(a) > 4 else k.get("eps", 1e-5)
    x = a[0]
    if weight is None and bias is not None:
        return NotImplemented
    scales = [v for v in (weight, bias) if v is not None]
    return b.emit("layer_norm", (x, *scales), axes=len(a[1]), epsilon=attribute(epsilon))


def _native_layer_norm(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    found = _layer_norm(b, value[0], a, k)
    return found if found is NotImplemented else [found, None, None]


def _rms_norm(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    weight, epsilon = ([*a[2:4], None, None])[:2]
    rank = len(b.type(a[0]).shape)
    axes = tuple(range(rank - len(a[1]), rank))
    epsilon = torch.finfo(value.dtype).eps if epsilon is None else epsilon
    mean = b.emit("mean", (b.emit("power", (a[0],), exponent=2),), axes=axes, keep=True)
    root = b.emit("rsqrt", (b.emit("add", (mean, tensor(b, float(epsilon)))),))
    result = b.emit("multiply", (a[0], root))
    return result if weight is None else b.emit("multiply", (result, weight))


def _attention(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """softmax(scale q k' + mask) v, as scaled_dot_product_attention states it; dropout must be off."""
    q, key, v = a[:3]
    mask = a[3] if len(a) > 3 else k.get("attn_mask")
    dropout = a[4] if len(a) > 4 else k.get("dropout_p", 0.0)
    causal = a[5] if len(a) > 5 else k.get("is_causal", False)
    if dropout:
        return NotImplemented
    if k.get("enable_gqa") and b.type(q).shape[-3] != b.type(key).shape[-3]:
        key, v = (_repeated(b, x, b.type(q).shape[-3]) for x in (key, v))
    rows, columns = b.type(q).shape[-2], b.type(key).shape[-2]
    scale = k.get("scale")
    scale = 1 / math.sqrt(b.type(q).shape[-1]) if scale is None else scale
    scores = b.emit("multiply", (b.emit("matmul", (q, transposed(b, key))), tensor(b, float(scale))))
    if causal:
        mask = torch.ones(rows, columns, dtype=torch.bool).tril()
    if mask is not None:
        scores = _masked(b, scores, mask)
    weights = b.emit("softmax", (scores,), axis=len(b.type(scores).shape) - 1)
    return b.emit("matmul", (weights, v))


def _masked(b: Builder, scores: Value, mask: Value) -> Value:
    if b.type(mask).kind == "boolean":
        return b.emit("select", (mask, scores, torch.tensor(float("-inf"), dtype=torch.float64)))
    return b.emit("add", (scores, mask))


def _repeated(b: Builder, x: Value, heads: int) -> Value:
    *batch, groups, rows, width = b.type(x).shape
    wide = b.emit("expand", (reshape(b, x, (*batch, groups, 1, rows, width)),),
                  shape=(*batch, groups, heads // groups, rows, width))  # fmt: skip
    return reshape(b, wide, (*batch, heads, rows, width))


def _convolution(b: Builder, value: Any, a: Arguments, k: Keywords) -> Any:
    """A one-dimensional convolution as a sum over the taps: depthwise, or a product of matrices per group."""
    x, weight, bias, stride, padding, dilation, flipped, _, groups = a[:9]
    if value.dim() != 3 or flipped or list(stride) != [1]:
        return NotImplemented
    batch, channels, _ = b.type(x).shape
    outputs, inputs, taps = b.type(weight).shape
    zeros = torch.zeros(batch, channels, padding[0], dtype=torch.float64)
    x = concatenate(b, [zeros, x, zeros], 2)
    total: Value | None = None
    for tap in range(taps):
        part = cut(b, x, 2, tap * dilation[0], tap * dilation[0] + value.shape[2])
        slope = cut(b, weight, 2, tap, tap + 1)
        if inputs == 1 and outputs == channels:
            term: Value = b.emit("multiply", (part, reshape(b, slope, (1, channels, 1))))
        else:
            matrices = reshape(b, slope, (groups, outputs // groups, inputs))
            rows = reshape(b, part, (batch, groups, inputs, value.shape[2]))
            term = reshape(b, b.emit("matmul", (matrices, rows)), value.shape)
        total = term if total is None else b.emit("add", (total, term))
    if total is None:
        return NotImplemented
    return total if bias is None else b.emit("add", (total, reshape(b, bias, (1, outputs, 1))))


LAYERS: dict[str, Rule] = {
    "softmax": _softmax,
    "_softmax": _softmax,
    "layer_norm": _layer_norm,
    "native_layer_norm": _native_layer_norm,
    "rms_norm": _rms_norm,
    "scaled_dot_product_attention": _attention,
    "convolution": _convolution,
}
