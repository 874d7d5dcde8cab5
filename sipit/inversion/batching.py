"""Many searches at once: what they want to have run is run together, as far as the model allows.

    repeat: the drafts that are wanted run as one batch, then the candidates that are wanted as another;
            every search goes on with its states, and where one has ended the next begins

Answers are those of one search after the other, up to rounding: a search sees its own states alone.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch

from sipit.inversion.search import Search, Steps
from sipit.inversion.wanted import Candidates, Drafts, Wanted
from sipit.prefix.kinds import Prefix
from sipit.prefix.packed import PackedPrefix, candidates_together, extend_together

PROMPTS = 16  # searches at once
POSITIONS = 4096  # positions of all their prompts at most: keys and values of each are kept

Opening = tuple[int, Callable[[], Search]]  # positions of a prompt, and what begins its search


@dataclass
class _Active:
    """A search under way, and what it waits for."""

    number: int
    search: Search
    steps: Steps
    wanted: Wanted | None = None

    def go_on(self, states: torch.Tensor | None) -> None:
        """Sends it the states that it wanted, and lets it say what it wants next."""
        with self.search.clock.running():
            try:
                self.wanted = next(self.steps) if states is None else self.steps.send(states)
            except StopIteration:
                self.wanted = None


def run_together(
    openings: Sequence[Opening], *, keep: Callable[[int, Search], None] | None = None
) -> Generator[tuple[int, Search]]:
    """Runs searches, some at a time; yields each when it has ended, with its number in the order given.

    `keep` is called with the searches under way after every round.
    """
    begun, active = 0, list[_Active]()
    while begun < len(openings) or active:
        while begun < len(openings) and _fits(openings[begun][0], active):
            search = openings[begun][1]()
            active.append(_Active(begun, search, search.run()))
            active[-1].go_on(None)
            begun += 1
        for one in [one for one in active if one.wanted is None]:
            active.remove(one)
            yield one.number, one.search
        _serve([one for one in active if isinstance(one.wanted, Drafts)])
        _serve([one for one in active if isinstance(one.wanted, Candidates)])
        if keep is not None:
            for one in active:
                keep(one.number, one.search)


def _fits(positions: int, active: list[_Active]) -> bool:
    """Whether a search of so many positions may join."""
    taken = sum(one.search.length for one in active)
    return not active or (len(active) < PROMPTS and taken + positions <= POSITIONS)


def _serve(group: list[_Active]) -> None:
    """Runs what a group wants, all drafts or all candidates, at once where the model allows; each pays its share."""
    packed = [one for one in group if isinstance(one.search.prefix, PackedPrefix) and not _apart(one.wanted)]
    packed = packed if len(packed) > 1 else []
    for one in group:
        if one not in packed:
            with one.search.clock.running():
                states = _alone(one.search.prefix, one.wanted)
            one.go_on(states)
    if not packed:
        return
    started = time.monotonic()
    found = _together(packed)
    share = (time.monotonic() - started) / len(packed)
    for one, states in zip(packed, found, strict=True):
        one.search.clock.charge(share)
        one.go_on(states)


def _apart(wanted: Wanted | None) -> bool:
    return wanted is not None and wanted.apart


def _alone(prefix: Prefix, wanted: Wanted | None) -> torch.Tensor:
    if isinstance(wanted, Drafts):
        return prefix.extend(wanted.start, wanted.tokens)
    assert wanted is not None
    if wanted.apart and isinstance(prefix, PackedPrefix):
        return prefix.candidates_apart(wanted.positions, wanted.tokens)
    return prefix.candidates(wanted.positions, wanted.tokens)


def _together(group: list[_Active]) -> list[torch.Tensor]:
    drafts: list[tuple[PackedPrefix, int, torch.Tensor]] = []
    candidates: list[tuple[PackedPrefix, torch.Tensor, torch.Tensor]] = []
    for one in group:
        prefix, wanted = one.search.prefix, one.wanted
        assert isinstance(prefix, PackedPrefix)
        if isinstance(wanted, Drafts):
            drafts.append((prefix, wanted.start, wanted.tokens))
        elif wanted is not None:
            candidates.append((prefix, wanted.positions, wanted.tokens))
    return extend_together(drafts) if drafts else candidates_together(candidates)
