"""No accepted claim of any kind may be contradicted by evaluation with 200 digits, whatever network it is about."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pytest

from tests.adversary import classes, distances, forging, prompts, training


@dataclass(frozen=True)
class Trial:
    """What is tried of one seed; how many seeds the plain tests take, and how many `make slow`, in parts."""

    run: Callable[[int], Counter[str]]
    plain: int
    many: int
    parts: int
    claims: tuple[str, ...]


TRIALS: Mapping[str, Trial] = {
    **{name: Trial(partial(prompts.numbered, name), 20, 10_000, 20, ("collide",)) for name in prompts.GENERATORS},
    "formulas": Trial(classes.regular, 60, 10_000, 20, ("bounds", "class analytic", "class C0")),
    "choices": Trial(classes.chosen, 20, 10_000, 20, ("bounds", "not analytic")),
    "generic position": Trial(prompts.in_general, 12, 2_000, 8, ("differ", "collide")),
    "separation": Trial(distances.separated, 8, 2_000, 8, ("apart", "equal", "enclosure")),
    "vocabulary": Trial(distances.margin, 8, 2_000, 8, ("apart",)),
    "training step": Trial(training.stepped, 4, 500, 4, ("determinant",)),
    **{
        f"forged {kind}": Trial(partial(forging.forged, kind), 10, 2_000, 8, ("accepted", "forged"))
        for kind in forging.NAMES
    },
}
PARTS = [(name, part) for name, trial in TRIALS.items() for part in range(trial.parts)]


def judge(name: str, seeds: range) -> Counter[str]:
    """The counts of all seeds; ends at the first that contradicts a claim."""
    found: Counter[str] = Counter()
    for seed in seeds:
        one = TRIALS[name].run(seed)
        assert not one["contradicted"], (name, seed, one)
        found += one
    for claim in TRIALS[name].claims:
        assert found[claim] > found[f"{claim}: undecided"]  # most are judged: the trial is one
    return found


@pytest.mark.parametrize("name", TRIALS)
def test_no_claim_is_contradicted(name: str) -> None:
    judge(name, range(TRIALS[name].plain))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), PARTS)
def test_no_claim_is_contradicted_on_many_networks(name: str, part: int) -> None:
    size = TRIALS[name].many // TRIALS[name].parts
    judge(name, range(part * size, (part + 1) * size))
