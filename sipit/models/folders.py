"""Where converted models, probes and measured noise are kept between runs."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The cache: `$SIPIT_CACHE`, else the user's cache directory. It may be missing or read-only."""
    chosen = os.environ.get("SIPIT_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("sipit", appauthor=False))


def keep_folder(target: Path, write: Callable[[Path], None]) -> bool:
    """Fills a new folder whole and gives it its name; False where the cache cannot be written (never an error)."""
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.")
        write(Path(temporary))
        os.replace(temporary, target)
    except OSError:
        return target.is_dir()  # another process may have finished first
    else:
        temporary = None
        return True
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(temporary)
