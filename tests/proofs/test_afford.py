"""What a check would cost is told by the right part of a certificate, before anything is computed."""

import pytest

from proofs.door import KINDS
from proofs.kernel.price import TooLarge, afford
from tests.proofs.bombs import BOMBS

REFUSED = {
    "constants and masks": ["a constant of many entries", "a mask of many entries", "masks that are moved"],
    "distances": ["many wide states", "a vocabulary of many tokens"],
    "enclosures": ["enclosures that unfold"],
    "equal states": ["a long prompt", "every three tokens", "many layers"],
    "evaluations": ["a table of many rows", "a table of many rows, patterns", "a wide product", "an error function",
                    "a wide product, four tokens", "an expanded row", "many scattered entries"],
    "nodes": ["blocks of blocks", "choices that are silenced", "long names", "many rows", "rows with many arguments",
              "rows of twenty arguments", "names that are only read"],
    "pairs of prompts": ["many pairs", "pairs without end"],
    "prompts": ["many lengths", "what long prompts have in common"],
    "second derivatives": ["many samples"],
    "steps in fixed point": ["an expanded row, in fixed point", "many prompts in fixed point",
                             "long prompts that are equal", "many scattered constants, in fixed point"],
    "symbols": ["parts of a target"],
    "vocabulary": ["an expanded row over a vocabulary"],
}  # fmt: skip
UNDECIDED = ["a long prompt", "every three tokens", "many layers"]  # where nothing is claimed nothing is looked at
PART = {name: part for part, names in REFUSED.items() for name in names}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_what_is_refused_is_refused_for_what_is_dear_in_it(name: str) -> None:
    certificate = BOMBS[name]()
    kind = certificate["kind"]
    if name not in PART:
        assert afford(certificate, kind, 1.0, KINDS[kind].price) > 0
        return
    with pytest.raises(TooLarge, match=f"^its {PART[name]} take"):
        afford(certificate, kind, 1.0, KINDS[kind].price)


@pytest.mark.parametrize("name", UNDECIDED)
def test_undecided_collisions_cost_nothing(name: str) -> None:
    certificate = {**BOMBS[name](), "structural_collisions": None}
    assert afford(certificate, certificate["kind"], 1.0) > 0
