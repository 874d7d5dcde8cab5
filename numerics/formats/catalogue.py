"""Number formats: what each rounds, by which library, and how a module is brought into it.

`weights` formats round stored matrices and compute in float32: the map stays real-analytic, at a grid point of
parameter space. `both` formats round activations as well, `states` formats only what leaves the network: their image
is finite. The three are kept apart, because different theorems are silent about them (docs/quantization.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from numerics.formats import packed, quantizers
from numerics.formats.conversion import Conversion
from numerics.formats.rounding import round_to_bits, round_to_dtype, scaled_to_dtype

Subject = Literal["weights", "states", "both"]


@dataclass(frozen=True, slots=True)
class Format:
    """A number format.

    Attributes:
        name: on the command line.
        subject: what is rounded: stored weights, states that leave the network, or weights and activations.
        library: whose code rounds.
        rounds: what is rounded to what, for people.
        compute: what the module computes in after conversion.
        convert: brings a module (a copy, changed in place) with its blocks into the format.
        round_states: rounds states of shape (…, d), row by row; None where they are left as computed.
    """

    name: str
    subject: Subject
    library: str
    rounds: str
    compute: torch.dtype = torch.float32
    convert: Callable[[nn.Module, Sequence[nn.Module]], Conversion] = quantizers.unchanged
    round_states: Callable[[torch.Tensor], torch.Tensor] | None = None


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("float64", "both", "torch", "operations to float64, where they are not cast to float32", torch.float64,
               quantizers.computing_in(torch.float64)),
        Format("float32", "both", "torch", "every operation to float32"),
        Format("tf32", "both", "torch", "factors of matrix products to tf32", convert=quantizers.tf32),
        Format("bf16", "both", "torch", "weights to bfloat16, and operations that are not cast to float32",
               torch.bfloat16, quantizers.computing_in(torch.bfloat16)),
        Format("fp16", "both", "torch", "weights to float16, and operations that are not cast to float32",
               torch.float16, quantizers.computing_in(torch.float16)),
        Format("bf16-weights", "weights", "torch", "weights to bfloat16",
               convert=quantizers.stored_in(torch.bfloat16)),
        Format("fp16-weights", "weights", "torch", "weights to float16", convert=quantizers.stored_in(torch.float16)),
        Format("fp8", "weights", "torchao", "linear weights to e4m3 with one scale a row",
               convert=packed.torchao("fp8")),
        Format("fp8-dynamic", "both", "torchao", "linear weights and their inputs to e4m3",
               convert=packed.torchao("fp8-dynamic")),
        Format("fp8-emulated", "both", "torch", "the result of every operation to e5m2 (emulated: computed in float32)",
               convert=quantizers.emulated(torch.float8_e5m2)),
        Format("int8", "weights", "torchao", "linear weights to 8 bits with one scale a row",
               convert=packed.torchao("int8")),
        Format("int8-dynamic", "both", "torchao", "linear weights and, by row, their inputs to 8 bits",
               convert=packed.torchao("int8-dynamic")),
        Format("int4", "weights", "torchao", "linear weights to 4 bits in groups of 32",
               convert=packed.torchao("int4")),
        Format("llm-int8", "both", "bitsandbytes", "linear weights and their inputs to 8 bits, outliers too",
               convert=packed.bitsandbytes("int8")),
        Format("nf4", "weights", "bitsandbytes", "linear weights to nf4 in blocks of 64",
               convert=packed.bitsandbytes("nf4")),
        Format("fp4", "weights", "bitsandbytes", "linear weights to fp4 in blocks of 64",
               convert=packed.bitsandbytes("fp4")),
        *(
            Format(name, "weights", "gguf", f"all matrices to {name} blocks of 32, embedding rows included",
                   convert=packed.gguf(name))
            for name in ("Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1")
        ),
        *(
            Format(name, "weights", "gguf", f"all matrices to {name} blocks of 256", convert=packed.gguf(name))
            for name in ("Q6_K", "Q4_K")
        ),
        Format("bf16-states", "states", "torch", "states to bfloat16", round_states=round_to_dtype(torch.bfloat16)),
        Format("fp16-states", "states", "torch", "states to float16", round_states=round_to_dtype(torch.float16)),
        Format("fp8-states", "states", "torch", "states to e4m3, scaled by their largest coordinate",
               round_states=scaled_to_dtype(torch.float8_e4m3fn)),
        Format("int8-states", "states", "torch", "states to 8 bits, scaled by their largest coordinate",
               round_states=round_to_bits(8)),
        Format("int4-states", "states", "torch", "states to 4 bits, scaled by their largest coordinate",
               round_states=round_to_bits(4)),
    )
}  # fmt: skip
