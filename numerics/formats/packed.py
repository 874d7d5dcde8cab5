"""Bringing the matrices of a module into a number format with the libraries people use.

A conversion that reaches no matrix is an error and never a silent run in the old format. Where a library cannot convert
a model, or not on a device, the error quotes the message of the library.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from numerics.formats.conversion import Conversion, Convert, Quantize, converted
from numerics.formats.layers import as_plain, effective_weight, in_stated_type, is_packed_layer, layers_of, put_in_place
from numerics.networks.library import one_line
from proofs.errors import MissingResource, SipitError, Unsupported


def torchao(kind: str) -> Convert:
    """The linear layers of the blocks by torchao's `quantize_`."""

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        _need("torchao")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchao.quantization

            library: Any = torchao.quantization
            int4: Any = torch.__dict__["int4"]  # which its stubs lack

            makers: dict[str, Callable[[], Any]] = {
                "fp8": library.Float8WeightOnlyConfig,
                "fp8-dynamic": library.Float8DynamicActivationFloat8WeightConfig,
                "int8": library.Int8WeightOnlyConfig,
                "int8-dynamic": library.Int8DynamicActivationInt8WeightConfig,
                "int4": lambda: library.IntxWeightOnlyConfig(weight_dtype=int4, granularity=library.PerGroup(32)),
            }
            _as_linear(blocks)

            def quantize() -> None:
                for block in blocks:
                    library.quantize_(block, makers[kind]())

            return _attempted("torchao", module, blocks, quantize)

    return convert


def bitsandbytes(kind: str, *, double: bool = False) -> Convert:
    """The linear layers of the blocks as modules of bitsandbytes, computing in float32.

    Args:
        kind: int8, nf4 or fp4.
        double: whether the scales of 4-bit blocks are rounded to 8 bits in their turn.
    """

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        _need("bitsandbytes")
        import bitsandbytes

        library: Any = bitsandbytes
        _as_linear(blocks)

        def made(linear: Any) -> nn.Module:
            shape = linear.in_features, linear.out_features, linear.bias is not None
            if kind == "int8":
                new: Any = library.nn.Linear8bitLt(*shape, has_fp16_weights=False)
                # Its own constructor of the parameter is what quantises when the module moves to a device.
                new.weight = library.nn.Int8Params(
                    linear.weight.data.clone(), requires_grad=False, has_fp16_weights=False
                )
            else:
                new = library.nn.Linear4bit(*shape, compute_dtype=linear.weight.dtype, quant_type=kind)
                new.weight = library.nn.Params4bit(
                    linear.weight.data.clone(), quant_type=kind, compress_statistics=double, requires_grad=False
                )
                in_stated_type(new)
            new.bias = linear.bias
            return new.to(linear.weight.device)

        def quantize() -> None:
            for holder, name, linear in layers_of(blocks, lambda child: type(child) is nn.Linear):
                put_in_place(holder, name, made(linear))

        return _attempted("bitsandbytes", module, blocks, quantize)

    return convert


def gguf(kind: str) -> Convert:
    """All matrices, those of the embedding included, quantised to GGUF blocks along what they take in, and back."""

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        _need("gguf")
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

        code = GGMLQuantizationType[kind]
        block, _ = GGML_QUANT_SIZES[code]
        _as_linear(blocks)

        def quantize() -> set[int]:
            left: set[int] = set()
            owners = {id(one): part for part in module.modules() for one in part.parameters(recurse=False)}
            for parameter in module.parameters():
                axis = _takes_in_along(owners[id(parameter)], parameter)
                if axis is None or parameter.shape[axis] % block:
                    left.add(id(parameter))
                    continue
                rows = parameter.float().cpu().transpose(axis, -1).contiguous().numpy()
                try:
                    rounded = quants.dequantize(quants.quantize(rows, code), code)
                except quants.QuantError as error:
                    raise ValueError(str(error)) from None
                parameter.copy_(torch.from_numpy(rounded).transpose(axis, -1))
            return left

        with torch.no_grad():
            return _attempted("gguf", module, blocks, quantize, f"{kind} values, held in float32")

    return convert


def _takes_in_along(part: nn.Module, parameter: nn.Parameter) -> int | None:
    """The axis along which a matrix, or those of several experts, take in; None for what is none, or is not known.

    Experts have either layout, and the library says which; it says so of no part but experts.
    """
    from transformers.pytorch_utils import Conv1D

    turned: bool | None = getattr(part, "is_transposed", None)
    if parameter.ndim == 3 and turned is not None:
        return -2 if turned else -1
    if parameter.ndim == 2 and turned is None:  # else the shifts of the experts
        return -2 if isinstance(part, Conv1D) else -1
    return None


def _attempted(
    library: str,
    module: nn.Module,
    blocks: Sequence[nn.Module],
    quantize: Quantize,
    stored: str = "",
) -> Conversion:
    """A conversion by a library that may not be able to do it here."""
    try:
        done = converted(module, blocks, quantize, stored, rescaled=True)
        unpacked = unpack(blocks)
    except SipitError:
        raise
    except (ImportError, AssertionError, NotImplementedError, RuntimeError, ValueError, TypeError) as error:
        raise Unsupported(
            f"Expected {library} to convert this model here, but it does not: {one_line(error)}; use another format."
        ) from None
    if not done.matrices:
        raise Unsupported(f"Expected matrices that {library} converts, but it converted none; use another format.")
    if not unpacked:
        return done
    which = "" if unpacked == done.matrices else f"{unpacked} of them "
    return replace(done, stored=f"{done.stored}, {which}unpacked once (products bit-identical on trial inputs)")


def unpack(blocks: Sequence[nn.Module]) -> int:
    """Writes packed layers as ordinary ones where no bit of their products changes; how many there were.

    Formats of weights alone unpack a matrix anew for every product. Layers that round their inputs too, and kernels
    that multiply packed numbers, give other products on the trial inputs and stay as they are.
    """
    count = 0
    for holder, name, layer in layers_of(blocks, is_packed_layer):
        plain = as_plain(layer, effective_weight(layer))
        drawn = torch.randn(1 + 7 + 64, layer.in_features, generator=torch.Generator().manual_seed(count))
        trials = [rows[None].to(plain.weight.device) for rows in drawn.split((1, 7, 64))]
        with torch.no_grad():
            if all(torch.equal(layer(rows), plain(rows)) for rows in trials):
                put_in_place(holder, name, plain)
                count += 1
    return count


def _as_linear(blocks: Sequence[nn.Module]) -> None:
    """Writes the transposed linear layers of GPT-2 as ordinary ones, which libraries know; the map is the same."""
    from transformers.pytorch_utils import Conv1D

    # One derived from it may compute something else.
    for holder, name, turned in layers_of(blocks, lambda child: type(child) is Conv1D):
        weight = turned.weight
        linear = nn.Linear(*weight.shape, device=weight.device, dtype=weight.dtype)
        linear.weight = nn.Parameter(weight.detach().T.contiguous(), requires_grad=False)
        linear.bias = turned.bias
        put_in_place(holder, name, linear)


def _need(library: str) -> None:
    if find_spec(library) is None:
        raise MissingResource(
            f"Expected {library} for this format, but it is not installed; pip install 'sipit[quantization]'"
        )
