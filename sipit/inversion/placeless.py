"""Whether rows show where their tokens stand, and behind which: at some sites they do not, and an answer says so."""

from collections.abc import Iterable

from sipit.models.network import Network
from sipit.noise.distances import relative_distance
from sipit.observations.network import ObservedNetwork

PLACELESS = (
    "These rows do not show where their tokens stand, or behind which: in another order, or without some, they would "
    "be read alike."
)
_NO_PART = "Neither their positions nor given tokens without a row are borne out by them."
_NO_FRONT = "These rows do not show which tokens stand in front: given ones without a row are not borne out by them."
_TURNED = [3, 2, 1, 0]  # the order of a prompt in which every token stands elsewhere, behind others
_BEHIND_OTHERS, _STAYED = [2, 1, 0, 3], [1, 3]  # and in which some stand where they did, behind others


def tells_places(network: Network, tolerance: float) -> bool:
    """Whether a token has another row, beyond a relative tolerance, where it stands elsewhere, behind other tokens."""
    return _differs(network, _TURNED, range(len(_TURNED)), tolerance)


def not_shown(network: Network, tolerance: float, *, unseen: bool) -> str | None:
    """What rows of a part of a prompt do not show, in words; `unseen`: whether tokens without a row were given."""
    if not tells_places(network, tolerance):
        return f"{PLACELESS} {_NO_PART}"
    return _NO_FRONT if unseen and not _differs(network, _BEHIND_OTHERS, _STAYED, tolerance) else None


def _differs(network: Network, order: list[int], places: Iterable[int], tolerance: float) -> bool:
    """Whether a prompt in that order has, at one of the places, another row of a token; so it has behind a block."""
    layers = network.observation.layers if isinstance(network, ObservedNetwork) else (network.layer,)
    if any(layer != 0 for layer in layers) or not layers:
        return True
    ids = network.model.ordinary_ids(len(order))
    plain, other = (network.anew().run(one)[0].double() for one in (ids, ids[:, order]))
    return bool((relative_distance(other, plain[order], damped=False)[[*places]] > tolerance).any())
