"""One cache for the whole run, no network, and Hypothesis without chance."""

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test imports a hub client

settings.register_profile(
    "default",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

SOURCES = Path(__file__).parents[1] / "sipit"


def pytest_configure(config: pytest.Config) -> None:
    """Points the cache of the project into pytest's own.

    Its name is a digest of the sources that fill it, so that nothing computed by older code is ever used, and probes
    are trained once, not once per run. The converted embedded model depends on less, and outlives more.
    """
    kept = getattr(config, "cache", None)  # none under -p no:cacheprovider: the user's cache then
    if kept is None:
        return
    folder = kept.mkdir("sipit")
    sources = [path for path in sorted(SOURCES.rglob("*.py")) if path.parent.name not in {"cli", "report"}]
    chosen = folder / _digest(sources)
    from sipit.cache import libraries, measured_with

    models = folder / f"models-{_digest([SOURCES / 'models' / 'smollm2.py'])}-{libraries()}"
    for path in (chosen / measured_with(), models):
        path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # another run may have made it
        (chosen / measured_with() / "models").symlink_to(models, target_is_directory=True)
    for stale in folder.iterdir():
        if stale not in {chosen, models} and time.time() - stale.stat().st_mtime > 86400:
            shutil.rmtree(stale, ignore_errors=True)
    os.environ["SIPIT_CACHE"] = str(chosen)


def _digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone, which does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SIPIT_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory: what lies in or beside the checkout is no test's business."""
    monkeypatch.chdir(tmp_path)
