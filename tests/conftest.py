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

    Probes are trained once, not once per run: what is kept knows the code that made it. The converted embedded model
    depends on less, and outlives more.
    """
    kept = getattr(config, "cache", None)  # none under -p no:cacheprovider: the user's cache then
    if kept is None:
        return
    folder = kept.mkdir("sipit")
    from sipit.cache import libraries, measured_with

    chosen = folder / hashlib.sha256(measured_with().encode()).hexdigest()[:12]
    converting = hashlib.sha256((SOURCES / "models" / "smollm2.py").read_bytes()).hexdigest()[:12]
    models = folder / f"models-{converting}-{libraries()}"
    for path in (chosen / measured_with(), models):
        path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # another run may have made it
        (chosen / measured_with() / "models").symlink_to(models, target_is_directory=True)
    for stale in folder.iterdir():
        if stale not in {chosen, models} and time.time() - stale.stat().st_mtime > 86400:
            shutil.rmtree(stale, ignore_errors=True)
    os.environ["SIPIT_CACHE"] = str(chosen)


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
