"""A checkpoint in the class of the library that it is for, with what was not stored told apart.

The body of the text decoder has to be stored whole. A head that was not stored (a classifier's checkpoint, an
embedding model's) is drawn at random by the library; it is remembered as missing, and never used.
"""

import contextlib
import copy
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from numerics.networks.configuration import expect_one_file, expect_sizes
from numerics.networks.text_class import multimodal
from proofs.errors import InvalidInput, SipitError, Unsupported
from proofs.network.tensor_file import read_header
from sipit.models.digest import digest_of_files, digest_of_gguf
from sipit.models.files import SINGLE, file_of, read_object
from sipit.models.gguf_header import check_gguf
from sipit.models.gguf_whole import check_taken_whole
from sipit.models.leftovers import (
    PLAIN,
    check_complete,
    check_described,
    check_left_over,
    check_numbers,
    check_one_each,
    check_one_origin,
    check_room,
    method_named,
    renamed,
)
from sipit.models.library import missing_library, quiet, refusal
from sipit.models.packed import packed_arithmetic
from sipit.models.stored import Stored, check_weights, gguf_file, stored_weights

_CONFIG = "config.json"
Task = Literal["CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"]

# The library would apply an adapter beside the weights on its own, or not, as its version has it. It looks for none in
# a folder that is not there.
_NO_ADAPTER = {"subfolder": "no-adapter"}


@dataclass(frozen=True, slots=True)
class Whole:
    """A module as its checkpoint stores it: with a head that writes text (`has_head`), or without; its digest.

    `notes` say in words what of the checkpoint was read in another way than plainly.
    """

    module: Any
    has_head: bool
    digest: str
    notes: tuple[str, ...] = ()


def auto_class(config: Any, task: Task = "CAUSAL_LM") -> Any:
    """The class of the library that chooses the class for a task; a language model may see and hear as well."""
    import transformers

    if task == "CAUSAL_LM" and multimodal(type(config)) and not _has_encoder(config):
        return getattr(transformers, "AutoModelForMultimodalLM", transformers.AutoModelForImageTextToText)
    return {
        "CAUSAL_LM": transformers.AutoModelForCausalLM,
        "SEQ_CLS": transformers.AutoModelForSequenceClassification,
        "TOKEN_CLS": transformers.AutoModelForTokenClassification,
        "QUESTION_ANS": transformers.AutoModelForQuestionAnswering,
        "FEATURE_EXTRACTION": transformers.AutoModel,
    }[task]


def _has_encoder(config: Any) -> bool:
    """Whether a decoder reads what an encoder makes of another text: alone its states are not those of the model."""
    return bool(config.is_encoder_decoder or getattr(config.get_text_config(), "is_encoder_decoder", False))


def _architectures(config: Any) -> list[str]:
    """The classes that a checkpoint names as its own, as far as they are names."""
    named = config.architectures
    return [name for name in named if isinstance(name, str)] if isinstance(named, list | tuple) else []


def _headless_class(config: Any) -> Any | None:
    """The class of the library that a checkpoint names as its own, where that is one that writes no text."""
    import transformers

    for name in _architectures(config):
        kind: Any = getattr(transformers, name, None)
        if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel) and not kind.can_generate():
            return kind if kind.config_class is type(config) else None
    return None


