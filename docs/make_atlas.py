"""Writes docs/atlas.md: what is proved of every causal language model class of transformers, and what is inverted.

    python docs/make_atlas.py [--seconds 120] [--part regularity] [NAME ...]

Every part of every line is examined in a process of its own. Answers are kept line by line in docs/atlas.jsonl, so
that the script can be stopped and started again: what was found with the versions that are installed stays, the rest
is examined anew. The page is a view of that file.
"""

import argparse
import json
import multiprocessing
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas_page import page
from atlas_parts import PARTS, examine, made_with, names

from proofs.evidence import write_atomically

STORE = Path(__file__).parent / "atlas.jsonl"
PRELOADED = ["atlas_parts", "numerics.graphs.small_graphs", "sipit.inversion.inverter", "sipit.states.capturing",
             "torch.export", "transformers.models.llama.modeling_llama"]  # fmt: skip


def run(part: str, name: str, limit: int) -> dict[str, Any]:
    """Examines one part in a process of its own, for at most `limit` seconds of computing."""
    context = multiprocessing.get_context("forkserver")  # forked from a process that has the libraries loaded
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(part, name, limit, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        reason = f"no answer within {limit} s of computing"
        return {"failure": "refused", "reason": reason, "made_with": made_with(part), "seconds": limit}
    finally:
        process.kill()
        process.join()


def _answer(part: str, name: str, limit: int, sender: Any) -> None:
    """Sends one part of a line; the system ends the process after `limit` seconds of computing."""
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    import torch

    torch.set_num_threads(1)
    sender.send(examine(part, name))


def read(store: Path) -> dict[str, dict[str, Any]]:
    """The lines that are kept, by name."""
    kept = map(json.loads, store.read_text().splitlines()) if store.exists() else ()
    return {line["name"]: line for line in kept}


def stale(line: dict[str, Any], part: str) -> bool:
    """Whether a part is missing, or was made with other versions, or on shorter prompts, than now."""
    return line.get(part, {}).get("made_with") != made_with(part)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fills the store and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these, again")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--seconds", type=int, default=120, help="limit of computing for one part of a line")
    parser.add_argument("--store", type=Path, default=STORE, help="where lines are kept; the page lies beside it")
    options = parser.parse_args(arguments)
    lines = read(options.store)
    for name in options.names or names():
        for part in options.part or PARTS:
            line = lines.setdefault(name, {"name": name})
            if options.names or stale(line, part):
                line[part] = run(part, name, options.seconds)
                sys.stderr.write(f"{name} {part}: {json.dumps(line[part])}\n")
                text = "".join(json.dumps(lines[key]) + "\n" for key in sorted(lines))
                write_atomically(options.store, text.encode())
    options.store.with_suffix(".md").write_text(page([lines[name] for name in sorted(lines)]))


if __name__ == "__main__":
    main()
