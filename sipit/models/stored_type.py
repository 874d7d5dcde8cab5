"""In which number type the weights of a model are stored, which `dtype="auto"` computes in. Needs no torch."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput
from proofs.network.tensor_file import read_header
from sipit.models.files import file_of, read_object
from sipit.models.names import built_in, is_folder
from sipit.models.stored import names_quantisation, stored_weights

_TYPES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def stored_type(name: str) -> str:
    """The type of most of the weights in the safetensors files of a folder.

    Of a hub id what its configuration says; float32 for built-in models, for what is packed, and where nothing is said.
    """
    if built_in(name) is not None:
        return "float32"
    config = file_of(name, "config.json")
    try:
        said: Any = {} if config is None else read_object(config)
    except InvalidInput:
        return "float32"  # what is wrong with it is told where it is loaded
    if any(names_quantisation(part) for part in (said, *said.values()) if isinstance(part, dict)):
        return "float32"  # a text model inside another has one of its own
    if is_folder(name):
        counts: Counter[str] = Counter()
        for file in stored_weights(Path(name)).files:
            for tensor in read_header(file).tensors:
                counts[tensor.dtype] += math.prod(tensor.shape)
        return _TYPES.get(counts.most_common(1)[0][0], "float32") if counts else "float32"
    found = said.get("dtype", said.get("torch_dtype"))
    return found if found in _TYPES.values() else "float32"
