"""What of a checkpoint found its place in the module, and what did not: nothing is drawn at random or passed over.

Wrappers (a compiled, sharded or distributed module, a trainer's) put words in front of the names of weights or between
them. They are taken off where everything then has its place.
"""

import re
from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn

from proofs.errors import InvalidInput, Unsupported
from proofs.network.tensor_file import StoredTensor
from sipit.models.files import bytes_of
from sipit.models.stored import not_gathered
from sipit.models.structure import body_of

_BETWEEN = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_forward_module.")
_PASSED_OVER = (r"rotary_emb\.inv_freq", r"(^|\.)position_ids$")  # by the library, beside what a class says
_TABLES = frozenset({"inv_freq", "cos_cached", "sin_cached", "masked_bias"})  # of rotations; the number behind a mask
_MASKS = frozenset({"bias", "causal_mask"})  # where they are (1, 1, n, n): which positions see which
_FAR_MORE = 64  # a quantiser packs at most so many numbers into one
_ALWAYS = 2**28  # bytes that no machine lacks: a small model may have large tables that are not stored
PLAIN = frozenset({"F64", "F32", "F16", "BF16"})  # types of weights that are packed by nothing
_WHOLE_NUMBERS = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})


def renamed(module: Any, missing: Collection[str], stored: Collection[str]) -> dict[str, str]:
    """Patterns of stored names and what to put there, so that the missing weights are found; empty where none helps.

    Raises:
        InvalidInput: several weights would do, as where a teacher is stored beside its student.
    """
    found = {re.escape(word): "" for word in _BETWEEN if any(word in name for name in stored)}
    plain = [_without(name, _BETWEEN) for name in stored]
    outer = f"{module.base_model_prefix}."
    if any(name in plain for key in missing for name in (key, key.removeprefix(outer))):
        return found
    for cut in ("", outer):  # a body that is stored alone has names that begin inside it
        wanted = {name.removeprefix(cut) for name in missing if name.startswith(cut)}
        prefixes = sorted({found for name in plain for found in _in_front(name, wanted)})
        if len(prefixes) > 1:
            raise InvalidInput(
                f"Expected the weights of one model, but there are some under {' and under '.join(prefixes[:3])}; save "
                "the one that is meant alone."
            )
        if prefixes:
            return found | {f"^{re.escape(prefixes[0])}": ""}
    return found


def check_one_each(module: Any, stored: Iterable[tuple[Path, StoredTensor]]) -> None:
    """Raises InvalidInput where two stored weights that differ have one place: in front of one is the name of the body.

    The library takes either, and says nothing.
    """
    own = module.state_dict().keys()
    held: dict[str, tuple[Path, StoredTensor]] = {}
    for file, tensor in stored:
        place = _place(module, tensor.name)
        first, other = held.setdefault(place, (file, tensor))
        two = other.name != tensor.name and not {other.name, tensor.name} <= own
        if two and not _same(first, other, file, tensor):
            raise _one_place(first, other, file, tensor)


