"""The one door through which a certificate of any kind is re-checked.

Of the kinds in `proofs.kernel` a derivation is followed; those in `proofs.recomputed` are computed whole.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from proofs.arguments import number, of_kind, seed_of, shown, whole
from proofs.errors import InvalidInput
from proofs.kernel import door as kernel
from proofs.kernel.claim import Claim
from proofs.kernel.door import CheckResult, Given, Kind, check_as
from proofs.kernel.price import Part
from proofs.network.graph import Graph
from proofs.recomputed.price_of_weights import enclosures


def check(
    certificate: Any,
    weights: Any = None,
    *,
    steps: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    limit: float = 1.0,
) -> CheckResult:
    """Re-checks a certificate, or anything with `to_json()` that gives one: derives its claim, and compares.

    Args:
        certificate: the JSON object, or the proof object itself.
        weights: parameters by name, for claims about particular weights.
        steps: how many steps of a separation certificate to evaluate again (None: all), or of how many tokens of a
            vocabulary margin to confirm the states in Arb (None: 64).
        seed: draws them; None for a fresh one. The file has no say in it.
        workers: processes that share the work on a vocabulary margin, where the system can fork.
        limit: how many times dearer than usual a certificate may be (`proofs.kernel.price`).

    Returns:
        `.verdict` accepted, accepted_sampled or rejected, or undecided where it is too large to check; `.reason` why,
        `.kind`, `.lines` checked, and `.claim`, what was derived (None where it is not accepted).

    Raises:
        InvalidInput: not a certificate of a known kind, one of another version, or no weights where they are needed.
    """
    if weights is not None:
        of_kind("weights by name", weights, Mapping, "pass arrays by name")
    steps = None if steps is None else whole("steps", steps, least=1)
    seed, workers = None if seed is None else seed_of(seed), whole("workers", workers, least=1)
    paid = number(limit)
    if paid is None:
        raise InvalidInput(f"Expected a number for the limit, but got {shown(limit)}; the usual one is 1.")
    data = certificate.to_json() if hasattr(certificate, "to_json") else certificate
    drawn = random.SystemRandom().getrandbits(32) if seed is None else seed
    return check_as(KINDS, data, Given(weights, steps, drawn, workers, paid))


# Loaded when they are asked for: a training step alone needs sympy, which takes as long to load as a large proof to
# check, and whoever checks a derivation needs neither.


def _witness(certificate: Mapping[str, Any], given: Given) -> Claim:
    from proofs.recomputed.price import paid_as_it_is_done
    from proofs.recomputed.witness import derive_witness

    return paid_as_it_is_done(derive_witness, certificate, given)


def _training_step(certificate: Mapping[str, Any], given: Given) -> Claim:
    from proofs.recomputed.price import paid_as_it_is_done
    from proofs.recomputed.training_step import derive_training_step

    return paid_as_it_is_done(derive_training_step, certificate, given)


def _price_of_witness(certificate: Mapping[str, Any], graphs: list[Graph]) -> Iterator[Part]:
    from proofs.recomputed.price import of_witness

    return of_witness(certificate, graphs)


def _price_of_step(certificate: Mapping[str, Any], graphs: list[Graph]) -> Iterator[Part]:
    from proofs.recomputed.price import of_step

    return of_step(certificate, graphs)


KINDS: dict[str, Kind] = {
    **kernel.KINDS,
    **{kind: replace(kernel.KINDS[kind], price=enclosures) for kind in kernel.OF_WEIGHTS},
    "witness": Kind(_witness, _price_of_witness),
    "training-step": Kind(_training_step, _price_of_step),
}
