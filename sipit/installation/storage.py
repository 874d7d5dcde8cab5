"""Memory, and the folder where converted models, probes and measured noise are kept."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sipit.cache import cache_folder
from sipit.installation.checks import Check, degraded, ok
from sipit.memory import GIB, usable_memory

_MEMORY = 3 * GIB  # the embedded model in float32, torch, and one batch of candidates
_ROOM = GIB  # the converted model and its probes


def check_memory() -> Iterator[Check]:
    """The line about memory."""
    total, available = usable_memory()
    detail = f"{available / GIB:.1f} GiB of {total / GIB:.1f} GiB are available"
    if available >= _MEMORY:
        yield ok("memory", detail)
    else:
        yield degraded("memory", f"{detail}; the embedded model takes up to {_MEMORY / GIB:g}", "end other programs")


def check_cache() -> Iterator[Check]:
    """The line about the cache folder; a file is written there and removed."""
    folder = cache_folder()
    named = "$SIPIT_CACHE" if os.environ.get("SIPIT_CACHE") else "the user's cache"
    other = "set SIPIT_CACHE to a folder that can be written"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"tried")
        room = shutil.disk_usage(folder).free
    except OSError as error:
        detail = f"{folder} ({named}) cannot be written: {error.strerror}; everything is computed anew each time"
        yield degraded("cache", detail, other)
        return
    detail = f"{folder} ({named}): {_size(folder) / GIB:.2f} GiB are kept, {room / GIB:.1f} GiB are free"
    yield ok("cache", detail) if room >= _ROOM else degraded("cache", f"{detail}, which is little", other)


def _size(folder: Path) -> int:
    """Bytes of the files in a folder; one that goes away meanwhile counts nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue
    return total