def read_whole(
    name: str,
    dtype: torch.dtype,
    *,
    device_map: Any = None,
    task: Task | None = None,
    labels: int | None = None,
) -> Whole:
    """Loads a directory, a GGUF file or a hub id that holds weights, in its own class or in that for a task.

    Args:
        name: where it is.
        dtype: of the floating-point weights; packed ones stay as the library has them.
        device_map: how accelerate spreads it over devices.
        task: the class to load it in; None: its own.
        labels: the rows of its head; None: its own.

    Raises:
        InvalidInput: weights of the body are missing, or of other sizes than the configuration says.
        MissingResource: another library is needed to read it.
        Unsupported: no class of the library, or one that refuses the checkpoint.
        OSError: nothing there that the library can read.
    """
    packed = gguf_file(name)
    here = check_weights(Path(name)) if packed is None and Path(name).is_dir() else None
    config = read_whole_config(name, labels=labels)
    own = _headless_class(config) if task is None else None
    kind = own or auto_class(config, task or "CAUSAL_LM")
    if _has_encoder(config):
        raise Unsupported(
            f"Expected a causal language model, but {name} is an encoder with a decoder that reads it; name another "
            "model."
        )
    if packed is not None:
        return _unpacked(name, packed, kind, config, dtype, device_map)
    folder = Path(str(file_of(name, _CONFIG))).parent
    stored = here or Stored()
    if here is not None:
        shapes = [tensor.shape for file in here.files for tensor in read_header(file).tensors]
        _check_size(name, kind, config, dtype, shapes)

    def load(mapping: dict[str, str] | None) -> tuple[Any, Any]:
        return _loaded(
            name, kind, config, dtype, device_map, use_safetensors=True, variant=stored.variant, key_mapping=mapping
        )

    method = method_named(config)  # which the library takes away where it undoes it
    module, found = load(None)
    notes = [] if stored.variant is None else [f"the variant {stored.variant} of its weights"]
    stored = here or stored_weights(folder)  # of a hub id they have come just now
    held = [(file, tensor) for file in stored.files for tensor in read_header(file).tensors]
    check_one_each(module, held)
    tensors, taken_off = [tensor for _, tensor in held], dict[str, str]()
    if found["missing_keys"]:
        taken_off = renamed(module, found["missing_keys"], [tensor.name for tensor in tensors])
        if taken_off:
            module, found = load(taken_off)
            words = ", ".join(pattern.strip("^").replace("\\", "") for pattern in taken_off)
            notes.append(f"{words} taken off the names of its weights")
    check_one_origin(module, held, taken_off)
    quantiser = getattr(module, "hf_quantizer", None)
    if quantiser is None:
        notes += check_numbers(name, module, tensors, method, found["unexpected_keys"], taken_off)
    check_complete(name, module, found["missing_keys"], found["mismatched_keys"])
    notes += check_left_over(name, module, tensors, found["unexpected_keys"], taken_off)
    if quantiser is not None:
        _check_packed(name, quantiser, {tensor.dtype for tensor in tensors})
        notes.append(f"its weights stay packed as {quantiser.quantization_config.quant_method.value} does it")
        notes += packed_arithmetic(module, dtype)
    plain = config if labels is None else read_whole_config(name)
    has_head = not found["missing_keys"] and _writes_text(module, plain)
    return Whole(module, has_head, digest_of_files(plain, list(stored.files)), tuple(notes))


