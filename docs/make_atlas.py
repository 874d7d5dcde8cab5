"""Writes docs/atlas.md: what is proved of every causal language model class of transformers, from its default config.

    python docs/make_atlas.py [--seconds 120] [NAME ...]

Each architecture is captured on the meta device, one block per kind of block, in a process of its own. Results are
kept line by line in docs/atlas.jsonl, so that the script can be stopped and started again; the page is a view of it.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any

from proofs.evidence import write_atomically

HERE = Path(__file__).parent
STORE = HERE / "atlas.jsonl"
PAGE = HERE / "atlas.md"


def names() -> list[str]:
    """Every model type with a causal language model class and a config of its own."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    return sorted(name for name in CONFIG_MAPPING if CONFIG_MAPPING[name] in MODEL_FOR_CAUSAL_LM_MAPPING)


def examine(name: str, limit: int, answer: Any) -> None:
    """One line of the atlas, sent through a pipe; the system ends the process after `limit` seconds of computing."""
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    import torch
    from transformers import AutoConfig

    from numerics.capture import capture_graph
    from numerics.reduced import witness_in_small_copy
    from proofs.analyticity import Obstructions, prove_analytic
    from proofs.dependence import causal
    from proofs.structural import positions
    from sipit.checking import LENGTH

    torch.set_num_threads(1)
    began = time.process_time()
    line: dict[str, Any] = {"name": name, "tokens": LENGTH}
    try:
        config = AutoConfig.for_model(name)
        if getattr(config, "is_decoder", None) is False:  # encoders that can also be built as decoders
            config.is_decoder = True
        graph = capture_graph(config, distinct=True, length=LENGTH)
        found = prove_analytic(graph)
        line |= {
            "architecture": graph.about["architecture"],
            "blocks": graph.about["captured_layers"],
            "nodes": len(graph.nodes),
        }
        line |= {
            "regularity": str(found.regularity),
            "conditions": len(found.conditions),
            "positions": positions(graph).scheme,
            "causal": causal(graph),
        }
        line |= {"obstruction": None, "witness": None}
        if isinstance(found, Obstructions):
            first = found.obstructions[0]
            line["obstruction"] = f"{first.operation} at {first.source}"
            found = witness_in_small_copy(found, config)
            line["regularity"] = str(found.regularity)
            line["witness"] = None if found.witness is None else found.witness["claim"]
    except Exception as error:  # noqa: BLE001 - the page lists every architecture that fails, with the reason
        line["failure"] = f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"
    line["seconds"] = round(time.process_time() - began, 1)
    answer.send(line)


def run(name: str, limit: int) -> dict[str, Any]:
    """Examines one architecture in a process of its own, for at most `limit` seconds of computing."""
    context = multiprocessing.get_context("forkserver")  # forked from a process that has the libraries loaded
    context.set_forkserver_preload(["numerics.reduced", "transformers.models.auto.modeling_auto", "torch.export"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=examine, args=(name, limit, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return {"name": name, "failure": f"no answer within {limit} s of computing", "seconds": limit}
    finally:
        process.kill()
        process.join()


def definite(line: dict[str, Any]) -> bool:
    """Analytic, or not analytic with a witness."""
    return line.get("regularity") in ("polynomial", "analytic") or line.get("witness") is not None


def page(lines: list[dict[str, Any]]) -> str:
    """The atlas as Markdown."""
    built = [line for line in lines if "failure" not in line]
    failed = [line for line in lines if "failure" in line]
    rows = [
        f"| {line['name']} | {line['regularity']} | {line['obstruction'] or ''} | {line['witness'] or ''} "
        f"| {line['positions']} | {line['conditions']} | {line['blocks']} | {line['tokens']} | {line['seconds']} |"
        for line in built
    ]
    return "\n".join(
        [
            "# Atlas of architectures",
            "",
            "What is proved of every causal language model class of transformers, built from its default text config",
            "on the meta device and captured with one block per kind of block, eager attention. Written by",
            "`docs/make_atlas.py`; `regularity` is the class proved of the map from parameters to the last state, a",
            "witness is a certified proof that it is not analytic (or jumps), found in a small copy of the same class.",
            "Lines of 8 tokens are of an earlier run. Seconds are rough: other work ran on the machine.",
            "",
            f"Examined: {len(lines)} of {len(names())} model types.",
            f"{sum(map(definite, built))} of {len(built)} that build",
            "have a definite verdict (analytic, or not analytic with a witness).",
            "",
            "| architecture | regularity | first obstruction | witness | positions | conditions | blocks | tokens "
            "| seconds |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "## Not captured",
            "",
            "| architecture | reason |",
            "|---|---|",
            *[f"| {line['name']} | {line['failure'].replace('|', '/')} |" for line in failed],
            "",
        ]
    )


def main() -> None:
    """Fills the store and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these, again")
    parser.add_argument("--seconds", type=int, default=120, help="limit of computing for one architecture")
    options = parser.parse_args()
    known = {line["name"]: line for line in map(json.loads, STORE.read_text().splitlines())} if STORE.exists() else {}
    for name in options.names or [name for name in names() if name not in known]:
        known[name] = run(name, options.seconds)
        sys.stderr.write(json.dumps(known[name]) + "\n")
        write_atomically(STORE, "".join(json.dumps(known[name]) + "\n" for name in sorted(known)).encode())
    PAGE.write_text(page([known[name] for name in sorted(known)]))


if __name__ == "__main__":
    main()
