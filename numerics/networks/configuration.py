"""From a config.json to the configuration that the library makes of it; what it says of sizes is looked at first."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from numerics.networks.library import asked_of_a_class
from numerics.networks.text_class import text_part
from proofs.arguments import path_of, shown
from proofs.errors import InvalidInput, Unsupported
from proofs.files import whole_file

LARGEST_BYTES = 16 * 2**20  # of a config file
LARGEST = {"vocab_size": 2**24, "hidden_size": 2**18, "num_hidden_layers": 1024}  # above any model there is
LARGEST_COUNT = 2**14  # heads, experts, layers by other names
LARGEST_SIZE = 2**24  # anything else that a tensor, or a list, is as long as
_PAIRS = "attention_types"  # of GPT-Neo: kinds of layers, and how often they follow each other
_LISTED = {"num_labels": 2**17, _PAIRS: LARGEST["num_hidden_layers"]}  # as long as lists that a class makes
_COUNTED = ("heads", "experts", "layer", "layers", "blocks")
_NO_SIZES = ("theta", "base", "seed", "_id", "max_", "length", "window", "context", "positions", "scal", "factor")
_LABELS = ("id2label", "label2id", "task_specific_params")  # with names of somebody's own


def read_config(source: Any) -> Any:
    """A transformers config from a path, a folder, or as it is.

    Raises:
        InvalidInput: no such file, not a JSON object, not a known decoder, or absurd sizes.
        Unsupported: the config asks for code outside the library.
    """
    import transformers

    if isinstance(source, transformers.PretrainedConfig):
        return _plausible(source)
    path = path_of("a config.json", source)
    path = path / "config.json" if path.is_dir() else path
    try:
        content = whole_file(path, most=LARGEST_BYTES)
    except OSError as error:
        raise InvalidInput(
            f"Expected a config.json, but {path} cannot be read: {error.strerror}; name another."
        ) from None
    if content is None:
        raise InvalidInput(
            f"Expected a config of at most {LARGEST_BYTES} bytes, but {path} is larger; keep only the configuration."
        )
    try:
        data = json.loads(content.decode(), object_hook=_float_in)
    except (ValueError, RecursionError):
        raise InvalidInput(f"Expected a config in JSON, but {path} is not; give the config.json of a model.") from None
    if not isinstance(data, dict) or not isinstance(data.get("model_type"), str):
        raise InvalidInput(f"Expected a config with a model_type, but {path} has none; give a transformers config.")
    expect_sizes(data)
    expect_one_file(data, path)
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = data["model_type"]
    if kind not in CONFIG_MAPPING:
        if data.get("auto_map"):
            raise Unsupported(
                f"Expected an architecture of the library, but {kind!r} brings its own code, which is never run here; "
                "give a model that a class of transformers loads."
            )
        raise InvalidInput(
            f"Expected a known model_type, but got {kind!r}; transformers has no such class, name another."
        )
    for name in ("dtype", "torch_dtype"):  # the library takes whatever torch has of that name
        told = data.get(name)
        if isinstance(told, str) and not isinstance(getattr(torch, told, None), torch.dtype):
            raise InvalidInput(f"Expected a number format as {name}, but got {shown(told)}; write one such as float32.")
    if not isinstance(data.get("quantization_config", {}), dict | None):
        got = shown(data["quantization_config"])
        raise InvalidInput(f"Expected an object as quantization_config, but got {got}; correct it, or leave it away.")
    with asked_of_a_class(InvalidInput, f"Expected a config that {kind!r} accepts, but it refuses", "correct it"):
        config = _as_loaded(content)
    return _plausible(config)


def _as_loaded(content: bytes) -> Any:
    """The configuration that the library makes of the content of a config.json where it loads the model."""
    from transformers import AutoConfig

    with TemporaryDirectory() as folder:  # it reads files alone, and what was given may be a pipe
        Path(folder, "config.json").write_bytes(content)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    config.name_or_path = ""
    return config


def expect_one_file(data: dict[str, Any], path: Path | str) -> None:
    """Raises InvalidInput where the library would read another file in the place of a config.json."""
    if "configuration_files" in data:
        raise InvalidInput(
            f"Expected a configuration, but {path} names others under configuration_files, one of which the library "
            "would read instead; remove that, and call the one that is meant config.json."
        )


def expect_sizes(data: dict[str, Any]) -> None:
    """Raises InvalidInput where a whole number of a configuration, or of a part of it, is above that of any model.

    A class makes lists as long as a number says (names of labels, kinds of layers) before anybody can look at it.
    """
    for name, size in _whole_numbers(data):
        limit = _limit(name)
        if limit is not None and size > limit:
            got = f"{name}={shown(size)}"
            raise InvalidInput(f"Expected {name} of at most {limit}, but got {got}; give a smaller config.")


def _limit(name: str) -> int | None:
    """The largest that a whole number of this name may be; None where nothing is as long as it says."""
    if name in LARGEST or name in _LISTED:
        return LARGEST.get(name, _LISTED.get(name))
    if name.endswith(_COUNTED):
        return LARGEST_COUNT
    if not name.startswith(("num_", "n_")) and any(word in name for word in _NO_SIZES):
        return None
    return LARGEST_SIZE


def _whole_numbers(data: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The whole numbers in a configuration by the names that they stand under; of pairs of kinds and counts the sum."""
    left: list[tuple[str, Any]] = [("", data)]
    while left:
        name, value = left.pop()
        if name == _PAIRS and isinstance(value, list | tuple):
            yield name, sum(map(_blocks_of, value))
        elif isinstance(value, dict):
            left += [(str(key), one) for key, one in value.items() if key not in _LABELS]
        elif isinstance(value, list | tuple):
            left += [(name, one) for one in value]
        elif type(value) is int:
            yield name, value


def _blocks_of(pair: Any) -> int:
    """How many blocks a pair of kinds and a count stands for; none where it is no such pair, which a class refuses."""
    match pair:
        case [list() | tuple() | str() as kinds, int(count), *_]:
            return len(kinds) * max(0, count)
        case _:
            return 0


def _float_in(data: dict[str, Any]) -> Any:
    """An object of JSON, or the number without a name in JSON that the library writes as one."""
    name = data.get("__float__")
    return float(name) if len(data) == 1 and name in ("Infinity", "-Infinity", "NaN") else data


def _plausible(config: Any) -> Any:
    kind, config = config.model_type, text_part(config)
    if config is None or getattr(config, "is_encoder_decoder", False):
        raise InvalidInput(f"Expected a decoder-only language model, but {kind!r} is none; give a causal architecture.")
    text = config.get_text_config()
    for name, limit in LARGEST.items():
        size = getattr(text, name, None)
        if isinstance(size, int) and not 1 <= size <= limit:
            raise InvalidInput(f"Expected {name} from 1 to {limit}, but got {name}={size}; give a smaller config.")
    for name, number in _numbers(config.to_dict()):
        if not math.isfinite(number):
            raise InvalidInput(f"Expected finite numbers in a config, but got {name}={number}; correct it.")
    expect_sizes(text.to_dict())
    return config


def _numbers(data: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The floats of a config by name, those of its parts too; lists hold limits, which may be infinite."""
    for name, value in data.items():
        if isinstance(value, float):
            yield name, value
        elif isinstance(value, dict):
            yield from _numbers(value)
