"""Exact collision search against FAISS flat and torch.cdist, in one run, on states of a real model.

    python benchmarks/collisions.py [--rows 100000] [--layers 15] [--cache FOLDER] [--parts real,planted,million,noise]
                                    [--quick] [-o FILE.json]

Kernels are compiled beforehand; seconds are wall-clock on all processors. The states are those after block `layer` of
SmolLM2, one for every distinct prefix of windows of 32 tokens of built-in text. `--quick` takes 2,000 of them, and the
smallest noise.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from options import Options, among, answered, several, whole
from table import Row, Run

import numerics

WINDOW = 32
PARTS = ("real", "planted", "million", "noise")
NOISE = ((10_000, 768), (30_000, 576))


def main() -> None:
    """Runs the parts asked for."""
    parser = Options(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=whole(2), default=100_000)
    parser.add_argument("--layers", type=several(), default="15")
    parser.add_argument("--cache", type=Path, help="folder where captured states are kept between runs")
    parser.add_argument("--parts", type=among(PARTS), default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="2000 rows, little noise, no million")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.rows, options.parts = 2000, ["real", "planted", "noise"]
    for method in ("windows", "tree", "product"):
        numerics.closest_pair(np.random.default_rng(0).standard_normal((100, 30), dtype=np.float32), method=method)
    parts = options.parts
    run = Run("collisions", "wall")
    for layer in options.layers if {"real", "planted"} & {*parts} else []:
        states = real_states(layer, options.cache, options.rows)
        if "real" in parts:
            compare(run, states, f"SmolLM2, layer {layer}, {len(states)} × {states.shape[1]} float32")
        if "planted" in parts:
            planted(run, states[:10_000])
    if "million" in parts:
        million(run)
    if "noise" in parts:
        noise(run, NOISE if not options.quick else ((2000, 576),))
    run.write(options.output)


def real_states(layer: int, cache: Path | None, rows: int) -> np.ndarray:
    """The states of the first `rows` distinct prefixes of the windows, shape (prompts, width)."""
    stored = cache / f"states_{layer}.npy" if cache else None
    if stored and stored.exists() and len(kept := np.load(stored)) >= rows:
        return kept[:rows]
    import pydoc_data.topics

    import sipit

    model = sipit.load_model("smollm2")
    text = "\n".join(section for _, section in sorted(pydoc_data.topics.topics.items()))
    ids = list(model.tokenizer(text, verbose=False).input_ids)
    windows = [ids[start : start + WINDOW] for start in range(0, len(ids) - WINDOW + 1, WINDOW)]
    windows = windows[: 2 * rows // WINDOW + 16]  # prefixes repeat: twice as many as distinct ones would need
    captured = sipit.capture(model, windows, layer=layer, batch=16)
    seen: set[tuple[int, ...]] = set()
    found = []
    for window, states in zip(windows, captured, strict=True):
        for end in range(1, WINDOW + 1):
            if (prefix := tuple(window[:end])) not in seen:
                seen.add(prefix)
                found.append(states[end - 1].float().numpy())
    states = np.stack(found)
    if stored:
        np.save(stored, states)
    return states[:rows]


def compare(run: Run, states: np.ndarray, subject: str) -> None:
    """Our search, FAISS and torch.cdist on the same rows."""
    groups = numerics.bit_identical(states)
    ours, seconds = timed(lambda: numerics.closest_pairs(states, count=1, distinct=True)[0])
    ten, more = timed(lambda: numerics.closest_pairs(states, count=10, distinct=True))
    run.add(
        Row(f"closest pair, {subject}", "sipit", seconds, f"{_pair(ours)}; {len(groups)} bit-identical groups"),
        Row(f"10 closest pairs, {subject}", "sipit", more, f"the tenth at {ten[-1].distance:.15g}"),
    )
    for name, search in (("FAISS flat, k=2", faiss_minimum), ("torch.cdist in chunks", cdist_minimum)):
        (distance, first, second), theirs = timed(search, states)
        answer = f"{distance:.15g} ({first}, {second})"
        run.add(Row(f"closest pair, {subject}", name, theirs, answer, theirs / seconds))


def _pair(pair: numerics.Pair) -> str:
    return f"{pair.distance:.15g} ({pair.first}, {pair.second})"


def planted(run: Run, states: np.ndarray) -> None:
    """Ten rows moved by exactly known small steps: what each method says the minimum is."""
    rng = np.random.default_rng(1)
    states = np.unique(states, axis=0)
    chosen = rng.choice(len(states), 20, replace=False)
    for source, target in zip(chosen[:10], chosen[10:], strict=True):
        step = rng.standard_normal(states.shape[1])
        states[target] = states[source] + (1e-5 * step / np.linalg.norm(step)).astype(np.float32)
    truth = sorted(
        float(np.linalg.norm(states[a].astype(np.float64) - states[b]))
        for a, b in zip(chosen[:10], chosen[10:], strict=True)
    )
    positive = [distance for distance in truth if distance > 0]
    task = f"{len(positive)} pairs planted at 1e-5 in {len(states)} rows, the closest at {positive[0]:.6g}"
    found, seconds = timed(lambda: numerics.closest_pairs(states, count=len(positive), distinct=True))
    right = "all" if np.allclose(found.distance, positive) else "not all"
    run.add(Row(task, "sipit", seconds, f"{found[0].distance:.6g}; {right} {len(positive)} found"))
    for name, search in (("FAISS flat, k=2", faiss_minimum), ("torch.cdist in chunks", cdist_minimum)):
        (distance, _, _), theirs = timed(search, states)
        run.add(Row(task, name, theirs, f"{distance:.6g}", theirs / seconds))


def million(run: Run) -> None:
    """pairs_within on 1,000,000 x 576 float32 in a memory map: a decaying spectrum about a large mean."""
    rows, width, planted_pairs = 1_000_000, 576, 25
    spectrum = (30 / np.sqrt(1 + np.arange(width))).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        points = np.memmap(Path(folder) / "points", dtype=np.float32, mode="w+", shape=(rows, width))
        rng = np.random.default_rng(0)
        offset = 10 * rng.standard_normal(width, dtype=np.float32)
        for start in range(0, rows, 20_000):
            points[start : start + 20_000] = offset + spectrum * rng.standard_normal((20_000, width), dtype=np.float32)
        chosen = rng.choice(rows, 2 * planted_pairs, replace=False)
        small = int(np.argmin(np.abs(offset)))  # a coordinate where float32 can hold a small step
        for source, target in chosen.reshape(-1, 2):
            points[target] = points[source]
            points[target, small] += np.float32(5e-5)
        points.flush()
        points = np.memmap(Path(folder) / "points", dtype=np.float32, mode="r", shape=(rows, width))
        found, seconds = timed(lambda: numerics.pairs_within(points, threshold=1e-4))
        task = f"pairs within 1e-4, {rows} × {width} float32 in a memory map, {planted_pairs} planted at 5e-5"
        run.add(Row(task, "sipit", seconds, f"{len(found)} pairs, the closest at {found[0].distance:.6g}"))


def noise(run: Run, sizes: tuple[tuple[int, int], ...]) -> None:
    """Isotropic noise, where nothing prunes, against the plainest blocked product; the best of three runs each."""
    for rows, width in sizes:
        points = np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)
        rounds = [(timed(numerics.closest_pair, points), timed(blocked_minimum, points)) for _ in range(3)]
        ours, plain = (min(result[1] for result in side) for side in zip(*rounds, strict=True))
        task = f"closest pair, isotropic noise, {rows} × {width} float32"
        run.add(
            Row(task, "sipit", ours, f"{rounds[0][0][0].distance:.10g}"),
            Row(task, "blocked product", plain, f"{rounds[0][1][0]:.10g}", plain / ours),
        )


def faiss_minimum(states: np.ndarray) -> tuple[float, int, int]:
    """The least distance that a flat index reports between different rows."""
    import faiss

    index = faiss.IndexFlatL2(states.shape[1])
    index.add(states)
    squares, neighbours = index.search(states, 2)
    itself = neighbours == np.arange(len(states))[:, None]
    squares = np.where(itself, np.inf, squares)
    row = int(squares.min(axis=1).argmin())
    column = int(squares[row].argmin())
    return float(np.sqrt(max(squares[row, column], 0.0))), row, int(neighbours[row, column])


def cdist_minimum(states: np.ndarray) -> tuple[float, int, int]:
    """The least distance that torch.cdist reports between different rows, in chunks of 2048 rows."""
    import torch

    points = torch.from_numpy(np.ascontiguousarray(states))
    best = (np.inf, 0, 0)
    for start in range(0, len(points), 2048):
        distances = torch.cdist(points[start : start + 2048], points[start:])
        distances.fill_diagonal_(torch.inf)
        place = int(distances.argmin())
        row, column = divmod(place, distances.shape[1])
        best = min(best, (float(distances[row, column]), start + row, start + column))
    return best


def blocked_minimum(points: np.ndarray, block: int = 2048) -> float:
    """Centred blocks above the diagonal in float32, each reduced to its least |a|^2 + |b|^2 - 2ab."""
    points = points - points.mean(axis=0)
    squares = (points**2).sum(axis=1)
    best = np.inf
    for i in range(0, len(points), block):
        for j in range(i, len(points), block):
            product = points[i : i + block] @ points[j : j + block].T
            product *= -2
            product += squares[j : j + block]
            if i == j:
                np.fill_diagonal(product, np.inf)
            best = min(best, float((product.min(axis=1) + squares[i : i + block]).min()))
    return float(np.sqrt(best))


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a call returns, and its wall-clock seconds."""
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


if __name__ == "__main__":
    answered(main)
