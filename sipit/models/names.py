"""What the name of a model stands for: a built-in one, a folder, a GGUF file, or a hub id.

A folder of the working directory may be called like a built-in model. Which of the two is meant is never guessed:
`./NAME` is the folder, `builtin:NAME` the built-in one.
"""

import difflib
import os
from typing import Any

from proofs.errors import InvalidInput

EMBEDDED, TINY, BUILT_IN = "smollm2", "tiny-", "builtin:"


def built_in(name: Any) -> str | None:
    """`smollm2` or `tiny-<family>` where the name stands for one of them; None for whatever lies elsewhere.

    Raises:
        InvalidInput: no name, a built-in model that there is not, or one that a folder here is called like.
    """
    from sipit.models.tiny import FAMILIES

    if not isinstance(name, str | os.PathLike):
        raise InvalidInput(
            f"Expected the name of a model, but got a {type(name).__name__}; give smollm2, tiny-<family>, a folder or "
            "a hub id."
        )
    name = os.fspath(name)
    plain = name.removeprefix(BUILT_IN)
    known = plain == EMBEDDED or (plain.startswith(TINY) and plain.removeprefix(TINY) in FAMILIES)
    if name != plain:
        if not known:
            raise unknown_model(name)
        return plain
    here = is_folder(plain)
    if known and here:
        raise InvalidInput(
            f"Expected the name of one model, but {plain!r} is both built in and a folder here; write ./{plain} for "
            f"the folder, or {BUILT_IN}{plain} for the built-in model."
        )
    if not known and plain.startswith(TINY) and "/" not in plain and not os.path.exists(plain):
        raise unknown_model(name)
    return plain if known else None


def drawn_family(name: Any) -> str | None:
    """The family of `tiny-<family>`, whose parameters are drawn from a seed; None for a model that is stored.

    Raises:
        InvalidInput: as `built_in`.
    """
    own = built_in(name)
    return None if own is None or own == EMBEDDED else own.removeprefix(TINY)


def chosen(name: str) -> str:
    """How to write a built-in model that nobody named: a folder here that is called like it is not meant."""
    return f"{BUILT_IN}{name}" if is_folder(name) else name


def is_folder(name: str) -> bool:
    """Whether a folder has this name; a name that no file can have is none."""
    return os.path.isdir(name)  # Path.is_dir raises at a name that is too long


def unknown_model(name: str) -> InvalidInput:
    """The error for a name that stands for no model, with the nearest known name."""
    from sipit.models.tiny import FAMILIES

    known = [EMBEDDED, *(TINY + family for family in FAMILIES)]
    near = difflib.get_close_matches(name.removeprefix(BUILT_IN), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}, a model directory or a hub id."
    return InvalidInput(f"Expected a model, but {name!r} is no embedded model, directory or reachable hub id; {hint}")
