"""What arguments of public functions can mean, whichever library they come from; else `InvalidInput` in one sentence.

A whole number of numpy or torch is one, 0.5 may be a fraction, and one thing alone stands for a list of it. Nothing is
guessed from text, and a truth value is no number.
"""

import operator
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from proofs.errors import InvalidInput

LARGEST_SEED = 2**63 - 1  # what every generator takes
_LONGEST = 100  # characters of a number
_EXACT = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?|-?[0-9]+/[0-9]+")
_SHOWN = 60  # characters of what was given that a sentence repeats
_NONE = (TypeError, ValueError, RuntimeError, OverflowError, ArithmeticError)  # of values that are no numbers


def shown(given: Any) -> str:
    """What was given, short enough for a sentence."""
    try:
        text = " ".join(repr(given).split())
    except Exception:  # noqa: BLE001 - an object of somebody else, which may fail at anything
        text = f"a {type(given).__name__}"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def whole_number(given: Any) -> Any:
    """A number such as a layer's as an int, whatever library it is an int of; anything else as it came, unchecked."""
    if isinstance(given, bool | str):
        return given
    try:
        return operator.index(given)
    except _NONE:
        return given


def whole_in(text: str, *, signed: bool = False) -> int | None:
    """The whole number that a text is in plain digits, below 0 too where it is `signed`; None for what is none.

    Python's `int` reads more: underscores, blanks, digits of other scripts; and fails at thousands of digits.
    """
    return int(text) if re.fullmatch(f"{'-?' if signed else ''}[0-9]{{1,18}}", text) else None


def exact_in(text: str) -> Fraction | None:
    """The number that a text is: whole, with a point or an exponent of at most three digits, or a quotient; else None.

    `Fraction` reads more: underscores, in an exponent too, which then is as large as memory allows.
    """
    if len(text) < _LONGEST and _EXACT.fullmatch(text):
        with suppress(ZeroDivisionError):
            return Fraction(text)
    return None


def real_in(text: str) -> float | None:
    """The same as a float; None for what is beyond every float too."""
    exact = exact_in(text)
    with suppress(OverflowError):
        return None if exact is None else float(exact)
    return None


def whole(what: str, given: Any, *, least: int, most: int | None = None, example: int | None = None) -> int:
    """A whole number from `least` to `most`; `what` says of what, such as "batches".

    Raises:
        InvalidInput: another, or none.
    """
    found = whole_number(given)
    if type(found) is not int or found < least or (most is not None and found > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        usual = max(least, 1) if example is None else example
        raise InvalidInput(
            f"Expected a whole number {span} for {what}, but got {shown(given)}; give one such as {usual}."
        )
    return found


def seed_of(given: Any) -> int:
    """A seed that every generator takes.

    Raises:
        InvalidInput: no whole number from 0 on, or one of more than 63 bits.
    """
    return whole("the seed", given, least=0, most=LARGEST_SEED, example=0)


def number(given: Any) -> float | None:
    """One number as a float; None for what is none, a truth value among them."""
    if isinstance(given, str | bytes | bytearray | bool) or type(given).__name__ in {"bool", "bool_"}:
        return None
    try:
        return float(given) if getattr(given, "ndim", 0) == 0 else None
    except _NONE:
        return None


def share(what: str, given: Any, *, example: float = 0.01) -> float:
    """A number between 0 and 1, neither of them.

    Raises:
        InvalidInput: another, or none.
    """
    found = number(given)
    if found is None or not 0 < found < 1:
        raise InvalidInput(f"Expected {what} between 0 and 1, but got {shown(given)}; give one such as {example}.")
    return found


def nothing_hidden(what: str, given: Any) -> None:
    """Looks for masks in an array, or in lists of arrays: whatever makes a tensor of it takes them away without a word.

    Raises:
        InvalidInput: a mask hides some of the entries.
    """
    import numpy as np  # which whoever has such an array has loaded

    def hides(part: Any) -> bool:
        if isinstance(part, list | tuple):
            return any(hides(one) for one in part if not isinstance(one, int | float))
        return bool(np.ma.is_masked(part))

    if hides(given):
        raise InvalidInput(
            f"Expected numbers in every place, but a mask hides some of {what}; give the rows that count."
        )


def switch(what: str, given: Any) -> bool:
    """A truth value, of whatever library.

    Raises:
        InvalidInput: something else.
    """
    if isinstance(given, bool) or (type(given).__name__ in {"bool", "bool_"} and getattr(given, "ndim", 0) == 0):
        return bool(given)
    raise InvalidInput(f"Expected True or False for {what}, but got {shown(given)}; give one of them.")


def one_of(what: str, given: Any, names: Iterable[str]) -> str:
    """One of some names.

    Raises:
        InvalidInput: something else.
    """
    known = tuple(names)
    if not isinstance(given, str) or given not in known:
        raise InvalidInput(f"Expected {what} of {', '.join(known)}, but got {shown(given)}; choose one of them.")
    return given


def several(what: str, given: Any) -> tuple[Any, ...]:
    """The things that are meant: one alone, or those of whatever can be gone through in an order.

    Raises:
        InvalidInput: what has no order, or names for things.
    """
    if isinstance(given, Set | Mapping):
        raise InvalidInput(f"Expected {what} in an order, but got {shown(given)}; give a list.")
    if isinstance(given, str | bytes) or getattr(given, "ndim", None) == 0 or not isinstance(given, Iterable):
        return (given,)
    return tuple(given)


def called(what: str, given: Any) -> Any:
    """What may be called, or None.

    Raises:
        InvalidInput: something else.
    """
    if given is not None and not callable(given):
        raise InvalidInput(f"Expected a function for {what}, but got {shown(given)}; leave it away, or give one.")
    return given


def of_kind(what: str, given: Any, kind: Any, way: str) -> Any:
    """What is of a kind.

    Raises:
        InvalidInput: something else.
    """
    if not isinstance(given, kind):
        raise InvalidInput(f"Expected {what}, but got a {type(given).__name__}; {way}.")
    return given


def token_ids(what: str, given: Any) -> tuple[int, ...]:
    """The ids of one prompt.

    Raises:
        InvalidInput: text, or what are no whole numbers in an order.
    """
    if not isinstance(given, str | bytes | Mapping | Set) and (
        isinstance(given, Sequence) or getattr(given, "ndim", None) == 1
    ):
        found = [whole_number(one) for one in given]
        if all(type(one) is int for one in found):
            return tuple(found)
    raise InvalidInput(f"Expected token ids, whole numbers, for {what}, but got {shown(given)}; give a list of them.")


def path_of(what: str, given: Any) -> Path:
    """The path that is named, whether or not there is a file.

    Raises:
        InvalidInput: no name, or one that no system of files takes.
    """
    if not isinstance(given, str | os.PathLike) or isinstance(os.fspath(given), bytes):
        raise InvalidInput(f"Expected the path of {what}, but got {shown(given)}; give its name.")
    path = Path(given)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:  # too long, a loop of links, a zero byte, half a character
        reason = error.strerror if isinstance(error, OSError) else "it has a character that no name has"
        raise InvalidInput(
            f"Expected the path of {what}, but got {shown(os.fspath(given))} ({reason}); correct it."
        ) from None
    return path
