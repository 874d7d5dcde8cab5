"""One table of all benchmarks: what each script measured, beside its peers, on which machine, with which versions.

    python benchmarks/collisions.py -o build/benchmarks/collisions.json
    python benchmarks/table.py build/benchmarks/*.json

Each script writes one run; this one puts runs into docs/benchmarks.json, a newer one of a benchmark in the place of an
older one, and writes docs/benchmarks.md from it. `make bench` does all of it, `make bench BENCH=--quick` in the
smallest setting, which shows that the table is made and says little else.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from options import Options

STORE = Path(__file__).parents[1] / "docs" / "benchmarks.json"
PACKAGES = ("sipit", "torch", "transformers", "numpy", "scipy", "faiss-cpu", "python-flint", "numba")
SMALL = "This is the smallest setting: it shows that the table is made, and nothing about larger sizes."
OURS = "sipit (draft and verify)"
HEAD = """# Benchmarks

Written by `make bench` from what `benchmarks/*.py` measured, each section with its settings, machine and versions.
*ratio* is the peer's time over ours for the same task in the same run; ≥ marks a lower bound, where the peer was
stopped before it ended. Everything here is measured; *answer* is what the method reported, because a fast wrong answer
is none.
"""
NO_DEVICE = """No GPU has been measured yet. `python benchmarks/gpu.py` does it in minutes where there is one, from a
checkout and wheels alone; with `--device cpu --small` the tests only see that it runs.
"""


@dataclass(frozen=True)
class Row:
    """One method on one task.

    Attributes:
        task: what was asked for, with its size.
        method: who answered; ours begins with `sipit`.
        seconds: of the clock named by the run.
        answer: what it reported, or how far it came.
        ratio: its seconds over ours on the same task; None for ours.
        bound: whether the ratio is only a lower bound.
    """

    task: str
    method: str
    seconds: float
    answer: str = ""
    ratio: float | None = None
    bound: bool = False


def besides(chosen: Collection[str], every: Collection[str]) -> str:
    """What the name of a run of some parts ends with, so that it stands beside the others; nothing for all of them."""
    return "" if {*chosen} == {*every} else f", {', '.join(chosen)}"


@dataclass
class Run:
    """What one script measured in one go. `clock` is `wall` or `CPU`."""

    benchmark: str
    clock: Literal["wall", "CPU"]
    rows: list[Row] = field(default_factory=list[Row])

    def add(self, *rows: Row) -> None:
        """Prints rows and keeps them."""
        for row in rows:
            self.rows.append(row)
            parts = (row.task, row.method, f"{row.seconds:.3g} s", row.answer, _ratio(asdict(row)))
            print("  " + " · ".join(part for part in parts if part), flush=True)

    def write(self, path: Path | None) -> None:
        """The run as JSON, with the command line, the machine and the versions; None writes nothing."""
        if path is None:
            return
        data = {
            "benchmark": self.benchmark,
            "command": " ".join(["python", *_arguments()]),
            "clock": self.clock,
            "machine": machine(),
            "versions": versions(),
            "rows": [asdict(row) for row in self.rows],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def machine() -> dict[str, Any]:
    """Processor, processors this process may use, memory in GiB, system."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str]:
    """Python and the packages that the numbers depend on, as far as they are installed."""
    found = {"python": platform.python_version(), "sipit": "a checkout"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def page(runs: list[dict[str, Any]]) -> str:
    """All runs as Markdown."""
    measured = any(re.match(r"device: (?!cpu\b)", run["benchmark"]) for run in runs)
    return "\n".join([HEAD, *([] if measured else [NO_DEVICE]), *(_section(run) for run in runs)])


def _section(run: dict[str, Any]) -> str:
    place = run["machine"]
    lines = [
        f"## {run['benchmark']}",
        "",
        f"`{run['command']}`, {run['clock']} seconds. {place['processor']}, {place['processors']} processors, "
        f"{place['memory_gib']} GiB, {place['system']}; load at the end {place['load']}.",
        ", ".join(f"{name} {number}" for name, number in run["versions"].items()) + ".",
        "",
        "| task | method | seconds | ratio | answer |",
        "|---|---|---|---|---|",
    ]
    rows = (
        f"| {row['task']} | {row['method']} | {row['seconds']:.3g} | {_ratio(row)} | {row['answer']} |"
        for row in run["rows"]
    )
    small = ["", SMALL] if "--quick" in run["command"] else []
    return "\n".join([*lines, *rows, *small, ""])


def _ratio(row: dict[str, Any]) -> str:
    return "" if row["ratio"] is None else f"{'≥ ' if row['bound'] else ''}{row['ratio']:.3g}"


def _arguments() -> list[str]:
    """The command line from the top of the project, without where it writes."""
    words = [f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    if "-o" in words:
        place = words.index("-o")
        del words[place : place + 2]
    return words


def main() -> None:
    """Puts the runs of the files named into the store, and writes the page."""
    parser = Options(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--store", type=Path, default=STORE, help="the .json; the page stands beside it")
    options = parser.parse_args()
    kept = {run["benchmark"]: run for run in json.loads(options.store.read_text())} if options.store.exists() else {}
    for path in options.runs:
        run = json.loads(path.read_text())
        kept[run["benchmark"]] = run
    runs = [kept[name] for name in sorted(kept)]
    options.store.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n")
    options.store.with_suffix(".md").write_text(page(runs))


if __name__ == "__main__":
    main()
