"""Small architectures of every family with other sizes than `tiny-<family>`, and changes to their weights.

Both are plain values that print as the code that makes them again: what a property-based test draws, shrinks and shows.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import torch

from numerics.networks.casting import cast
from proofs.errors import InvalidInput
from sipit.models.digest import digest_of_tensors
from sipit.models.language_model import LanguageModel
from sipit.models.structure import find_decoder
from sipit.models.tiny import BOS, FAMILIES, drawn_module, tiny_tokenizer

# The names that families give to one size.
_WIDTHS = {"hidden_size", "n_embd", "word_embed_proj_dim"}
_INNER = {"intermediate_size", "ffn_dim"}
_DEPTHS = {"num_hidden_layers", "n_layer", "num_layers"}
_HEADS = {"num_attention_heads", "n_head", "num_heads"}
_ATTENTION_OUTPUT = re.compile(r"att.*\.(o_proj|out_proj|dense|c_proj)$")


@dataclass(frozen=True, slots=True)
class Architecture:
    """A family with small sizes: width (a multiple of twice the heads), blocks, heads, vocabulary."""

    family: str
    width: int = 64
    layers: int = 2
    heads: int = 4
    vocabulary: int = 512

    def config(self) -> Any:
        """The `transformers` configuration.

        Raises:
            InvalidInput: no such family, or sizes that do not fit together.
        """
        from transformers import AutoConfig

        if self.family not in FAMILIES:
            raise InvalidInput(f"Expected a family of {', '.join(FAMILIES)}, but got {self.family!r}; choose one.")
        if self.width % (2 * self.heads) or min(self.layers, self.heads, self.vocabulary) < 1:
            raise InvalidInput(
                f"Expected a width that is a multiple of twice the heads, and at least one block and token, but got "
                f"{self}; choose others."
            )
        family = FAMILIES[self.family]
        last = min(BOS, self.vocabulary - 1)
        special = {"bos_token_id": last, "eos_token_id": last, "pad_token_id": last}
        return AutoConfig.for_model(
            family.model_type, **(special | {name: self._size(name, value) for name, value in family.config.items()})
        )

    def _size(self, name: str, value: Any) -> Any:
        """The value of one field of the family's configuration at these sizes."""
        if name in _WIDTHS:
            return self.width
        if name in _INNER:
            return 2 * self.width
        if name in _DEPTHS:
            return self.layers
        if name in _HEADS:
            return self.heads
        if name == "num_key_value_heads":
            return math.gcd(self.heads, 2)
        if name == "head_dim":
            return self.width // self.heads
        if name == "vocab_size":
            return self.vocabulary
        if name == "layer_types":
            return (value * self.layers)[: self.layers]
        if name == "attention_types":
            return [[["global"], self.layers]] if self.layers % 2 else [[["global", "local"], self.layers // 2]]
        return value


@dataclass(frozen=True, slots=True)
class Scaled:
    """Multiplies every parameter whose name contains `part` by 2 ** `power`."""

    part: str
    power: int

    def apply(self, module: Any) -> None:
        """Changes the module in place."""
        for name, parameter in module.named_parameters():
            if self.part in name:
                parameter.mul_(2.0**self.power)


@dataclass(frozen=True, slots=True)
class EqualRows:
    """Makes embedding row `copy` equal to row `original`, but for a relative difference in its first half."""

    original: int
    copy: int
    relative: float = 0.0

    def apply(self, module: Any) -> None:
        """Changes the module in place; ids are taken modulo the vocabulary."""
        rows = module.get_input_embeddings().weight
        source, target = self.original % len(rows), self.copy % len(rows)
        rows[target] = rows[source]
        rows[target, : rows.shape[1] // 2] *= 1 + self.relative


@dataclass(frozen=True, slots=True)
class ZeroedHead:
    """Cuts an attention head off: its columns of the output projection are 0. A model without heads stays as it is."""

    block: int
    head: int

    def apply(self, module: Any) -> None:
        """Changes the module in place; block and head are taken modulo their numbers."""
        from transformers.pytorch_utils import Conv1D

        outputs = [
            (owner, owner.weight)
            for name, owner in module.named_modules()
            if _ATTENTION_OUTPUT.search(name) and hasattr(owner, "weight")
        ]
        if not outputs:
            return
        owner, weight = outputs[self.block % len(outputs)]
        inward = 0 if isinstance(owner, Conv1D) else 1  # GPT-2 keeps its matrices the other way round
        heads = module.config.get_text_config().num_attention_heads
        size = weight.shape[inward] // heads
        weight.narrow(inward, self.head % heads * size, size).zero_()


Change = Scaled | EqualRows | ZeroedHead


@dataclass(frozen=True, slots=True)
class Weights:
    """Parameters drawn from a density by a seed, and then changed."""

    seed: int = 0
    changes: tuple[Change, ...] = ()


def build_model(
    architecture: Architecture, weights: Weights | None = None, *, dtype: torch.dtype = torch.float32
) -> LanguageModel:
    """The model of an architecture with these weights; its tokenizer is by bytes where the vocabulary has them.

    Raises:
        InvalidInput: sizes that do not fit together.
    """
    weights = weights or Weights()
    module = drawn_module(architecture.config(), seed=weights.seed)
    with torch.no_grad():
        for change in weights.changes:
            change.apply(module)
    module = cast(module, dtype)
    tokenizer = tiny_tokenizer(architecture.family) if architecture.vocabulary == 512 else None
    return language_model_of(f"small-{architecture.family}", module, tokenizer=tokenizer)


def language_model_of(name: str, module: Any, *, tokenizer: Any = None) -> LanguageModel:
    """A causal language model of `transformers` that is in memory, ready to run in the type of its parameters.

    Raises:
        Unsupported: not a decoder-only model.
    """
    return LanguageModel(
        name=name,
        module=module,
        tokenizer=tokenizer,
        digest=digest_of_tensors(module.config, module.named_parameters()),
        decoder=find_decoder(module),
        dtype=next(module.parameters()).dtype,
    )
