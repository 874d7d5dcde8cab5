"""The loss of a language model on samples, with its first and second derivatives at any parameters."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from proofs.arithmetic.objects import ObjectArithmetic
from proofs.arithmetic.tape import Scalar, Tape, derivatives
from proofs.network.graph import Graph
from proofs.operations.interpreter import evaluate

Value = Callable[[str, tuple[int, ...]], Fraction]  # of an entry of a parameter, by its name and place


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and the target distribution of the next token."""

    tokens: tuple[int, ...]
    target: tuple[Fraction, ...]

    def to_json(self) -> dict[str, Any]:
        """The sample as a JSON object."""
        return {"tokens": list(self.tokens), "target": [str(share) for share in self.target]}


class Dyadics:
    """Exact numbers drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)

    def unit(self) -> Fraction:
        """Between 0 and 1."""
        return Fraction(self._source.getrandbits(7), 128)

    def centred(self) -> Fraction:
        """Between -1/2 and 1/2."""
        return self.unit() - Fraction(1, 2)


def of_loss(graph: Graph, sample: Sample, base: ObjectArithmetic, value: Value) -> Any:
    """Gradient and second derivatives of the cross-entropy on a sample, in the numbers of `base`."""
    tape = Tape(base)
    variables: list[Scalar] = []
    inputs: dict[str, Any] = {"tokens": np.array([sample.tokens], dtype=np.int64)}
    for name, kind in graph.parameters():
        table = np.empty(kind.shape, dtype=object)
        for place in np.ndindex(*kind.shape):
            variables.append(tape.variable(base.number(value(name, place))))
            table[place] = variables[-1]
        inputs[name] = table
    logits = list(np.ravel(evaluate(graph, inputs, tape)))
    exponentials = [tape.elementary("exp")(z) for z in logits]
    loss = tape.elementary("log")(sum(exponentials[1:], exponentials[0]))
    for z, share in zip(logits, sample.target, strict=True):
        loss = loss - tape.number(share) * z
    return derivatives(loss, variables)


def mean(each: Sequence[Any], base: ObjectArithmetic) -> Any:
    """Gradient and second derivatives of the mean over a batch."""
    share = base.number(Fraction(1, len(each)))
    gradient = [sum(entries[1:], entries[0]) * share for entries in zip(*(g for g, _ in each), strict=True)]
    second = [
        [sum(entries[1:], entries[0]) * share for entries in zip(*rows, strict=True)]
        for rows in zip(*(h for _, h in each), strict=True)
    ]
    return gradient, second