def check_one_origin(
    module: Any, stored: Iterable[tuple[Path, StoredTensor]], taken_off: dict[str, str] | None = None
) -> None:
    """Raises InvalidInput where the library made one weight of two stored ones that differ, by its own names for them.

    A family has older names, and forms of its weights that are taken apart or put together (experts one by one, three
    projections in one); where both are stored the library takes either, and says nothing. `taken_off` is `renamed`.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    # Those that changed the name of a weight. A quantiser that was dropped takes them away: these are some of all that
    # the class has.
    changes = getattr(module, "_weight_conversions", None)
    if changes is None:
        changes = get_model_conversion_mapping(module, key_mapping=taken_off or None)
    if not changes:
        return
    names = [one for one in changes if isinstance(one, WeightRenaming)]
    forms = [one for one in changes if isinstance(one, WeightConverter)]
    of_pattern = {pattern: form for form in forms for pattern in form.source_patterns}
    own, body = module.state_dict(), module.base_model_prefix
    # By place: the form that it is made from (None: from itself), and what is stored for it by the name in that form.
    held: dict[str, tuple[Any, dict[str, tuple[Path, StoredTensor]]]] = {}
    for file, tensor in stored:
        place, pattern = rename_source_key(tensor.name, names, forms, body, own)
        origin = rename_source_key(tensor.name, names, [], body, own)[0]
        if place not in own and tensor.name in own:
            place, pattern, origin = tensor.name, None, tensor.name
        if place not in own:
            continue
        form = of_pattern[pattern] if pattern is not None else None
        words = [""] if form is None else form.target_patterns
        for one in (place.replace(words[0], word) if words[0] else place for word in words):
            made, origins = held.setdefault(one, (form, {}))
            first, other = origins.setdefault(_place(module, origin), (file, tensor))
            if made is not form:
                first, other = next(iter(origins.values()))
            if made is not form or (other.name != tensor.name and not _same(first, other, file, tensor)):
                raise _one_place(first, other, file, tensor)


def _one_place(first: Path, one: StoredTensor, second: Path, other: StoredTensor) -> InvalidInput:
    return InvalidInput(
        f"Expected one weight for each place, but {one.name} of {first} and {other.name} of {second.name} have the "
        "same and differ; remove the one that is not meant."
    )


def _place(module: Any, name: str, taken_off: Iterable[str] = ()) -> str:
    """What a stored weight, or a part of the module, is called in the body or beside it.

    The library finds a weight with the name of the body in front and without. `taken_off` are patterns of `renamed`.
    """
    for pattern in taken_off:
        name = re.sub(pattern, "", name)
    return _without(name, _BETWEEN).removeprefix(f"{module.base_model_prefix}.")


def _same(first: Path, one: StoredTensor, second: Path, other: StoredTensor) -> bool:
    """Whether two stored tensors are equal, byte by byte."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(here == there for here, there in zip(bytes_of(first, one), bytes_of(second, other), strict=True))


def _in_front(name: str, wanted: Collection[str]) -> list[str]:
    """What stands in front of a wanted name in this one, if anything."""
    parts = name.split(".")
    return [".".join(parts[:cut]) + "." for cut in range(1, len(parts)) if ".".join(parts[cut:]) in wanted]


def _without(name: str, words: Collection[str]) -> str:
    for word in words:
        name = name.replace(word, "")
    return name


def check_described(name: str, config: Any, count: int, held: int) -> None:
    """Raises InvalidInput where a configuration has more blocks than there are tensors, before one is made.

    Args:
        name: of the model.
        config: what describes it.
        count: of tensors that are stored.
        held: numbers in them.
    """
    blocks = getattr(config.get_text_config(), "num_hidden_layers", None)
    if not held:
        raise not_gathered(name, "everything")
    if isinstance(blocks, int) and blocks > count:
        raise _not_described(name, f"{blocks} blocks", count, held)


def check_room(name: str, empty: Any, count: int, held: int) -> None:
    """Raises InvalidInput where a module without numbers, on the meta device, has room for far more than is stored.

    `count` and `held` are those of `check_described`.
    """
    every = {id(one): one for one in (*empty.parameters(), *empty.buffers())}.values()
    room = sum(one.numel() for one in every)
    if sum(one.numel() * one.element_size() for one in every) > _ALWAYS and room > _FAR_MORE * held:
        raise _not_described(name, f"room for {room} numbers", count, held)


def _not_described(name: str, what: str, count: int, held: int) -> InvalidInput:
    return InvalidInput(
        f"Expected a configuration of {name} that describes what is stored, but it has {what} where the weights are "
        f"{count} tensors of {held} numbers; correct config.json."
    )


def check_complete(name: str, module: Any, missing: Collection[str], mismatched: Collection[Any]) -> None:
    """Raises InvalidInput where weights of the body are missing, or have other sizes than the configuration says."""
    for key, stored, expected in sorted(mismatched):
        if 0 in stored:
            raise not_gathered(name, key)
        raise InvalidInput(
            f"Expected weights of the sizes in the configuration of {name}, but {key} is stored as {list(stored)} "
            f"where it says {list(expected)}; correct config.json, or copy the weights that belong to it."
        )
    inside = sorted(key for key in missing if is_inside(module, key))
    if inside:
        raise InvalidInput(
            f"Expected every weight that the configuration of {name} describes, but {len(inside)} are missing, "
            f"{inside[0]} first, and would be drawn at random; copy the model again, or correct config.json."
        )


def method_named(config: Any) -> str | None:
    """The quantisation that a configuration names, as it was read; None where it names none."""
    about = getattr(config, "quantization_config", None)
    return None if about is None else str(about.get("quant_method"))


