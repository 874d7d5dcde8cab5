"""Records: one JSON object per command run, and every page is a view of it.

A record is written whole or not at all, and read back without running anything that is in it.
"""

import json
import math
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from proofs.arguments import number, path_of
from proofs.errors import InvalidInput
from proofs.files import beginning, whole_file
from proofs.showing import Shown
from proofs.verdict import Verdict

SCHEMA = "sipit/2"
LARGEST_RECORD = 256 * 2**20  # bytes; a certificate for a deep model takes some twenty million
_BEGINNING = 64  # bytes of a file, in which it is seen that it is a record
_BEGINS = re.compile(rb'\s*\{\s*"schema"\s*:\s*"sipit/')


@runtime_checkable
class Evidence(Protocol):
    """A result that knows its verdict and can be written to a record."""

    @property
    def verdict(self) -> Verdict:
        """What was found."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The `result` field of a record."""
        ...


@dataclass(frozen=True, slots=True)
class Record(Shown):
    """What one command found, by what arithmetic, in how many wall-clock seconds."""

    command: str
    verdict: Verdict
    result: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return {
            "schema": SCHEMA,
            "command": self.command,
            "verdict": self.verdict.value,
            "result": self.result,
            "provenance": self.provenance,
            "seconds": round(self.seconds, 3),
        }

    def dumps(self, encoding: str = "utf-8") -> str:
        """The record as text: strict JSON, without NaN or infinities, escaped where the encoding needs it."""
        text = json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False, indent=1)
        try:
            text.encode(encoding)
        except UnicodeEncodeError:  # also half a surrogate pair, which a file name or an argument may hold
            return json.dumps(self.to_json(), allow_nan=False, indent=1)
        return text

    @classmethod
    def from_json(cls, data: Any) -> "Record":
        """The record in a parsed JSON object.

        Raises:
            InvalidInput: not an object of this schema, or one with a field missing or of the wrong type.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise InvalidInput(
                f"Expected a record of schema {SCHEMA!r}, but got {found!r}; make it again with -o FILE.json."
            )
        fields = {name: data.get(name) for name in ("command", "verdict", "result", "provenance", "seconds")}
        kinds = {"command": str, "verdict": str, "result": dict, "provenance": dict}
        wrong = [name for name, kind in kinds.items() if not isinstance(fields[name], kind)]
        seconds = number(fields["seconds"])  # None of a truth value, and of what no float holds
        seconds = math.nan if seconds is None else seconds
        if not 0 <= seconds < math.inf:
            wrong.append("seconds")
        if fields["verdict"] not in list(Verdict):
            wrong.append("verdict")
        if wrong:
            names = ", ".join(dict.fromkeys(wrong))
            raise InvalidInput(
                f"Expected a complete record, but these fields are missing or wrong: {names}; make it again."
            )
        return cls(
            command=data["command"],
            verdict=Verdict(data["verdict"]),
            result=data["result"],
            provenance=data["provenance"],
            seconds=seconds,
        )


def read_record(path: Path) -> Record:
    """Reads a record from a file.

    Raises:
        InvalidInput: no such file, too large, not JSON, or not a record.
    """
    return Record.from_json(read_json(path_of("a record", path)))


def is_record(path: Path) -> bool:
    """Whether a file begins as every record does, of whatever schema.

    Raises:
        OSError: it cannot be read.
    """
    return _BEGINS.match(beginning(path, _BEGINNING)) is not None


def read_json(path: Path) -> Any:
    """Reads a record as the JSON that it is, with every field of the file in it.

    Raises:
        InvalidInput: no such file, too large, or not JSON that every reader takes for the same.
    """
    try:
        content = whole_file(path, most=LARGEST_RECORD)
    except OSError as error:
        raise InvalidInput(
            f"Expected a readable record, but {path} is not: {error.strerror}; check the path."
        ) from None
    if content is None:
        raise InvalidInput(f"Expected a record of at most {LARGEST_RECORD} bytes, but {path} has more; name another.")
    try:
        return json.loads(
            content.decode(), object_pairs_hook=without_repetition, parse_float=_finite, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"Expected a JSON record, but {path} is not JSON ({error}); write it with -o FILE.json."
        ) from None


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; where a name stood twice, two readers could take it for two different ones."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _finite(text: str) -> float:
    """A number; one beyond every float would be read as infinite."""
    return float(text) if math.isfinite(float(text)) else _no_number(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all: to a temporary file beside it, which then takes its name.

    Raises:
        InvalidInput: the folder is missing or cannot be written.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = _beside(path)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes it private; the file should be as any other new file
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        if temporary is not None:
            os.unlink(temporary)


def try_to_write(path: Path) -> None:
    """Makes the temporary file that `write_atomically` would, and takes it away again: before long work.

    Raises:
        InvalidInput: it cannot be made, as under a name that leaves no room for its own, or in a folder of others.
    """
    try:
        descriptor, temporary = _beside(path)
        os.close(descriptor)
        os.unlink(temporary)
    except OSError as error:
        raise _unwritable(path, error) from None


def _beside(path: Path) -> tuple[int, str]:
    return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")


def _unwritable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        f"Expected a file that can be written, but {path} is not: {error.strerror}; choose another with -o."
    )
