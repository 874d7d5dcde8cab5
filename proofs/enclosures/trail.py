"""The states of one prompt after another, enclosed block by block, in one process or several."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofs.arithmetic.base import Undecided
from proofs.arithmetic.fixed_point import LARGEST, FixedPoint, Sliced
from proofs.enclosures.enclosure import Enclosure
from proofs.enclosures.segments import STATE, cuts, inputs_of, segments
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate
from proofs.processes import can_fork, in_order

AIM = 42  # bits after the point that the last enclosure should be right to; pairs that are closer get more
PER_OCTAVE = 2.4  # bits that a block loses for every doubling of the width; only a guess to begin with

Row = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Trail:
    """One prompt and what its states are enclosed in after every segment; `bits` is where it began."""

    tokens: tuple[int, ...]
    bits: int
    steps: tuple[Enclosure, ...]

    @property
    def state(self) -> Enclosure:
        """The state of the last token."""
        return self.steps[-1]


@dataclass(slots=True, eq=False)
class Run:
    """The trails so far, and what is shared among them."""

    graphs: Mapping[int, Graph]
    weights: Mapping[str, NDArray[Any]]
    bits: int | None  # None: chosen from what the first prompt loses
    trails: dict[Row, Trail]
    keep: Callable[[Trail], None]
    workers: int
    sliced: Sliced = field(default_factory=dict)
    parts: dict[int, tuple[Graph, ...]] = field(default_factory=dict)
    lost: float | None = None  # bits lost so far at most

    def enclose(self, least: Mapping[Row, int], progress: Callable[[int, int], None]) -> None:
        """Encloses the states of every prompt with at least so many bits; those that have them are left as they are.

        Raises:
            Undecided: too few bits, and no more are allowed.
        """
        todo = [row for row, bits in least.items() if row not in self.trails or self.trails[row].bits < bits]
        self.parts |= {n: segments(graph, cuts(graph)) for n, graph in self.graphs.items() if n not in self.parts}
        for trail in self.trails.values():
            self._learn(trail)
        done = len(least) - len(todo)
        for trail in self._enclosed(todo, least):
            self.trails[trail.tokens] = trail
            self._learn(trail)
            self.keep(trail)
            done += 1
            progress(done, len(least))

    def _enclosed(self, todo: Sequence[Row], least: Mapping[Row, int]) -> Iterator[Trail]:
        first, rest = todo[:1], todo[1:]
        if self.workers < 2 or len(rest) < 2 or not can_fork():
            first, rest = todo, []
        for row in first:
            yield self.one(row, self._bits(row, least[row]))
        if rest:  # the weights that the first prompt has cut are shared with the processes
            yield from in_order(self, _one, [(row, self._bits(row, least[row])) for row in rest], self.workers)

    def one(self, row: Row, bits: int) -> Trail:
        """The trail of one prompt, with more bits where these are too few to evaluate it at all."""
        while True:
            try:
                return follow(self.parts[len(row)], row, self.weights, bits, self.sliced)
            except Undecided:
                if bits >= LARGEST or self.bits is not None:
                    raise
                bits = min(LARGEST, bits + bits // 2)

    def _bits(self, row: Row, least: int) -> int:
        """What prompts have lost so far and a little more; before the first, what balls lose in blocks that wide."""
        graph = self.graphs[len(row)]
        width = graph.nodes[graph.output].type.shape[-1]
        guess = 24 + PER_OCTAVE * math.log2(max(width, 4)) * max(graph.layer, 1)
        predicted = min(LARGEST, math.ceil(guess if self.lost is None else self.lost + 6) + AIM)
        return max(least, predicted if self.bits is None else self.bits)

    def _learn(self, trail: Trail) -> None:
        lost = trail.bits - trail.state.bits + math.log2(max(trail.state.radius[0], 1))
        self.lost = lost if self.lost is None else max(self.lost, lost)


def _one(run: Run, task: tuple[Row, int]) -> Trail:
    return run.one(*task)


def follow(
    parts: Sequence[Graph], tokens: Row, weights: Mapping[str, NDArray[Any]], bits: int, sliced: Sliced
) -> Trail:
    """The enclosures of one prompt's states after every segment, the last one of the last token alone.

    Raises:
        Undecided: too few bits.
    """
    start = bits
    steps: list[Enclosure] = []
    for segment in parts:
        inputs: dict[str, Any] = {"tokens": np.array([tokens], dtype=np.int64)}
        inputs |= {name: weights[name] for name in inputs_of(segment) if name != STATE}
        if steps:
            inputs[STATE] = steps[-1].fixed()
        arithmetic = FixedPoint(bits, sliced)
        states = arithmetic.fixed(evaluate(segment, inputs, arithmetic))  # embeddings alone are still weights
        steps.append(Enclosure.of(states, bits))
        bits = steps[-1].bits
    return Trail(tokens, start, (*steps[:-1], steps[-1].last()))
