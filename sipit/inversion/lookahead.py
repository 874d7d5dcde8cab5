"""What later states say of an earlier token: alternatives that fit at a position are followed a few positions further.

    position t     alternatives a, b, …      all within the tolerance
    position t+1   a c, a d, …  b c, b d, …  the likeliest continuations behind each
                   an alternative is struck out if every continuation tested lies outside the tolerance and more
                   than twice as far as the nearest one of another alternative, which fits

The state of a token depends on the tokens before it, so a wrong one is seldom followed by a state that fits. "No
continuation" means the likeliest ones that the policy names, and with a small vocabulary all: like the outcome
`recovered`, it speaks of what was tested.
"""

from collections.abc import Generator, Sequence

import torch

from sipit.inversion.decision import clearly_farther, fits
from sipit.inversion.policies import Proposal
from sipit.inversion.verifier import Verifier

FAR_AHEAD = 12  # positions that alternatives are followed
FOLLOWED = 128  # alternatives at most; with more of them nothing is told apart
_FOLLOWED_BY_ALL = 32  # alternatives at most where every token is tested as a continuation
_LIKELIEST = 16  # continuations tested behind each alternative
_SMALL = 1024  # vocabulary of which every token is tested as a continuation
_TOKENS = 8192  # of branches that run at once, their prefix counted

Following = Generator[tuple[int, torch.Tensor], torch.Tensor, None]
Continued = Generator[tuple[int, torch.Tensor], torch.Tensor, dict[int, tuple[float, int]]]


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
    paths = {token: [token] for token in alternatives}
    last = min(position + FAR_AHEAD, len(verifier.observed) - 1)
    for later in range(position + 1, last + 1):
        if len(paths) < 2:
            return
        found = yield from _continued(verifier, _likeliest(proposal, working, later), position, later, paths)
        allowed = verifier.allowed(later)
        least = min(residual for residual, _ in found.values())
        if not fits(least, allowed):
            return  # the right continuation was not tested, or its state is ill-conditioned
        for token, (residual, following) in found.items():
            if clearly_farther(residual, least, verifier.blurred(later)):
                trial.struck |= verifier.tested_of_class(position, token)
                del paths[token]
            else:
                paths[token].append(following)


def _likeliest(proposal: Proposal, working: Sequence[int], later: int) -> list[int]:
    """The continuations to test first at a later position: the working token, then those that the policy names."""
    return list(dict.fromkeys([*working[later : later + 1], *proposal.leading(later)[:_LIKELIEST].tolist()]))


def _continued(
    verifier: Verifier, likeliest: list[int], position: int, later: int, paths: dict[int, list[int]]
) -> Continued:
    """For every alternative the least residual at a later position, and the token that has it there."""
    vocabulary = verifier.model.vocabulary_size
    everything = range(vocabulary) if vocabulary <= _SMALL else ()
    found = yield from _tried(verifier, position, later, paths, likeliest[:1])
    for more in (likeliest[1:], [token for token in everything if token not in set(likeliest)]):
        missing = {token: path for token, path in paths.items() if not fits(found[token][0], verifier.allowed(later))}
        better = yield from _tried(verifier, position, later, missing, more)
        found |= {token: min(found[token], better[token]) for token in missing}
    return found


def _tried(
    verifier: Verifier, position: int, later: int, paths: dict[int, list[int]], continuations: list[int]
) -> Continued:
    """The least residual behind every path over some continuations."""
    pairs = [(token, following) for token in paths for following in continuations]
    found: dict[int, tuple[float, int]] = {token: (float("inf"), -1) for token in paths}
    device = verifier.model.device
    for start in range(0, len(pairs), max(1, _TOKENS // (later + 1))):
        some = pairs[start : start + max(1, _TOKENS // (later + 1))]
        rows = torch.tensor([[*paths[token], following] for token, following in some], device=device)
        states = yield position, rows
        verifier.prefix.keep(0)
        residuals = verifier.residuals(slice(later, later + 1), states[:, -1:])[:, 0]
        for (token, following), residual in zip(some, residuals.tolist(), strict=True):
            found[token] = min(found[token], (residual, following))
    return found