def _check_size(name: str, kind: Any, config: Any, dtype: torch.dtype, shapes: Iterable[Iterable[int]]) -> None:
    """Raises InvalidInput where a configuration describes far more than is stored, before room for it is taken."""
    sizes = [math.prod(shape) for shape in shapes]
    check_described(name, config, len(sizes), sum(sizes))
    make: Any = getattr(kind, "from_config", None) or kind._from_config
    try:
        with quiet(), torch.device("meta"):
            empty = make(copy.deepcopy(config), dtype=dtype)
    except (SipitError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - as where it is loaded
        raise _refused(name, config, error) from None
    check_room(name, empty, len(sizes), sum(sizes))


def _check_packed(name: str, quantiser: Any, stored: set[str]) -> None:
    """Raises InvalidInput where a configuration speaks of packed weights, and the files hold plain floats alone."""
    if stored <= PLAIN:
        method = quantiser.quantization_config.quant_method.value
        raise InvalidInput(
            f"Expected weights packed by {method}, as config.json of {name} says, but its files hold plain ones "
            f"({', '.join(sorted(stored))}); remove quantization_config from config.json, or copy the packed weights."
        )


def _unpacked(name: str, file: Path, kind: Any, config: Any, dtype: torch.dtype, device_map: Any) -> Whole:
    """The model of a GGUF file, every weight dequantised."""
    import transformers
    from gguf import GGUFReader

    reader = GGUFReader(file)  # which takes seconds: a list of tokens is read one by one
    _check_size(name, kind, config, dtype, (map(int, tensor.shape) for tensor in reader.tensors))
    dense = getattr(transformers, "GgufConfig", None)  # older versions, which lack it, always dequantise
    given = {} if dense is None else {"quantization_config": dense(dequantize=True)}
    with contextlib.redirect_stderr(io.StringIO()):  # a bar of progress that nothing else turns off
        module, found = _loaded(name, kind, config, dtype, device_map, gguf_file=str(file), **given)
    check_complete(name, module, found["missing_keys"], found["mismatched_keys"])
    check_taken_whole(file, reader, module)
    for about in (module.config, module.config.get_text_config()):
        if hasattr(about, "quantization_config"):
            del about.quantization_config  # the weights are dense now
    module.hf_quantizer = None
    notes = (f"the weights of {file.name} dequantised",)
    has_head = not found["missing_keys"] and _writes_text(module, config)
    return Whole(module, has_head, digest_of_gguf(config, reader), notes)


def _loaded(name: str, kind: Any, config: Any, dtype: torch.dtype, device_map: Any, **given: Any) -> tuple[Any, Any]:
    """The module of a class with its weights, and which of them found no place."""
    where = str(Path(name).parent) if Path(name).is_file() else name
    try:
        with quiet():
            return kind.from_pretrained(
                where,
                config=config,
                dtype=dtype,
                device_map=device_map,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # the error names both sizes
                adapter_kwargs=dict(_NO_ADAPTER),
                **given,
            )
    except (SipitError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - the classes of models refuse checkpoints with anything
        raise _refused(name, config, error) from None


def read_whole_config(name: str, *, labels: int | None = None) -> Any:
    """The configuration of a directory, a GGUF file or a hub id.

    Raises:
        InvalidInput: a configuration that is none, describes what no model has, or names another file.
        Unsupported: of a class that is not in the library.
        OSError: there is none.
    """
    from transformers import AutoConfig

    packed, given = gguf_file(name), {} if labels is None else {"num_labels": labels}
    where, file = name, None if packed is not None else file_of(name, _CONFIG)
    if packed is not None:
        check_gguf(packed)
        where, given = str(packed.parent), {**given, "gguf_file": packed.name}
    elif file is not None:
        about = read_object(file)
        if not isinstance(about.get("model_type"), str):
            raise InvalidInput(f"Expected a model_type in {file}, but it has none; copy the model again.")
        expect_one_file(about, file)
        expect_sizes(about)
    elif Path(name).is_dir():
        raise InvalidInput(
            f"Expected {_CONFIG} in {name}, which says what its weights are, but it is not there; copy it from the "
            "model that they come from."
        )
    try:
        with quiet():
            config = AutoConfig.from_pretrained(where, trust_remote_code=False, **given)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - the classes of configurations refuse values with anything
        raise _refused(name, None, error) from None
    # Which the library obeys before it looks for files by their names; the digest would be that of another file.
    elsewhere = getattr(config, "transformers_weights", None)
    if elsewhere is not None:
        raise InvalidInput(
            f"Expected weights under the names that the library gives them, but config.json of {name} says that they "
            f"are in {elsewhere!r}; remove transformers_weights, and call the file that is meant {SINGLE}."
        )
    return config


def _refused(name: str, config: Any, error: Exception) -> SipitError:
    expected = f"Expected a causal language model that transformers loads from {name}"
    if missing_library(error) is None:
        if "trust_remote_code" in str(error):
            reason = "it needs code of its own, which is never run; name a model whose class is in the library"
            return Unsupported(f"{expected}, but {reason}.")
        if "Unrecognized configuration class" in str(error):
            kind = config.model_type
            return Unsupported(f"{expected}, but there is no decoder-only class for {kind!r}; name another model.")
    return refusal(error, expected, "copy it again, or name another model")


def _writes_text(module: Any, config: Any) -> bool:
    """Whether a checkpoint has a head: stored on its own, or tied to the embedding in a class that writes text."""
    head = module.get_output_embeddings()
    tied = head is not None and getattr(head, "weight", None) is module.get_input_embeddings().weight
    return head is not None and not (tied and _headless_class(config) is not None)