def check_numbers(
    name: str,
    module: Any,
    tensors: Collection[StoredTensor],
    method: str | None,
    unexpected: Collection[str],
    taken_off: Collection[str] = (),
) -> list[str]:
    """In words, from which packed types the weights were brought to floating-point ones that layers compute in.

    What is not `unexpected` was used, also where the library made another weight of it, as of experts one by one.
    `method` is the quantisation that the configuration names, of which the library kept nothing; `taken_off` are the
    patterns of `renamed`.

    Raises:
        Unsupported: a weight is stored in whole numbers that nothing scales.
    """
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    own = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    floating = {_place(module, key): value.is_floating_point() for key, value in own}
    # What has no place of its own became a part of a weight; where the library undid a method, it was unpacked for it.
    elsewhere = method not in AUTO_QUANTIZATION_CONFIG_MAPPING
    left = {_place(module, key) for key in unexpected}
    patterns = (*(module._keys_to_ignore_on_load_unexpected or ()), *_PASSED_OVER)
    ignored = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))

    def used(key: str) -> bool:
        place = _place(module, key, taken_off)
        return place in floating or (place not in left and ignored.search(key) is None)

    # Tables of whole numbers may be stored under older names, as those by which DeepSeek V4 chooses experts are.
    tables = {(key.split(".")[-1], tuple(value.shape)) for key, value in own if not value.is_floating_point()}
    kept = [tensor for tensor in tensors if used(tensor.name)]
    for tensor in kept:
        unpacked = elsewhere and (tensor.name.split(".")[-1], tuple(tensor.shape)) not in tables
        if tensor.dtype in _WHOLE_NUMBERS and floating.get(_place(module, tensor.name, taken_off), unpacked):
            raise Unsupported(
                f"Expected floating-point weights in {name}, but {tensor.name} is stored as {tensor.dtype} and its "
                "configuration names no quantisation that the library knows; dequantise the model, and save it again."
            )
    short = sorted({tensor.dtype for tensor in kept if tensor.dtype.startswith("F8")})
    if short:
        return [f"its weights unpacked from {', '.join(short)}"]
    if method is None:
        return []
    if {tensor.dtype for tensor in tensors} <= PLAIN:
        return [f"its weights are plain, though config.json names {method}"]
    return [f"its weights unpacked from {method}"]


def check_left_over(
    name: str,
    module: Any,
    tensors: Collection[StoredTensor],
    unexpected: Collection[str],
    taken_off: Collection[str] = (),
) -> list[str]:
    """In words, what was stored for the body and has no place there, such as blocks beyond the last.

    Raises:
        Unsupported: it belongs to a weight that is there (a scale, a part of an adapter, a bias), or to a block, and is
            none of the masks and tables that a block made for itself in older versions.
    """
    shapes = {_place(module, tensor.name, taken_off): tensor.shape for tensor in tensors}
    parts = {_place(module, path): part for path, part in module.named_modules()}
    own = {_place(module, key) for key in module.state_dict()}  # a second one is equal: `check_one_each`
    for key in sorted(unexpected):
        place = _place(module, key)
        if place in own:
            continue
        words = place.split(".")
        owners = [parts.get(".".join(words[:cut])) for cut in range(1, len(words))]
        has_weights = any(owner is not None and any(True for _ in owner.parameters(recurse=False)) for owner in owners)
        in_block = any(isinstance(one, nn.ModuleList) and part is not None for one, part in pairwise(owners))
        if has_weights or (in_block and is_inside(module, key) and not _made_anew(words[-1], shapes.get(place))):
            raise Unsupported(
                f"Expected weights that the classes of the library take whole, but {name} stores {key}, for which they "
                "have no place; merge or dequantise the model, and save it again."
            )
    rest = sorted(key for key in unexpected if is_inside(module, key))
    return [f"{len(rest)} stored weights have no place in its configuration, {rest[0]} first"] if rest else []


def _made_anew(word: str, shape: tuple[int, ...] | None) -> bool:
    """Whether what is stored under this word is a mask or a table that a block makes for itself: no weight."""
    if word in _MASKS:
        return shape is not None and len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3]
    return word in _TABLES


def is_inside(module: Any, key: str) -> bool:
    """Whether a stored name belongs to the body of the text decoder."""
    body = body_of(module)
    path = next(path for path, part in module.named_modules() if part is body)
    if not path or key.startswith(f"{path}."):
        return True
    inner = _place(module, f"{path}.")
    return key.startswith(inner) if inner else key.split(".")[0] in dict(body.named_children())
