"""Reading what a record holds: it came from a file, so any field may be missing or of another type."""

from collections.abc import Collection, Mapping
from typing import Any


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def one_for_each(names: list[str], count: int) -> tuple[str, ...]:
    """So many names, with a question mark where a damaged record has none."""
    return tuple(names[at] if at < len(names) else "?" for at in range(count))


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [entry for entry in sequence(value) if isinstance(entry, dict)]


def integer(value: Any) -> int | None:
    """The value if it is an integer."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def real(value: Any) -> float | None:
    """The value as a float if it is a number that fits one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def string(value: Any) -> str | None:
    """The value if it is text."""
    return value if isinstance(value, str) else None


def without(data: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The fields that a section does not show by itself."""
    return {key: value for key, value in data.items() if key not in known}
