"""A headless Chromium for the tests of the page: one on PATH, else Debian's package unpacked under the user's cache.

`python tests/browser/chromium.py` makes sure that there is one, and prints where it is. Nothing of the machine is
changed and no root is needed: apt keeps its lists and downloads in the cache folder too, and the package and those of
its dependencies that the machine lacks are only unpacked.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chromium-headless-shell")
PACKAGE = "chromium-headless-shell"  # Chromium without windows: fewer dependencies
UNPACKED = Path("usr/lib/chromium/chromium-headless-shell")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chromium:
    """A browser that can be started, and the folders where its own libraries lie."""

    path: Path
    libraries: tuple[Path, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What the browser is started with."""
        folders = [str(folder) for folder in self.libraries]
        given = os.environ.get("LD_LIBRARY_PATH")
        paths = ":".join(folders + ([given] if given else []))
        return {**os.environ, **({"LD_LIBRARY_PATH": paths} if paths else {})}

    def fault(self) -> str | None:
        """Why it does not start; None where it does."""
        try:
            done = subprocess.run(
                [self.path, "--no-sandbox", "--version"], env=self.environment, capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return None if done.returncode == 0 else done.stderr.strip() or f"it ended with {done.returncode}"


def cached() -> Path:
    """Where the unpacked packages are kept: not in $SIPIT_CACHE, which the tests point elsewhere."""
    return Path(platformdirs.user_cache_dir("sipit", appauthor=False)) / "chromium"


def find() -> Chromium | None:
    """The browser on PATH, else the one in the cache, else None. Downloads nothing."""
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return Chromium(Path(path))
    root = cached()
    if not (root / UNPACKED).is_file():
        return None
    folders = {path.parent for path in (*root.glob("lib/**/*.so*"), *root.glob("usr/lib/**/*.so*"))}
    return Chromium(root / UNPACKED, tuple(sorted(folders - {(root / UNPACKED).parent})))


def unpack() -> None:
    """Fills the cache with Debian's package and its missing dependencies, whole or not at all.

    Raises:
        SystemExit: no apt here, or it cannot reach its packages.
    """
    missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"Expected Chromium on PATH or a Debian to unpack it from, but there is no {missing[0]}; install one.")
    root = cached()
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".chromium.") as name:
        work = Path(name)
        for folder in ("lists/partial", "archives/partial", "packages", "root"):
            (work / folder).mkdir(parents=True)
        options = [
            f"-oDir::State::lists={work / 'lists'}", f"-oDir::Cache={work}", "-oDebug::NoLocking=1",
            "-oAPT::Sandbox::User=", "-qq",
        ]  # fmt: skip
        _run(["apt-get", *options, "update"], work)
        plan = _run(["apt-get", *options, "--simulate", "--no-install-recommends", "install", PACKAGE], work)
        names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
        _run(["apt-get", *options, "download", *names], work / "packages")
        for package in sorted((work / "packages").glob("*.deb")):
            _run(["dpkg", "--extract", str(package), str(work / "root")], work)
        shutil.rmtree(root, ignore_errors=True)
        os.replace(work / "root", root)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()[-60:])
        sys.exit(f"Expected Debian's {PACKAGE}, but `{' '.join(command[:1] + command[-2:])}` failed: {reason}")
    return done.stdout


def ensure() -> Chromium:
    """A browser that starts, unpacked first where there is none.

    Raises:
        SystemExit: none can be had, or it does not start.
    """
    found = find()
    if found is None or (found.fault() is not None and found.libraries):
        unpack()  # also where an earlier copy lacks a library that the machine had then
        found = find()
    if found is None:
        sys.exit(f"Expected {UNPACKED} in Debian's {PACKAGE}, but it is not there.")
    fault = found.fault()
    if fault is not None:
        sys.exit(f"Expected a Chromium that starts, but {found.path} does not: {fault}")
    return found


if __name__ == "__main__":
    sys.stdout.write(f"{ensure().path}\n")
