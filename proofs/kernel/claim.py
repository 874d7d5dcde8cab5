"""The one claim language: what a certificate shows, in words and as JSON, derived by the kernel of its kind.

`derive` of every kind makes a `Claim` of a certificate, or raises Rejected. Nothing in it is copied from what the file
says that it shows: a certificate is accepted where it holds, leaf by leaf, what its claim says that it must.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proofs.kernel.result import Rejected, same
from proofs.verdict import Verdict

READ = ("nodes", "constants", "output", "attributes", "types")  # of a graph; the rest is what it says of itself


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn where not everything was done again: `drawn` of `among`, by the verifier's own seed."""

    drawn: int
    among: int
    seed: int

    def to_json(self) -> dict[str, int]:
        """The sample in a record."""
        return {"drawn": self.drawn, "among": self.among, "seed": self.seed}


@dataclass(frozen=True, slots=True)
class Claim:
    """What follows from a certificate.

    Attributes:
        kind: of the certificate.
        verdict: that of a record which states this and nothing else.
        sentence: what is shown, in words.
        certificate: every field that was derived, or that the claim was derived from, as it must stand there. A field
            that is missing here was not looked at: labels, and words that explain.
        lines: how many lines, steps or pairs were derived.
        reason: how.
        sample: what the claim rests on was done again for a sample alone; None where for all.
        second_opinion: a sample that was computed once more in another arithmetic; the claim does not rest on it.
    """

    kind: str
    verdict: Verdict
    sentence: str
    certificate: Mapping[str, Any]
    lines: int
    reason: str
    sample: Sample | None = None
    second_opinion: Sample | None = None


def unlabelled(graph: Mapping[str, Any]) -> dict[str, Any]:
    """A graph in JSON without its labels, which no kernel can derive: layer, architecture, names of modules."""
    return {name: graph[name] for name in READ}


def expect(stated: Any, follows: Any, where: str) -> None:
    """Raises Rejected at the first leaf that is not what follows; a field that nothing follows for is passed over."""
    if stated is follows:
        return
    if isinstance(follows, Mapping) and isinstance(stated, Mapping):
        for name, value in follows.items():
            if name not in stated:
                raise Rejected(f"{where} does not state {name}")
            expect(stated[name], value, f"{where}.{name}")
    elif isinstance(follows, list) and isinstance(stated, list):
        if len(stated) != len(follows):
            raise Rejected(f"{where} has {len(stated)} entries, but {len(follows)} follow")
        for place, (one, other) in enumerate(zip(stated, follows, strict=True)):
            expect(one, other, f"{where}.{place}")
    elif not same(stated, follows):
        raise Rejected(f"{where} is {_short(stated)}, but {_short(follows)} follows")


def divided(stated: Any, follows: Any, where: str) -> tuple[list[str], list[str]]:
    """The dotted paths of what follows, and of what does not; where all below one goes the same way, its own alone."""
    if not isinstance(follows, Mapping | list):
        return [where], []
    derived: list[str] = []
    other: list[str] = []
    below = stated.items() if isinstance(stated, Mapping) else enumerate(stated)
    known: Mapping[Any, Any] = follows if isinstance(follows, Mapping) else dict(enumerate(follows))
    for name, value in below:
        path = f"{where}.{name}".removeprefix(".")
        parts = divided(value, known[name], path) if name in known else ([], [path])
        derived += parts[0]
        other += parts[1]
    return ([where], []) if not other else ([], [where]) if not derived else (derived, other)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:297]}..."
