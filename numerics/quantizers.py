"""Bringing a module into a number format, with the libraries people use, and saying what really was converted.

Every function here returns a conversion: it takes a module, which it changes, and its blocks. A conversion that
changes nothing is an error and never a silent run in the old format.
"""

import functools
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from numerics.arithmetic import cast as to_type
from proofs.errors import MissingResource, Unsupported

Quantize = Callable[[], set[int] | None]  # in place; the ids of parameters that were left
Convert = Callable[[nn.Module, Sequence[nn.Module]], "Conversion"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was done to a module.

    Attributes:
        matrices: how many matrices are now in the format.
        left: names of matrices in the blocks that were left as they are.
        change: relative Frobenius change of the matrices converted; 0 where the format reproduces what was stored.
        table_change: the same of the embedding tables, which only some formats round.
        stored: how they are stored now: the class or type that really holds them.
    """

    matrices: int
    left: tuple[str, ...]
    change: float
    stored: str
    table_change: float = 0.0


def unchanged(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
    """Leaves the module as it is."""
    return Conversion(0, (), 0.0, str(next(module.parameters()).dtype).removeprefix("torch."))


def computing_in(dtype: torch.dtype) -> Convert:
    """Weights and arithmetic in a floating-point type."""

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        def cast() -> None:
            to_type(module, dtype)

        return _converted(module, blocks, cast, str(dtype).removeprefix("torch."))

    return convert


def stored_in(dtype: torch.dtype) -> Convert:
    """Weights rounded to a floating-point type, arithmetic as before."""

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        def round_all() -> None:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.copy_(parameter.to(dtype).to(parameter.dtype))

        return _converted(module, blocks, round_all, f"{str(dtype).removeprefix('torch.')}, held in float32")

    return convert


def tf32(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
    """Matrix products with factors in tf32, on devices that have it."""
    device = next(module.parameters()).device
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        raise Unsupported(f"Expected a device with tf32, but {device} has none; use a GPU of compute capability 8.")

    @contextmanager
    def reduced() -> Generator[None]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    _run_within(module, reduced)
    return Conversion(0, (), 0.0, "float32")


def emulated(dtype: torch.dtype) -> Convert:
    """Rounds the result of every floating-point operation, clamped to the largest value; computed as before."""
    largest = torch.finfo(dtype).max

    class Rounded(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            fresh = isinstance(result, torch.Tensor) and result.is_floating_point() and not func.is_view
            return result.clamp(-largest, largest).to(dtype).to(result.dtype) if fresh else result

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        done = stored_in(dtype)(module, blocks)
        _run_within(module, Rounded)
        return done

    return convert


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


def bitsandbytes(kind: str) -> Convert:
    """The linear layers of the blocks as modules of bitsandbytes, computing in float32."""

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
                new.weight = library.nn.Params4bit(linear.weight.data.clone(), quant_type=kind, requires_grad=False)
            new.bias = linear.bias
            return new.to(linear.weight.device)

        def quantize() -> None:
            for parent, name, linear in _layers(blocks, lambda child: type(child) is nn.Linear):
                setattr(parent, name, made(linear))

        return _attempted("bitsandbytes", module, blocks, quantize)

    return convert


def gguf(kind: str) -> Convert:
    """All matrices, those of the embedding included, quantised to GGUF blocks and back."""

    def convert(module: nn.Module, blocks: Sequence[nn.Module]) -> Conversion:
        _need("gguf")
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

        code = GGMLQuantizationType[kind]
        block, _ = GGML_QUANT_SIZES[code]

        def quantize() -> set[int]:
            left: set[int] = set()
            for parameter in module.parameters():
                if parameter.ndim < 2 or parameter.shape[-1] % block:
                    left.add(id(parameter))
                    continue
                try:
                    rounded = quants.dequantize(quants.quantize(parameter.float().cpu().numpy(), code), code)
                except quants.QuantError as error:
                    raise ValueError(str(error)) from None
                parameter.copy_(torch.from_numpy(rounded))
            return left

        with torch.no_grad():
            return _attempted("gguf", module, blocks, quantize, f"{kind} values, held in float32")

    return convert


def effective_weight(linear: Any) -> torch.Tensor:
    """The matrix that a layer multiplies with, shape (out, in), in float32: dequantised by its own library."""
    weight: Any = linear.weight
    if type(weight).__name__ == "Params4bit":
        import bitsandbytes.functional as functional

        return functional.dequantize_4bit(weight.data, weight.quant_state).float()
    if type(weight).__name__ == "Int8Params":
        scales = weight.SCB if weight.SCB is not None else linear.state.SCB
        return weight.data.float() * scales.float()[:, None] / 127
    return (weight.dequantize() if hasattr(weight, "tensor_data_names") else weight.detach()).float()


def _attempted(
    library: str,
    module: nn.Module,
    blocks: Sequence[nn.Module],
    quantize: Callable[[], set[int] | None],
    stored: str = "",
) -> Conversion:
    """A conversion by a library that may not be able to do it here."""
    try:
        done = _converted(module, blocks, quantize, stored)
    except (ImportError, AssertionError, NotImplementedError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        raise Unsupported(f"Expected {library} to convert this model here, but it does not: {reason}.") from None
    if not done.matrices:
        raise Unsupported(f"Expected matrices that {library} converts, but it converted none; use another format.")
    unpacked = _unpack(blocks)
    if not unpacked:
        return done
    which = "" if unpacked == done.matrices else f"{unpacked} of them "
    return replace(done, stored=f"{done.stored}, {which}unpacked once (products bit-identical on trial inputs)")


def _unpack(blocks: Sequence[nn.Module]) -> int:
    """Writes packed layers as ordinary ones where no bit of their products changes; how many there were.

    Formats of weights alone unpack a matrix anew for every product. Layers that round their inputs too, and kernels
    that multiply packed numbers, give other products on the trial inputs and stay as they are.
    """
    count = 0
    for parent, name, layer in _layers(blocks, _is_packed):
        plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        plain.weight = nn.Parameter(effective_weight(layer), requires_grad=False)
        plain.bias = layer.bias
        drawn = torch.randn(1 + 7 + 64, layer.in_features, generator=torch.Generator().manual_seed(count))
        trials = [rows[None].to(plain.weight.device) for rows in drawn.split((1, 7, 64))]
        with torch.no_grad():
            if all(torch.equal(layer(rows), plain(rows)) for rows in trials):
                setattr(parent, name, plain)
                count += 1
    return count


def _is_packed(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and type(layer.weight) is not nn.Parameter


def _converted(module: nn.Module, blocks: Sequence[nn.Module], quantize: Quantize, stored: str = "") -> Conversion:
    """Runs a conversion in place and compares the matrices of the blocks before and after.

    `quantize` may return the ids of parameters that it left; without `stored`, plain parameters are those left.
    """
    before = {name: value.clone() for name, _, value in _matrices(blocks)}
    count = len(before)
    tables = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    rows = [table.weight.detach().clone() for table in tables]
    skipped: set[int] = quantize() or set()
    left: list[str] = []
    kinds: set[str] = set()

    def changed() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # one matrix at a time: a value may be a copy
        for name, parameter, value in _matrices(blocks):
            kind, old = type(parameter).__name__, before.pop(name)
            if id(parameter) in skipped or (not stored and kind == "Parameter"):
                left.append(name)
                continue
            kinds.add(kind)
            yield old, value

    change = _change(changed())
    return Conversion(
        matrices=count - len(left),
        left=tuple(left),
        change=change,
        stored=stored or ", ".join(sorted(kinds)),
        table_change=_change([(old, table.weight.detach()) for old, table in zip(rows, tables, strict=True)]),
    )


def _change(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The relative Frobenius distance of all second tensors from the first ones."""
    changed = squares = 0.0
    for old, new in pairs:
        changed += float((new.to(old.device).float() - old.float()).double().norm() ** 2)
        squares += float(old.double().norm() ** 2)
    return (changed / squares) ** 0.5 if squares else 0.0


def _matrices(blocks: Sequence[nn.Module]) -> Iterator[tuple[str, Any, torch.Tensor]]:
    """Name, parameter and value of all matrices in the blocks; the value is what is multiplied with."""
    for number, block in enumerate(blocks):
        for path, part in block.named_modules():
            for name, parameter in part.named_parameters(recurse=False):
                label = ".".join(piece for piece in (str(number), path, name) if piece)
                if name == "weight" and type(parameter) is not nn.Parameter:
                    yield label, parameter, effective_weight(part)
                elif parameter.ndim >= 2:
                    yield label, parameter, parameter.detach()


def _layers(blocks: Sequence[nn.Module], wanted: Callable[[nn.Module], bool]) -> list[tuple[nn.Module, str, Any]]:
    """Layers with the module that holds them and their names in it, listed before any is replaced."""
    return [
        (part, name, child)
        for block in blocks
        for part in block.modules()
        for name, child in part.named_children()
        if wanted(child)
    ]


def _as_linear(blocks: Sequence[nn.Module]) -> None:
    """Writes the transposed linear layers of GPT-2 as ordinary ones, which libraries know; the map is the same."""
    for block in blocks:
        for part in list(block.modules()):
            children: list[tuple[str, Any]] = list(part.named_children())
            for name, child in children:
                if type(child).__name__ == "Conv1D":
                    weight, bias = child.weight, child.bias
                    linear = nn.Linear(*weight.shape, device=weight.device, dtype=weight.dtype)
                    linear.weight = nn.Parameter(weight.detach().T.contiguous(), requires_grad=False)
                    linear.bias = bias
                    setattr(part, name, linear)


def _run_within(module: nn.Module, context: Callable[[], Any]) -> None:
    """Runs the body of a model within a context from now on."""
    whole: Any = module
    body = whole.get_decoder() if hasattr(whole, "get_decoder") else whole
    forward = body.forward

    @functools.wraps(forward)
    def within(*arguments: Any, **named: Any) -> Any:
        with context():
            return forward(*arguments, **named)

    body.forward = within


def _need(library: str) -> None:
    if find_spec(library) is None:
        raise MissingResource(
            f"Expected {library} for this format, but it is not installed: pip install 'sipit[quantization]'"
        )
