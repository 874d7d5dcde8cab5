"""Exact collision search against FAISS flat and torch.cdist, in one run, on states of a real model.

    python benchmarks/collisions.py [--rows 100000] [--layers 15] [--cache FOLDER] [--parts real,planted,million,noise]

Prints counts before seconds. Kernels are compiled beforehand; seconds are wall-clock on all processors. The states
are those after block `layer` of SmolLM2, one for every distinct prefix of windows of 32 tokens of built-in text.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import numerics

WINDOW = 32


def main() -> None:
    """Runs the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--layers", default="15")
    parser.add_argument("--cache", type=Path, help="folder where captured states are kept between runs")
    parser.add_argument("--parts", default="real,planted,million,noise")
    options = parser.parse_args()
    for method in ("windows", "tree", "product"):
        numerics.closest_pair(np.random.default_rng(0).standard_normal((100, 30), dtype=np.float32), method=method)
    layers = [int(layer) for layer in options.layers.split(",")]
    parts = options.parts.split(",")
    for layer in layers if {"real", "planted"} & {*parts} else []:
        states = real_states(layer, options.cache)[: options.rows]
        print(f"\nSmolLM2, layer {layer}: {len(states)} x {states.shape[1]} float32")
        if "real" in parts:
            compare(states)
        if "planted" in parts:
            planted(states[:10_000])
    if "million" in parts:
        million()
    if "noise" in parts:
        noise()


def real_states(layer: int, cache: Path | None) -> np.ndarray:
    """The states of all distinct prefixes of the windows, shape (prompts, width)."""
    stored = cache / f"states_{layer}.npy" if cache else None
    if stored and stored.exists():
        return np.load(stored)
    import pydoc_data.topics

    import sipit

    model = sipit.load_model("smollm2")
    text = "\n".join(section for _, section in sorted(pydoc_data.topics.topics.items()))
    ids = list(model.tokenizer(text, verbose=False).input_ids)
    windows = [ids[start : start + WINDOW] for start in range(0, len(ids) - WINDOW + 1, WINDOW)]
    captured = sipit.capture(model, windows, layer=layer, batch=16)
    seen: set[tuple[int, ...]] = set()
    rows = []
    for window, states in zip(windows, captured, strict=True):
        for end in range(1, WINDOW + 1):
            if (prefix := tuple(window[:end])) not in seen:
                seen.add(prefix)
                rows.append(states[end - 1].float().numpy())
    states = np.stack(rows)
    if stored:
        np.save(stored, states)
    return states


def compare(states: np.ndarray) -> None:
    """Our search, FAISS and torch.cdist on the same rows."""
    groups = numerics.bit_identical(states)
    print(f"  bit-identical groups: {len(groups)}")
    ours, seconds = timed(lambda: numerics.closest_pairs(states, count=1, distinct=True)[0])
    print(f"  sipit closest pair   {ours.distance:<22.15g} ({ours.first}, {ours.second})  {seconds:8.2f} s")
    ten, more = timed(lambda: numerics.closest_pairs(states, count=10, distinct=True))
    print(f"  sipit 10 closest     {ten[-1].distance:<22.15g} (the tenth)  {more:8.2f} s")
    for name, search in (("FAISS flat, k=2", faiss_minimum), ("torch.cdist chunked", cdist_minimum)):
        (distance, first, second), theirs = timed(search, states)
        print(
            f"  {name:20s} {distance:<22.15g} ({first}, {second})  {theirs:8.2f} s"
            f"   sipit is {theirs / seconds:.0f}x faster ({theirs / more:.0f}x with the 10 closest)"
        )


def planted(states: np.ndarray) -> None:
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
    print(f"  planted at 1e-5 in {len(states)} rows: true minimum {positive[0]:.6g} of {len(positive)} pairs above 0")
    found = numerics.closest_pairs(states, count=len(positive), distinct=True)
    print(f"    sipit        {found[0].distance:.6g}; all {len(positive)}: {np.allclose(found.distance, positive)}")
    print(f"    FAISS flat   {faiss_minimum(states)[0]:.6g}")
    print(f"    torch.cdist  {cdist_minimum(states)[0]:.6g}")


def million() -> None:
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
        print(
            f"\n{rows} x {width} float32 in a memory map, deviations 30/sqrt(k), {planted_pairs} pairs planted at 5e-5"
        )
        found, seconds = timed(lambda: numerics.pairs_within(points, threshold=1e-4))
        print(f"  pairs within 1e-4: {len(found)}, the closest at {found[0].distance:.6g}   {seconds:.1f} s")


def noise() -> None:
    """Isotropic noise, where nothing prunes, against the plainest blocked product that finds the minimum."""
    print("\nisotropic noise, the worst case")
    for rows, width in ((10_000, 768), (30_000, 576)):
        points = np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)
        rounds = [(timed(numerics.closest_pair, points), timed(blocked_minimum, points)) for _ in range(3)]
        ours, plain = (min(result[1] for result in side) for side in zip(*rounds, strict=True))
        pair, reported = rounds[0][0][0], rounds[0][1][0]
        print(
            f"  {rows} x {width}: sipit {pair.distance:.10g} in {ours:.2f} s, blocked product {reported:.10g} "
            f"in {plain:.2f} s, ratio {ours / plain:.2f} (best of 3 each)"
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
    main()
