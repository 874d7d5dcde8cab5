"""What later states say of an earlier token: alternatives that fit at a position are followed a few positions further.

    position t     alternatives a, b, …      all within the tolerance
    position t+1   a c, a d, …  b c, b d, …  the likeliest continuations behind each
                   an alternative is struck out if every continuation tested lies outside the tolerance and more
                   than twice as far as the nearest one of another alternative, which fits

The state of a token depends on the tokens before it, so a wrong one is seldom followed by a state that fits. "No
continuation" means the likeliest ones that the policy names, and with a small vocabulary all: like the outcome
`recovered`, it speaks of what was tested. Of values that were rounded when stored, a state that fits says little where
its box holds, or nearly holds, another continuation too: from there on nothing is struck out. In a large vocabulary a
strike also waits until the position behind it fits as well: two boxes that a wrong prompt meets are no coincidence.
"""

from collections.abc import Generator, Sequence

import torch

from sipit.inversion.decision import clearly_farther, fits
from sipit.inversion.policies import Proposal
from sipit.inversion.verifier import Verifier

FAR_AHEAD = 12  # positions that alternatives are followed
FOLLOWED = 128  # alternatives at most; with more of them nothing is told apart
_FOLLOWED_BY_ALL = 80  # where every token is tested as a continuation: 64 rivals, and what was tested before them
_LIKELIEST = 16  # continuations tested behind each alternative
_NEAREST = 8  # continuations whose rows are nearest to that of the first
_SMALL = 1024  # vocabulary of which every token is tested as a continuation
_TOKENS = 8192  # of branches that run at once, their prefix counted

Following = Generator[tuple[int, torch.Tensor], torch.Tensor, None]
_Best = list[tuple[float, int]]  # the least two residuals, and the tokens that have them
Continued = Generator[tuple[int, torch.Tensor], torch.Tensor, dict[int, _Best]]


def follow(verifier: Verifier, proposal: Proposal, working: Sequence[int], position: int) -> Following:
    """Strikes out alternatives at a position; yields branches (B, n) to run from there, is sent their states.

    Args:
        verifier: with what was tested so far; it strikes out.
        proposal: names the likeliest continuations.
        working: the token taken at every settled position.
        position: where several tokens fit.
    """
    trial = verifier.trials[position]
    alternatives = verifier.possible(position)
    if len(alternatives) > (_FOLLOWED_BY_ALL if verifier.model.vocabulary_size <= _SMALL else FOLLOWED):
        return
    # Where not all continuations are tested, one wrong token that happens to lie in a box is no evidence yet.
    doubtful = verifier.tolerance.boxed > 0 and verifier.model.vocabulary_size > _SMALL
    against = list[int]()  # what waits for another position to be struck out
    paths = {token: [token] for token in alternatives}
    last = min(position + FAR_AHEAD, len(verifier.observed) - 1)
    for later in range(position + 1, last + 1):
        if len(paths) < 2 and not against:
            return
        likeliest = _likeliest(verifier, proposal, working, later)
        found = yield from _continued(verifier, likeliest, position, later, paths)
        allowed = verifier.allowed(later)
        least = min(best[0][0] for best in found.values())
        if not fits(least, allowed):
            return  # the right continuation was not tested, or its state is ill-conditioned
        if doubtful and any(_crowded(best, allowed, verifier.beside(later)) for best in found.values()):
            return  # so close together, the right continuation may be one that was not tested
        gone = [token for token, best in found.items() if clearly_farther(best[0][0], least, verifier.blurred(later))]
        for token in against if doubtful else gone:
            trial.struck |= verifier.tested_of_class(position, token)
        against = gone if doubtful else []
        paths = {token: [*path, found[token][0][1]] for token, path in paths.items() if token not in gone}


def _likeliest(verifier: Verifier, proposal: Proposal, working: Sequence[int], later: int) -> list[int]:
    """The continuations to test first at a later position: the working token, then those that the policy names.

    Of values that were rounded when stored, also those whose rows are nearest to that of the first. A class once.
    """
    named = [*working[later : later + 1], *proposal.leading(later)[:_LIKELIEST].tolist()]
    if verifier.tolerance.boxed and named:
        first = torch.tensor(named[:1], device=verifier.model.device)
        named += verifier.near.of(first, _NEAREST)[0].tolist()
    by_class: dict[int, int] = {}
    for of, token in zip(verifier.model.token_classes[named].tolist(), named, strict=True):
        by_class.setdefault(of, token)
    return list(by_class.values())


def _crowded(best: _Best, allowed: float, beside: float) -> bool:
    """Whether a continuation fits, and another lies in the box or beside it."""
    return fits(best[0][0], allowed) and best[1][0] <= beside


def _continued(
    verifier: Verifier, likeliest: list[int], position: int, later: int, paths: dict[int, list[int]]
) -> Continued:
    """For every alternative the least residuals at a later position, and the tokens that have them there."""
    vocabulary = verifier.model.vocabulary_size
    everything = range(vocabulary) if vocabulary <= _SMALL else ()
    first = len(likeliest) if verifier.tolerance.boxed else 1
    found = yield from _tried(verifier, position, later, paths, likeliest[:first])
    for more in (likeliest[first:], [token for token in everything if token not in set(likeliest)]):
        missing = {
            token: path for token, path in paths.items() if not fits(found[token][0][0], verifier.allowed(later))
        }
        better = yield from _tried(verifier, position, later, missing, more)
        found |= {token: sorted(found[token] + better[token])[:2] for token in missing}
    return found


def _tried(
    verifier: Verifier, position: int, later: int, paths: dict[int, list[int]], continuations: list[int]
) -> Continued:
    """The least residuals behind every path over some continuations."""
    pairs = [(token, following) for token in paths for following in continuations]
    found: dict[int, _Best] = {token: [(float("inf"), -1)] for token in paths}
    device = verifier.model.device
    for start in range(0, len(pairs), max(1, _TOKENS // (later + 1))):
        some = pairs[start : start + max(1, _TOKENS // (later + 1))]
        rows = torch.tensor([[*paths[token], following] for token, following in some], device=device)
        states = yield position, rows
        verifier.prefix.keep(0)
        residuals = verifier.residuals(slice(later, later + 1), states[:, -1:])[:, 0]
        for (token, following), residual in zip(some, residuals.tolist(), strict=True):
            found[token] = sorted([*found[token], (residual, following)])[:2]
    return found
