"""Whether the library makes a model of all that a GGUF file says: of every tensor, every number, and the rotations.

What it has no place for it passes over, and says nothing: the factors of long contexts (tensors of their own, which
llama.cpp divides the rotations by), the scale of positions in the metadata, for some families the base of rotations,
windows, an epsilon or the cap of scores.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from proofs.errors import Unsupported
from sipit.models.gguf_settings import otherwise

_HEAD = ("output.weight", "output.bias")  # of what is behind the body, which no state depends on
_UNSCALED = {  # of `rope.scaling.*`: what leaves the rotations as they are; None: any value, on its own
    "type": ("none",),
    "factor": (0.0, 1.0),
    "attn_factor": (0.0, 1.0),
    "original_context_length": None,
    "finetuned": None,
}
_ROTATED = ("rope.dimension_count", "rope.freq_base", "rope.freq_base_swa")  # which the module's tables have to have
_EXACT = 1e-4  # relative: rotations are kept in float32


def check_taken_whole(path: Path, reader: Any, module: Any) -> None:
    """Holds a module against the GGUF file that the library made it from, by what a reader has of it.

    Raises:
        Unsupported: a tensor of the file has no place in it, its positions are rotated otherwise than the file says, or
            another number of it is not the module's.
    """
    named = str(reader.fields["general.architecture"].contents())
    about = {
        key.removeprefix(f"{named}."): field.contents()
        for key, field in reader.fields.items()
        if key.startswith(f"{named}.")
    }
    lost = [
        *(f"the tensor {name}" for name in _without_place((tensor.name for tensor in reader.tensors), named, module)),
        *(f"{named}.{key} = {value}" for key, value in about.items() if not _unscaled(key, value)),
        *(f"{named}.{word}" for word in _rotated_otherwise(about, module)),
        *otherwise(named, about, module.config.get_text_config()),
    ]
    if lost:
        raise Unsupported(
            f"Expected a GGUF file that the library takes whole, but of {lost[0]} in {path} it makes nothing, and the "
            "states would be others; name the folder of the model in safetensors."
        )


def _without_place(stored: Iterable[str], named: str, module: Any) -> list[str]:
    """The tensors that the library has no place for, as it looks for one."""
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

    places = get_gguf_hf_weights_map(module, TENSOR_PROCESSORS.get(named, TensorProcessor)(config={}))
    # Experts that are one tensor have places without the word at the end.
    return [name for name in stored if not {name, name.removesuffix(".weight")} & places.keys() and name not in _HEAD]


def _unscaled(key: str, value: Any) -> bool:
    """Whether an entry of the metadata leaves the rotations as their base and their width make them."""
    if key == "rope.scale_linear":  # as older files have the factor
        return value in (0.0, 1.0)
    if not key.startswith("rope.scaling."):
        return not key.startswith("rope.") or key in _ROTATED
    word = key.removeprefix("rope.scaling.")
    known = _UNSCALED.get(word, ())
    return known is None or value in known


def _rotated_otherwise(about: dict[str, Any], module: Any) -> list[str]:
    """The width and the base of the rotations that a file names, where none of the module's has them."""
    tables = [table.detach().double().cpu() for name, table in module.named_buffers() if name.endswith("inv_freq")]
    width, base = about.get("rope.dimension_count"), about.get("rope.freq_base")
    wide = [table for table in tables if width in (None, 2 * len(table))]
    if tables and not wide:
        return [f"rope.dimension_count = {width}"]
    local = about.get("rope.freq_base_swa")  # of blocks with a window
    if local is not None and not any(_has_base(table, float(local)) for table in tables):
        return [f"rope.freq_base_swa = {local}"]
    if not wide or base is None or any(_has_base(table, float(base)) for table in wide):
        return []
    return [f"rope.freq_base = {base}"]


def _has_base(table: torch.Tensor, base: float) -> bool:
    """Whether angles (n,) are those of a base, as rotations without a scale have them."""
    expected = base ** -(torch.arange(len(table), dtype=torch.float64) / len(table))
    return torch.allclose(table, expected, rtol=_EXACT, atol=0)
